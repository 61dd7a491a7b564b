"""Kernels run on torch's current stream and device, and never wait for the device."""

import pytest
import torch
from gpu_tests.calls import CALLS

import spikeops
import spikeops.functional as SF

A_WHILE = 200_000_000  # cycles: some 0.1 s


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_side_stream(call):
    """On another stream the kernel would read its input before it is there."""
    run, inputs = call.on("cuda")
    expected = run(*inputs)
    late = [torch.zeros_like(tensor) for tensor in inputs]
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(A_WHILE)
        for buffer, tensor in zip(late, inputs):
            buffer.copy_(tensor)
        actual = run(*late)
    stream.synchronize()
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)


@pytest.mark.parametrize("T", [5, 100])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_cuda_graph(call, T):
    """Captured once, replayed on new numbers."""
    run, inputs = call.on("cuda", T, seed=1)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # autograd and the allocator warm up outside the capture
        run(*inputs)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = run(*inputs)
    _, fresh = call.on("cuda", T, seed=2)
    expected = run(*fresh)
    for buffer, tensor in zip(inputs, fresh):
        buffer.copy_(tensor)
    graph.replay()
    torch.cuda.synchronize()
    for c, e in zip(captured, expected, strict=True):
        assert torch.equal(c, e)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_never_synchronises(call):
    run, inputs = call.on("cuda")
    run(*inputs)
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        run(*inputs)
    finally:
        torch.cuda.set_sync_debug_mode(mode)


def _noisy_trials(generator, device):
    weights = [torch.zeros(shape, device=device) for shape in ((64, 1), (64, 64), (64,))]
    x = torch.zeros(33, 2, 1, device=device)
    return SF.convex_snn_trial(x, *weights, dt=0.01, leak=2.0, sigma_v=1.0, generator=generator).spikes


def _poisson(generator, device):
    return SF.poisson_encode(torch.full((1000,), 0.5, device=device), 33, generator)


RANDOM = {"poisson_encode": _poisson, "convex_snn_trial": _noisy_trials}


@pytest.mark.parametrize("op", RANDOM)
def test_a_seed_from_the_cpu_is_not_waited_for(op):
    """And each arrives, though others are drawn while the device is busy."""
    with spikeops.backend("native"):
        generator = torch.Generator().manual_seed(5)
        expected = [RANDOM[op](generator, "cpu") for _ in range(8)]
    RANDOM[op](None, "cuda")
    torch.cuda.synchronize()
    generator = torch.Generator().manual_seed(5)
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.cuda._sleep(A_WHILE)
        actual = [RANDOM[op](generator, "cuda") for _ in range(8)]
    finally:
        torch.cuda.set_sync_debug_mode(mode)
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a.cpu(), e)


@pytest.mark.parametrize("op", RANDOM)
def test_replays_draw_anew(op):
    """From a generator on the device; one on the CPU would repeat itself, and is refused."""
    RANDOM[op](None, "cuda")
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        spikes = RANDOM[op](None, "cuda")
        with pytest.raises(RuntimeError, match=f"{op}: expected a generator on cuda:0 while a CUDA graph is captured, got one on cpu"):
            RANDOM[op](torch.Generator(), "cuda")
    seen = []
    for _ in range(2):
        graph.replay()
        seen.append(spikes.clone())
    assert not torch.equal(*seen)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_runs_on_the_device_of_its_tensors(call):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    run, tensors = call.on("cuda:0")
    expected = run(*tensors)
    with torch.cuda.device(0):
        actual = run(*(tensor.to("cuda:1") for tensor in tensors))
        assert torch.cuda.current_device() == 0
    for a, e in zip(actual, expected, strict=True):
        assert a.device == torch.device("cuda:1")
        assert torch.equal(a.cpu(), e.cpu())
