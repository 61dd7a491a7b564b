"""The step of local learning against its reference: spikes and membrane potentials in every bit, the rest up to rounding."""

import pytest
import torch
from op_tests.compare import LAST_PLACE, ROUNDING, assert_agree, assert_close, assert_identical
from op_tests.layouts import INPUTS, TIME_MAJOR, dense_copy, is_kept, lay_out, same_memory_order
from op_tests.neurons import DTYPES, STEPS, state_dtype
from op_tests.pairwise import parametrize
from op_tests.special_numbers import SHARES, finite_magnitude, special_numbers, strew, summable_numbers

import spikeops.functional as SF
from spikeops import reference
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = [Exponential(1.0), ATan(2.0), Sigmoid(4.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)]
# With decay and threshold of the first, multiples of 1/8 meet the threshold exactly; with the others never.
NEURONS = [(0.5, 1.0), (0.83, 0.7), (1.0, 0.3)]
SHAPES = ((), (0,), (1,), (129,), (5003,), (2, 3, 5, 7), (2, 1300))
# Samples and units, on both sides of what the kernels take at once.
UNITS = ((0, 5), (3, 0), (1, 1), (1, 31), (2, 32), (3, 129), (2, 3, 5, 7), (7, 1300))


def eighths(draw, low, high, shape, dtype):
    return (torch.randint(low, high + 1, shape, generator=draw) / 8).to(dtype)


EXACT = ("membrane", "spikes", "class_membrane", "count", "squared_error")
OPTIONAL = ("derivative", "trace", "class_derivative")
WRITTEN = (*EXACT, *OPTIONAL, "gradient", "error")


def learning_tensors(
    draw, shape, dtype, classes=5, order="contiguous", layout="contiguous", device="cpu", optional=(*OPTIONAL, "feedback")
):
    """The tensors of a step by name. Weights are multiples of 1/8: any order of addition gives the same sum."""
    state, samples = state_dtype(dtype), shape[0]
    matrix = (classes, *shape[1:])
    if len(shape) == 2 and order == "channels_last":  # no maps: that would put the samples innermost
        order = "contiguous"

    def laid_out(values, where=order):
        return lay_out(values[None], where, device)[0]  # as a sequence of one step

    def nonsense(shape):
        return torch.full(shape, torch.nan, dtype=dtype)

    tensors = {
        "membrane": laid_out(eighths(draw, -4, 14, shape, state)),
        "spikes": laid_out(nonsense(shape)),
        "gradient": laid_out(nonsense(shape)),
        "current": laid_out(eighths(draw, -6, 14, shape, dtype), layout),
        "weight": laid_out(eighths(draw, -8, 8, matrix, dtype), layout),
        "class_membrane": eighths(draw, -4, 14, (samples, classes), state).to(device),
        "count": torch.randint(0, 9, (samples, classes), generator=draw).to(device, state),
        "squared_error": torch.randint(0, 9, (samples,), generator=draw).to(device, state),
        "error": nonsense((samples, classes)).to(device),
        "labels": torch.randint(-1, classes + 1, (samples,), generator=draw).to(device),
        "feedback": laid_out(torch.randn(matrix, generator=draw, dtype=torch.float64).to(dtype), layout),
        "derivative": laid_out(nonsense(shape)),
        "trace": laid_out((3 * torch.rand(shape, generator=draw)).to(state)),
        "class_derivative": nonsense((samples, classes)).to(device),
    }
    return {name: tensor for name, tensor in tensors.items() if name in optional or name not in (*OPTIONAL, "feedback")}


