"""Inputs that hold numbers which are not ordinary: the CUDA kernels' source, run on the host, against the CPU kernels, bit for bit."""

import pytest
import torch
from host_cuda import convex, ops
from host_cuda.calls import DTYPES, Case, assert_same, build
from op_tests.op_calls import CALLS
from op_tests.special_numbers import MODES, SHARES, strew

pytestmark = pytest.mark.usefixtures("host_kernels")


def same(case, share, call):
    op, arguments = call
    draw = torch.Generator().manual_seed(2)
    strewn = [strew(value, draw, share) if isinstance(value, torch.Tensor) else value for value in arguments]
    assert_same(op, strewn, f"{case} {share}", finite=False)


def cases(dtypes=DTYPES, T=6, neurons=(129, 264)):
    """One neuron a thread, and 16 bytes a thread."""
    return [(Case(dtype, T, N), share) for dtype in dtypes for N in neurons for share in SHARES]


@pytest.mark.parametrize("name", CALLS)
def test_every_call(name):
    # Two segments of a backward pass.
    for case, share in (*cases(), *cases(neurons=(136,), T=50)):
        same(case, share, build(name, case))


@pytest.mark.parametrize(("reset", "surrogate"), MODES, ids=str)
def test_every_mode(reset, surrogate):
    kind = surrogate.coefficients
    for case, share in cases((torch.float32, torch.bfloat16), neurons=(69, 136)):
        for strict, detach_reset in ((False, True), (True, False)):
            chosen = {"reset": ("subtract", "to", "none").index(reset), "strict": strict, "detach_reset": detach_reset}
            for options in (ops.LIF | chosen, ops.ROUND | chosen | {"is_constant": strict}):
                same(case, share, ops.lif_forward(case, options, True))
                same(case, share, ops.lif_backward(case, options, True, kind, grad_v_last=strict))
                same(case, share, ops.lif_rate_forward(case, options, True, int(strict)))
                same(case, share, ops.lif_rate_backward(case, options, True, kind, int(strict)))
        same(case, share, ops.local_learning_step(case, surrogate=kind, optional=reset == "to"))


@pytest.mark.parametrize("op", [ops.feedback_step, ops.ternary_step], ids=lambda op: op.__name__)
def test_feedback_steps(op):
    for case, share in cases():
        for given in ((), ("drive",), ("current",), ("drive", "factor", "fired")):
            same(case, share, op(case, given=given, current_per_step=True))
        negative = {"drive_scale": -0.5} if op is ops.ternary_step else {}
        same(case, share, op(case, **negative, given=("current", "count")))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_trials(dtype):
    """Of the network that solves an optimisation problem: its spikes, readouts and weights."""
    case = convex.Trials(dtype, 12, 3, 67)
    for share in (1e-3, *SHARES):
        for noise, learns in (("none", False), ("given", False), ("drawn", True)):
            draw = torch.Generator().manual_seed(6)
            drawn = convex.draw_tensors(case, noise, learns, decodes=True)
            tensors = {name: strew(tensor, draw, share) for name, tensor in drawn.items()}
            assert_same(*convex.as_arguments(tensors, noise), f"{case} {share}", finite=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_row_sum(dtype):
    draw = torch.Generator().manual_seed(6)
    for share in (1e-4, *SHARES):
        x = strew(torch.randn(40, 5000, generator=draw, dtype=dtype), draw, share)
        assert_same("row_sum", (x,), str(share), finite=False)
