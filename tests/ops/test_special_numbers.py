"""Inputs that hold numbers which are not ordinary (op_tests/special_numbers.py): the ops do with them what the reference does."""

import pytest
import torch
from op_tests.compare import LAST_PLACE, ROUNDING, assert_agree, assert_identical, evaluate
from op_tests.layouts import dense_copy
from op_tests.neurons import DTYPES, state_dtype
from op_tests.pairwise import parametrize
from op_tests.special_numbers import SHARES, SURROGATES, THRESHOLD, special_numbers, strew, summable_numbers
from op_tests.steps import FACTORS, run_beside_reference, step_tensors

import spikeops
import spikeops.functional as SF
from spikeops import _backend, reference

T, NEURONS = 6, 300
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=str)
each_share = pytest.mark.parametrize("share", SHARES)


@pytest.fixture
def special(draw, share, device):
    """special(tensor): strewn with special numbers, on the device."""
    return lambda tensor, numbers=special_numbers: strew(tensor, draw, share, numbers).to(device)


def normal(draw, *shape, dtype):
    return (0.5 + torch.randn(*shape, generator=draw, dtype=torch.float64)).to(dtype)


def check(op, tensors, special, **options):
    """Outputs alike in every bit, gradients up to rounding."""
    function, definition = getattr(SF, op), getattr(reference, op)
    outputs = evaluate(function, tensors, options, None).outputs
    draw = torch.Generator().manual_seed(3)
    upstream = tuple(special(torch.randn(o.shape, generator=draw).to(o.dtype)) for o in outputs)
    if op == "tssl_bp":
        upstream = (upstream[0], None)
    actual = evaluate(function, tensors, options, upstream)
    expected = evaluate(definition, {n: dense_copy(t) for n, t in tensors.items()}, options, tuple(map(dense_copy, upstream)))
    for i, (a, e) in enumerate(zip(actual.outputs, expected.outputs, strict=True)):
        assert_identical(a, e, f"output {i}")
    given = [dense_copy(g) for g in upstream if g is not None]
    for name, e in expected.grads.items():
        scale = sum(finite_magnitude(g).reshape(-1, NEURONS).amax(0) for g in (*given, e))
        assert_agree(actual.grads[name], e, f"gradient of {name}", scale=scale)


def finite_magnitude(tensor):
    return tensor.double().abs().masked_fill(~tensor.isfinite(), 0)


def neurons(draw, dtype, special):
    state = state_dtype(dtype)
    return {
        "x": special(normal(draw, T, NEURONS, dtype=dtype)),
        "decay": special(torch.rand(NEURONS, generator=draw, dtype=state)),
        "v_init": special(normal(draw, NEURONS, dtype=state)),
    }


@parametrize(
    dtype=DTYPES, share=SHARES, reset=["subtract", "to", "none"], surrogate=SURROGATES, strict=[False, True], detach_reset=[False, True],
    membrane=[{}, {"v_rest": 0.5, "input_scale": 0.7}, {"v_reset": -0.25, "reset_amount": 1.5}],
)  # fmt: skip
def test_lif(draw, special, dtype, reset, surrogate, strict, detach_reset, membrane):
    options = dict(reset=reset, surrogate=surrogate, strict=strict, detach_reset=detach_reset, threshold=THRESHOLD)
    check("lif", neurons(draw, dtype, special), special, **options, **membrane)


@parametrize(dtype=DTYPES, share=SHARES, weighting=["mean", "decay"], reset=["subtract", "to", "none"], surrogate=SURROGATES)
def test_lif_rate(draw, special, dtype, weighting, reset, surrogate):
    tensors = neurons(draw, dtype, special)
    tensors["decay"].abs_()  # weights of both signs cancel
    check("lif_rate", tensors, special, weighting=weighting, reset=reset, surrogate=surrogate)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.0])
@pytest.mark.parametrize("share", SHARES)
def test_decay_of_0_and_1(draw, special, decay):
    x = special(normal(draw, T, NEURONS, dtype=torch.float32))
    check("lif", {"x": x}, special, decay=decay)
    check("lif_rate", {"x": x}, special, decay=decay, weighting="decay")


