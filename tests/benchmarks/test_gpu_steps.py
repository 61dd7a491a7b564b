"""The steps of the proof on a GPU, with stand-ins for what is only there."""

import pytest
import sanitize_ops
import torch

from device import gpu_steps
from device import proof as proof_module
from device.proof import FAIL, PART, PASS, SKIPPED, Proof, python
from measuring.outcomes import read_outcomes


@pytest.mark.parametrize(
    "body, status, detail",
    [
        ("@pytest.mark.gpu\ndef test_a(): pass\ndef test_not_for_the_gpu(): assert False", PASS, "1 passed"),
        ("@pytest.mark.gpu\ndef test_a(): pass\n@pytest.mark.gpu\ndef test_b(): assert False", FAIL, "1 failed (test_b), 1 passed"),
        ("@pytest.mark.gpu\n@pytest.mark.skip\ndef test_a(): pass", SKIPPED, "no test could run"),
        ("import no_such_module", FAIL, "1 failed"),
    ],
)
def test_pytest_steps(proof, tmp_path, body, status, detail):
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    (tmp_path / "test_it.py").write_text(f"import pytest\n{body}\n")
    result = gpu_steps.tests(proof, "some-tests", [tmp_path], 30)
    assert result[0] == status and detail in result[1]


@pytest.mark.parametrize("first, status, workers", [("pass", PART, 2), ("assert False", FAIL, 1)])
def test_tests_that_are_stopped_half_way_count_as_far_as_they_came(proof, tmp_path, monkeypatch, first, status, workers):
    monkeypatch.setattr(proof_module, "SECONDS_TO_END", 0.5)  # what has run is written down already
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    hang = "\n".join(f"@pytest.mark.gpu\ndef test_hang_{i}(): time.sleep(60)" for i in range(4))
    (tmp_path / "test_it.py").write_text(f"import pytest, time\n@pytest.mark.gpu\ndef test_a(): {first}\n{hang}\n")
    result = gpu_steps.tests(proof, "some-tests", [tmp_path], 4 + 3 * workers, workers)
    assert result[0] == status, result
    assert read_outcomes(gpu_steps.outcomes_of(proof, "some-tests"))["test_it.py"].passed == (first == "pass")


def test_tests_without_what_they_need(proof, tmp_path):
    assert gpu_steps.tests(proof, "some-tests", [tmp_path], 30, needs=("no_such_module",)) == (
        SKIPPED,
        "not installed: no_such_module",
    )


@pytest.fixture
def sanitizer(tmp_path, monkeypatch):
    """``sanitizer(text, status)``: a compute-sanitizer that prints and returns what it is told."""

    def build(text, status):
        script = tmp_path / "compute-sanitizer"
        script.write_text(f"#!/bin/sh\nprintf '%s\\n' \"$@\" > {tmp_path}/arguments\nprintf '{text}\\n'\nexit {status}\n")
        script.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return build


@pytest.mark.parametrize(
    "what, text, status, expected",
    [
        ("native", "all calls of native done\\n==== ERROR SUMMARY: 0 errors", 0, (PASS, "SUMMARY: 0 errors")),
        ("native", "==== ERROR SUMMARY: 2 errors", gpu_steps.SANITIZER_ERROR, (FAIL, "2 errors")),
        ("native", "==== ERROR SUMMARY: 0 errors", 0, (FAIL, "0 errors")),  # the calls were not made
        ("native", "Device not supported", 1, (SKIPPED, "does not support")),
        ("planted", "==== Invalid __global__ write of size 4 bytes", gpu_steps.SANITIZER_ERROR, (PASS, "was found")),
        ("planted", "==== ERROR SUMMARY: 0 errors", 0, (FAIL, "was not found")),
    ],
)
def test_sanitizer_steps(proof, sanitizer, tmp_path, monkeypatch, what, text, status, expected):
    monkeypatch.setattr(gpu_steps, "missing", lambda *_: "")
    sanitizer(text, status)
    result = gpu_steps.sanitize(proof, "check", "memcheck", what)
    assert result[0] == expected[0] and expected[1] in result[1]
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[arguments.index("--kernel-name") + 1] == "kernel_substring=spikeops"
    assert arguments[-1] == what


@pytest.mark.parametrize("finding, status", [("", PART), ("========= Invalid __global__ write of size 4 bytes", FAIL)])
def test_a_sanitizer_that_is_stopped_half_way(proof, sanitizer, monkeypatch, finding, status):
    monkeypatch.setattr(proof_module, "SECONDS_TO_END", 0.5)
    sanitizer(f"calls of 1 x 1 torch.float32 done\\n{finding}\\n", "0 & sleep 30")
    result = gpu_steps.sanitize(proof, "check", "memcheck", "native", seconds=1)
    assert result[0] == status, result
    assert ("nothing found at 1 sizes" in result[1]) == (status == PART)


def test_without_a_sanitizer(proof, monkeypatch):
    monkeypatch.setattr(gpu_steps, "find_sanitizer", lambda: None)
    assert gpu_steps.sanitize(proof, "check", "memcheck", "native")[0] == SKIPPED


def test_missing_modules():
    assert gpu_steps.missing("torch", "no_such_module", "no_such_package.module") == (
        "not installed: no_such_module, no_such_package.module"
    )
    assert gpu_steps.missing("torch") == ""


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_calls_that_the_sanitizer_watches(monkeypatch, capsys, backend):
    monkeypatch.setattr(sanitize_ops, "on_device", lambda x: x.clone())
    monkeypatch.setattr(sanitize_ops, "ROUNDS", [(5, 13, dtype) for dtype in sanitize_ops.DTYPES])
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    sanitize_ops.main(backend)
    assert capsys.readouterr().out.splitlines()[-1] == f"all calls of {backend} done"


def test_the_planted_kernel_writes_past_the_end(proof):
    pytest.importorskip("triton")
    code = (
        "import torch; from device import planted_kernel\n"
        "x = torch.zeros(300); planted_kernel.write_past(x[:256]); print(x.nonzero().max().item())"
    )
    done = proof.command("planted", python("-c", code), 50, TRITON_INTERPRET="1")
    assert done.last_line == "256"


def test_measurements_that_are_stopped_keep_their_rows(tmp_path, monkeypatch):
    """The whole step: its script is interrupted in a case that hangs, and again in one that cannot be interrupted."""
    script = tmp_path / "gpu_bench.py"
    script.write_text(
        f"import sys, time; sys.path.insert(0, {str(gpu_steps.HERE)!r})\n"
        "import argparse, pathlib\nfrom measuring.results import Table\n"
        "parser = argparse.ArgumentParser()\nparser.add_argument('--table', type=pathlib.Path)\n"
        "table = Table('cpu')\ntable.add('lif', 'copy', 'full', 1, 1, 'float32', 'time', 1.0, 'ms')\n"
        "table.save(parser.parse_known_args()[0].table)\n"
        "while True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass\n"
    )
    monkeypatch.setattr(gpu_steps, "HERE", tmp_path)
    monkeypatch.setattr(proof_module, "SECONDS_TO_END", 0.5)
    monkeypatch.setattr(gpu_steps, "SECONDS_FOR_THE_REPORT", 0.0)
    proof = Proof(minutes=8 / 60, logs=tmp_path / "logs")
    assert gpu_steps.measure(proof, tmp_path / "table.csv", ["bench"]) == (PART, "1 numbers; stopped: it took too long: no output")
