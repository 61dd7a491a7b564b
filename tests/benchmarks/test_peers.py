"""The comparison with other libraries: with those that are installed, and with stand-ins that fail, hang or compute something else."""

import importlib
import time
from functools import partial
from pathlib import Path

import peers
import pytest
import torch

import spikeops.surrogate

from libraries import run as peer_run
from libraries.catalogue import LIBRARIES
from libraries.library import Library, NetSize, Spikeops, compile_apart
from measuring import timers
from measuring.results import LEFT_OUT, Table, load
from measuring.timers import DeviceTimer
from reports import peer_report

NEURON = dict(decay=0.75, surrogate=spikeops.surrogate.Triangle(0.5))


class StandIn(Library):
    """By name: a library that computes the same neuron, that does not, that fails in one of two places, that never ends."""

    compiles = False

    def __init__(self, name):
        self.name = name

    def load(self):
        if self.name == "absent":
            raise ImportError("no such library")

    def neuron(self):
        return NEURON

    def layer(self, variant, device, dtype, compile):
        layer = Spikeops(dict(NEURON, threshold=1.25) if self.name == "different" else NEURON).layer("", device, dtype, False)

        def run(x):
            if self.name == "fails":
                raise ValueError("cannot do that\nat all")
            if self.name == "hangs":
                time.sleep(60)
            if self.name == "forward-fails" and not torch.is_grad_enabled():
                raise ValueError("needs gradients")
            return layer(x)

        return run

    def net(self, variant, size, compile):
        return Spikeops(NEURON).net("", size, False)


@pytest.fixture
def run(tmp_path, monkeypatch):
    """``run(name, ...)``: a Run among whose libraries are these stand-ins, compared in turns as the library "x"."""

    def make(*names, seconds=60.0, limit=10.0):
        monkeypatch.setattr(peer_run, "LIBRARIES", {"x": [lambda name=name: StandIn(name) for name in names]})
        return peer_run.Run("cpu", tmp_path / "table.csv", seconds, limit, limit)

    monkeypatch.setattr(peer_run, "SECONDS_PER_CALL", {"cpu": 0.0})
    monkeypatch.setattr(peer_run, "ROUNDS", (2, 2))
    return make


def values(rows):
    return {(row.provider, row.mode, row.metric): row.value for row in rows}


def test_all_take_turns_and_what_differs_is_said(run):
    comparison = run("same", "different")
    comparison.layer("x", 6, 300)
    found = values(load(comparison.path))
    for provider in ("spikeops", "same", "different"):
        assert found[provider, "full", "time"] > 0 and found[provider, "forward", "time"] > 0
        assert found[provider, "full", "rounds"] == 2
    for provider in ("spikeops", "same"):
        assert found[provider, "full", "spikes_differ"] == 0
        assert found[provider, "full", "gradient_error"] < 1e-6
    assert found["different", "full", "spikes_differ"] > 0.01 and found["different", "full", "gradient_error"] > 0.01


@pytest.mark.parametrize(
    "name, mode, reason",
    [
        ("fails", "all", "ValueError: cannot do that"),
        ("hangs", "all", "took longer than 2 s"),
        ("absent", "all", "ImportError: no such library"),
        ("forward-fails", "all", "ValueError: needs gradients"),
    ],
)
def test_one_that_cannot_leaves_a_row_and_the_others_go_on(run, name, mode, reason):
    comparison = run(name, "same", limit=2.0)
    started = time.monotonic()
    comparison.layer("x", 3, 50)
    assert time.monotonic() - started < 20
    rows = load(comparison.path)
    assert [(row.provider, row.mode, row.value) for row in rows if row.metric == LEFT_OUT] == [(name, mode, reason)]
    assert {row.provider for row in rows if row.metric == "time"} == {"spikeops", "same"}
    assert reason in peer_report.markdown(rows)


def test_a_call_that_fails_in_a_later_round_ends_its_turns(run, monkeypatch):
    comparison = run("same")
    times = comparison.timer.time

    def fail_at_second_round(name, call):
        if "same" in name and name in timed:
            raise RuntimeError("out of luck")
        timed.add(name)
        return times(name, call)

    timed = set()
    monkeypatch.setattr(comparison.timer, "time", fail_at_second_round)
    comparison.layer("x", 3, 50)
    rows = load(comparison.path)
    assert [(row.mode, row.value) for row in rows if row.metric == LEFT_OUT] == [
        ("full", "RuntimeError: out of luck"),
        ("forward", "RuntimeError: out of luck"),
    ]
    assert {row.provider for row in rows if row.metric == "time"} == {"spikeops"}


