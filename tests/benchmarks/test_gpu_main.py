"""The whole proof, rehearsed: what it runs, and what it leaves behind however it goes."""

import tarfile

import gpu
import gpu_bench
import gpu_steps
import pytest
import results as results_module
import torch
from proof import FAIL, PART, PASS, Result
from results import Table


def test_the_summary_has_every_step_and_every_row(tmp_path):
    table = Table("cpu")
    table.add_times("lif", "spikeops", "full", 5, 40_000, "float32", seconds=[2e-3] * 3, minimum_bytes=4_000_000)
    table.save(tmp_path / "table.csv")
    text = gpu.summary({"device": "GPU", "driver": "1.2"}, [Result("build", PASS, "a|b", 12.4)], tmp_path / "table.csv")
    assert text.startswith("# Proof on GPU\n") and "- driver: 1.2\n" in text and "| build | PASS | 12 | a/b |" in text
    assert "lif  5 x 40k  spikeops" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device():
    with pytest.raises(SystemExit, match="needs a CUDA device"):
        gpu.main([])
    assert gpu_bench.main([]) == 2


@pytest.fixture
def rehearsal(tmp_path, monkeypatch):
    """gpu.main with stand-ins for its steps and the device."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "device_facts", lambda: {"device": "GPU", "compute capability": "9.0"})
    monkeypatch.setattr(results_module, "device_name", lambda _: "GPU (driver 1)")
    monkeypatch.setattr(gpu, "LOGS", tmp_path / "logs")

    def log(name, status):
        def step(proof, *_):
            proof.logs.mkdir(exist_ok=True)
            (proof.logs / f"{name}.log").write_text(name)
            return status, f"{name} ended"

        return step

    def measure(proof, csv, parts):
        table = Table("cuda")
        table.add_times("lif", "spikeops", "full", 5, 40_000, "float32", seconds=[2e-3] * 3, minimum_bytes=4_000_000)
        table.save(csv)
        return PART, ",".join(parts)

    monkeypatch.setattr(gpu_steps, "build", log("build", FAIL))
    monkeypatch.setattr(gpu_steps, "backends", log("backends", PASS))
    monkeypatch.setattr(gpu_steps, "test_steps", lambda proof, _: {"tests": lambda: log("tests", PASS)(proof)})
    monkeypatch.setattr(gpu_steps, "sanitizer_steps", lambda proof, _: {"memcheck": lambda: log("memcheck", PART)(proof)})
    monkeypatch.setattr(gpu_steps, "measure", measure)
    return lambda *words: gpu.main([*words, "--out", str(tmp_path / "out")])


def test_the_whole_proof(rehearsal, tmp_path, capsys):
    assert rehearsal("--minutes", "1") == 1  # the build failed
    files = sorted(file.name for file in (tmp_path / "out").iterdir())
    assert len(files) <= 8 and sum(name.endswith("-proof.md") for name in files) == 1
    summary = next((tmp_path / "out").glob("*-proof.md")).read_text()
    for row in ("| build | FAIL |", "| tests | PASS |", "| memcheck | PART |", "| measurements | PART |", "lif  5 x 40k  spikeops"):
        assert row in summary
    assert capsys.readouterr().out.endswith(summary + "\n")
    with tarfile.open(next((tmp_path / "out").glob("*-logs.tar.gz"))) as archive:
        assert {"build.log", "tests.log", "build.txt"} <= {*archive.getnames()}


def test_steps_of_choice(rehearsal, tmp_path, capsys):
    assert rehearsal("--steps", "tests", "--installed") == 0
    summary = next((tmp_path / "out").glob("*-proof.md")).read_text()
    assert "| tests | PASS |" in summary and not any(word in summary for word in ("build |", "memcheck", "measurements"))
    # The measurements in a second call lean on the tests of the first.
    logs = next((tmp_path / "out").glob("*-logs.tar.gz"))
    assert rehearsal("--steps", "bench", "--installed", "--proven-by", str(logs)) == 0
    assert "| measurements | PART | 0 | bench |" in next((tmp_path / "out").glob("*-proof.md")).read_text()


def test_tests_of_another_build_prove_nothing(rehearsal, tmp_path, monkeypatch):
    rehearsal("--steps", "tests", "--installed")
    monkeypatch.setattr(gpu_steps, "installed_build", lambda: "another")
    with pytest.raises(SystemExit, match="made on another build"):
        rehearsal("--steps", "bench", "--installed", "--proven-by", str(next((tmp_path / "out").glob("*-logs.tar.gz"))))


def test_no_time_for_anything_leaves_a_summary(rehearsal, tmp_path):
    rehearsal("--minutes", "0")
    summary = next((tmp_path / "out").glob("*-proof.md")).read_text()
    assert all(f"| {step} | SKIPPED |" in summary for step in ("build", "backends", "tests", "memcheck", "measurements"))


def test_a_step_that_does_not_exist(rehearsal, capsys):
    with pytest.raises(SystemExit):
        rehearsal("--steps", "tests,benchmark")
    assert "no such step: benchmark; there are build, tests, sanitize, bench, train" in capsys.readouterr().err
