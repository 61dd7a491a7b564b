"""Arguments of ops in all their ways, for the tests that know what an op does: ``op(case, ...) -> (name, arguments)``.

Inputs are multiples of 1/8 where spikes depend on them, so that many membranes lie exactly at the threshold."""

from __future__ import annotations

import torch
from op_tests.neurons import state_dtype

from host_cuda.calls import Case

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


class Draw:
    """Tensors of a case, the same ones each time."""

    def __init__(self, case: Case):
        self.generator = torch.Generator().manual_seed(1000 * case.T + case.N)
        self.data, self.state = case.dtype, state_dtype(case.dtype)

    def integers(self, low, high, *shape):
        return torch.randint(low, high, shape, generator=self.generator)

    def eighths(self, low, high, *shape, dtype=None):
        return (self.integers(low, high, *shape) / 8).to(dtype or self.data)

    def uniform(self, low, high, *shape, dtype=None):
        return (low + (high - low) * torch.rand(shape, generator=self.generator, dtype=torch.float64)).to(dtype or self.data)

    def normal(self, *shape, dtype=None):
        return torch.randn(shape, generator=self.generator, dtype=torch.float64).to(dtype or self.data)


def currents(case: Case):
    return Draw(case).eighths(-8, 17, case.T, case.N)


def _neuron(draw, case, options, per_neuron, surrogate=ATAN):
    """The arguments LIF_NEURON of csrc/lif.cpp."""
    shape = (case.N,) if options["is_constant"] else (case.T, case.N)  # constant: the same current in all time steps
    x = draw.eighths(-8, 17, *shape)
    decay = draw.uniform(0.2, 0.95, case.N, dtype=draw.state) if per_neuron else None
    v_init = draw.eighths(-4, 12, case.N, dtype=draw.state) if per_neuron else None
    numbers = [options[name] for name in ("decay", "threshold", "input_scale", "reset_amount", "v_reset", "v_rest")]
    modes = [options["reset"], int(options["strict"]), int(options["detach_reset"]), surrogate[0]]
    return x, decay, v_init, [*numbers, *surrogate[1:]], [*modes, case.T if options["is_constant"] else 0]


def lif_forward(case, options=LIF, per_neuron=False):
    return "lif_forward", _neuron(Draw(case), case, options, per_neuron)


def lif_rate_forward(case, options=LIF, per_neuron=False, weighting=0):
    return "lif_rate_forward", (*_neuron(Draw(case), case, options, per_neuron), weighting)


def lif_backward(case, options=LIF, per_neuron=False, surrogate=ATAN, grad_spikes=True, grad_v_last=True):
    draw = Draw(case)
    neuron = _neuron(draw, case, options, per_neuron, surrogate)
    of_spikes = draw.normal(case.T, case.N) if grad_spikes else None
    of_v_last = draw.normal(case.N, dtype=draw.state) if grad_v_last else None
    return "lif_backward", (of_spikes, of_v_last, *neuron, per_neuron, per_neuron)


def lif_rate_backward(case, options=LIF, per_neuron=False, surrogate=ATAN, weighting=0):
    draw = Draw(case)
    neuron = _neuron(draw, case, options, per_neuron, surrogate)
    return "lif_rate_backward", (draw.normal(case.N), *neuron, weighting, per_neuron, per_neuron)


def tssl_bp_forward(case):
    return "tssl_bp_forward", (currents(case), TAU_M, TAU_S, THRESHOLD, True)


def tssl_bp_backward(case, tau_s=TAU_S, x_scale=1.0):
    draw = Draw(case)
    x = x_scale * draw.eighths(-8, 17, case.T, case.N)
    return "tssl_bp_backward", (draw.normal(case.T, case.N), x, TAU_M, tau_s, THRESHOLD)


STEP_TENSORS = ("drive", "current", "factor", "count", "fired")


