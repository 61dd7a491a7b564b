"""Feedback rings on a GPU: time loops replayed as CUDA graphs compute what they compute step by step, and what the CPU computes."""

import pytest
import torch
from torch import nn

import spikeops
import spikeops.nn as snn
from spikeops.nn.feedback import cuda_graph


def convolutional(method, mode, feedback=True):
    """Small numbers that floats hold exactly, so that every order of adding gives the same spikes."""

    def coarse(module):
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(torch.randint(-4, 5, p.shape) / 8)
        return module

    torch.manual_seed(1)
    layers = [coarse(nn.Conv2d(4, 6, 3, 2, 1)), nn.AvgPool2d(2)]
    back = coarse(nn.ConvTranspose2d(6, 4, 4, 4, bias=False)) if feedback else None
    return snn.FeedbackRing(layers, back, coarse(nn.Conv2d(1, 4, 3, padding=1)), method=method, time_steps=8, threshold=1.0,
                            dropout=0.5, backward_time_steps=12, cuda_graph=mode).cuda()  # fmt: skip


def image(batch, seed):
    draw = torch.Generator().manual_seed(seed)
    return (torch.randint(0, 9, (batch, 1, 16, 16), generator=draw) / 8).cuda()


def training_steps(ring, batches):
    """Rates, and rates of the backward pass, of some steps with changing weights; and the last gradients."""
    torch.manual_seed(2)
    seen = []
    for step, batch in enumerate(batches):
        ring.zero_grad()
        rate = ring(image(batch, step))
        (rate * 8).sum().backward()
        seen += [rate.detach(), ring.last_forward_rates]
        if ring.last_backward_rates is not None:
            seen.append(ring.last_backward_rates)
        with torch.no_grad():
            for p in ring.parameters():
                p.add_(torch.randint(-1, 2, p.shape, device="cuda") / 8)
    return seen, [p.grad for p in ring.parameters()]


@pytest.fixture(autouse=True)
def exact_convolutions():
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cudnn.allow_tf32 = before


@pytest.mark.parametrize("mode", [True, "auto"])
@pytest.mark.parametrize("method, feedback", [("ide", True), ("spide", True), ("spide", False)])
def test_graphs_compute_the_same(method, feedback, mode):
    """Also when batch sizes alternate: what a replay has given is not touched by the next one."""
    batches = [4, 4, 3, 4, 3, 4]
    plain, plain_gradients = training_steps(convolutional(method, False, feedback), batches)
    captured, gradients = training_steps(convolutional(method, mode, feedback), batches)
    assert any(rate.any() for rate in plain)
    for a, b in zip(plain, captured, strict=True):
        assert torch.equal(a, b)
    for a, b in zip(plain_gradients, gradients, strict=True):  # a convolution may sum up the gradient of its weight in any order
        assert (a - b).abs().max() <= 1e-4 * a.abs().max()


def test_auto_captures_shapes_that_come_again(monkeypatch):
    made = []
    capture = cuda_graph.CapturedLoop
    monkeypatch.setattr(cuda_graph, "CapturedLoop", lambda loop: made.append(loop) or capture(loop))
    ring = convolutional("spide", "auto").eval()
    with torch.no_grad():
        for batch, graphs in ((4, 0), (4, 1), (4, 1), (3, 1), (3, 2), (4, 2)):
            ring(image(batch, 0))
            assert len(made) == graphs


def test_inside_a_graph_of_the_caller():
    ring = convolutional("spide", True).eval()
    x, y = image(4, 0), image(4, 1)
    with torch.no_grad():
        expected = ring(y)
        ring.graphs.mode = False
        ring(x)  # shapes and libraries
        ring.graphs.mode = True
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            captured = ring(x)
        x.copy_(y)
        graph.replay()
        assert torch.equal(captured, expected)


@pytest.mark.parametrize("method, feedback", [("ide", True), ("spide", True), ("spide", False)])
def test_same_spikes_as_on_the_cpu(method, feedback):
    ring = convolutional(method, True, feedback).eval()
    x = image(4, 3)
    with torch.no_grad():
        on_gpu = ring(x)
        rates = ring.last_forward_rates
        on_cpu = ring.cpu()
        with spikeops.backend("native"):
            assert torch.equal(on_gpu.cpu(), on_cpu(x.cpu()))
        torch.testing.assert_close(rates.cpu(), on_cpu.last_forward_rates)