def test_a_device_that_is_lost_is_taken_up_again_without_who_did_it(run, monkeypatch, tmp_path):
    def lost():
        raise RuntimeError("an illegal memory access was encountered")

    commands = []
    make_run = peers.Run
    monkeypatch.setattr(peers.os, "execv", lambda program, command: commands.append(command))
    monkeypatch.setattr(peers, "LIBRARIES", {"x": ()})
    run("same", "fails")

    def run_on_a_device(*arguments):
        comparison = make_run(*arguments)
        monkeypatch.setattr(comparison.timer, "synchronize", lambda: None if "fails" not in failed else lost())
        leave_out = comparison.leave_out

        def note(op, provider, *rest):
            failed.append(provider)
            leave_out(op, provider, *rest)

        monkeypatch.setattr(comparison, "leave_out", note)
        return comparison

    failed = []
    monkeypatch.setattr(peers, "Run", run_on_a_device)
    arguments = ["--device", "cpu", "--layers", "3x50", "--net", "2x2x8", "--no-compile", "--out", str(tmp_path), "--without", "old"]
    assert peers.main(arguments) == 0
    (command,) = commands
    assert command[1].endswith("peers.py") and command[2:-2] == arguments
    assert command[-2] == "--without=old,fails" and 0 < float(command[-1].removeprefix("--seconds=")) <= 75
    assert "ValueError: cannot do that" in next(tmp_path.glob("*-peers-without-old.csv")).read_text()


def test_what_fails_before_anyone_is_built_is_noted(run, monkeypatch):
    comparison = run("same")
    monkeypatch.setattr(peer_run.SF, "lif", lambda *_, **__: 1 / 0)
    comparison.attempt(partial(comparison.layer, "x", 3, 50))
    assert [(row.op, row.provider, row.value) for row in load(comparison.path)] == [
        ("layer:x", "all", "ZeroDivisionError: division by zero")
    ]


def test_who_is_left_out_by_name(run):
    comparison = run("same", "different")
    comparison.without = ("different",)
    comparison.layer("x", 3, 50)
    rows = load(comparison.path)
    assert [(row.provider, row.value) for row in rows if row.metric == LEFT_OUT] == [("different", "it has made the device fail")]
    assert {row.provider for row in rows if row.metric == "time"} == {"spikeops", "same"}


def test_nets_have_the_same_weights(run):
    comparison = run("same")
    comparison.net("x", NetSize(3, 2, 8, (4, 6)))
    found = values(load(comparison.path))
    assert found["same", "full", "time"] > 0
    assert found["same", "full", "loss_error"] < 1e-6 and found["same", "full", "gradient_error"] < 1e-5


def test_without_time(run):
    comparison = run("same", seconds=0.0)
    comparison.layer("x", 3, 50)
    assert [(row.provider, row.value) for row in load(comparison.path)] == [("same", "no time left")]


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_real_libraries_compute_what_we_compute(name, tmp_path, monkeypatch):
    library = LIBRARIES[name][0]()
    for module in library.modules:
        pytest.importorskip(module)
    monkeypatch.setattr(peer_run, "SECONDS_PER_CALL", {"cpu": 0.0})
    arguments = ["--device", "cpu", "--libraries", name, "--layers", "5x300", "--net", "3x2x8", "--no-compile", "--out", str(tmp_path)]
    assert peers.main(arguments) == 0
    (path,) = tmp_path.glob("*-peers.csv")
    rows = load(path)
    assert not [row.value for row in rows if row.metric == LEFT_OUT]
    measured = {(row.op, row.provider, row.dtype, row.mode) for row in rows if row.metric == "time"}
    (provider,) = library.variants("cpu")
    for who in ("spikeops", provider):
        assert {(op, dtype, mode) for op, by, dtype, mode in measured if by == who} == {
            (f"lif:{name}", "float32", "full"),
            (f"lif:{name}", "float32", "forward"),
            (f"lif:{name}", "float16", "full"),
            (f"lif:{name}", "float16", "forward"),
            (f"net:{name}", "float32", "full"),
        }
    single = [row for row in rows if row.dtype == "float32"]
    assert all(row.value == 0 for row in single if row.metric == "spikes_differ")
    # Sums over 5 time steps and some thousand weights, in another order.
    assert all(row.value < 1e-5 for row in single if row.metric in ("gradient_error", "loss_error"))
    report = path.with_suffix(".md").read_text()
    assert f"| lif:{name} | 5 x 300 | {provider} |" in report


def test_an_unknown_library(capsys):
    assert peers.main(["--device", "cpu", "--libraries", "spikinggelly"]) == 2
    assert "no such library: spikinggelly; there are spikingjelly," in capsys.readouterr().err


def test_a_process_that_does_not_end_keeps_its_table(run, monkeypatch):
    comparison, ended = run("same"), []
    comparison.layer("x", 3, 50)
    monkeypatch.setattr(peers.os, "_exit", ended.append)
    peers._give_up(comparison)
    assert ended == [3] and "| same |" in comparison.path.with_suffix(".md").read_text()


def test_every_job_comes_once():
    class Recorder:
        def layer(self, name, T, N, dtype=torch.float32, compile=False):
            seen.append(("layer", name, T, N, dtype, compile))

        def net(self, name, size, compile=False):
            seen.append(("net", name, compile))

    seen = []
    for job in peers.jobs(Recorder(), ["a", "b"], [(16, 10), (4, 10)], [(16, 10), (4, 10)], NetSize()):
        job()
    assert len(seen) == len(set(seen)) == 2 * (2 + 1 + 2 + 2)


