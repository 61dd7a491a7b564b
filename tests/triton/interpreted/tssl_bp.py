"""TSSL-BP neurons and synapses in Triton's interpreter against the reference."""

import functools

import pytest
import torch
from _agreement import LAYOUTS, assert_close, assert_same, layouts
from hypothesis import given, settings
from hypothesis import strategies as st

import spikeops.functional as SF
from spikeops import reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def current(T, N, dtype=torch.float32):
    return torch.randn(T, N, generator=torch.Generator().manual_seed(T), dtype=torch.float64).mul(1.5).to(dtype)


def check(x, op="tssl_bp", summed=False, **options):
    # bfloat16 currents are rounded at the end, where the interpreter cuts off.
    exact = x.dtype != torch.bfloat16
    functions = [functools.partial(getattr(where, op), **options) for where in (SF, reference)]
    return assert_same(*functions, {"x" if op == "tssl_bp" else "spikes": x}, summed, exact)


@pytest.mark.parametrize("T", [1, 2, 5, 31, 32, 33, 64, 65, 100])
def test_time_steps(T):
    check(current(T, 17), return_spikes=True)
    check(current(T, 17), "synaptic_filter", tau_s=2.5)


@pytest.mark.parametrize("N", [0, 1, 129, 256, 600])
def test_neurons(N):
    check(current(4, N))
    check(current(4, N), "synaptic_filter", tau_s=3.0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype):
    x = current(9, 40, dtype)
    psc, spikes = check(x, tau_m=4.7, tau_s=2.3, threshold=0.95, return_spikes=True)
    assert psc.dtype == spikes.dtype == dtype and 0 < spikes.float().mean() < 1
    assert torch.equal(spikes, reference.tssl_bp(x, 4.7, 2.3, 0.95, return_spikes=True)[1])
    check(x, "synaptic_filter", tau_s=2.3)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, summed):
    x = layouts(torch.float32)[layout]
    psc, spikes = check(x, summed=summed, return_spikes=True)
    (filtered,) = check(x, "synaptic_filter", summed=summed, tau_s=2.0)
    for output in (psc, spikes, filtered):
        assert output.stride() == x.stride() if layout == "channels_last" else output.is_contiguous()


def test_spike_without_a_change_of_the_membrane():
    # du = 0 in the first step, and u = 0 fires: the clamped slope is -8, and nothing is NaN.
    x = torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.5, 0.0]])
    check(x, threshold=-0.5)


def test_fires_only_above_the_threshold():
    x = torch.tensor([[1.0, 1.0 + 2**-23]])
    assert SF.tssl_bp(x, return_spikes=True)[1].tolist() == [[0.0, 1.0]]


def test_quiet_and_active_neurons_take_different_gradients():
    x = torch.tensor([[0.2, 5.0]] * 6, requires_grad=True)
    psc = SF.tssl_bp(x)
    level = 1 / (4 * 3.0)
    assert (psc[:, 0] < level).all() and (psc[1:, 1] >= level).all()
    check(x.detach())


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    T=st.integers(1, 40), N=st.integers(1, 8), seed=st.integers(0, 2**16), tau_m=st.floats(1.5, 20), tau_s=st.floats(1.5, 20),
    threshold=st.floats(-0.5, 2),
)  # fmt: skip
def test_random_neurons(T, N, seed, **options):
    x = torch.randn(T, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    check(x, **options)


def test_filter_is_its_adjoints_adjoint():
    x, y = current(7, 5, torch.float64), current(8, 5, torch.float64)[:7]
    filtered = SF.synaptic_filter(x, 3.0)
    (adjoint,) = torch.autograd.grad(SF.synaptic_filter(z := x.clone().requires_grad_(), 3.0), z, y)
    assert_close((filtered * y).sum(), (x * adjoint).sum())
