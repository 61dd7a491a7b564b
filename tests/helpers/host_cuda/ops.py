"""Each op on seeded inputs: ``op(backend, case, ...) -> (inputs, outputs)``, where backend is spikeops_testing.cpu or .cuda.

Inputs are multiples of 1/8 where spikes depend on them, so that many membranes lie exactly at the threshold."""

from __future__ import annotations

import numpy as np

from host_cuda.arrays import Case, assert_same_bytes, from_storage, poisoned

LIF = {
    "decay": 0.5, "threshold": 1.0, "input_scale": 1.0, "reset": 0, "reset_amount": 1.0, "v_reset": 0.0, "v_rest": 0.0,
    "strict": False, "detach_reset": False, "is_constant": False,
}  # fmt: skip
ROUND = LIF | {"decay": 0.83, "input_scale": 0.7, "reset_amount": 0.9, "v_reset": -0.15, "v_rest": 0.1}
ATAN = (0, 3.0, 1.0)
SURROGATES = {
    "atan": ATAN, "sigmoid": (1, 4.0, 1.0), "exponential": (2, 1.0, 1.0), "fast_sigmoid": (3, 2.0, 1.0),
    "triangle": (4, 1.0, 1.0), "rectangle": (5, 0.5, 1.0), "gaussian": (6, 2.0, 0.8),
}  # fmt: skip

TAU_M, TAU_S, THRESHOLD = 5.0, 3.0, 1.0


def assert_same(kernels, op, case, *args, **options):
    """The CUDA kernels, run on the host, against those for the CPU."""
    _, actual = op(kernels.cuda, case, *args, **options)
    _, expected = op(kernels.cpu, case, *args, **options)
    assert_same_bytes(actual, expected, f"{op.__name__} {case}")


def currents(case: Case) -> np.ndarray:
    return case.data(case.draw.integers(-8, 17, (case.T, case.N)) / 8)


def gradient(case: Case, *shape) -> np.ndarray:
    return case.draw.standard_normal(shape)


def _neuron(case, options, per_neuron):
    x = currents(case)
    if options["is_constant"]:  # the same current in all time steps
        x, options = case.data(case.draw.integers(-8, 17, case.N) / 8), options | {"time_steps": case.T}
    decay = case.state(case.draw.uniform(0.2, 0.95, case.N)) if per_neuron else None
    v_init = case.state(case.draw.integers(-4, 12, case.N) / 8) if per_neuron else None
    return {"x": x, "decay": decay, "v_init": v_init}, (case.dtype, x, decay, v_init, options)


def lif_forward(backend, case, options=LIF, per_neuron=False):
    inputs, arguments = _neuron(case, options, per_neuron)
    spikes, v_last = case.data_out(case.T, case.N), case.state_out(case.N)
    backend.lif_forward(*arguments, spikes, v_last)
    return inputs, {"spikes": spikes, "v_last": v_last}


def lif_rate_forward(backend, case, options=LIF, per_neuron=False, weighting=0):
    inputs, arguments = _neuron(case, options, per_neuron)
    rate = case.data_out(case.N)
    backend.lif_rate_forward(*arguments, weighting, rate)
    return inputs, {"rate": rate}


def _lif_gradients(backend, case, options, per_neuron, surrogate, upstream):
    inputs, arguments = _neuron(case, options, per_neuron)
    grads = {"grad_x": case.data_out(case.N) if options["is_constant"] else case.data_out(case.T, case.N)}
    if per_neuron:
        grads |= {"grad_decay": case.state_out(case.N), "grad_v_init": case.state_out(case.N)}
    backend.lif_backward(*arguments, surrogate, **grads, **upstream)
    return inputs | upstream, grads


def lif_backward(backend, case, options=LIF, per_neuron=False, surrogate=ATAN, grad_spikes=True, grad_v_last=True):
    upstream = {}
    if grad_spikes:
        upstream["grad_spikes"] = case.data(gradient(case, case.T, case.N))
    if grad_v_last:
        upstream["grad_v_last"] = case.state(gradient(case, case.N))
    return _lif_gradients(backend, case, options, per_neuron, surrogate, upstream)


def lif_rate_backward(backend, case, options=LIF, per_neuron=False, surrogate=ATAN, weighting=0):
    upstream = {"grad_rate": case.data(gradient(case, case.N)), "weighting": weighting}
    return _lif_gradients(backend, case, options, per_neuron, surrogate, upstream)


def tssl_bp_forward(backend, case, spikes=True):
    x, psc = currents(case), case.data_out(case.T, case.N)
    outputs = {"psc": psc} | ({"spikes": case.data_out(case.T, case.N)} if spikes else {})
    backend.tssl_bp_forward(case.dtype, x, TAU_M, TAU_S, THRESHOLD, psc, outputs.get("spikes"))
    return {"x": x}, outputs