def run_beside_reference(tensors, exact=EXACT, **options):
    """Runs a step on copies and its reference on contiguous ones, on the CPU. Returns what the op has written."""
    actual = {name: tensor.clone() if name in WRITTEN else tensor for name, tensor in tensors.items()}
    expected = {name: dense_copy(tensor).clone() for name, tensor in tensors.items()}
    before = {name: dense_copy(tensor).clone() for name, tensor in tensors.items() if name not in WRITTEN}
    assert SF.local_learning_step_(**actual, **options) is actual["gradient"]
    reference.local_learning_step_(**expected, **options)
    for name, tensor in actual.items():
        if name in exact or name in before:
            assert_identical(tensor, before.get(name, expected[name]), name)
        else:
            assert_close(tensor, expected[name], name)
    return {name: actual[name] for name in WRITTEN if name in actual}


@parametrize(
    dtype=DTYPES, shape=UNITS, classes=[1, 2, 10, 13], order=list(TIME_MAJOR), layout=list(INPUTS), surrogate=SURROGATES,
    neuron=NEURONS, optional=[(), ("trace",), ("derivative", "feedback"), (*OPTIONAL, "feedback")], error_scale=[1.0, 0.02],
)  # fmt: skip
def test_learning_step(device, draw, dtype, shape, classes, order, layout, surrogate, neuron, optional, error_scale):
    tensors = learning_tensors(draw, shape, dtype, classes, order, layout, device, optional)
    run_beside_reference(tensors, **dict(zip(("decay", "threshold"), neuron)), surrogate=surrogate, error_scale=error_scale)