BEYOND = 3.4028235677973366e38  # what float32 rounds to infinity


@pytest.mark.parametrize("backend_name", ["native", "reference"])
@each_dtype
def test_numbers_that_overflow_the_state_are_refused(backend_name, dtype):
    """An infinite threshold or reset would make NaN of every neuron. What float32 can hold is taken, and in float64 everything."""
    data, units = torch.ones(2, 3, dtype=dtype), {name: torch.zeros(1, 3, dtype=state_dtype(dtype)) for name in ("membrane", "rate")}
    classes = {name: torch.zeros(1, 2, dtype=state_dtype(dtype)) for name in ("class_membrane", "count")}
    written = {"spikes": data[:1].clone(), "gradient": data[:1].clone(), "error": data[:1, :2].clone(), **classes}
    learning = {"membrane": units["membrane"], "current": data[:1], "weight": data, "labels": torch.tensor([0]), **written}
    learning |= {"squared_error": torch.zeros(1, dtype=state_dtype(dtype)), "decay": 0.5}
    steps = units | {"spikes": data[:1].clone()}
    calls = [
        *(("lif", n, {"x": data}) for n in ("threshold", "input_scale", "reset_amount", "v_reset", "v_rest")),
        ("lif_rate", "threshold", {"x": data}), ("tssl_bp", "threshold", {"x": data}),
        *(("feedback_step_", n, steps) for n in ("threshold", "reset_amount")),
        *(("ternary_step_", n, steps | {"amplitude": 1.0}) for n in ("threshold", "drive_scale", "amplitude")),
        *(("local_learning_step_", n, learning) for n in ("threshold", "error_scale")),
        ("local_gradient_in_time", "threshold", {"gradient": data[0], "derivatives": data, "decay": 0.5}),
    ]  # fmt: skip
    with spikeops.backend(backend_name):
        for op, name, arguments in calls:
            for number in (BEYOND, -BEYOND, 1e300)[:: 2 if name == "threshold" else 1]:
                if dtype == torch.float64:
                    getattr(SF, op)(**arguments | {name: number})
                    continue
                with pytest.raises(ValueError, match=f"{op}: expected {name} to be a float32, at most 3.4e38"):
                    getattr(SF, op)(**arguments | {name: number})
            getattr(SF, op)(**arguments | {name: 3.4028235e38})


@each_dtype
@each_share
def test_sequences(draw, special, dtype):
    x = special(normal(draw, T, NEURONS, dtype=dtype))
    for taus in ((5.0, 3.0), (1.0, 1.0)):
        check("tssl_bp", {"x": x}, special, tau_m=taus[0], tau_s=taus[1], return_spikes=True)
        check("synaptic_filter", {"spikes": x}, special, tau_s=taus[1])
    check("spike_count", {"spikes": x}, special)
    packed = SF.pack_spikes(x)
    assert_identical(packed.int(), reference.pack_spikes(dense_copy(x)).int(), "packed")
    assert_identical(SF.spike_count(packed), reference.spike_count(dense_copy(packed)), "packed count")
    last = special(normal(draw, NEURONS, dtype=dtype))
    for decay in (0.0, 0.5, 1.0):
        actual = SF.local_gradient_in_time(last, x, decay, THRESHOLD)
        assert_identical(actual, reference.local_gradient_in_time(dense_copy(last), dense_copy(x), decay, THRESHOLD), "in time")


@each_dtype
@each_share
def test_encodings(draw, special, dtype):
    p = special(torch.rand(NEURONS, generator=draw).to(dtype))
    assert_identical(SF.latency_encode(p, T), reference.latency_encode(dense_copy(p), T), "latency")
    seed = torch.tensor([1234567890123456789])
    actual = _backend.namespace("poisson_encode", p.device).poisson_encode(p, T, seed.to(p.device))
    assert_identical(actual, reference.poisson_encode_from_seed(dense_copy(p), T, seed), "poisson")