def tssl_bp_backward(backend, case, tau_s=TAU_S, x_scale=1.0):
    x = case.data(x_scale * from_storage(currents(case), case.dtype))
    grad_psc, grad_x = case.data(gradient(case, case.T, case.N)), case.data_out(case.T, case.N)
    backend.tssl_bp_backward(case.dtype, grad_psc, x, TAU_M, tau_s, THRESHOLD, grad_x)
    return {"x": x, "grad_psc": grad_psc}, {"grad_x": grad_x}


def _step(backend, op, case, numbers, given, current_per_step):
    """One call of a feedback step on fresh copies of the same state. Every seventh neuron is silent, and every third step."""
    draw, shape = case.draw, (case.T, case.N)
    drive = draw.integers(-8, 13, shape) / 8
    drive[::3], drive[:, ::7] = 0, 0
    inputs = {
        "drive": case.data(drive),
        "current": case.data(draw.integers(-2, 3, shape if current_per_step else case.N) / 8),
        "factor": case.data(1.25 * draw.integers(0, 2, case.N)),
    }
    inputs = {name: array for name, array in inputs.items() if name in given}
    state = {"membrane": case.state(draw.integers(-3, 4, case.N) / 8), "rate": case.state(draw.uniform(0, 3, case.N))}
    count, fired = case.state(draw.integers(0, 5, case.N)), poisoned((case.T,), np.int32, case.misaligned)
    state |= {name: array for name, array in (("count", count), ("fired", fired)) if name in given}
    before = {f"{name}_before": array.copy() for name, array in state.items()}
    written = state | {"spikes": case.data_out(*shape)}
    getattr(backend, op)(case.dtype, inputs | written, *numbers)
    return inputs | before, written


STEP_ARRAYS = ("drive", "current", "factor", "count", "fired")


def feedback_step(backend, case, leak=0.83, threshold=0.5, reset_amount=0.75, given=STEP_ARRAYS, current_per_step=False):
    return _step(backend, "feedback_step", case, (leak, threshold, reset_amount), given, current_per_step)


def ternary_step(
    backend, case, drive_scale=0.5, leak=0.83, threshold=0.25, amplitude=0.75, given=STEP_ARRAYS, current_per_step=False
):
    return _step(backend, "ternary_step", case, (drive_scale, leak, threshold, amplitude), given, current_per_step)


EXPONENTIAL = (2, 1.0, 1.0)


def local_learning_step(
    backend, case, decay=0.5, threshold=1.0, error_scale=0.3, surrogate=EXPONENTIAL, optional=True, samples=3, exact=False
):
    """N units and T classes. `exact` weights are multiples of 1/8, of which any order of addition gives the same sum."""
    draw, units, classes, matrix = case.draw, (samples, case.N), (samples, case.T), (case.T, case.N)
    weight = draw.integers(-8, 9, matrix) / 8 if exact else draw.uniform(-0.3, 0.3, matrix)
    inputs = {
        "current": case.data(draw.integers(-6, 15, units) / 8),
        "weight": case.data(weight),
        "labels": draw.integers(-1, case.T + 1, samples),
    }
    state = {
        "membrane": case.state(draw.integers(-4, 15, units) / 8),
        "class_membrane": case.state(draw.integers(-4, 15, classes) / 8),
        "count": case.state(draw.integers(0, 9, classes)),
        "squared_error": case.state(draw.integers(0, 9, samples)),
    }
    written = {"spikes": case.data_out(*units), "gradient": case.data_out(*units), "error": case.data_out(*classes)}
    if optional:
        inputs["feedback"] = case.data(draw.uniform(-1, 1, matrix))
        state["trace"] = case.state(draw.uniform(0, 3, units))
        written |= {"derivative": case.data_out(*units), "class_derivative": case.data_out(*classes)}
    before = {f"{name}_before": array.copy() for name, array in state.items()}
    backend.local_learning_step(case.dtype, inputs | state | written, (decay, threshold, surrogate), error_scale)
    return inputs | before, state | written


def local_gradient_in_time(backend, case, decay=0.5, threshold=1.0):
    last, derivatives = case.data(gradient(case, case.N)), case.data(case.draw.uniform(0, 1, (case.T, case.N)))
    gradients = case.data_out(case.T + 1, case.N)
    backend.local_gradient_in_time(case.dtype, last, derivatives, decay, threshold, gradients)
    return {"gradient": last, "derivatives": derivatives}, {"gradients": gradients}


def synaptic_filter_forward(backend, case):
    x, psc = currents(case), case.data_out(case.T, case.N)
    backend.synaptic_filter_forward(case.dtype, x, TAU_S, psc)
    return {"x": x}, {"psc": psc}


