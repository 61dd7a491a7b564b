"""No speed row for an op whose tests are red."""

import pytest

from measuring.outcomes import Outcome, read_outcomes
from ops import gate
from ops.registry import OPS

GREEN = {file: Outcome(passed=3) for op in OPS.values() for file in op.tests}


def reason(op, **changes):
    outcomes = {**GREEN, **{f"{name}.py": outcome for name, outcome in changes.items()}}
    return gate.Gate("cpu", {"spikeops": outcomes}).reason(OPS[op], "eager", OPS.values())


def test_green():
    assert reason("lif") == ""


def test_red():
    assert "tests are red: tests/ops/test_lif.py: 1 failed (test_a)" in reason("lif", test_lif=Outcome(2, ["test_a"]))
    assert reason("tssl_bp", test_lif=Outcome(2, ["test_a"])) == ""


def test_skipped_tests_prove_nothing():
    assert "did not run" in reason("lif", test_lif=Outcome())


@pytest.mark.parametrize("op, is_red", [("lif", True), ("lif_rate", False), ("tssl_bp", False)])
def test_red_in_what_ops_share(op, is_red):
    assert ("test_all_checks[cpu-lif]" in reason(op, test_opcheck=Outcome(9, ["test_all_checks[cpu-lif]"]))) == is_red


def test_on_a_gpu_some_files_have_no_tests():
    few = {**GREEN, "test_feedback_bad_input.py": Outcome()}
    assert gate.Gate("cuda", {"spikeops": few, "spikeops_triton": few}).reason(OPS["feedback_step_"], "spikeops", OPS.values()) == ""
    none = {**few, "test_feedback.py": Outcome()}
    outcomes = {"spikeops": none, "spikeops_triton": none}
    assert "did not run" in gate.Gate("cuda", outcomes).reason(OPS["feedback_step_"], "spikeops", OPS.values())


def test_red_in_what_ops_share_without_a_name():
    assert "test_everything" in reason("pack_spikes", test_opcheck=Outcome(9, ["test_everything"]))


def test_packed_counts_share_the_tests_of_counts():
    assert reason("spike_count_packed", test_opcheck=Outcome(9, ["test_all_checks[cpu-spike_count]"]))


def test_the_files_named_exist():
    files = {*gate.SHARED, *(file for op in OPS.values() for file in op.tests)}
    assert [file for file in files if not (gate.TESTS / file).exists()] == []


def test_each_file_of_tests_is_run_once_when_first_asked_for(monkeypatch):
    runs = []

    def run_tests(files, options):
        runs.append(set(files))
        return {file: Outcome(passed=1) for file in files}

    monkeypatch.setattr(gate, "run_tests", run_tests)
    asked = gate.Gate("cpu")
    for name in ("lif", "tssl_bp", "lif", "tssl_bp"):
        assert asked.reason(OPS[name], "spikeops", [OPS[name]]) == ""
    assert runs[0] == {*gate.SHARED, *OPS["lif"].tests} and runs[1:] == [set(OPS["tssl_bp"].tests) - runs[0]]


def test_runs_pytest(tmp_path, monkeypatch):
    (tmp_path / "test_good.py").write_text("import pytest\ndef test_a(): pass\n@pytest.mark.skip\ndef test_b(): pass\n")
    (tmp_path / "test_bad.py").write_text("def test_c(): assert False\n")
    (tmp_path / "test_broken.py").write_text("import no_such_module\n")
    monkeypatch.setattr(gate, "TESTS", tmp_path)
    outcomes = gate.run_tests(["test_good.py", "test_bad.py", "test_broken.py", "test_absent.py"])
    assert outcomes["test_good.py"] == Outcome(passed=1)
    assert outcomes["test_bad.py"].failed == ["test_c"]
    assert outcomes["test_broken.py"].failed
    assert "test_absent.py" not in outcomes


def test_tests_that_never_end(tmp_path, monkeypatch):
    (tmp_path / "test_slow.py").write_text("import time\ntime.sleep(60)\n")
    monkeypatch.setattr(gate, "TESTS", tmp_path)
    monkeypatch.setattr(gate, "SECONDS", 1)
    assert gate.run_tests(["test_slow.py"])["test_slow.py"].failed == ["pytest did not end: no end within 1 s"]


def test_a_log_that_was_cut_short(tmp_path):
    log = tmp_path / "outcomes.jsonl"
    lines = ['{"file": "test_a.py", "test": "test_one", "outcome": "passed"}', '{"file": "test_a.py", "test": "te']
    log.write_text("\n".join(lines))
    assert read_outcomes(log) == {"test_a.py": Outcome(passed=1)}


@pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_outcomes_of_every_kind(tmp_path, monkeypatch, workers):
    if workers:
        pytest.importorskip("xdist")
    (tmp_path / "test_kinds.py").write_text(
        "import pytest\n@pytest.fixture\ndef broken():\n    yield\n    assert False\n"
        "def test_good(): pass\ndef test_bad(): assert False\ndef test_torn_down(broken): pass\ndef test_skipped(): pytest.skip()\n"
    )
    (tmp_path / "test_broken.py").write_text("import no_such_module\n")
    monkeypatch.setattr(gate, "TESTS", tmp_path)
    outcomes = gate.run_tests(["test_kinds.py", "test_broken.py"], workers)
    assert outcomes["test_kinds.py"].passed == 2
    assert sorted(outcomes["test_kinds.py"].failed) == ["test_bad", "test_torn_down"]
    assert len(outcomes["test_broken.py"].failed) == 1
