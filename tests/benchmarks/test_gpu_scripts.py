"""What runs on a GPU machine, as far as it can be shown without one: commands and events are replaced by stand-ins."""

import sys
import time
from functools import partial
from types import SimpleNamespace

import gpu
import gpu_bench
import pytest
import sanitize_ops
import torch
from gate import Gate
from gpu import FAIL, PASS, SKIPPED, Proof
from outcomes import Outcome
from providers import TRITON
from registry import OPS, OVERHEAD_SIZE, Case
from results import LEFT_OUT
from tssl_bp_step import TSSLBPStep


@pytest.fixture(autouse=True)
def own_logs(tmp_path, monkeypatch):
    monkeypatch.setattr(gpu, "LOGS", tmp_path / "logs")


def python(code):
    return [sys.executable, "-c", code]


def test_a_failing_step_does_not_stop_the_next(capsys):
    def crash():
        raise OSError("no such thing")

    proof = Proof(minutes=1)
    proof.step("first", crash)
    proof.step("second", lambda: (PASS, "fine"))
    assert [(r.name, r.status, r.detail) for r in proof.results] == [
        ("first", FAIL, "OSError: no such thing"),
        ("second", PASS, "fine"),
    ]
    assert "second: PASS" in capsys.readouterr().out


def test_steps_leave_time_for_the_benchmarks():
    proof = Proof(minutes=1, reserved=58)
    proof.step("tests", lambda: (PASS, ""))
    proof.release()
    proof.step("benchmarks", lambda: (PASS, ""))
    assert [r.status for r in proof.results] == [SKIPPED, PASS]


def test_a_command_that_hangs_is_stopped_with_its_children(tmp_path):
    child = f"import time; time.sleep(3); open({str(tmp_path / 'alive')!r}, 'w')"
    started = time.monotonic()
    done = Proof(minutes=1).command(
        "hang", python(f"import subprocess, sys; print('begun', flush=True); subprocess.run([sys.executable, '-c', {child!r}])"), 1
    )
    assert done.status is None and done.output == "begun\n"
    assert "took too long" in gpu.ended(done)
    assert time.monotonic() - started < 3
    time.sleep(max(0, started + 4.5 - time.monotonic()))
    assert not (tmp_path / "alive").exists()


def test_how_a_command_ended():
    done = Proof(minutes=1).command("bad", python("print('nvcc: fatal error: no'); print('bye'); raise SystemExit(3)"), 20)
    assert gpu.ended(done) == "exit status 3: nvcc: fatal error: no"


@pytest.mark.parametrize(
    "body, status, detail",
    [
        ("@pytest.mark.gpu\ndef test_a(): pass\ndef test_not_for_the_gpu(): assert False", PASS, "1 passed"),
        ("@pytest.mark.gpu\ndef test_a(): pass\n@pytest.mark.gpu\ndef test_b(): assert False", FAIL, "1 failed (test_b), 1 passed"),
        ("@pytest.mark.gpu\n@pytest.mark.skip\ndef test_a(): pass", SKIPPED, "no test could run"),
        ("import no_such_module", FAIL, "1 failed"),
    ],
)
def test_pytest_steps(tmp_path, body, status, detail):
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = gpu\n")
    (tmp_path / "test_it.py").write_text(f"import pytest\n{body}\n")
    result = gpu.tests(Proof(minutes=1), "some-tests", [tmp_path], 30)
    assert result[0] == status and detail in result[1]


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
        ("native", "all calls of native done\\n==== ERROR SUMMARY: 0 errors", 0, (PASS, "ERROR SUMMARY: 0 errors")),
        ("native", "==== ERROR SUMMARY: 2 errors", gpu.SANITIZER_ERROR, (FAIL, "2 errors")),
        ("native", "==== ERROR SUMMARY: 0 errors", 0, (FAIL, "0 errors")),  # the calls were not made
        ("native", "Device not supported", 1, (SKIPPED, "does not support")),
        ("planted", "==== Invalid __global__ write of size 4 bytes", gpu.SANITIZER_ERROR, (PASS, "was found")),
        ("planted", "==== ERROR SUMMARY: 0 errors", 0, (FAIL, "was not found")),
    ],
)
def test_sanitizer_steps(sanitizer, tmp_path, monkeypatch, what, text, status, expected):
    monkeypatch.setattr(gpu, "missing", lambda *_: "")
    sanitizer(text, status)
    result = gpu.sanitize(Proof(minutes=1), "check", "memcheck", what, "spikeops")
    assert result[0] == expected[0] and expected[1] in result[1]
    arguments = (tmp_path / "arguments").read_text().split()
    assert arguments[arguments.index("--kernel-name") + 1] == "kernel_substring=spikeops"
    assert arguments[-1] == what


