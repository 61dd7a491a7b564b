"""LIF neurons in Triton's interpreter against the reference."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from op_tests.compare import assert_same_results, run_both
from op_tests.layouts import INPUTS, is_kept, same_memory_order
from op_tests.neurons import DTYPES, STEPS, currents, parameter, split_arguments, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF
from spikeops import reference
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(25.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5)]
RESETS = ["subtract", "to", "none"]


def check(op, tensors, options=None, upstream="contiguous"):
    actual, expected = run_both(op, tensors, options, upstream)
    # The interpreter cuts off bits of bfloat16 where devices round to nearest. Spikes are exact all the same.
    exact = op == "lif" or tensors["x"].dtype != torch.bfloat16
    assert_same_results(actual, expected, exact)
    return actual


def on_a_grid(T, N):
    """Multiples of 1/4. With decay 1/2, membrane potentials below, at and above the threshold 1."""
    return torch.randint(-6, 10, (T, N), generator=torch.Generator().manual_seed(7)) / 4


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("reset", RESETS)
def test_reset_and_surrogate(reset, surrogate, strict):
    check("lif", {"x": on_a_grid(6, 60)}, {"reset": reset, "v_reset": -0.25, "surrogate": surrogate, "strict": strict})


def test_membranes_on_the_grid_meet_the_threshold():
    x = on_a_grid(6, 60)
    assert SF.lif(x)[0].sum() > SF.lif(x, strict=True)[0].sum()


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_every_parameter(draw, reset, detach_reset):
    x = currents(draw, 7, (33,), torch.float32)
    tensors = {"x": x, "decay": torch.rand(33, generator=draw), "v_init": torch.randn(33, generator=draw)}
    options = {
        "threshold": 0.9, "input_scale": 0.7, "reset": reset, "reset_amount": 1.1, "v_reset": 0.2, "v_rest": -0.3,
        "detach_reset": detach_reset,
    }  # fmt: skip
    check("lif", tensors, options)
    for weighting in ("mean", "decay"):
        check("lif_rate", tensors, {"weighting": weighting, **options})


@pytest.mark.parametrize("T", STEPS)
def test_time_steps(draw, T):
    check("lif", {"x": currents(draw, T, (7,), torch.float32), "decay": torch.tensor(0.8)})


@pytest.mark.parametrize("N", [0, 1, 129, 256, 600])
def test_neurons(draw, N):
    tensors = {"x": currents(draw, 3, (N,), torch.float32), "v_init": torch.ones(N)}
    check("lif", {**tensors, "decay": torch.full((N,), 0.6)})
    check("lif_rate", tensors, {"weighting": "decay"})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(draw, dtype):
    # None of these numbers is the same in float32 and float64: parameters must reach the kernel in full precision.
    options = {"threshold": 0.95, "input_scale": 1.3, "v_rest": 0.1}
    x = currents(draw, 9, (40,), dtype)
    state = state_dtype(dtype)
    tensors = {"x": x, "decay": torch.full((40,), 0.7, dtype=state), "v_init": torch.full((40,), 0.3, dtype=state)}
    check("lif", {"x": x}, {"decay": 0.7, **options})
    check("lif", tensors, options)
    for weighting in ("mean", "decay"):
        check("lif_rate", tensors, {"weighting": weighting, **options})


@pytest.mark.parametrize("upstream", ["contiguous", "channels_last", "expanded"])
@pytest.mark.parametrize("layout", INPUTS)
def test_layouts(draw, layout, upstream):
    tensors = {"x": currents(draw, 4, (2, 3, 2, 5), torch.float32, layout), "v_init": torch.ones(2, 3, 2, 5)}
    lif = check("lif", tensors, {}, upstream)
    rate = check("lif_rate", tensors, {}, upstream)
    if is_kept(tensors["x"], layout):
        spikes, v_last = lif.outputs
        assert same_memory_order(spikes, tensors["x"]) and same_memory_order(lif.grads["x"], tensors["x"])
        assert same_memory_order(v_last, tensors["x"][0]) and same_memory_order(rate.outputs[0], tensors["x"][0])


@parametrize(
    v_init=[None, "one", "per_neuron"], decay=["number", "one", "per_channel", "per_neuron"], layout=["contiguous", "channels_last"]
)
def test_broadcast_parameters(draw, layout, decay, v_init):
    shape = (2, 3, 2, 5)
    tensors, options = split_arguments(
        x=currents(draw, 5, shape, torch.float32, layout),
        decay=parameter(draw, decay, shape, torch.float32, 0.2, 0.95),
        v_init=v_init and parameter(draw, v_init, shape, torch.float32, -0.5, 1.5),
    )
    check("lif", tensors, options)
    check("lif_rate", tensors, {"weighting": "decay", **options})


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_constant_current(draw, dtype, layout):
    current = currents(draw, 1, (2, 3, 2, 5), dtype, layout)[0]
    tensors = {"x": current, "decay": torch.tensor(0.8, dtype=state_dtype(dtype)), "v_init": torch.ones(2, 3, 2, 5).to(dtype)}
    lif = check("lif", tensors, {"time_steps": 6})
    check("lif_rate", tensors, {"time_steps": 6, "weighting": "decay"})
    assert same_memory_order(lif.grads["x"], lif.outputs[0][0])


def test_decay_in_another_precision(draw):
    x = currents(draw, 5, (20,), torch.float32)
    for decay in (torch.tensor(0.3, dtype=torch.float64), torch.rand(20, dtype=torch.float64), torch.tensor([0.3]).bfloat16()):
        spikes, v_last = SF.lif(x, decay)
        expected_spikes, expected_v = reference.lif(x, decay.float())
        assert torch.equal(spikes, expected_spikes) and torch.equal(v_last, expected_v)


@settings(max_examples=15, deadline=None, derandomize=True)
@given(
    T=st.integers(1, 12), N=st.integers(1, 20), seed=st.integers(0, 2**16), reset=st.sampled_from(RESETS),
    surrogate=st.sampled_from(SURROGATES), strict=st.booleans(), detach_reset=st.booleans(),
    threshold=st.floats(-1, 2, width=16), v_rest=st.floats(-1, 1, width=16), v_reset=st.floats(-1, 1, width=16),
    input_scale=st.floats(-2, 2, width=16), op=st.sampled_from(["lif", "lif_rate"]),
)  # fmt: skip
def test_random_neurons(T, N, seed, op, **options):
    generator = torch.Generator().manual_seed(seed)
    tensors = {
        "x": torch.randn(T, N, generator=generator, dtype=torch.float64),
        "decay": torch.rand(N, generator=generator, dtype=torch.float64),
        "v_init": torch.randn(N, generator=generator, dtype=torch.float64),
    }
    check(op, tensors, options)
