"""What the time loops allocate: with every further time step, nothing but the outputs of dense convolutions, which PyTorch cannot
write to given memory."""

import pytest
import torch
from torch import nn

import spikeops.nn as snn
from spikeops.functional._event_conv import EventConv2d
from spikeops.nn.feedback.time_loop import TimeLoop

# Reading a number allocates that number; a tensor of these rings takes a thousand bytes or more.
SCALARS = 256


OPTIONS = dict(method="spide", threshold=0.2, backward_threshold=1e-3)


def linear():
    layers = [nn.Linear(48, 40), nn.Linear(40, 48, bias=False)]
    return snn.FeedbackRing(layers, nn.Linear(48, 48, bias=False), nn.Linear(20, 48), **OPTIONS), torch.rand(16, 20)


def convolutions():
    layers, feedback = [nn.Conv2d(4, 8, 3, 1, 1), nn.AvgPool2d(2)], nn.ConvTranspose2d(8, 4, 3, 2, 1, 1)
    return snn.FeedbackRing(layers, feedback, nn.Conv2d(1, 4, 3, 1, 1), **OPTIONS), torch.rand(16, 1, 8, 8)


def allocations(make, steps, monkeypatch):
    """Tensors allocated inside the loops of a forward and a backward pass of that many steps."""
    torch.manual_seed(3)
    ring, x = make()
    ring.time_steps = ring.backward_time_steps = steps
    loops, run = [], TimeLoop.run
    with monkeypatch.context() as patch:
        patch.setattr(TimeLoop, "run", lambda self: loops.append(self) or run(self))
        ring(x).square().sum().backward()
    assert len(loops) == 2 and ring.last_backward_rates.min() > 0.01 and ring.last_forward_rates.min() > 0.01
    counts = []
    for loop in loops:
        with torch.no_grad(), torch.profiler.profile(profile_memory=True) as profiled:
            loop.run()
        counts.append(sum(event.self_cpu_memory_usage > SCALARS for event in profiled.events()))
    return counts


@pytest.mark.parametrize(
    "make, events",
    [(linear, True), (linear, False), (convolutions, True)],
    ids=["linear, events", "linear", "convolutions, events"],
)
def test_no_step_allocates(make, events, monkeypatch):
    """Linear layers, pooling, sums of weights per spike, and the way back through each of them."""
    monkeypatch.setattr(EventConv2d, "pays", lambda self, density: events)
    few, many = (allocations(make, steps, monkeypatch) for steps in (12, 24))
    # What is allocated once may come early or late.
    assert min(few) > 0 and all(more - less < 12 for less, more in zip(few, many, strict=True)), (few, many)


def test_dense_convolutions_allocate_their_outputs(monkeypatch):
    monkeypatch.setattr(EventConv2d, "pays", lambda self, density: False)
    few, many = (allocations(convolutions, steps, monkeypatch) for steps in (12, 24))
    # Two convolutions per step, or fewer: where nothing fires, none is made.
    assert all(0 < b - a <= 2 * 12 for a, b in zip(few, many))
