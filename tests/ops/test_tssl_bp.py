"""tssl_bp against its reference."""

import itertools

import pytest
import torch
from op_tests.compare import assert_identical, assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, STEPS, currents
from op_tests.pairwise import parametrize

import spikeops.functional as SF


@parametrize(
    T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES, return_spikes=[False, True],
    constants=[(5.0, 3.0, 1.0), (8.0, 4.0, 0.5), (20.0, 2.5, 1.7), (1.0, 1.0, 0.8), (2, 2, 1), (5.0, 0.5, 1.0)],
)  # fmt: skip
def test_matches_the_reference(device, draw, T, shape, layout, upstream, dtype, return_spikes, constants):
    x = currents(draw, T, shape, dtype, layout, device)
    options = dict(zip(("tau_m", "tau_s", "threshold"), constants), return_spikes=return_spikes)
    actual, expected = run_both("tssl_bp", {"x": x}, options, upstream)
    assert_same_results(actual, expected)
    if is_kept(x, layout):
        for tensor in (*actual.outputs, actual.grads["x"]):
            assert same_memory_order(tensor, x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("tau_s", [2.0, 4.0])
def test_ties(device, dtype, tau_s):
    """Exact membranes at the threshold, currents at 1 / (4 tau_s), increments of 0, and reciprocals that are clipped.

    The reference's rules at these places are in turn held to the published code by the golden tests."""
    values = [-1.0, 0.0, 0.0625, 0.5, 1.0, 1.5]
    x = torch.tensor(list(itertools.product(values, repeat=5)), dtype=dtype, device=device).T.contiguous()
    actual, expected = run_both("tssl_bp", {"x": x}, dict(tau_m=2.0, tau_s=tau_s, return_spikes=True))
    assert_same_results(actual, expected)


def test_equations_by_hand():
    # u = 1 (not above the threshold), 0.5 + 1 = 1.5 (spike, reset to 0), 0.75
    psc, spikes = SF.tssl_bp(torch.tensor([[1.0], [1.0], [0.75]]), tau_m=2.0, tau_s=2.0, return_spikes=True)
    assert_identical(spikes, torch.tensor([[0.0], [1.0], [0.0]]), "spikes")
    assert_identical(psc, torch.tensor([[0.0], [0.5], [0.25]]), "psc")


def test_gradient_by_hand():
    """One spike of increment 1.25 at the only step: gx = g / tau_s * min(1 / 1.25, 8)."""
    x = torch.tensor([[1.25], [0.05]], dtype=torch.float64).requires_grad_()
    psc = SF.tssl_bp(x[:1], tau_m=5.0, tau_s=4.0)
    torch.testing.assert_close(torch.autograd.grad(psc, x, torch.ones_like(psc))[0][0, 0].item(), 0.25 / 1.25)
    # Without a spike and quiet: the smooth surrogate at distance 0.95, exp(4.75) / (0.2 (1 + exp(4.75))^2).
    psc = SF.tssl_bp(x[1:], tau_m=5.0, tau_s=4.0)
    e = torch.tensor(4.75, dtype=torch.float64).exp()
    expected = (0.25 * e / (0.2 * (1 + e) ** 2)).item()
    torch.testing.assert_close(torch.autograd.grad(psc, x, torch.ones_like(psc))[0][1, 0].item(), expected)


def test_no_nan_where_the_membrane_does_not_change(device):
    """du = 0 makes 1 / du infinite, with and without a spike."""
    x = torch.zeros(4, 3, device=device).requires_grad_()
    for threshold in (1.0, -1.0):
        psc = SF.tssl_bp(x, threshold=threshold)
        assert torch.autograd.grad(psc.sum(), x)[0].isfinite().all()


def test_spikes_have_no_gradient(device, draw):
    x = currents(draw, 5, (8,), torch.float32, device=device).requires_grad_()
    psc, spikes = SF.tssl_bp(x, return_spikes=True)
    assert psc.requires_grad and not spikes.requires_grad
