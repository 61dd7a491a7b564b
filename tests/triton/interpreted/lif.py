"""LIF neurons in Triton's interpreter against the reference."""

import functools

import pytest
import torch
from _agreement import LAYOUTS, assert_same, layouts
from hypothesis import given, settings
from hypothesis import strategies as st

import spikeops.functional as SF
from spikeops import reference
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(25.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5)]
RESETS = ["subtract", "to", "none"]
DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]


def current(T, *shape, dtype=torch.float32):
    """With decay 1/2 and threshold 1, membrane potentials below, at and above the threshold."""
    return (torch.randint(-6, 10, (T, *shape), generator=torch.Generator().manual_seed(7)) / 4).to(dtype)


def check(tensors, op="lif", summed=False, **options):
    # The rate of bfloat16 data is rounded once at the end, where the interpreter cuts off.
    exact = op == "lif" or tensors["x"].dtype != torch.bfloat16
    return assert_same(
        functools.partial(getattr(SF, op), **options), functools.partial(getattr(reference, op), **options),
        tensors, summed, exact,
    )  # fmt: skip


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("reset", RESETS)
def test_reset_and_surrogate(reset, surrogate, strict):
    options = {"reset": reset, "v_reset": -0.25, "surrogate": surrogate, "strict": strict}
    check({"x": current(6, 129)}, **options)


def test_membrane_at_the_threshold():
    x = current(6, 129)
    assert SF.lif(x)[0].sum() > SF.lif(x, strict=True)[0].sum()


@pytest.mark.parametrize("detach_reset", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_every_parameter(reset, detach_reset):
    tensors = {"x": current(7, 33), "decay": torch.rand(33), "v_init": torch.randn(33)}
    options = {
        "threshold": 0.9, "input_scale": 0.7, "reset": reset, "reset_amount": 1.1, "v_reset": 0.2, "v_rest": -0.3,
        "detach_reset": detach_reset,
    }  # fmt: skip
    check(tensors, **options)
    for weighting in ("mean", "decay"):
        check(tensors, "lif_rate", weighting=weighting, **options)


@pytest.mark.parametrize("T", [1, 2, 5, 31, 32, 33, 100])
def test_time_steps(T):
    check({"x": current(T, 7), "decay": torch.tensor(0.8)})


@pytest.mark.parametrize("N", [0, 1, 129, 256, 600])
def test_neurons(N):
    check({"x": current(3, N), "decay": torch.full((N,), 0.6), "v_init": torch.ones(N)})
    check({"x": current(3, N), "v_init": torch.ones(N)}, "lif_rate", weighting="decay")


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_dtypes(dtype):
    x = torch.randn(9, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)
    state = torch.float64 if dtype == torch.float64 else torch.float32
    # 0.1 and 0.95 differ in float32 and float64: parameters must reach the kernel in full precision.
    options = {"threshold": 0.95, "input_scale": 1.3, "v_rest": 0.1}
    tensors = {"x": x, "decay": torch.full((40,), 0.7, dtype=state), "v_init": torch.full((40,), 0.3, dtype=state)}
    check({"x": x}, decay=0.7, **options)
    _, v_last = check(tensors, **options)
    assert v_last.dtype == state
    for weighting in ("mean", "decay"):
        check(tensors, "lif_rate", weighting=weighting, **options)


@pytest.mark.parametrize("summed", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout, summed):
    x = layouts(torch.float32)[layout]
    spikes, v_last = check({"x": x, "v_init": torch.ones(x.shape[1:])}, summed=summed)
    rate = check({"x": x, "v_init": torch.ones(x.shape[1:])}, "lif_rate", summed=summed)[0]
    if layout == "channels_last":
        assert spikes.stride() == x.stride()
        assert v_last.stride() == rate.stride() == x.stride()[1:]
    else:
        assert spikes.is_contiguous() and v_last.is_contiguous() and rate.is_contiguous()


@pytest.mark.parametrize("shape", [(), (1,), (3, 1, 1), (2, 1, 1, 1), (2, 3, 4, 3)], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_broadcast_parameters(layout, shape):
    parameters = {"decay": torch.rand(shape, generator=torch.Generator().manual_seed(2)), "v_init": torch.ones(shape)}
    tensors = {"x": layouts(torch.float32)[layout], **parameters}
    check(tensors)
    check(tensors, "lif_rate", weighting="decay")


def test_decay_in_another_precision():
    x = current(5, 20)
    for decay in (torch.tensor(0.3, dtype=torch.float64), torch.rand(20, dtype=torch.float64), torch.tensor([0.3]).bfloat16()):
        spikes, v_last = SF.lif(x, decay)
        expected_spikes, expected_v = reference.lif(x, decay.float())
        assert torch.equal(spikes, expected_spikes) and torch.equal(v_last, expected_v)


def test_a_sequence_in_pieces():
    x = torch.randn(20, 50, generator=torch.Generator().manual_seed(4)).half()
    whole, v_whole = SF.lif(x, 0.9)
    first, v = SF.lif(x[:7], 0.9)
    second, v = SF.lif(x[7:], 0.9, v_init=v)
    assert torch.equal(torch.cat([first, second]), whole) and torch.equal(v, v_whole)


@settings(max_examples=40, deadline=None, derandomize=True)
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
    check(tensors, op, **options)
