"""Neurons that stop at their threshold in Triton's interpreter against the reference."""

import torch
from op_tests.compare import assert_identical
from op_tests.layouts import INPUTS, lay_out
from op_tests.neurons import DTYPES
from op_tests.pairwise import parametrize

import spikeops
import spikeops.functional as SF
from spikeops import reference

SHAPES = [(5, 7), (1, 1), (0, 4), (3, 6, 4, 5), (2, 1, 3, 3), (2, 300), (3, 4, 5)]


def check(x, threshold, **options):
    actual, expected = SF.clamped_lif(x, threshold, **options), reference.clamped_lif(x, threshold, **options)
    for a, e, name in zip(actual, expected, ("count", "v")):
        assert_identical(a, e, name)
        assert a.dtype == e.dtype
    return actual


@parametrize(dtype=DTYPES, shape=SHAPES, layout=list(INPUTS), time_steps=[1, 3, 10], dt=[3e-5, 0.5], leak=[0.0, 2.0])
def test_matches_the_reference(draw, dtype, shape, layout, time_steps, dt, leak):
    """Inputs close to their thresholds, at them, at half of them, and beyond."""
    threshold = torch.randint(-4, 9, shape[1:2], generator=draw) / 8
    near = torch.tensor([0.0, 0.5, 1.0, 1.00003, 0.99997, 1.0001, 2.0, -1.0])[torch.randint(8, shape, generator=draw)]
    x = near * threshold.view(-1, *[1] * (len(shape) - 2))
    x = lay_out(x.to(dtype)[None], layout)[0]
    check(x, threshold.to(torch.promote_types(dtype, torch.float32)), time_steps=time_steps, dt=dt, leak=leak)


@parametrize(dtype=DTYPES, shape=[*SHAPES, (150, 7), (2, 3, 9, 9)], layout=list(INPUTS))
def test_gradients(draw, dtype, shape, layout):
    """Rows in several blocks, runs of more than 32 neurons; as the native kernels sum them, in the same order."""
    x = lay_out(torch.randn((1, *shape), generator=draw).to(dtype), layout)[0].requires_grad_()
    threshold = torch.rand(shape[1], generator=draw).to(torch.promote_types(dtype, torch.float32)).requires_grad_()
    count, v = check(x, threshold, threshold_gain=2.0)
    upstream = torch.randn(v.shape, generator=draw).to(v.dtype)
    grads = torch.autograd.grad(v, (x, threshold), upstream)
    assert torch.equal(grads[0], upstream.to(dtype))
    native = torch.ops.spikeops.clamped_lif_backward(upstream, count, (3e-5, 2.0, 2.0, 0.1))
    assert_identical(grads[1], native, "gradient of the thresholds")
    with spikeops.backend("reference"):
        expected = torch.autograd.grad(SF.clamped_lif(x, threshold, threshold_gain=2.0)[1], threshold, upstream)[0]
    torch.testing.assert_close(grads[1], expected, rtol=1e-5, atol=1e-5, equal_nan=True)