def test_modules_that_look_alike_are_compiled_apart(monkeypatch):
    """As SpikingJelly's implementations do: what differs is decided while compiling."""
    importlib.import_module("torch._inductor.compile_fx")
    monkeypatch.setattr(torch._inductor.compile_fx, "compile_fx", lambda graph, inputs: compiled.append(cached()) or graph.forward)
    cached = lambda: not torch._inductor.config.force_disable_caches  # noqa: E731
    compiled = []
    torch._dynamo.reset()
    modules = [compile_apart(torch.nn.ReLU()) for _ in range(2)]
    for _ in range(2):
        for module in modules:
            assert module(torch.tensor([-1.0, 2.0])).tolist() == [0.0, 2.0]
    assert compiled == [False, False]


@pytest.fixture
def device(monkeypatch):
    """A CUDA device that is through with its sleep after so many host calls' time: `needed` seconds of sleep are enough."""

    class Event:
        def __init__(self, enable_timing):
            assert enable_timing

        def record(self):
            log.append("event")

        def query(self):
            return device.slept < device.needed

        def synchronize(self):
            log.append("wait")

        def elapsed_time(self, end):
            return 3.0  # ms

    class Device:
        slept, needed, sleeps = 0.0, 0.0, []

    def sleep(cycles):
        device.slept = cycles / timers.CYCLES_PER_SECOND
        device.sleeps.append(device.slept)
        log.append("sleep")

    device, log = Device(), []
    device.sleeps, device.log = [], log
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "_sleep", sleep)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: None)
    return device


def test_the_call_is_enqueued_while_the_device_sleeps(device):
    timed = DeviceTimer("cpu").time("f", lambda: device.log.append("call"))
    assert timed.seconds == pytest.approx(3e-3) and timed.on_time
    assert device.log == ["sleep", "event", "call", "event", "wait"]


def test_a_late_host_makes_the_device_sleep_longer(device):
    timer, device.needed = DeviceTimer("cpu"), 3 * timers.FIRST_SLEEP
    assert timer.time("f", lambda: None).on_time
    assert device.sleeps == pytest.approx([timers.FIRST_SLEEP * factor for factor in (1, 2, 4)])
    assert timer.time("f", lambda: None).on_time and len(device.sleeps) == 4  # it has learnt


def test_a_call_that_waits_for_the_device_is_marked(device):
    timer, device.needed = DeviceTimer("cpu"), 1e9
    assert not timer.time("f", lambda: None).on_time
    tries = len(device.sleeps)
    assert max(device.sleeps) <= timers.LONGEST_SLEEP
    assert not timer.time("f", lambda: None).on_time and len(device.sleeps) == tries + 1  # and not tried again


def test_what_is_measured_on_a_device(device, run, monkeypatch):
    for name in ("synchronize", "reset_peak_memory_stats"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda: 100)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 150)
    comparison = run("same")
    comparison.timer = DeviceTimer("cpu")
    comparison.layer("x", 3, 50)
    found = values(load(comparison.path))
    for provider in ("spikeops", "same"):
        for mode in ("full", "forward"):
            assert found[provider, mode, "time"] == pytest.approx(3.0)
            assert found[provider, mode, "peak_bytes"] == 50 and found[provider, mode, "host_time"] > 0
            assert found[provider, mode, "waited_for_host"] == 0


def test_the_report():
    table = Table("cpu")
    for provider, seconds in (("spikeops", [1e-3] * 3), ("other+compile", [2e-3, 4e-3, 8e-3])):
        table.add_times("lif:x", provider, "full", 4, 1_000_000, "float32", seconds=seconds)
    table.add("lif:x", "other+compile", "full", 4, 1_000_000, "float32", "waited_for_host", 0.5, "1")
    table.add("lif:x", "other+compile", "full", 4, 1_000_000, "float32", "spikes_differ", 0.25, "1")
    table.add("lif:x", "third", "all", 4, 1_000_000, "float32", LEFT_OUT, "ImportError: no third", "")
    text = peer_report.markdown(table.rows)
    assert "| lif:x | 4 x 1M | spikeops | 1 | 1.00 |" in text
    assert "| lif:x | 4 x 1M | other+compile | ~4* | 4.00 |" in text and "| 0.25 |" in text
    assert "- ImportError: no third: third (lif:x, 4 x 1000000, float32, all)" in text
    assert peer_report.markdown([]) == "Nothing was measured.\n"


def test_paths_stay_inside_the_folder_that_was_asked_for(tmp_path):
    before = set(Path(peers.FOLDER).glob("*-peers.*"))
    assert peers.main(["--device", "cpu", "--seconds", "0", "--layers", "2x8", "--out", str(tmp_path)]) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".md"}
    assert set(Path(peers.FOLDER).glob("*-peers.*")) == before
