"""What decides whether two time loops can share a CUDA graph, and that a graph's own tensors are all that a loop depends on. That
graphs compute the same is tested on a GPU, in tests/gpu."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import spikeops.nn as snn
from spikeops.nn.feedback import cuda_graph
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
        assert cuda_graph.map_tensors(a, cuda_graph.describe) == cuda_graph.map_tensors(b, cuda_graph.describe)
        own = cuda_graph.map_tensors(a, torch.clone)
        with torch.no_grad():
            expected = b.run()
            assert any(not torch.equal(x, y) for x, y in zip(own.run().sums, expected.sums))
            cuda_graph.copy_tensors(own, b)
            for x, y in zip(cuda_graph.tensors_of(own.run()), cuda_graph.tensors_of(expected), strict=True):
                assert torch.equal(x, y)


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
    keys = [cuda_graph.map_tensors(each, cuda_graph.describe) for each in (loop, *others)]
    assert len(set(keys)) == len(keys)


def test_loops_on_the_cpu_just_run(monkeypatch):
    monkeypatch.setattr(cuda_graph, "CapturedLoop", None)
    module = ring(1)
    module.graphs.mode = True
    assert module(torch.rand(3, 1, 8, 8)).shape == (3, 3, 4, 4)
