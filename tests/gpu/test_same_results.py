"""Kernels on the device agree bit for bit with those on the CPU, and with themselves."""

import pytest
import torch
from gpu_tests.calls import CALLS
from op_tests.compare import assert_close, assert_identical

import spikeops

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)


def on_the_cpu(call, *size_and_dtype):
    run, tensors = call.on("cpu", *size_and_dtype)
    with spikeops.backend("native"):
        return run(*tensors)


def on_the_gpu(call, *size_and_dtype):
    run, tensors = call.on("cuda", *size_and_dtype)
    return run(*tensors)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
# Triton compiles a variant of its own for N divisible by 16.
@pytest.mark.parametrize(("T", "N"), [(1, 1), (5, 129), (33, 2600), (100, 1300), (7, 4096)])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_as_on_the_cpu(call, T, N, dtype):
    expected = on_the_cpu(call, T, N, dtype)
    actual = on_the_gpu(call, T, N, dtype)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        # In float64 the surrogate's exp comes from each platform's mathematical library.
        if dtype == torch.float64 and e.is_floating_point():
            assert_close(a, e, f"result {i}")
        else:
            assert_identical(a, e, f"result {i}")


@pytest.mark.parametrize("call", [call for call in CALLS if call.spikes is not None], ids=str)
def test_spikes_in_float64(call):
    """Spikes do not depend on any exp: equal in float64 too."""
    actual, expected = (run(call, 100, 1300, torch.float64)[call.spikes] for run in (on_the_gpu, on_the_cpu))
    assert_identical(actual, expected, "spikes")


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_repeated_runs(call):
    run, tensors = call.on("cuda", 50, 200_001)
    first = run(*tensors)
    for _ in range(3):
        for a, b in zip(run(*tensors), first):
            assert torch.equal(a, b)
