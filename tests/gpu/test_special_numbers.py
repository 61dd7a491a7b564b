"""Inputs that hold numbers which are not ordinary: the kernels on the device do with them what those on the CPU do."""

import pytest
import torch
from gpu_tests.calls import CALLS as WHOLE_CALLS
from op_tests.compare import assert_agree, assert_identical
from op_tests.layouts import dense_copy
from op_tests.op_calls import CALLS, TRITON_CALLS, Inputs, run_on_copies
from op_tests.special_numbers import MODES, SHARES, SURROGATES, special_call, special_modes, strew

import spikeops
from spikeops._backend import namespace

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
# 16 bytes a thread, and one neuron a thread.
SHAPES = ((2, 640), (1, 129))
# Triton compiles every mode and dtype: one reset for each surrogate.
TRITON_MODES = [mode for i, mode in enumerate(MODES) if i // len(SURROGATES) == i % len(SURROGATES) % 3]


def assert_same(actual, expected, what):
    """Bit for bit. In float64 the surrogate's exp comes from each platform's mathematical library."""
    expected = dense_copy(expected)
    if expected.dtype == torch.float64:
        finite = expected.abs().where(expected.isfinite(), 0)
        assert_agree(actual, expected, what, 1e-9, finite + finite.amax(0) if finite.numel() else finite)
    else:
        assert_identical(actual, expected, what)


def assert_same_on_the_device(op, arguments, what):
    expected = run_on_copies(getattr(torch.ops.spikeops, op), arguments)
    there = [a.detach().to("cuda") if isinstance(a, torch.Tensor) else a for a in arguments]
    actual = run_on_copies(getattr(namespace(op, torch.device("cuda")), op), there)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert_same(a, e, f"{op} {what}, result {i}")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_as_on_the_cpu(backend, name, dtype):
    if backend == "triton" and name not in TRITON_CALLS:
        pytest.skip("its trials are in test_whole_calls")
    if backend == "triton" and dtype not in (torch.float32, torch.float16):
        pytest.skip("two dtypes are enough to compile")
    for shape in SHAPES:
        for share in SHARES:
            assert_same_on_the_device(*special_call(name, Inputs(T=19, shape=shape, dtype=dtype), share), f"{shape} {share}")


@pytest.mark.parametrize(("reset", "surrogate"), MODES, ids=str)
def test_every_mode(backend, reset, surrogate):
    if backend == "triton" and (reset, surrogate) not in TRITON_MODES:
        pytest.skip("one reset for each surrogate is enough to compile")
    for dtype in DTYPES[:1] if backend == "triton" else DTYPES:
        for op, arguments in special_modes(Inputs(T=7, shape=(640,), dtype=dtype), SHARES[0], reset, surrogate):
            assert_same_on_the_device(op, arguments, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("call", WHOLE_CALLS, ids=str)
def test_whole_calls(call, dtype):
    """Forward and backward, by way of autograd. One number in a thousand is special."""
    draw = torch.Generator().manual_seed(4)
    run, tensors = call.on("cpu", 33, 1300, dtype)
    # What each backend adds up in an order of its own stays as it is.
    inputs = [tensor if i in call.summed else strew(tensor, draw, 1e-3) for i, tensor in enumerate(tensors)]
    actual = run(*(tensor.cuda() for tensor in inputs))
    with spikeops.backend("native"):
        expected = run(*inputs)
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert_same(a, e, f"result {i}")
