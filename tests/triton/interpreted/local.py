"""The steps of local learning in Triton's interpreter against the reference."""

import pytest
import torch
from op_tests.compare import assert_close, assert_identical
from op_tests.layouts import INPUTS, TIME_MAJOR, dense_copy, is_kept, lay_out, same_memory_order
from op_tests.neurons import DTYPES, STEPS, state_dtype

import spikeops.functional as SF
from spikeops import reference
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)]
EXACT = ("membrane", "spikes", "count", "squared_error")
# The interpreter cuts off bits of bfloat16 where devices round to nearest: one unit in the last place more.
CUT_OFF = 2.0**-7


def eighths(draw, low, high, shape, dtype):
    return (torch.randint(low, high + 1, shape, generator=draw) / 8).to(dtype)


def check(op, tensors, **options):
    expected = {name: dense_copy(tensor).clone() for name, tensor in tensors.items()}
    getattr(SF, op)(**tensors, **options)
    getattr(reference, op)(**expected, **options)
    for name, tensor in tensors.items():
        if name in EXACT:
            assert_identical(tensor, expected[name], name)
        elif tensor.is_floating_point():
            assert_close(tensor, expected[name], name, rounding=CUT_OFF if tensor.dtype == torch.bfloat16 else None)


def encoder(draw, shape, dtype=torch.float32, order="contiguous", layout="contiguous", trace=True):
    def neurons(values, where=order):
        return lay_out(values[None], where)[0]

    state, nonsense = state_dtype(dtype), torch.full(shape, torch.nan, dtype=dtype)
    tensors = {
        "membrane": neurons(eighths(draw, -4, 14, shape, state)),
        "spikes": neurons(nonsense.clone()),
        "derivative": neurons(nonsense.clone()),
        "current": neurons(eighths(draw, -6, 14, shape, dtype), layout),
    }
    return tensors | ({"trace": neurons(torch.rand(shape, generator=draw).to(state))} if trace else {})


def classifier(draw, samples, classes, dtype=torch.float32, derivative=True):
    shape, state = (samples, classes), state_dtype(dtype)
    nonsense = torch.full(shape, torch.nan, dtype=dtype)
    tensors = {
        "membrane": eighths(draw, -4, 14, shape, state),
        "count": torch.randint(0, 9, shape, generator=draw).to(state),
        "squared_error": torch.randint(0, 9, shape[:1], generator=draw).to(state),
        "error": nonsense.clone(),
        "current": eighths(draw, -6, 14, shape, dtype),
        "labels": torch.randint(-1, classes + 1, shape[:1], generator=draw),
    }
    return tensors | ({"derivative": nonsense.clone()} if derivative else {})


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
def test_surrogates_and_dtypes(draw, dtype, surrogate):
    for wanted in (True, False):
        options = {"decay": 0.83, "threshold": 0.7, "surrogate": surrogate}
        check("local_encoder_step_", encoder(draw, (60,), dtype, trace=wanted), **options)
        check("local_classifier_step_", classifier(draw, 20, 3, dtype, wanted), **options, error_scale=0.02)


@pytest.mark.parametrize("N", [0, 1, 129, 256, 600])
def test_neurons(draw, N):
    check("local_encoder_step_", encoder(draw, (N,)), decay=0.5, threshold=1.0)
    check("local_classifier_step_", classifier(draw, N, 4), decay=0.5, threshold=1.0)


@pytest.mark.parametrize("order", TIME_MAJOR)
@pytest.mark.parametrize("layout", INPUTS)
def test_layouts(draw, layout, order):
    check("local_encoder_step_", encoder(draw, (2, 3, 2, 5), order=order, layout=layout), decay=0.5)
    derivatives = lay_out(torch.rand(3, 2, 3, 2, 5, generator=draw), layout)
    last = lay_out(torch.randn(1, 2, 3, 2, 5, generator=draw), order)[0]
    gradients = SF.local_gradient_in_time(last, derivatives, 0.8)
    assert_close(gradients, reference.local_gradient_in_time(dense_copy(last), dense_copy(derivatives), 0.8), "gradients")
    assert not is_kept(derivatives, layout) or same_memory_order(gradients[:3], derivatives)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("T", STEPS)
def test_gradient_in_time(draw, T, dtype):
    derivatives, last = torch.rand(T, 50, generator=draw).to(dtype), torch.randn(50, generator=draw).to(dtype)
    gradients = SF.local_gradient_in_time(last, derivatives, 0.83, 0.7)
    expected = reference.local_gradient_in_time(last, derivatives, 0.83, 0.7)
    assert_close(gradients, expected, "gradients", rounding=CUT_OFF if dtype == torch.bfloat16 else None)


def test_fires_as_lif(draw):
    x = 0.4 + 0.7 * torch.randn(12, 200, generator=draw)
    membrane, spikes = torch.zeros(200), torch.empty_like(x)
    for x_t, s_t in zip(x, spikes):
        SF.local_encoder_step_(membrane, s_t, torch.empty_like(s_t), x_t, 0.7, 0.9)
    assert torch.equal(spikes, SF.lif(x, 0.7, 0.9)[0])