@pytest.mark.parametrize("dtype", DTYPES)
def test_many_classes(device, draw, dtype):
    """With labels on both sides of what the CPU takes at once, 1024 classes, and of all of them."""
    tensors = learning_tensors(draw, (8, 40), dtype, 1100, device=device)
    tensors["labels"] = torch.tensor([0, 75, 76, 1023, 1024, 1099, 1100, -1], device=device)
    run_beside_reference(tensors, decay=0.83, threshold=0.7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_class_currents_of_any_weights(device, draw, dtype):
    """Sums of thousands of numbers, up to the rounding of an order of addition that is the backend's own."""
    tensors = learning_tensors(draw, (3, 6912), dtype, 10, device=device, optional=())
    tensors["weight"] = torch.randn(10, 6912, generator=draw, dtype=torch.float64).to(device, dtype)
    tensors["class_membrane"].zero_()
    written = {name: tensor.clone() for name, tensor in tensors.items()}
    SF.local_learning_step_(**written, decay=0.5, threshold=1e6)
    silent = {name: tensor.clone() for name, tensor in tensors.items()}
    SF.local_learning_step_(**silent, decay=0.5)
    assert silent["spikes"].sum() > 1000 and not written["spikes"].any() and not written["class_membrane"].any()
    products = silent["spikes"].double()[:, None] * tensors["weight"].double()
    # Each addition rounds to half a unit in the last place of a sum below the sum of the magnitudes.
    epsilon = torch.finfo(silent["class_membrane"].dtype).eps
    error = (silent["class_membrane"].double() - products.sum(2)).abs()
    assert (error <= 0.01 * 6912 * epsilon * products.abs().sum(2)).all()


def test_fires_at_the_threshold(device, draw):
    tensors = learning_tensors(draw, (40, 100), torch.float32, device=device)
    written = run_beside_reference(tensors, decay=0.5, threshold=1.0)
    at = written["membrane"] == 1
    assert at.sum() > 20 and (written["spikes"][at] == 1).all()
    before = tensors["membrane"] == 1  # such a neuron has fired, and is reset before it decays
    assert before.sum() > 20 and torch.equal(written["membrane"][before], tensors["current"][before])


@pytest.mark.parametrize("dtype", DTYPES)
def test_fires_as_lif(device, draw, dtype):
    """Step by step like lif over all time steps, bit for bit: layer and classifier."""
    x = (0.4 + 0.7 * torch.randn(12, 2, 300, generator=draw)).to(device, dtype)
    step = learning_tensors(draw, (2, 300), dtype, 6, device=device, optional=())
    for name in ("membrane", "class_membrane", "count"):
        step[name].zero_()
    spikes, currents = torch.empty_like(x), []
    for x_t, s_t in zip(x, spikes):
        SF.local_learning_step_(**step | {"current": x_t, "spikes": s_t}, decay=0.7, threshold=0.9)
        currents.append(s_t.to(step["membrane"].dtype) @ step["weight"].to(step["membrane"].dtype).t())
    expected, v_last = SF.lif(x, 0.7, 0.9)
    assert torch.equal(spikes, expected)
    assert torch.equal(step["membrane"] - 0.9 * spikes[-1].to(v_last.dtype), v_last)
    assert torch.equal(step["count"], SF.lif(torch.stack(currents), 0.7, 0.9)[0].sum(0))


def test_trace_is_the_sum_of_the_gradients_in_time(device, draw):
    """A current that is the same in all steps acts through all of them."""
    steps = 7
    one = learning_tensors(draw, (2, 25), torch.float64, device=device, optional=("derivative", "trace"))
    one["current"] = torch.rand(2, 25, generator=draw, dtype=torch.float64).to(device)
    one["membrane"].zero_(), one["trace"].zero_()
    other = {name: tensor.clone() for name, tensor in one.items() if name != "trace"}
    slopes = torch.empty(steps, 2, 25, dtype=torch.float64, device=device)
    for slope in slopes:
        SF.local_learning_step_(**one, decay=0.8, threshold=0.6)
        SF.local_learning_step_(**other | {"derivative": slope}, decay=0.8, threshold=0.6)
    summed = SF.local_gradient_in_time(slopes[-1], slopes[:-1], 0.8, 0.6).sum(0)
    torch.testing.assert_close(one["derivative"], summed)


def test_gradient_is_that_of_autograd(device, draw):
    """Of the squared error of the classifier's spikes, with respect to the currents of the layer, for one step."""
    surrogate, scale = Exponential(1.0), 0.3
    step = learning_tensors(draw, (3, 40), torch.float64, 4, device=device, optional=())
    before = {name: tensor.clone() for name, tensor in step.items()}
    actual = SF.local_learning_step_(**step, decay=0.8, threshold=0.6, error_scale=2 * scale, surrogate=surrogate)

    def spikes(membrane, current):
        # A leak of 1 from a potential that has decayed and been reset already.
        v = 0.8 * (membrane - 0.6 * (membrane >= 0.6).to(membrane.dtype))
        return SF.lif(current[None], 1.0, 0.6, v_init=v, surrogate=surrogate)[0][0]

    current = before["current"].clone().requires_grad_()
    fired = spikes(before["class_membrane"], spikes(before["membrane"], current) @ before["weight"].t())
    target = (before["labels"][:, None] == torch.arange(4, device=device)).to(fired.dtype)
    (expected,) = torch.autograd.grad(scale * (fired - target).square().sum(), current)
    torch.testing.assert_close(actual, expected)


def test_classifier_by_hand(device):
    # One unit that fires. Class 0 fires (membrane 1) and should not, class 1 should (0.5) and does not, class 2 neither does nor should.
    units = {name: torch.zeros(1, 1, device=device) for name in ("membrane", "spikes", "gradient", "derivative")}
    classes = {name: torch.zeros(1, 3, device=device) for name in ("class_membrane", "count", "error", "class_derivative")}
    squared, labels = torch.zeros(1, device=device), torch.tensor([1], device=device)
    SF.local_learning_step_(**units, **classes, current=torch.full((1, 1), 1.5, device=device), squared_error=squared, labels=labels,
                            weight=torch.tensor([[1.0], [0.5], [-1.0]], device=device), decay=0.5, error_scale=2 / 3,
                            surrogate=Triangle(1.0))  # fmt: skip
    assert classes["count"].tolist() == [[1, 0, 0]]
    assert squared.tolist() == [2]
    assert classes["class_derivative"].tolist() == [[1, 0.5, 0]]
    torch.testing.assert_close(classes["error"].cpu(), torch.tensor([[2 / 3, -1 / 3, 0.0]]))
    assert units["derivative"].tolist() == [[0.5]]
    torch.testing.assert_close(units["gradient"].cpu(), torch.tensor([[0.5 * (2 / 3 - 0.5 / 3)]]))
    # The next step: class 0 is reset to 0 and decays; all classes get the same current.
    SF.local_learning_step_(**units, **classes, current=torch.full((1, 1), 1.5, device=device), squared_error=squared, labels=labels,
                            weight=torch.full((3, 1), 0.25, device=device), decay=0.5)  # fmt: skip
    assert classes["class_membrane"].tolist() == [[0.25, 0.5, -0.25]]
    assert classes["count"].tolist() == [[1, 0, 0]]
    assert squared.tolist() == [3]


@pytest.mark.parametrize("label", [-1, 3, 2**62, -(2**63)])
def test_labels_outside_the_classes_stand_for_no_class(device, draw, label):
    tensors = learning_tensors(draw, (4, 20), torch.float32, 3, device=device)
    tensors["labels"].fill_(label)
    written = run_beside_reference(tensors, decay=0.5)
    spikes = written["count"] - tensors["count"]
    assert torch.equal(written["squared_error"] - tensors["squared_error"], spikes.sum(1))


def test_a_sample_does_not_depend_on_those_beside_it(device, draw):
    tensors = learning_tensors(draw, (5, 70), torch.float32, 7, device=device)
    tensors["weight"] = torch.randn(7, 70, generator=draw).to(device)
    alone = {name: t if name in ("weight", "feedback") else t[3:4].clone() for name, t in tensors.items()}
    SF.local_learning_step_(**tensors, decay=0.5), SF.local_learning_step_(**alone, decay=0.5)
    for name in WRITTEN:
        assert torch.equal(tensors[name][3:4], alone[name]), name


@parametrize(dtype=DTYPES, T=STEPS, shape=SHAPES, layout=list(INPUTS), gradient=list(TIME_MAJOR), neuron=NEURONS)
def test_gradient_in_time(device, draw, dtype, T, shape, layout, gradient, neuron):
    derivatives = lay_out(torch.rand(T, *shape, generator=draw, dtype=torch.float64).to(dtype), layout, device)
    last = lay_out(torch.randn(1, *shape, generator=draw, dtype=torch.float64).to(dtype), gradient, device)[0]
    actual = SF.local_gradient_in_time(last, derivatives, *neuron)
    expected = reference.local_gradient_in_time(dense_copy(last), dense_copy(derivatives), *neuron)
    assert_close(actual, expected, "gradients")
    if is_kept(derivatives, layout):
        assert same_memory_order(actual[:T], derivatives) or actual[:T].numel() == 0


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
def test_gradient_in_time_is_that_of_lif(device, draw, surrogate):
    """Of the last membrane potential with respect to all currents, by autograd."""
    x = torch.rand(6, 40, generator=draw, dtype=torch.float64).to(device).requires_grad_()
    step = learning_tensors(draw, (1, 40), x.dtype, device=device, optional=())
    step["membrane"].zero_()
    slope = torch.empty(6, 1, 40, dtype=x.dtype, device=device)
    for t in range(6):
        with torch.no_grad():
            step |= {"current": x[t, None], "derivative": slope[t]}
            SF.local_learning_step_(**step, decay=0.8, threshold=0.6, surrogate=surrogate)
    # v_last of the step before, decayed, plus the last current, is the last membrane potential before its reset.
    v = SF.lif(x[:5], 0.8, 0.6, surrogate=surrogate)[1]
    (expected,) = torch.autograd.grad((0.8 * v + x[5]).sum(), x)
    torch.testing.assert_close(SF.local_gradient_in_time(torch.ones_like(x[0]), slope[:5, 0], 0.8, 0.6), expected)


def test_version_counters(device, draw):
    """Autograd must learn that the step changed its tensors."""
    tensors = learning_tensors(draw, (2, 8), torch.float32, device=device)
    versions = {name: tensor._version for name, tensor in tensors.items()}
    SF.local_learning_step_(**tensors, decay=0.5)
    assert {name for name, tensor in tensors.items() if tensor._version != versions[name]} == set(WRITTEN)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan])