@parametrize(
    dtype=DTYPES, share=SHARES, op=list(FACTORS), current=["constant", "per_step"], leak=[0.83, 1.0],
    given=[(), ("drive",), ("current", "count"), ("drive", "factor", "fired"), ("drive", "current", "factor", "count", "fired")],
)  # fmt: skip
def test_feedback_steps(draw, device, special, dtype, op, current, leak, given):
    given = [FACTORS[op] if name == "factor" else name for name in given]
    tensors = step_tensors(draw, op, T, (NEURONS,), dtype, given, device=device, current=current)
    run_beside_reference(op, {name: special(tensor) for name, tensor in tensors.items()}, leak=leak, threshold=0.5)


WRITTEN = (
    "membrane", "spikes", "gradient", "derivative", "trace", "class_membrane", "count", "squared_error", "error", "class_derivative"
)  # fmt: skip


@parametrize(dtype=DTYPES, share=(1e-3, *SHARES), surrogate=SURROGATES, decay=[0.0, 0.83, 1.0], optional=[False, True])
def test_local_learning_step(draw, special, dtype, surrogate, decay, optional):
    samples, units, classes, state = 5, 70, 7, state_dtype(dtype)

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
    options = dict(decay=decay, threshold=THRESHOLD, surrogate=surrogate, error_scale=0.5)
    expected = {name: dense_copy(tensor).clone() for name, tensor in tensors.items()}
    SF.local_learning_step_(**tensors, **options)
    reference.local_learning_step_(**expected, **options)
    for name in (name for name in WRITTEN if name in tensors):
        scale, rounding = finite_magnitude(expected[name]), None
        if name == "gradient":  # a sum, whose terms may cancel, of errors that are rounded to the dtype themselves
            terms = finite_magnitude(expected["error"]) @ finite_magnitude(expected.get("feedback", expected["weight"]))
            scale, rounding = terms * finite_magnitude(expected.get("derivative", 1 + scale)), LAST_PLACE.get(dtype, 0) + ROUNDING[state]
        assert_agree(tensors[name], expected[name], name, rounding, scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", (1e-3, *SHARES))
def test_trials(draw, special, dtype):
    """Of the network that solves an optimisation problem, with and without learning; one input in three asks for nothing."""
    trials, neurons, inputs, readouts = 3, 40, 3, 2
    x = torch.randn(T + 1, trials, inputs, generator=draw)
    x[2:] = x[1]  # a step, then constant
    x[..., 1] = 0
    encoder = torch.rand(neurons, readouts, generator=draw)
    tensors = {
        "feedforward": torch.randn(neurons, inputs, generator=draw), "recurrent": -0.1 * encoder @ encoder.T,
        "thresholds": torch.rand(neurons, generator=draw) / 8, "decoder": 0.1 * encoder.T,
        "noise": torch.randn(T, trials, neurons, generator=draw),
    }  # fmt: skip
    numbers = dict(dt=0.1, leak=2.0, spike_cost=0.05, sigma_v=0.3)
    learning = {"targets": torch.rand(trials, readouts, generator=draw), "encoder": encoder}
    rates = dict(feedforward_rate=0.02, threshold_rate=0.03, threshold_drift=0.5, buffer_steps=1)
    x, *values = (special(t.to(dtype)) for t in (x, *tensors.values(), *learning.values()))
    x[..., 1].copy_(torch.zeros(T + 1, trials))
    given = dict(zip((*tensors, *learning), values))
    for wanted, options in ((tensors, {}), ((*tensors, *learning), rates)):
        arguments = {name: given[name] for name in wanted}
        actual = SF.convex_snn_trial(x, **arguments, **numbers, **options)
        copies = {name: dense_copy(tensor) for name, tensor in arguments.items()}
        expected = reference.convex_snn_trial(dense_copy(x), **copies, **numbers, **options)
        for name, a, e in zip(("spikes", "readout", "feedforward", "thresholds"), actual, expected):
            assert_identical(a, e, name)
