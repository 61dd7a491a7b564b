"""TSSL-BP neurons and synapses in Triton's interpreter against the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_tests.compare import assert_identical, assert_same_results, run_both
from op_tests.layouts import INPUTS, is_kept, same_memory_order
from op_tests.neurons import DTYPES, STEPS, currents

import spikeops.functional as SF
from spikeops import reference


def check(x, op="tssl_bp", upstream="contiguous", **options):
    actual, expected = run_both(op, {"x" if op == "tssl_bp" else "spikes": x}, options, upstream)
    # The interpreter cuts off bits of bfloat16 where devices round to nearest.
    assert_same_results(actual, expected, exact=x.dtype != torch.bfloat16)
    return actual


# The membrane potential and one bit per step are kept in words of 32 steps: T around one and two words.
@pytest.mark.parametrize("T", [*STEPS, 64, 65])
def test_time_steps(draw, T):
    x = currents(draw, T, (17,), torch.float32)
    check(x, return_spikes=True)
    check(x, "synaptic_filter", tau_s=2.5)


@pytest.mark.parametrize("N", [0, 1, 129, 256, 600])
def test_neurons(draw, N):
    x = currents(draw, 4, (N,), torch.float32)
    check(x)
    check(x, "synaptic_filter", tau_s=3.0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(draw, dtype):
    x = currents(draw, 9, (40,), dtype)
    _, spikes = check(x, tau_m=4.7, tau_s=2.3, threshold=0.95, return_spikes=True).outputs
    assert 0 < spikes.float().mean() < 1
    assert_identical(spikes, reference.tssl_bp(x, 4.7, 2.3, 0.95, return_spikes=True)[1], "spikes")
    check(x, "synaptic_filter", tau_s=2.3)


@pytest.mark.parametrize("upstream", ["contiguous", "channels_last", "expanded"])
@pytest.mark.parametrize("layout", INPUTS)
def test_layouts(draw, layout, upstream):
    x = currents(draw, 4, (2, 3, 2, 5), torch.float32, layout)
    neuron = check(x, upstream=upstream, return_spikes=True)
    synapse = check(x, "synaptic_filter", upstream, tau_s=2.0)
    if is_kept(x, layout):
        for output in (*neuron.outputs, neuron.grads["x"], *synapse.outputs):
            assert same_memory_order(output, x)


def test_spike_without_a_change_of_the_membrane():
    # du = 0 in the first step, and u = 0 fires: the clamped slope is -8, and nothing is NaN.
    check(torch.tensor([[0.0, 1.0], [0.0, -1.0], [0.5, 0.0]]), threshold=-0.5)


def test_fires_only_above_the_threshold():
    x = torch.tensor([[1.0, 1.0 + 2**-23]])
    assert SF.tssl_bp(x, return_spikes=True)[1].tolist() == [[0.0, 1.0]]


def test_quiet_and_active_neurons():
    """They take different gradients: the first neuron stays below 1 / (4 tau_s), the second one above."""
    x = torch.tensor([[0.2, 5.0]] * 6)
    psc = SF.tssl_bp(x)
    assert (psc[:, 0] < 1 / 12).all() and (psc[:, 1] >= 1 / 12).all()
    check(x)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    T=st.integers(1, 40), N=st.integers(1, 8), seed=st.integers(0, 2**16), tau_m=st.floats(1.5, 20), tau_s=st.floats(1.5, 20),
    threshold=st.floats(-0.5, 2),
)  # fmt: skip
def test_random_neurons(T, N, seed, **options):
    check(torch.randn(T, N, generator=torch.Generator().manual_seed(seed), dtype=torch.float64), **options)
