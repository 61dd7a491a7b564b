"""The steps of local learning against their references: spikes and membrane potentials in every bit, the rest up to rounding."""

import pytest
import torch
from op_tests.compare import assert_close, assert_identical
from op_tests.layouts import INPUTS, TIME_MAJOR, dense_copy, is_kept, lay_out, same_memory_order
from op_tests.neurons import DTYPES, STEPS, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF
from spikeops import reference
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = [Exponential(1.0), ATan(2.0), Sigmoid(4.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)]
# With decay and threshold of the first, multiples of 1/8 meet the threshold exactly; with the others never.
NEURONS = [(0.5, 1.0), (0.83, 0.7), (1.0, 0.3)]
SHAPES = ((), (0,), (1,), (129,), (5003,), (2, 3, 5, 7), (2, 1300))


def eighths(draw, low, high, shape, dtype):
    return (torch.randint(low, high + 1, shape, generator=draw) / 8).to(dtype)


def run_beside_reference(op, tensors, exact, written, *numbers, **options):
    """Runs the op on copies and its reference on contiguous ones, on the CPU. Returns what the op has written."""
    actual = {name: tensor.clone() if name in written else tensor for name, tensor in tensors.items()}
    expected = {name: dense_copy(tensor).clone() for name, tensor in tensors.items()}
    before = {name: dense_copy(tensor).clone() for name, tensor in tensors.items() if name not in written}
    getattr(SF, op)(**actual, **options)
    getattr(reference, op)(**expected, **options)
    for name, tensor in actual.items():
        if name in exact or name in before:
            assert_identical(tensor, before.get(name, expected[name]), name)
        else:
            assert_close(tensor, expected[name], name)
    return {name: actual[name] for name in written if name in actual}


ENCODER_EXACT, ENCODER_WRITTEN = ("membrane", "spikes"), ("membrane", "spikes", "derivative", "trace")


def encoder_tensors(draw, shape, dtype, order="contiguous", layout="contiguous", device="cpu", trace=True):
    def neurons(values, where=order):
        return lay_out(values[None], where, device)[0]

    state = state_dtype(dtype)
    nonsense = torch.full(shape, torch.nan, dtype=dtype)
    tensors = {
        "membrane": neurons(eighths(draw, -4, 14, shape, state)),
        "spikes": neurons(nonsense.clone()),
        "derivative": neurons(nonsense.clone()),
        "current": neurons(eighths(draw, -6, 14, shape, dtype), layout),
    }
    return tensors | ({"trace": neurons((3 * torch.rand(shape, generator=draw)).to(state))} if trace else {})


@parametrize(
    dtype=DTYPES, shape=SHAPES, order=list(TIME_MAJOR), layout=list(INPUTS), surrogate=SURROGATES, neuron=NEURONS, trace=[True, False],
)  # fmt: skip
def test_encoder_step(device, draw, dtype, shape, order, layout, surrogate, neuron, trace):
    tensors = encoder_tensors(draw, shape, dtype, order, layout, device, trace)
    options = dict(zip(("decay", "threshold"), neuron), surrogate=surrogate)
    run_beside_reference("local_encoder_step_", tensors, ENCODER_EXACT, ENCODER_WRITTEN, **options)


def test_encoder_fires_at_the_threshold(device, draw):
    tensors = encoder_tensors(draw, (4000,), torch.float32, device=device)
    written = run_beside_reference("local_encoder_step_", tensors, ENCODER_EXACT, ENCODER_WRITTEN, decay=0.5, threshold=1.0)
    at = written["membrane"] == 1
    assert at.sum() > 20 and (written["spikes"][at] == 1).all()
    before = tensors["membrane"] == 1  # such a neuron has fired, and is reset before it decays
    assert before.sum() > 20 and torch.equal(written["membrane"][before], tensors["current"][before])


@pytest.mark.parametrize("dtype", DTYPES)
def test_encoder_fires_as_lif(device, draw, dtype):
    """Step by step like lif over all time steps, bit for bit."""
    x = (0.4 + 0.7 * torch.randn(12, 2, 300, generator=draw)).to(device, dtype)
    membrane = torch.zeros(2, 300, device=device, dtype=state_dtype(dtype))
    spikes = torch.empty_like(x)
    for x_t, s_t in zip(x, spikes):
        SF.local_encoder_step_(membrane, s_t, torch.empty_like(s_t), x_t, 0.7, 0.9)
    expected, v_last = SF.lif(x, 0.7, 0.9)
    assert torch.equal(spikes, expected)
    assert torch.equal(membrane - 0.9 * spikes[-1].to(membrane.dtype), v_last)


def test_trace_is_the_sum_of_the_gradients_in_time(device, draw):
    """A current that is the same in all steps acts through all of them."""
    steps, shape = 7, (50,)
    x = torch.rand(shape, generator=draw, dtype=torch.float64).to(device)
    state = {"membrane": torch.zeros_like(x), "spikes": torch.empty_like(x)}
    with_trace, slope = torch.empty_like(x), torch.empty(steps, *shape, dtype=x.dtype, device=device)
    trace, other = torch.zeros_like(x), {name: tensor.clone() for name, tensor in state.items()}
    for t in range(steps):
        SF.local_encoder_step_(**state, derivative=with_trace, current=x, decay=0.8, threshold=0.6, trace=trace)
        SF.local_encoder_step_(**other, derivative=slope[t], current=x, decay=0.8, threshold=0.6)
    summed = SF.local_gradient_in_time(slope[-1], slope[:-1], 0.8, 0.6).sum(0)
    torch.testing.assert_close(with_trace, summed)