def synaptic_filter_backward(backend, case):
    grad_psc, grad_x = case.data(gradient(case, case.T, case.N)), case.data_out(case.T, case.N)
    backend.synaptic_filter_backward(case.dtype, grad_psc, TAU_S, grad_x)
    return {"grad_psc": grad_psc}, {"grad_x": grad_x}


def spike_count(backend, case):
    """Values above 1 too: counts are sums."""
    spikes = case.data(case.draw.integers(0, 4, (case.T, case.N)))
    count = poisoned((case.N,), np.int32 if "int" in case.dtype else spikes.dtype, case.misaligned)
    backend.spike_count(case.dtype, spikes, count)
    return {"spikes": spikes}, {"count": count}


def packed_spike_count(backend, case):
    packed = case.data(case.draw.integers(0, 1 << 16, (case.T, case.N)))
    count = poisoned((case.N,), np.int32, case.misaligned)
    backend.packed_spike_count(packed, count)
    return {"packed": packed}, {"count": count}


def pack_spikes(backend, case):
    """Any value other than 0 is a spike."""
    spikes = case.data(case.draw.integers(0, 2, (case.T, case.N)) * case.draw.integers(1, 4, (case.T, case.N)))
    packed = poisoned(((case.T + 15) // 16, case.N), np.uint16, case.misaligned)
    backend.pack_spikes(case.dtype, spikes, packed)
    return {"spikes": spikes}, {"packed": packed}


def unpack_spikes(backend, case):
    words = Case("uint16", (case.T + 15) // 16, case.N, case.misaligned)
    packed = words.data(words.draw.integers(0, 1 << 16, (words.T, words.N)))
    spikes = case.data_out(case.T, case.N)
    backend.unpack_spikes(case.dtype, packed, spikes)
    return {"packed": packed}, {"spikes": spikes}


def poisson_encode(backend, case, seed=0x1234_5678_9ABC_DEF0):
    p = case.data(case.draw.uniform(-0.1, 1.1, case.N))
    spikes = case.data_out(case.T, case.N)
    backend.poisson_encode(case.dtype, p, seed, spikes)
    return {"p": p}, {"spikes": spikes}


def latency_encode(backend, case):
    p = case.draw.uniform(-0.1, 1.1, case.N)
    p[:4] = (0.0, 1.0, 0.5, np.nan)[: len(p)]
    p = case.data(p)
    spikes = case.data_out(case.T, case.N)
    backend.latency_encode(case.dtype, p, spikes)
    return {"p": p}, {"spikes": spikes}


def clamped_forward(backend, case, inner=1, dt=1e-3):
    """Thresholds for runs of `inner` neurons, of which the last may be short; multiples of 1/8, and inputs close to them."""
    channels = max(-(-case.N // inner) // 2, 1)
    threshold = case.state(case.draw.integers(-4, 9, channels) / 8)
    x = case.data(case.draw.integers(-8, 17, case.N) / 8 * (1 + 1e-3 * case.draw.integers(-1, 2, case.N)))
    outputs = {"count": case.data_out(case.N), "v": case.state_out(case.N)}
    backend.clamped_forward(case.dtype, x, threshold, case.T, inner, dt, 2.0, outputs["count"], outputs["v"])
    return {"x": x, "threshold": threshold}, outputs


def clamped_thresholds(backend, case, inner=1, samples=5):
    """T rows of at most 300 neurons: channels of `inner` neurons each."""
    channels = min(case.N, 300) // inner
    shape = (case.T, channels * inner)
    grad_v, count = case.state(gradient(case, *shape)), case.data(case.draw.integers(0, 4, shape))
    grad = case.state_out(channels)
    backend.clamped_thresholds(case.dtype, grad_v, count, inner, samples, 3.0, 0.25, grad)
    return {"grad_v": grad_v, "count": count}, {"grad": grad}


def row_sum(backend, rows, columns, dtype="float32", misaligned=False):
    case = Case(dtype, rows, columns, misaligned)
    x, out = case.data(gradient(case, rows, columns)), case.data_out(rows)
    backend.row_sum(x, out)
    return {"x": x}, {"sum": out}


OF_FLOATS = (lif_forward, lif_backward, lif_rate_forward, lif_rate_backward, tssl_bp_forward, tssl_bp_backward,
             feedback_step, ternary_step, local_learning_step, local_gradient_in_time, synaptic_filter_forward, synaptic_filter_backward, poisson_encode, latency_encode, clamped_forward, clamped_thresholds)  # fmt: skip
OF_SPIKES = (spike_count, pack_spikes, unpack_spikes)