def _step(case, given, current_per_step):
    """The arguments FEEDBACK_NEURON of csrc/feedback.cpp. Every seventh neuron is silent, and every third step."""
    draw, shape = Draw(case), (case.T, case.N)
    drive = draw.eighths(-8, 13, *shape)
    drive[::3], drive[:, ::7] = 0, 0
    optional = {
        "drive": drive,
        "current": draw.eighths(-2, 3, *(shape if current_per_step else shape[1:])),
        "factor": (1.25 * draw.integers(0, 2, case.N)).to(draw.data),
        "count": draw.integers(0, 5, case.N).to(draw.state),
        "fired": torch.full((case.T,), 7, dtype=torch.int32),
    }
    membrane, rate = draw.eighths(-3, 4, case.N, dtype=draw.state), draw.uniform(0, 3, case.N, dtype=draw.state)
    spikes = torch.full(shape, torch.nan, dtype=draw.data)
    return membrane, spikes, rate, *(tensor if name in given else None for name, tensor in optional.items())


def feedback_step(case, leak=0.83, threshold=0.5, reset_amount=0.75, given=STEP_TENSORS, current_per_step=False):
    return "feedback_step_", (*_step(case, given, current_per_step), leak, threshold, reset_amount)


def ternary_step(case, drive_scale=0.5, leak=0.83, threshold=0.25, amplitude=0.75, given=STEP_TENSORS, current_per_step=False):
    return "ternary_step_", (*_step(case, given, current_per_step), drive_scale, leak, threshold, amplitude)


EXPONENTIAL = (2, 1.0, 1.0)


def local_learning_step(
    case, decay=0.5, threshold=1.0, error_scale=0.3, surrogate=EXPONENTIAL, optional=True, samples=3, exact=False
):
    """N units and T classes. `exact` weights are multiples of 1/8, of which any order of addition gives the same sum."""
    draw, units, classes, matrix = Draw(case), (samples, case.N), (samples, case.T), (case.T, case.N)

    def nonsense(*shape):
        return torch.full(shape, torch.nan, dtype=draw.data)

    weight = draw.eighths(-8, 9, *matrix) if exact else draw.uniform(-0.3, 0.3, *matrix)
    state = dict(dtype=draw.state)
    return "local_learning_step_", (
        draw.eighths(-4, 15, *units, **state), nonsense(*units), nonsense(*units), nonsense(*units) if optional else None,
        draw.uniform(0, 3, *units, **state) if optional else None, draw.eighths(-4, 15, *classes, **state),
        draw.integers(0, 9, *classes).to(draw.state), draw.integers(0, 9, samples).to(draw.state), nonsense(*classes),
        nonsense(*classes) if optional else None, draw.eighths(-6, 15, *units), weight,
        draw.uniform(-1, 1, *matrix) if optional else None, draw.integers(-1, case.T + 1, samples),
        [decay, threshold, *surrogate[1:], error_scale], surrogate[0],
    )  # fmt: skip


_CLAMPED = [1e-3, 2.0, 3.0, 0.25]  # dt, leak, threshold_gain, threshold_drift


def clamped_forward(case, inner=1):
    """T samples of channels of `inner` neurons each; thresholds are multiples of 1/8, and inputs close to them."""
    draw, channels = Draw(case), case.N // inner
    shape = (case.T, channels, inner)
    x = draw.eighths(-8, 17, *shape, dtype=torch.float64) * (1 + 1e-3 * draw.integers(-1, 2, *shape))
    return "clamped_lif_forward", (x.to(draw.data), draw.eighths(-4, 9, channels, dtype=draw.state), _CLAMPED, 3)


def clamped_thresholds(case, inner=1):
    """T samples of at most 300 neurons, in channels of `inner` neurons each."""
    draw, shape = Draw(case), (case.T, min(case.N, 300) // inner, inner)
    return "clamped_lif_backward", (draw.normal(*shape, dtype=draw.state), draw.integers(0, 4, *shape).to(draw.data), _CLAMPED)


def spike_count(case):
    """Values above 1 too: counts are sums."""
    return "spike_count", (Draw(case).integers(0, 4, case.T, case.N).to(case.dtype),)


def pack_spikes(case):
    """Any value other than 0 is a spike."""
    draw = Draw(case)
    return "pack_spikes", ((draw.integers(0, 2, case.T, case.N) * draw.integers(1, 4, case.T, case.N)).to(case.dtype),)


def packed(case):
    """Words for T time steps, with any bits set."""
    return Draw(case).integers(-(2**15), 2**15, (case.T + 15) // 16, case.N).to(torch.int16).view(torch.uint16)


def unpack_spikes(case):
    return "unpack_spikes", (packed(case), case.T, case.dtype)


OF_SPIKES = (spike_count, pack_spikes, unpack_spikes)
