"""The measurements on a GPU, with the CPU in its place."""

import time
from functools import partial
from types import SimpleNamespace

import gpu_bench
import pytest
import torch

from measuring.outcomes import Outcome
from measuring.results import LEFT_OUT, load
from ops.gate import Gate
from ops.providers import TRITON
from ops.registry import MODES, OPS, OVERHEAD_SIZE, Case
from reports import report
from reports.figures import Figures
from steps import catalogue, training_step
from steps.feedback_step import FeedbackStep
from steps.tssl_bp_step import TSSLBPStep


class _Event:
    """Passes at once, unless the device sleeps."""

    asleep_until = 0.0

    def __init__(self, enable_timing):
        assert enable_timing

    def record(self):
        self.seconds = time.perf_counter()

    def query(self):
        return time.perf_counter() >= _Event.asleep_until

    def synchronize(self):
        pass

    def elapsed_time(self, end):
        return 1e3 * (end.seconds - self.seconds)


def _sleep(cycles):
    _Event.asleep_until = time.perf_counter() + cycles / 1.7e9


@pytest.fixture
def gpu_on_the_cpu(monkeypatch):
    """gpu_bench with the CPU in the place of a GPU."""
    monkeypatch.setattr(gpu_bench, "DEVICE", "cpu")
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "_sleep", _sleep)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(L2_cache_size=1 << 20, total_memory=1 << 33))
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    for name in ("memory_allocated", "max_memory_allocated"):
        monkeypatch.setattr(torch.cuda, name, lambda: 0)
    monkeypatch.setattr(gpu_bench, "MAX_ROUNDS", 3)
    monkeypatch.setattr(gpu_bench, "STEP_ROUNDS", 2)


GREEN = {file: Outcome(passed=1) for op in OPS.values() for file in op.tests}


def test_the_gpu_benchmark_measures(gpu_on_the_cpu):
    run = gpu_bench.Run(Gate("cpu", {"spikeops": GREEN}), list(OPS))
    run.measure(Case(OPS["tssl_bp"], *OVERHEAD_SIZE))
    rows = {(row.provider, row.mode, row.metric): row.value for row in run.table.rows}
    for provider in ("spikeops", "eager", "published", "copy", "clone"):
        assert rows[provider, "full", "time"] > 0 and rows[provider, "full", "rounds"] >= 3
        assert all(rows[provider, mode, "host_time"] > 0 for mode in MODES)
    assert rows["spikeops", "forward_grad", "saved_bytes"] == 16
    assert not any(row.provider == TRITON for row in run.table.rows)


def test_the_gpu_benchmark_refuses_red_ops(gpu_on_the_cpu):
    run = gpu_bench.Run(Gate("cpu", {"spikeops": {**GREEN, "test_pack.py": Outcome(1, ["test_a"])}}), list(OPS))
    run.measure(Case(OPS["pack_spikes"], 5, 100))
    assert {row.metric for row in run.table.rows} == {LEFT_OUT}
    assert all("red" in row.value for row in run.table.rows)


def test_red_ops_are_measured_on_demand_and_marked(gpu_on_the_cpu):
    red = Gate("cpu", {"spikeops": {**GREEN, "test_pack.py": Outcome(1, ["test_a"])}})
    run = gpu_bench.Run(red, list(OPS), although_red=True)
    run.measure(Case(OPS["pack_spikes"], 5, 100))
    assert {row.provider for row in run.table.rows if row.metric == "time"} == {"spikeops", "eager", "copy", "clone"}
    text = report.markdown(Figures(run.table.rows))
    assert "## Measured although tests are red\n\n- its tests are red: tests/ops/test_pack.py: 1 failed (test_a), 1 passed:" in text


def test_the_gpu_benchmark_refuses_what_does_not_fit(gpu_on_the_cpu):
    run = gpu_bench.Run(Gate("cpu", {"spikeops": GREEN}), list(OPS))
    run.measure(Case(OPS["lif"], 1000, 1_000_000))
    assert [row.metric for row in run.table.rows] == [LEFT_OUT] and "needs 59 GiB" in run.table.rows[0].value