CLASSIFIER_EXACT = ("membrane", "count", "squared_error")
CLASSIFIER_WRITTEN = ("membrane", "count", "squared_error", "error", "derivative")


def classifier_tensors(draw, samples, classes, dtype, layout="contiguous", device="cpu", derivative=True):
    shape, state = (samples, classes), state_dtype(dtype)
    nonsense = torch.full(shape, torch.nan, dtype=dtype)
    tensors = {
        "membrane": eighths(draw, -4, 14, shape, state),
        "count": torch.randint(0, 9, shape, generator=draw).to(state),
        "squared_error": torch.randint(0, 9, shape[:1], generator=draw).to(state),
        "error": nonsense.clone(),
        "labels": torch.randint(-1, classes + 1, shape[:1], generator=draw),
    } | ({"derivative": nonsense.clone()} if derivative else {})
    tensors = {name: tensor.to(device) for name, tensor in tensors.items()}
    return tensors | {"current": lay_out(eighths(draw, -6, 14, shape, dtype)[None], layout, device)[0]}


@parametrize(
    dtype=DTYPES, samples=[0, 1, 7, 300], classes=[1, 2, 10, 1100], layout=list(INPUTS), surrogate=SURROGATES, neuron=NEURONS,
    derivative=[True, False], error_scale=[1.0, 0.02],
)  # fmt: skip
def test_classifier_step(device, draw, dtype, samples, classes, layout, surrogate, neuron, derivative, error_scale):
    tensors = classifier_tensors(draw, samples, classes, dtype, layout, device, derivative)
    options = dict(zip(("decay", "threshold"), neuron), surrogate=surrogate, error_scale=error_scale)
    run_beside_reference("local_classifier_step_", tensors, CLASSIFIER_EXACT, CLASSIFIER_WRITTEN, **options)


def test_classifier_by_hand(device):
    # Class 0 fires (membrane 1) and should not, class 1 should (0.5) and does not, class 2 neither does nor should.
    tensors = {name: torch.zeros(1, 3, device=device) for name in ("membrane", "count", "error", "derivative")}
    squared = torch.zeros(1, device=device)
    labels = torch.tensor([1], device=device)
    SF.local_classifier_step_(**tensors, squared_error=squared, current=torch.tensor([[1.0, 0.5, -1.0]], device=device), labels=labels,
                              decay=0.5, error_scale=2 / 3, surrogate=Triangle(1.0))  # fmt: skip
    assert tensors["count"].tolist() == [[1, 0, 0]]
    assert squared.tolist() == [2]
    assert tensors["derivative"].tolist() == [[1, 0.5, 0]]
    torch.testing.assert_close(tensors["error"].cpu(), torch.tensor([[2 / 3, -1 / 3, 0.0]]))
    # The next step: class 0 is reset to 0 and decays; all membranes get the same current.
    SF.local_classifier_step_(
        **tensors, squared_error=squared, current=torch.full((1, 3), 0.25, device=device), labels=labels, decay=0.5
    )
    assert tensors["membrane"].tolist() == [[0.25, 0.5, -0.25]]
    assert tensors["count"].tolist() == [[1, 0, 0]]
    assert squared.tolist() == [3]


@pytest.mark.parametrize("label", [-1, 3, 2**62, -(2**63)])
def test_labels_outside_the_classes_stand_for_no_class(device, draw, label):
    tensors = classifier_tensors(draw, 4, 3, torch.float32, device=device)
    tensors["labels"].fill_(label)
    written = run_beside_reference("local_classifier_step_", tensors, CLASSIFIER_EXACT, CLASSIFIER_WRITTEN, decay=0.5)
    spikes = written["count"] - tensors["count"]
    assert torch.equal(written["squared_error"] - tensors["squared_error"], spikes.sum(1))


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
    membrane, slope = torch.zeros_like(x[0]), torch.empty_like(x)
    for t in range(6):
        with torch.no_grad():
            SF.local_encoder_step_(membrane, torch.empty_like(x[0]), slope[t], x[t], 0.8, 0.6, surrogate=surrogate)
    # v_last of the step before, decayed, plus the last current, is the last membrane potential before its reset.
    v = SF.lif(x[:5], 0.8, 0.6, surrogate=surrogate)[1]
    (expected,) = torch.autograd.grad((0.8 * v + x[5]).sum(), x)
    torch.testing.assert_close(SF.local_gradient_in_time(torch.ones_like(x[0]), slope[:5], 0.8, 0.6), expected)


def test_version_counters(device, draw):
    """Autograd must learn that the step changed its tensors."""
    tensors = encoder_tensors(draw, (8,), torch.float32, device=device)
    versions = {name: tensor._version for name, tensor in tensors.items()}
    SF.local_encoder_step_(**tensors, decay=0.5)
    assert {name for name, tensor in tensors.items() if tensor._version != versions[name]} == set(ENCODER_WRITTEN)
