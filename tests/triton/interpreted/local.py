"""The steps of local learning in Triton's interpreter against the reference."""

import pytest
import torch
from op_tests.compare import assert_close, assert_identical
from op_tests.layouts import INPUTS, TIME_MAJOR, dense_copy, is_kept, lay_out, same_memory_order
from op_tests.neurons import DTYPES, STEPS, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF
from spikeops import reference
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)]
EXACT = ("membrane", "spikes", "class_membrane", "count", "squared_error")
# The interpreter cuts off bits of bfloat16 where devices round to nearest: one unit in the last place more.
CUT_OFF = 2.0**-7


def eighths(draw, low, high, shape, dtype):
    return (torch.randint(low, high + 1, shape, generator=draw) / 8).to(dtype)


def check(tensors, **options):
    expected = {name: dense_copy(tensor).clone() for name, tensor in tensors.items()}
    SF.local_learning_step_(**tensors, **options)
    reference.local_learning_step_(**expected, **options)
    for name, tensor in tensors.items():
        if name in EXACT or name in ("weight", "feedback"):
            assert_identical(tensor, expected[name], name)
        elif tensor.is_floating_point():
            # A gradient is a product of two numbers that are rounded themselves.
            cut_off = 3 * CUT_OFF if name == "gradient" else CUT_OFF
            assert_close(tensor, expected[name], name, rounding=cut_off if tensor.dtype == torch.bfloat16 else None)


def learning(draw, shape, classes=4, dtype=torch.float32, order="contiguous", layout="contiguous", optional=True):
    """The tensors of a step. Weights are multiples of 1/8: any order of addition gives the same sum."""
    state, matrix = state_dtype(dtype), (classes, *shape[1:])

    def laid_out(values, where=order):
        return lay_out(values[None], where)[0]

    def nonsense(shape):
        return torch.full(shape, torch.nan, dtype=dtype)

    tensors = {
        "membrane": laid_out(eighths(draw, -4, 14, shape, state)),
        "spikes": laid_out(nonsense(shape)),
        "gradient": laid_out(nonsense(shape)),
        "current": laid_out(eighths(draw, -6, 14, shape, dtype), layout),
        "weight": laid_out(eighths(draw, -8, 8, matrix, dtype), layout),
        "class_membrane": eighths(draw, -4, 14, (shape[0], classes), state),
        "count": torch.randint(0, 9, (shape[0], classes), generator=draw).to(state),
        "squared_error": torch.randint(0, 9, shape[:1], generator=draw).to(state),
        "error": nonsense((shape[0], classes)),
        "labels": torch.randint(-1, classes + 1, shape[:1], generator=draw),
    }
    if optional:
        tensors |= {
            "feedback": laid_out(torch.randn(matrix, generator=draw).to(dtype), layout),
            "derivative": laid_out(nonsense(shape)),
            "trace": laid_out(torch.rand(shape, generator=draw).to(state)),
            "class_derivative": nonsense((shape[0], classes)),
        }
    return tensors


@parametrize(dtype=DTYPES, surrogate=SURROGATES, wanted=[True, False])
def test_surrogates_and_dtypes(draw, dtype, surrogate, wanted):
    tensors = learning(draw, (3, 20), 3, dtype, optional=wanted)
    check(tensors, decay=0.83, threshold=0.7, surrogate=surrogate, error_scale=0.02)


@pytest.mark.parametrize("shape", [(0, 5), (2, 0), (1, 1), (3, 129), (2, 256), (2, 600)], ids=str)
@pytest.mark.parametrize("classes", [1, 16, 19])
def test_sizes(draw, shape, classes):
    check(learning(draw, shape, classes), decay=0.5, threshold=1.0)


@pytest.mark.parametrize("order", TIME_MAJOR)
@pytest.mark.parametrize("layout", INPUTS)
def test_layouts(draw, layout, order):
    check(learning(draw, (2, 3, 2, 5), order=order, layout=layout), decay=0.5)
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
    x = 0.4 + 0.7 * torch.randn(12, 2, 100, generator=draw)
    step = learning(draw, (2, 100), optional=False)
    step["membrane"].zero_()
    spikes = torch.empty_like(x)
    for x_t, s_t in zip(x, spikes):
        SF.local_learning_step_(**step | {"current": x_t, "spikes": s_t}, decay=0.7, threshold=0.9)
    assert torch.equal(spikes, SF.lif(x, 0.7, 0.9)[0])


def test_weights_of_silent_units_and_of_classes_without_an_error_do_not_enter(draw):
    tensors = learning(draw, (2, 300), 19, optional=False)
    tensors["membrane"].zero_(), tensors["class_membrane"].zero_()
    tensors["current"].fill_(0.25)[:, 1::2] = 1.5
    tensors["weight"] = tensors["weight"].abs() / 512
    tensors["weight"][:, ::2] = torch.inf
    tensors["labels"] = torch.tensor([-1, 17])
    feedback = torch.full_like(tensors["weight"], torch.nan)
    feedback[17] = 0.5
    check(tensors | {"feedback": feedback}, decay=0.5, threshold=1.25)
    assert all(tensor.isfinite().all() for name, tensor in tensors.items() if name != "weight")
