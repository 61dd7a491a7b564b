"""Triton's numbers are the native CPU kernels' numbers, bit for bit, gradients too: both mirror kernels/math. Not in float64,
where exp is each platform's own, and not in bfloat16, where the interpreter rounds differently."""

import pytest
import torch

from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(25.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5)]
DTYPES = [torch.float32, torch.float16]


def assert_bitwise(name, *arguments):
    native, triton = (getattr(ops, name)(*arguments) for ops in (torch.ops.spikeops, torch.ops.spikeops_triton))
    torch.testing.assert_close(triton, native, rtol=0, atol=0)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("reset", [0, 1, 2])
def test_lif(reset, surrogate, dtype):
    T, N = 9, 140
    x, grad_spikes, grad_rate = randn(T, N).to(dtype), randn(T, N, seed=1).to(dtype), randn(N, seed=2).to(dtype)
    decay, v_init, grad_v = randn(N, seed=3).sigmoid(), randn(N, seed=4), randn(N, seed=5)
    for detach_reset in (False, True):
        kind, scale, peak = surrogate.coefficients
        neuron = (x, decay, v_init, (0.0, 0.9, 0.8, 0.7, -0.2, 0.1, scale, peak), (reset, 0, int(detach_reset), kind))
        assert_bitwise("lif_backward", grad_spikes, grad_v, *neuron, True, True)
    assert_bitwise("lif_forward", *neuron)
    for weighting in (0, 1):
        assert_bitwise("lif_rate_forward", *neuron, weighting)
        assert_bitwise("lif_rate_backward", grad_rate, *neuron, weighting, True, True)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_tssl_bp_and_synapse(dtype):
    x, grad = randn(40, 140).mul(2).to(dtype), randn(40, 140, seed=1).to(dtype)
    assert_bitwise("tssl_bp_forward", x, 4.7, 2.3, 0.9, True)
    assert_bitwise("tssl_bp_backward", grad, x, 4.7, 2.3, 0.9)
    assert_bitwise("synaptic_filter_forward", x, 2.3)
    assert_bitwise("synaptic_filter_backward", grad, 2.3)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_encodings(dtype):
    p = torch.linspace(-0.1, 1.1, 140).to(dtype)
    assert_bitwise("poisson_encode", p, 9, torch.tensor([2**62 + 1]))
    assert_bitwise("latency_encode", p, 9)


def test_row_sum():
    assert_bitwise("row_sum", randn(3, 9000))
