"""lif_rate against its reference, and against lif."""

import pytest
import torch
from op_tests.compare import assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, SPREADS, STEPS, currents, parameter, split_arguments, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF

WEIGHTINGS = ["mean", "decay"]


@parametrize(
    T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES, reset=["subtract", "to", "none"],
    decay=SPREADS, v_init=(None, *SPREADS[1:]), weighting=WEIGHTINGS, detach_reset=[False, True],
    is_constant=[False, True],
)  # fmt: skip
def test_matches_the_reference(
    device, draw, T, shape, layout, upstream, dtype, reset, decay, v_init, weighting, detach_reset, is_constant
):
    x = currents(draw, T, shape, dtype, layout, device)
    step = x[0]
    tensors, options = split_arguments(
        x=x,
        decay=parameter(draw, decay, shape, state_dtype(dtype), 0.2, 0.95, device),
        v_init=v_init and parameter(draw, v_init, shape, state_dtype(dtype), -0.5, 1.5, device),
        reset=reset,
        weighting=weighting,
        detach_reset=detach_reset,
    )
    if is_constant:
        tensors["x"], options["time_steps"] = step, T
    actual, expected = run_both("lif_rate", tensors, options, upstream)
    assert_same_results(actual, expected)
    if is_kept(x, layout):
        assert same_memory_order(actual.outputs[0], step)
        assert same_memory_order(actual.grads["x"], tensors["x"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_mean_is_the_count_over_time(device, draw, dtype):
    x = currents(draw, 32, (130,), dtype, device=device)
    spikes, _ = SF.lif(x, 0.9)
    assert torch.equal(SF.lif_rate(x, 0.9), SF.spike_count(spikes) / 32)


def test_decay_weighting_by_hand():
    # decay 1/2; u = 1 (spike), 0.5, 1.25 (spike): (1/4 * 1 + 1/2 * 0 + 1 * 1) / (1/4 + 1/2 + 1)
    rate = SF.lif_rate(torch.tensor([[1.0], [0.5], [1.0]]), 0.5, weighting="decay")
    torch.testing.assert_close(rate, torch.tensor([1.25 / 1.75]))


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_gradient_is_that_of_the_weighted_spikes(device, draw, weighting):
    """With a number as decay the rate is a weighted sum of lif's spikes: so is its gradient."""
    T, decay = 12, 0.75
    x = currents(draw, T, (70,), torch.float64, device=device).requires_grad_()
    weights = torch.tensor([decay ** (T - 1 - t) if weighting == "decay" else 1.0 for t in range(T)], dtype=torch.float64)
    weights = (weights / weights.sum()).to(device)
    gradient = torch.randn(70, generator=draw, dtype=torch.float64).to(device)

    rate = SF.lif_rate(x, decay, weighting=weighting)
    spikes, _ = SF.lif(x, decay)
    torch.testing.assert_close(rate, torch.tensordot(weights, spikes, 1), rtol=1e-13, atol=1e-13)
    actual = torch.autograd.grad(rate, x, gradient)[0]
    expected = torch.autograd.grad(spikes, x, weights[:, None] * gradient)[0]
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)