def test_weights_of_silent_units_and_of_classes_without_an_error_do_not_enter(device, draw, dtype, number):
    """A sum leaves them out: 0 times infinity would be NaN."""
    tensors = learning_tensors(draw, (3, 70), dtype, 5, device=device)
    tensors["current"] = torch.full_like(tensors["current"], 0.25)
    tensors["membrane"].zero_()
    tensors["current"][:, 1::2] = 1.5  # every other unit fires
    tensors["weight"] = tensors["weight"].abs() / 64
    tensors["weight"][:, ::2] = number
    # No class fires, so that only the label has an error: class 2, or none.
    tensors["class_membrane"].zero_()
    tensors["labels"] = torch.tensor([2, 2, -1], device=device)
    tensors["feedback"][[0, 1, 3, 4]] = number
    written = run_beside_reference(tensors, decay=0.5, threshold=1.25, error_scale=0.5)
    assert not written["count"].ne(tensors["count"]).any() and written["error"][:2, 2].ne(0).all()
    for name, tensor in written.items():
        assert tensor.isfinite().all(), name


@parametrize(dtype=DTYPES, share=(1e-3, *SHARES), surrogate=SURROGATES, decay=[0.0, 0.83, 1.0], optional=[False, True])
def test_special_numbers(draw, device, share, dtype, surrogate, decay, optional):
    samples, units, classes, state = 5, 70, 7, state_dtype(dtype)

    def special(tensor, numbers=special_numbers):
        return strew(tensor, draw, share, numbers).to(device)

    def eighths(*shape, dtype=dtype, numbers=special_numbers):
        return special((torch.randint(-8, 13, shape, generator=draw) / 8).to(dtype), numbers)

    def nonsense(*shape):
        return special(torch.full(shape, 7.0, dtype=dtype))

    tensors = {
        "membrane": eighths(samples, units, dtype=state), "class_membrane": eighths(samples, classes, dtype=state),
        "count": eighths(samples, classes, dtype=state), "squared_error": eighths(samples, dtype=state),
        "current": eighths(samples, units), "weight": eighths(classes, units, numbers=summable_numbers),
        "spikes": nonsense(samples, units), "gradient": nonsense(samples, units), "error": nonsense(samples, classes),
        "labels": special(torch.randint(-1, classes, (samples,), generator=draw)),
    }  # fmt: skip
    if optional:
        tensors |= {
            "trace": eighths(samples, units, dtype=state), "feedback": eighths(classes, units),
            "derivative": nonsense(samples, units), "class_derivative": nonsense(samples, classes),
        }  # fmt: skip
    options = dict(decay=decay, threshold=1.0, surrogate=surrogate, error_scale=0.5)
    expected = {name: dense_copy(tensor).clone() for name, tensor in tensors.items()}
    SF.local_learning_step_(**tensors, **options)
    reference.local_learning_step_(**expected, **options)
    for name in (name for name in WRITTEN if name in tensors):
        scale, rounding = finite_magnitude(expected[name]), None
        if name == "gradient":  # a sum, whose terms may cancel, of errors that are rounded to the dtype themselves
            terms = finite_magnitude(expected["error"]) @ finite_magnitude(expected.get("feedback", expected["weight"]))
            scale, rounding = terms * finite_magnitude(expected.get("derivative", 1 + scale)), LAST_PLACE.get(dtype, 0) + ROUNDING[state]
        assert_agree(tensors[name], expected[name], name, rounding, scale)
