"""What decides whether two time loops can share a CUDA graph, and that a graph's own tensors are all that a loop depends on. That
graphs compute the same is tested on a GPU, in tests/gpu."""

from dataclasses import fields, is_dataclass, replace

import pytest
import torch
from feedback_tests.cuda_stand_in import Machine
from torch import nn

import spikeops.nn as snn
from spikeops._graph_site import Site
from spikeops.nn.feedback import cuda_graph, nested
from spikeops.nn.feedback.captured_loop import CapturedLoop
from spikeops.nn.feedback.time_loop import TimeLoop


def recorded_loops(ring, x, monkeypatch):
    """The loops of a forward and a backward pass."""
    loops, run = [], TimeLoop.run
    monkeypatch.setattr(TimeLoop, "run", lambda self, *args: loops.append(self) or run(self, *args))
    ring(x).sum().backward()
    monkeypatch.undo()
    return loops


def ring(seed, leak=1.0, dropout=0.3, feedback=True):
    torch.manual_seed(seed)
    back = nn.ConvTranspose2d(3, 4, 3, 2, 1, 1, bias=False) if feedback else None
    layers = [nn.Conv2d(4, 3, 3, 1, 1), nn.AvgPool2d(2)]
    return snn.FeedbackRing(layers, back, nn.Conv2d(1, 4, 3, padding=1), method="spide", time_steps=4, leak=leak, dropout=dropout,
                            threshold=0.4, backward_time_steps=6)  # fmt: skip


@pytest.mark.parametrize("feedback", [True, False])
def test_a_copy_that_is_fed_the_tensors_of_another_loop_computes_what_that_computes(feedback, monkeypatch):
    """As a captured loop is: with other images, other weights and other dropout masks."""
    first = recorded_loops(ring(1, feedback=feedback), torch.rand(3, 1, 8, 8), monkeypatch)
    second = recorded_loops(ring(2, feedback=feedback), torch.rand(3, 1, 8, 8), monkeypatch)
    assert len(first) == len(second) == 2
    for a, b in zip(first, second):
        assert nested.map_tensors(a, nested.describe) == nested.map_tensors(b, nested.describe)
        own = nested.map_tensors(a, torch.clone)
        with torch.no_grad():
            expected = b.run()
            assert any(not torch.equal(x, y) for x, y in zip(own.run().sums, expected.sums))
            nested.copy_tensors(own, b)
            for x, y in zip(nested.tensors_of(own.run()), nested.tensors_of(expected), strict=True):
                assert torch.equal(x, y)


def test_loops_that_share_weights_feed_those_that_do_not():
    """Their keys are equal: only shapes count."""
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    loops = [
        snn.FeedbackRing([a], b, nn.Identity(), time_steps=8, threshold=0.5)
        for a, b in ((first, first), (first, second), (second, second))
    ]
    with pytest.MonkeyPatch.context() as patch:
        loops = [recorded_loops(ring, torch.rand(8, 3), patch)[0] for ring in loops]
    with torch.no_grad():
        for a in loops:
            own = nested.map_tensors(a, torch.clone)
            for b in loops:
                nested.copy_tensors(own, b)
                assert torch.equal(own.run().sums[-1], b.run().sums[-1])


@torch.no_grad()
@pytest.mark.parametrize("leak", [1.0, 0.9])
def test_what_a_replay_has_given_is_not_touched_by_the_next(leak, monkeypatch):
    with torch.enable_grad():
        loops = [recorded_loops(ring(seed, leak=leak), torch.rand(3, 1, 8, 8), monkeypatch)[0] for seed in (1, 2)]
    expected = [loop.run() for loop in loops]
    machine, run = Machine(monkeypatch), TimeLoop.run
    monkeypatch.setattr(TimeLoop, "run", lambda self: machine.run(self, lambda: run(self)))
    captured = CapturedLoop(loops[0], Site(torch.device("cuda", 0)))
    outcomes = [captured.run(loop) for loop in loops]
    assert machine.captures == 1
    for outcome, values in zip(outcomes, expected):
        for actual, value in zip(nested.tensors_of(outcome), nested.tensors_of(values), strict=True):
            assert torch.equal(actual, value)
        assert (outcome.counts[0] is outcome.sums[0]) == (leak == 1)