def test_the_gpu_benchmark_measures_training_steps(gpu_on_the_cpu, monkeypatch):
    pytest.importorskip("yaml")
    monkeypatch.setattr(catalogue, "settings", lambda: {"tsslbp-mnist-cnn": partial(TSSLBPStep, batch=4)})
    run = gpu_bench.Run(Gate("cpu", {"spikeops": GREEN}), list(OPS))
    run.measure_training_step("tsslbp-mnist-cnn")
    measured = {row.provider for row in run.table.rows if row.metric == "time"}
    assert measured == {"spikeops", "eager", "published"}


def test_graphs_are_measured_on_and_off(monkeypatch):
    pytest.importorskip("yaml")
    assert training_step.PLAIN_LAUNCHES in training_step.providers("cuda")
    assert training_step.PLAIN_LAUNCHES not in training_step.providers("cpu")
    step = FeedbackStep("ide-fashion-lif", "cpu", batch=2)
    modes = []
    monkeypatch.setattr(type(step.method), "training_step", lambda self, *_: modes.append(self.network.ring.graphs.mode))
    for provider in ("spikeops", training_step.PLAIN_LAUNCHES):
        step.step(provider)()
    assert modes == ["auto", False]


def test_the_agenda_begins_with_the_first_size_and_ends_with_the_compiler(gpu_on_the_cpu, monkeypatch):
    pytest.importorskip("yaml")
    monkeypatch.setattr(gpu_bench, "DEVICE", "cuda")
    run = SimpleNamespace(ops=list(OPS.values()), measure=print, measure_training_step=print)
    labels = [label for label, *_ in gpu_bench.agenda(run, ["bench", "train"])]
    steps = [labels.index(name) for name in gpu_bench.catalogue.settings()]
    compiled = [i for i, label in enumerate(labels) if label.endswith(" compiled")]
    assert labels.index("lif-T32-N4194304-float32") < labels.index("tssl_bp-T32-N4194304-bfloat16") < min(steps)
    assert max(steps) < labels.index("lif-T4-N16777216-float32") < min(compiled)
    assert compiled == list(range(min(compiled), len(labels)))
    assert len(labels) == len(set(labels))
    assert gpu_bench.agenda(run, ["train"])[0][0] in gpu_bench.catalogue.settings()


def test_a_case_that_hangs_or_fails_costs_no_other_row(gpu_on_the_cpu, tmp_path):
    run = gpu_bench.Run(Gate("cpu", {"spikeops": GREEN}), list(OPS))
    case = Case(OPS["spike_count"], *OVERHEAD_SIZE)

    def crash():
        raise RuntimeError("CUDA error: too bad\nmore")

    listed = [
        ("hangs", 0.2, lambda: time.sleep(30), ("hangs", "all", "all", 1, 1, "float32")),
        ("fails", 5, crash, ("fails", "all", "all", 1, 1, "float32")),
        ("works", 20, partial(run.measure, case), ("works", "all", "all", 1, 1, "float32")),
    ]
    assert gpu_bench.follow(run, listed, 60, tmp_path / "table.csv") == 1
    rows = load(tmp_path / "table.csv")
    assert {row.op: row.value for row in rows if row.metric == LEFT_OUT} == {
        "hangs": "took longer than 0.2 s",
        "fails": "failed: RuntimeError: CUDA error: too bad",
    }
    assert {row.op for row in rows if row.metric == "time"} == {"spike_count"}


def test_no_time_left(gpu_on_the_cpu, tmp_path):
    run = gpu_bench.Run(Gate("cpu", {"spikeops": GREEN}), list(OPS))
    gpu_bench.follow(run, [("late", 5, None, ("late", "all", "all", 1, 1, "float32"))], -1, tmp_path / "table.csv")
    assert [(row.op, row.value) for row in load(tmp_path / "table.csv")] == [("late", "no time left")]
