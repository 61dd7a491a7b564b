"""The comparison with other libraries: with those that are installed, and with stand-ins that fail, hang or compute something else."""

import importlib
import time
from functools import partial
from pathlib import Path

import peers
import pytest
import torch

import spikeops.nn as snn
import spikeops.surrogate

from libraries import run as peer_run
from libraries.catalogue import LIBRARIES
from libraries.library import KINDS, Layer, Library, Neuron, compile_apart
from libraries.networks import NetSize
from libraries.ours import Spikeops
from measuring import timers
from measuring.results import LEFT_OUT, load
from measuring.timers import DeviceTimer
from reports import peer_report

OPTIONS = dict(decay=0.75, surrogate=spikeops.surrogate.Triangle(0.5))
NEURON = Neuron("StandIn()", lambda wiring, compile: snn.LIF(**OPTIONS), lambda wiring: snn.LIF(**OPTIONS))
NET = NetSize.parse("conv:3x2:4C3-P2-6:1x8")


class StandIn(Library):
    """By name: a library that computes the same neuron, that does not, that fails in one of two places, that never ends."""

    not_compiled = "it is not told how"

    def __init__(self, name):
        self.name = name

    def load(self):
        if self.name == "absent":
            raise ImportError("no such library")

    def neurons(self):
        return {"lif": NEURON}

    def layer(self, kind, variant, wiring, device, dtype, compile):
        layer = snn.LIF(**(OPTIONS | DIFFERENT.get(self.name, {})))

        def run(x):
            if self.name == "fails":
                raise ValueError("cannot do that\nat all")
            if self.name == "hangs":
                time.sleep(60)
            if self.name == "forward-fails" and not torch.is_grad_enabled():
                raise ValueError("needs gradients")
            return layer(x)

        return Layer(run, [])

    def net(self, variant, size, compile):
        other = Neuron("", NEURON.make, lambda wiring: snn.LIF(**(OPTIONS | DIFFERENT.get(self.name, {}))))
        return Spikeops({"lif": other}).net("", size, False)


DIFFERENT = {"different": dict(threshold=1.25), "different-gradient": dict(surrogate=spikeops.surrogate.Triangle(0.7))}


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


def test_all_take_turns(run):
    comparison = run("same")
    comparison.layer("x", "lif", (6, 300))
    found = values(load(comparison.path))
    for provider in ("spikeops", "same"):
        assert found[provider, "full", "time"] > 0 and found[provider, "forward", "time"] > 0
        assert found[provider, "full", "rounds"] == 2
        assert found[provider, "full", "spikes_differ"] == 0 and 0.05 < found[provider, "full", "firing_rate"] < 0.95
        assert found[provider, "full", "gradient_error"] < 1e-6
        # Spikes, and then their gradient and that of the currents, each of 4 bytes a neuron and step; some bytes for the states.
        assert 6 * 300 * 4 <= found[provider, "full", "kept_bytes"] < 2 * 6 * 300 * 4
        assert found[provider, "full", "kept_bytes"] < found[provider, "full", "peak_bytes"] < 4 * 6 * 300 * 4


@pytest.mark.parametrize(
    "name, reason", [("different", "its spikes differ in 0."), ("different-gradient", "its gradient differs in 0.")]
)
def test_who_computes_something_else_is_refused(run, name, reason):
    comparison = run(name, "same")
    comparison.layer("x", "lif", (6, 300))
    rows = load(comparison.path)
    ((provider, mode, said),) = [(row.provider, row.mode, row.value) for row in rows if row.metric == LEFT_OUT]
    assert provider == name and mode == "all" and said.startswith(reason)
    assert {row.provider for row in rows if row.metric == "time"} == {"spikeops", "same"}


@pytest.mark.parametrize("name, reason", [("different", "its loss is "), ("different-gradient", "its gradient differs by ")])
def test_a_net_that_computes_something_else_is_refused(run, name, reason):
    comparison = run(name)
    comparison.net("x", NET)
    rows = load(comparison.path)
    assert [row.value.startswith(reason) for row in rows if row.metric == LEFT_OUT and row.provider == name] == [True]
    assert name not in {row.provider for row in rows if row.metric == "time"}


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
    comparison.layer("x", "lif", (3, 50))
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
    comparison.layer("x", "lif", (3, 50))
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
    monkeypatch.setattr(peers, "LIBRARIES", {"x": [lambda: StandIn("fails")]})
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
    arguments = ["--device", "cpu", "--layers", "3x50", "--nets", "--no-compile", "--out", str(tmp_path), "--without", "old"]
    assert peers.main(arguments) == 0
    (command,) = commands
    assert command[1].endswith("peers.py") and command[2:-2] == arguments
    assert command[-2] == "--without=old,fails" and 0 < float(command[-1].removeprefix("--seconds=")) <= 660
    assert "ValueError: cannot do that" in next(tmp_path.glob("*-peers-without-old.csv")).read_text()


def test_what_fails_before_anyone_is_built_is_noted(run, monkeypatch):
    comparison = run("same")
    monkeypatch.setattr(peer_run.torch, "randn", lambda *_, **__: 1 / 0)
    comparison.attempt(partial(comparison.layer, "x", "lif", (3, 50)))
    assert [(row.op, row.provider, row.value) for row in load(comparison.path)] == [
        ("layer:x:lif", "all", "ZeroDivisionError: division by zero")
    ]