def test_without_a_sanitizer(monkeypatch):
    monkeypatch.setattr(gpu, "find_sanitizer", lambda: None)
    assert gpu.sanitize(Proof(minutes=1), "check", "memcheck", "native", "spikeops")[0] == SKIPPED


def test_missing_modules():
    assert gpu.missing("torch", "no_such_module") == "not installed: no_such_module"
    assert gpu.missing("torch") == ""


def test_the_report_has_every_step():
    text = gpu.report({"device": "GPU", "driver": "1.2"}, [gpu.Result("build", PASS, "a|b", 12.4)])
    assert text.startswith("# Proof on GPU\n") and "- driver: 1.2\n" in text and "| build | PASS | 12 | a/b |" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_device():
    with pytest.raises(SystemExit, match="needs a CUDA device"):
        gpu.main([])
    assert gpu_bench.main([]) == 2


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_the_calls_that_the_sanitizer_watches(monkeypatch, capsys, backend):
    monkeypatch.setattr(sanitize_ops, "on_device", lambda x: x.clone())
    monkeypatch.setattr(sanitize_ops, "SIZES", ((5, 13),))
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    sanitize_ops.main(backend)
    assert capsys.readouterr().out == f"all calls of {backend} done\n"


def test_the_planted_kernel_writes_past_the_end():
    pytest.importorskip("triton")
    code = "import torch, planted_kernel; x = torch.zeros(300); planted_kernel.write_past(x[:256]); print(x.nonzero().max().item())"
    done = Proof(minutes=1).command("planted", python(code), 50, TRITON_INTERPRET="1")
    assert done.last_line == "256"


class _Event:
    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.seconds = time.perf_counter()

    def elapsed_time(self, end):
        return 1e3 * (end.seconds - self.seconds)


@pytest.fixture
def gpu_on_the_cpu(monkeypatch):
    """gpu_bench with the CPU in the place of a GPU."""
    monkeypatch.setattr(gpu_bench, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(L2_cache_size=1 << 20, total_memory=1 << 33))
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    monkeypatch.setattr(gpu_bench, "MAX_ROUNDS", 3)
    monkeypatch.setattr(gpu_bench, "HOST_CALLS", 3)


GREEN = {file: Outcome(passed=1) for op in OPS.values() for file in op.tests}


def test_the_gpu_benchmark_measures(gpu_on_the_cpu):
    run = gpu_bench.Run(Gate("cpu", {"spikeops": GREEN}), list(OPS))
    run.measure(Case(OPS["tssl_bp"], *OVERHEAD_SIZE))
    rows = {(row.provider, row.mode, row.metric): row.value for row in run.table.rows}
    for provider in ("spikeops", "eager", "published", "copy", "clone"):
        assert rows[provider, "full", "time"] > 0 and rows[provider, "full", "rounds"] >= 3
        assert rows[provider, "full", "host_time"] > 0
    assert rows["spikeops", "forward_grad", "saved_bytes"] == 16
    assert not any(row.provider == TRITON for row in run.table.rows)


def test_the_gpu_benchmark_refuses_red_ops(gpu_on_the_cpu):
    run = gpu_bench.Run(Gate("cpu", {"spikeops": {**GREEN, "test_pack.py": Outcome(1, ["test_a"])}}), list(OPS))
    run.measure(Case(OPS["pack_spikes"], 5, 100))
    assert {row.metric for row in run.table.rows} == {LEFT_OUT}
    assert all("red" in row.value for row in run.table.rows)


def test_the_gpu_benchmark_refuses_what_does_not_fit(gpu_on_the_cpu):
    run = gpu_bench.Run(Gate("cpu", {"spikeops": GREEN}), list(OPS))
    run.measure(Case(OPS["lif"], 1000, 1_000_000))
    assert [row.metric for row in run.table.rows] == [LEFT_OUT] and "needs 59 GiB" in run.table.rows[0].value


def test_the_gpu_benchmark_measures_training_steps(gpu_on_the_cpu, monkeypatch):
    pytest.importorskip("yaml")
    training_step = gpu_bench.training_step
    monkeypatch.setattr(training_step, "settings", lambda: {"tsslbp-mnist-cnn": partial(TSSLBPStep, batch=4)})
    run = gpu_bench.Run(Gate("cpu", {"spikeops": GREEN}), list(OPS))
    run.measure_training_steps()
    measured = {row.provider for row in run.table.rows if row.metric == "time"}
    assert measured == {"spikeops", "eager", "published"}
