"""Random sizes, numbers and options (hypothesis), compared with the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_tests.compare import assert_identical, assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM
from op_tests.neurons import DTYPES, SPREADS, currents, parameter, split_arguments, state_dtype

import spikeops.functional as SF
from spikeops import reference, surrogate

SIZES = dict(
    T=st.integers(1, 40),
    shape=st.one_of(st.tuples(), st.tuples(st.integers(0, 3000)), st.tuples(*[st.integers(1, 9)] * 3)),
    dtype=st.sampled_from(DTYPES),
    layout=st.sampled_from(list(INPUTS)),
    upstream=st.sampled_from(list(UPSTREAM)),
    seed=st.integers(0, 2**32 - 1),
)
SMALL = st.floats(-1.5, 1.5)
SURROGATES = st.builds(
    lambda kind, value: kind(value),
    st.sampled_from([
        surrogate.ATan, surrogate.Sigmoid, surrogate.Exponential, surrogate.FastSigmoid, surrogate.Triangle, surrogate.Rectangle,
        surrogate.Gaussian,
    ]),
    st.floats(0.25, 4.0),
)  # fmt: skip
NEURONS = dict(
    threshold=SMALL,
    input_scale=SMALL,
    reset=st.sampled_from(["subtract", "to", "none"]),
    reset_amount=st.none() | SMALL,
    v_reset=SMALL,
    v_rest=SMALL,
    strict=st.booleans(),
    detach_reset=st.booleans(),
    surrogate=SURROGATES,
)


@settings(max_examples=100)
@given(weighting=st.sampled_from([None, "mean", "decay"]), decay=st.sampled_from(SPREADS), v_init=st.sampled_from((None, *SPREADS[1:])),
       **SIZES, **NEURONS)  # fmt: skip
def test_lif_and_its_rate(weighting, decay, v_init, T, shape, dtype, layout, upstream, seed, **options):
    draw = torch.Generator().manual_seed(seed)
    tensors, options = split_arguments(
        x=currents(draw, T, shape, dtype, layout),
        decay=parameter(draw, decay, shape, state_dtype(dtype), 0.1, 0.9),
        v_init=v_init and parameter(draw, v_init, shape, state_dtype(dtype), -1.0, 1.0),
        weighting=weighting,
        **options,
    )
    actual, expected = run_both("lif_rate" if weighting else "lif", tensors, options, upstream)
    assert_same_results(actual, expected)


@settings(max_examples=50)
@given(tau_m=st.floats(0.8, 50.0), tau_s=st.floats(0.6, 50.0), threshold=st.floats(-0.5, 2.0), **SIZES)
def test_tssl_bp(tau_m, tau_s, threshold, T, shape, dtype, layout, upstream, seed):
    x = currents(torch.Generator().manual_seed(seed), T, shape, dtype, layout)
    options = dict(tau_m=tau_m, tau_s=tau_s, threshold=threshold, return_spikes=True)
    assert_same_results(*run_both("tssl_bp", {"x": x}, options, upstream))


@settings(max_examples=30)
@given(tau_s=st.floats(0.6, 50.0), **SIZES)
def test_synaptic_filter(tau_s, T, shape, dtype, layout, upstream, seed):
    x = currents(torch.Generator().manual_seed(seed), T, shape, dtype, layout)
    assert_same_results(*run_both("synaptic_filter", {"spikes": x}, {"tau_s": tau_s}, upstream))


WILD = st.floats(-(2.0**100), 2.0**100, width=32)


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.floats(width=32), min_size=3, max_size=3), min_size=1, max_size=8),
    st.sampled_from(DTYPES),
    st.fixed_dictionaries(dict(decay=st.floats(0, 1), threshold=WILD, input_scale=WILD, v_reset=WILD, v_rest=WILD, reset_amount=WILD,
                               reset=NEURONS["reset"], strict=st.booleans())),
)  # fmt: skip
def test_any_numbers_forward(rows, dtype, options):
    """Infinite, tiny and huge numbers and NaN go through the same operations as in the reference."""
    x = torch.tensor(rows, dtype=torch.float32).to(dtype)
    (spikes, v_last), (expected_spikes, expected_v) = SF.lif(x, **options), reference.lif(x, **options)
    assert_identical(spikes, expected_spikes, "spikes")
    assert_identical(v_last, expected_v, "v_last")


@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
def test_infinity_fires_and_nan_does_not(device, reset):
    x = torch.tensor([[float("inf"), float("-inf"), float("nan")]], device=device)
    assert SF.lif(x, reset=reset)[0].tolist() == [[1, 0, 0]]