def test_who_is_left_out_by_name(run):
    comparison = run("same", "fails")
    comparison.without = ("fails",)
    comparison.layer("x", "lif", (3, 50))
    rows = load(comparison.path)
    assert [(row.provider, row.value) for row in rows if row.metric == LEFT_OUT] == [("fails", "it has made the device fail")]
    assert {row.provider for row in rows if row.metric == "time"} == {"spikeops", "same"}


def test_nets_have_the_same_weights(run):
    comparison = run("same")
    comparison.net("x", NET)
    found = values(load(comparison.path))
    assert found["same", "full", "time"] > 0 and found["same", "forward", "time"] > 0
    assert found["same", "full", "loss_error"] < 1e-6 and found["same", "full", "gradient_error"] < 1e-5


def test_what_is_not_compiled_is_said(run):
    comparison = run("same")
    comparison.layer("x", "lif", (3, 50), compile=True)
    assert [(row.op, row.provider, row.metric, row.value) for row in load(comparison.path)] == [
        ("lif:x:compiled", "same", LEFT_OUT, "it is not told how")
    ]


def test_without_time(run):
    comparison = run("same", seconds=0.0)
    comparison.layer("x", "lif", (3, 50))
    assert [(row.provider, row.value) for row in load(comparison.path)] == [("same", "no time left")]


def test_an_unknown_library(capsys):
    assert peers.main(["--device", "cpu", "--libraries", "spikinggelly"]) == 2
    assert "no such library: spikinggelly; there are spikingjelly," in capsys.readouterr().err
    assert peers.main(["--device", "cpu", "--kinds", "elif"]) == 2
    assert "no such kind of neurons: elif; there are lif," in capsys.readouterr().err


def test_a_process_that_does_not_end_keeps_its_table(run, monkeypatch):
    comparison, ended = run("same"), []
    comparison.layer("x", "lif", (3, 50))
    monkeypatch.setattr(peers.os, "_exit", ended.append)
    peers._give_up(comparison)
    assert ended == [3] and "| same |" in comparison.path.with_suffix(".md").read_text()


SIZES = peers.Sizes([(16, 10), (4, 10)], [(16, 10), (4, 10)], [(9, 2, 5), (3, 2, 5)], [NET, NetSize.parse("recurrent:3x2")], True)


def all_jobs(libraries, sizes=SIZES):
    class Recorder:
        def layer(self, name, kind, shape, dtype=torch.float32, compile=False):
            seen.append((kind, name, shape, dtype, compile))

        def net(self, name, size, compile=False):
            seen.append((size.kind, name, size.T, torch.float32, compile))

    seen = []
    for job in peers.jobs(Recorder(), libraries, sizes):
        job()
    return seen


def test_every_job_comes_once():
    seen = all_jobs(list(LIBRARIES))
    assert len(seen) == len(set(seen))
    for name, makers in LIBRARIES.items():
        kinds = makers[0]().neurons()
        assert set(kinds) <= set(KINDS)
        eager, compiled = ({job[0] for job in seen if job[1] == name and job[-1] == compile} for compile in (False, True))
        assert eager == {*kinds, "conv", "recurrent"} and compiled == {*kinds, "conv"}
        assert {job[2] for job in seen if job[:2] == ("lif", name)} == {(16, 10), (4, 10)}
        if "recurrent_lif" in kinds:
            assert [job[2] for job in seen if job[:2] == ("recurrent_lif", name)] == [(9, 2, 5), (3, 2, 5), (3, 2, 5)]


def test_the_most_telling_jobs_come_first():
    seen = all_jobs(["spikingjelly", "norse"])
    assert [job[:2] for job in seen[:5]] == [
        ("lif", "spikingjelly"), ("lif", "norse"), ("conv", "spikingjelly"), ("conv", "norse"), ("lif", "spikingjelly")
    ]  # fmt: skip
    assert [job[-1] for job in seen[:5]] == [False] * 4 + [True]
    eager = [
        place for place, job in enumerate(seen) if not job[-1] and job[0] in KINDS and job[2] != (4, 10) and job[3] == torch.float32
    ]
    assert max(eager) < min(place for place, job in enumerate(seen) if job[-1] and place > 4), (
        "some are compiled before all have run"
    )


def test_nothing_is_compiled_without_sizes_for_it():
    sizes = peers.Sizes([(16, 10)], [], [(3, 2, 5)], [NET], False)
    assert not any(job[-1] for job in all_jobs(list(LIBRARIES), sizes))


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
    comparison.layer("x", "lif", (3, 50))
    found = values(load(comparison.path))
    for provider in ("spikeops", "same"):
        for mode in ("full", "forward"):
            assert found[provider, mode, "time"] == pytest.approx(3.0)
            assert found[provider, mode, "peak_bytes"] == 50 and found[provider, mode, "host_time"] > 0
            assert found[provider, mode, "waited_for_host"] == 0
        assert found[provider, "full", "kept_bytes"] == 0


def test_paths_stay_inside_the_folder_that_was_asked_for(tmp_path):
    before = set(Path(peers.FOLDER).glob("*-peers.*"))
    assert peers.main(["--device", "cpu", "--seconds", "0", "--layers", "2x8", "--out", str(tmp_path)]) == 0
    assert {path.suffix for path in tmp_path.iterdir()} == {".csv", ".md"}
    assert set(Path(peers.FOLDER).glob("*-peers.*")) == before
