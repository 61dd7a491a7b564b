"""Kernels run on torch's current stream and device, and never wait for the device."""

import pytest
import torch
from gpu_tests.calls import CALLS

A_WHILE = 200_000_000  # cycles: some 0.1 s


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_side_stream(call):
    """On another stream the kernel would read its input before it is there."""
    inputs = call.on("cuda")
    expected = call.run(*inputs)
    late = [torch.zeros_like(tensor) for tensor in inputs]
    torch.cuda.synchronize()
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        torch.cuda._sleep(A_WHILE)
        for buffer, tensor in zip(late, inputs):
            buffer.copy_(tensor)
        actual = call.run(*late)
    stream.synchronize()
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)


@pytest.mark.parametrize("T", [5, 100])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_cuda_graph(call, T):
    """Captured once, replayed on new numbers."""
    inputs = call.on("cuda", T, seed=1)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):  # autograd and the allocator warm up outside the capture
        call.run(*inputs)
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call.run(*inputs)
    fresh = call.on("cuda", T, seed=2)
    expected = call.run(*fresh)
    for buffer, tensor in zip(inputs, fresh):
        buffer.copy_(tensor)
    graph.replay()
    torch.cuda.synchronize()
    for c, e in zip(captured, expected, strict=True):
        assert torch.equal(c, e)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_never_synchronises(call):
    inputs = call.on("cuda")
    call.run(*inputs)
    mode = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        call.run(*inputs)
    finally:
        torch.cuda.set_sync_debug_mode(mode)


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_runs_on_the_device_of_its_tensors(call):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    expected = call.run(*call.on("cuda:0"))
    with torch.cuda.device(0):
        actual = call.run(*call.on("cuda:1"))
        assert torch.cuda.current_device() == 0
    for a, e in zip(actual, expected, strict=True):
        assert a.device == torch.device("cuda:1")
        assert torch.equal(a.cpu(), e.cpu())