def test_loops_that_differ_do_not_share_a_graph(monkeypatch):
    x = torch.rand(3, 1, 8, 8)
    loop = recorded_loops(ring(1), x, monkeypatch)[0]
    others = [
        recorded_loops(ring(1), x[:2], monkeypatch)[0],
        recorded_loops(ring(1).double(), x.double(), monkeypatch)[0],
        recorded_loops(ring(1, leak=0.9), x, monkeypatch)[0],
        recorded_loops(ring(1, dropout=0.0), x, monkeypatch)[0],
        recorded_loops(ring(1, feedback=False, dropout=0.3), x, monkeypatch)[0],
        replace(loop, steps=5),
    ]
    keys = [nested.map_tensors(each, nested.describe) for each in (loop, *others)]
    assert len(set(keys)) == len(keys)


def others_of(value):
    """(what differs, a copy that differs in that alone) for every number, flag and property of a tensor in nested dataclasses and
    tuples."""
    if isinstance(value, torch.Tensor):
        yield "shape", value.new_empty(*value.shape, 1)
        yield "dtype", value.to(torch.float16)
        yield "strides", value.new_empty_strided(value.shape, [2 * stride for stride in value.stride()]) if value.numel() > 1 else value.bool()
        yield "device", value.to("meta")
    elif is_dataclass(value):
        for field in fields(value):
            for what, other in others_of(getattr(value, field.name)):
                yield f"{field.name}.{what}", replace(value, **{field.name: other})
        yield "type", None
    elif isinstance(value, tuple):
        for place, item in enumerate(value):
            for what, other in others_of(item):
                yield f"{place}.{what}", (*value[:place], other, *value[place + 1 :])
        yield "one less", value[:-1] if value else (1,)
    else:
        yield "value", {bool: lambda v: not v, int: lambda v: v + 1, float: lambda v: v + 0.125, str: str.upper, type(None): lambda v: 1}[type(value)](value)


@pytest.mark.parametrize("method", ["ide", "spide"])
@pytest.mark.parametrize("feedback", [True, False])
def test_work_that_differs_in_one_thing_has_another_graph(method, feedback, monkeypatch):
    """Time loops of both passes, and the solver: the numbers of their neurons, what they count, every tensor."""
    works = []
    monkeypatch.setattr(cuda_graph.GraphCache, "run", lambda self, work, *options: works.append(work) or work.run(*options))
    torch.manual_seed(1)
    back = nn.Linear(5, 7, bias=False) if feedback else None
    options = {"time_steps": 4, "leak": 0.9, "threshold": 0.4, "dropout": 0.3, "backward_time_steps": 6}
    module = snn.FeedbackRing([nn.Linear(7, 5)], back, nn.Linear(6, 7), method=method, **options)
    module(torch.rand(3, 6)).sum().backward()
    monkeypatch.undo()
    assert len(works) == 2 - (method == "ide" and not feedback)
    for work in works:
        key = nested.map_tensors(work, nested.describe)
        assert key == nested.map_tensors(nested.map_tensors(work, torch.clone), nested.describe)
        others = dict(others_of(work))
        assert len(others) > 20
        for what, other in others.items():
            assert nested.map_tensors(other, nested.describe) != key, f"{type(work).__name__}: a graph would serve another {what}"


def test_loops_on_the_cpu_just_run(monkeypatch):
    monkeypatch.setattr(cuda_graph, "DeviceGraphs", None)
    module = ring(1)
    module.graphs.mode = True
    assert module(torch.rand(3, 1, 8, 8)).shape == (3, 3, 4, 4)
