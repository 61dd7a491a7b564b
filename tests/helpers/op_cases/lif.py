"""LIF neurons and their firing rates."""

import functools
import math

import torch
from op_tests import measured, transformed
from op_tests.inputs import ROW
from op_tests.kinds import Call, Module, Smooth
from op_tests.measured import DECAY, SURROGATE, THRESHOLD, VARIANTS, Op
from op_tests.neurons import SPREADS
from op_tests.transformed import STEP, WIDTH, X, of_module, of_x
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference, surrogate
from spikeops.functional._lif_options import RESETS, WEIGHTINGS
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle, Window

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------

_MEAN, _DECAY = WEIGHTINGS["mean"], WEIGHTINGS["decay"]


def neurons(i, decay=None, v_init=False, reset="subtract", strict=False, detach_reset=False, surrogate=ATan(2.0), is_constant=False):
    """The arguments LIF_NEURON of csrc/lif.cpp."""
    kind, scale, peak = surrogate.coefficients
    numbers = (0.6, 1.0, 1.0, 1.0, -0.2, 0.1, scale, peak)
    modes = (RESETS[reset], int(strict), int(detach_reset), kind, i.T if is_constant else 0)
    x = i.one_step() if is_constant else i.x()
    return x, decay and i.decay(decay), i.v_init() if v_init else None, numbers, modes


def _both_gradients(i):
    return i.gradient(), i.gradient(False, i.state)


RAW = {
    "lif": lambda i: ("lif_forward", neurons(i)),
    "lif/v_init": lambda i: ("lif_forward", neurons(i, v_init=True, reset="to", strict=True)),
    "lif/decay": lambda i: ("lif_forward", neurons(i, "per_channel", reset="none")),
    "lif/constant": lambda i: ("lif_forward", neurons(i, "per_neuron", v_init=True, is_constant=True)),
    "lif/decay+v_init": lambda i: ("lif_forward", neurons(i, "one", v_init=True, detach_reset=True)),
    "lif_rate": lambda i: ("lif_rate_forward", (*neurons(i), _MEAN)),
    "lif_rate/weighted": lambda i: ("lif_rate_forward", (*neurons(i, "per_neuron", v_init=True, reset="to"), _DECAY)),
    "lif_rate/constant": lambda i: ("lif_rate_forward", (*neurons(i, "one", is_constant=True), _DECAY)),
    "lif_backward": lambda i: ("lif_backward", (*_both_gradients(i), *neurons(i, "one", v_init=True), True, True)),
    "lif_backward/spikes": lambda i: ("lif_backward", (i.gradient(), None, *neurons(i), False, False)),
    "lif_backward/v_last": lambda i: (
        "lif_backward", (None, i.gradient(False, i.state), *neurons(i, "per_channel", reset="to"), True, False)
    ),
    "lif_backward/v_init": lambda i: ("lif_backward", (i.gradient(), None, *neurons(i, v_init=True, reset="none"), False, True)),
    "lif_backward/constant": lambda i: (
        "lif_backward", (*_both_gradients(i), *neurons(i, "one", v_init=True, is_constant=True), True, True)
    ),
    "lif_rate_backward": lambda i: ("lif_rate_backward", (i.gradient(False), *neurons(i), _MEAN, False, False)),
    "lif_rate_backward/constant": lambda i: (
        "lif_rate_backward", (i.gradient(False), *neurons(i, "per_neuron", is_constant=True), _MEAN, True, False)
    ),
    "lif_rate_backward/weighted": lambda i: (
        "lif_rate_backward", (i.gradient(False), *neurons(i, "per_neuron", v_init=True), _DECAY, True, True)
    ),
}  # fmt: skip

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _lif(i, decay="number", v_init=None):
    return {"x": i.x(), "decay": i.decay(decay), "v_init": v_init and i.v_init(v_init)}


def _constant(i):
    return {"x": i.one_step(), "decay": i.decay("one"), "v_init": i.v_init(), "time_steps": i.T}


_BETWEEN = (-1.5, 1.5)
_NUMBERS = ("threshold", "input_scale", "reset_amount", "v_reset", "v_rest")
_LIF = dict(
    differentiable=("x", "decay", "v_init"),
    keeps=("x", "decay", "v_init"),
)
_ANY = dict(
    spreads={"decay": SPREADS, "v_init": (None, *SPREADS[1:])},
    ranges={
        "threshold": _BETWEEN, "input_scale": _BETWEEN, "reset": [*RESETS], "reset_amount": _BETWEEN, "v_reset": _BETWEEN, "v_rest": _BETWEEN,
        "strict": [False, True], "detach_reset": [False, True],
        "surrogate": [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)],
    },
    float32=_NUMBERS,
)  # fmt: skip
CALLS = (
    Call(name="lif", arguments=_lif, on_device=False, any_number=_NUMBERS, **_LIF, **_ANY),
    Call(name="lif/parameters", arguments=functools.partial(_lif, decay="per_neuron", v_init="per_neuron"), spikes=0,
         options={"reset": "to", "v_reset": -0.125}, **_LIF),
    Call(name="lif/options", arguments=functools.partial(_lif, decay="one", v_init="one"), on_device=False,
         options={"reset": "to", "strict": True, "v_rest": 0.5, "input_scale": 0.7, "surrogate": Triangle(1.0)}, **_LIF),
    Call(name="lif/shared_decay", arguments=functools.partial(_lif, decay="one"), spikes=0, **_LIF),
    Call(name="lif/constant", arguments=_constant, on_device=False, options={"detach_reset": True}, **_LIF),
    Call(name="lif_rate", arguments=_lif, on_device=False, not_negative=("decay",), **_LIF,
         **_ANY | {"ranges": _ANY["ranges"] | {"weighting": [*WEIGHTINGS]}}),
    Call(name="lif_rate/parameters", arguments=functools.partial(_lif, decay="per_neuron", v_init="per_neuron"),
         options={"weighting": "decay"}, not_negative=("decay",), **_LIF),
    Call(name="lif_rate/constant", arguments=_constant, not_negative=("decay",), on_device=False,
         options={"weighting": "decay", "reset": "none"}, **_LIF),
)  # fmt: skip


def _far_from_the_threshold(draw, shape):
    """Input on which every neuron is either far above or far below the threshold 1, at every step; decay and v_init."""
    far = torch.tensor([-20.0, 20.0])[torch.randint(2, (5, 2, 3), generator=draw)]
    x = (far + torch.rand(5, 2, 3, generator=draw)).double()
    return x, (0.2 + 0.2 * torch.rand(shape, generator=draw)).double(), torch.randn(shape, generator=draw).double()


def _membrane(options, x, decay, v_init):
    spikes, v_last = SF.lif(x, decay, v_init=v_init, surrogate=Triangle(0.1), **options)
    assert 0 < spikes.mean() < 1
    return v_last


def _weights_of_the_rate(x, decay, v_init):
    """The spikes do not move here; what the decay changes is their weights in the rate."""
    return SF.lif_rate(x.detach(), decay, v_init=v_init, weighting="decay", surrogate=Triangle(0.1))


SMOOTH = (
    *(
        Smooth(name=f"lif/{options}", function=functools.partial(_membrane, options), tensors=_far_from_the_threshold)
        for options in (
            dict(reset="subtract"), dict(reset="subtract", reset_amount=0.4), dict(reset="to", v_reset=-0.3), dict(reset="none"),
            dict(reset="subtract", v_rest=0.2, input_scale=1.5),
        )
    ),
    Smooth(name="lif_rate", function=_weights_of_the_rate, tensors=_far_from_the_threshold),
)  # fmt: skip

# --- spikeops.nn ------------------------------------------------------------------------------------------------------------


def _by_function(x, decay=0.5, threshold=1.0, return_state=False, **options):
    spikes, v_last, *trace = SF.lif(x, decay, threshold, **options)
    return (spikes, v_last, *trace) if return_state else (spikes, *trace)


def _parametric(x, decay=0.5, shape=(), decay_input=False, input_scale=1.0, **options):
    logit = torch.full(shape, math.log(decay / (1 - decay)))
    return _by_function(x, torch.sigmoid(logit), input_scale=input_scale * torch.sigmoid(-logit) if decay_input else input_scale, **options)


_OPTIONS = dict(threshold=0.5, input_scale=2.0, reset="to", reset_amount=0.7, v_reset=-0.1, v_rest=0.1, strict=True, detach_reset=True,
                surrogate=Sigmoid(3.0), reset_timing="late", v_min=-0.5, max_spikes=3, rounding="nearest", return_trace="before",
                return_state=True)  # fmt: skip
MODULES = (
    Module(kind=snn.LIF, options=dict(decay=0.9, **_OPTIONS), function=_by_function,
           samples=({"decay": 0.9}, dict(decay=0.9, threshold=0.5, reset="to", v_reset=-0.1, strict=True),
                    dict(decay=0.9, reset_timing="guarded", v_min=-0.1), dict(decay=0.9, surrogate=Rectangle(1.5), save="bits"), dict(reset="to", save="bfloat16"))),
    Module(kind=snn.IF, options=_OPTIONS, function=functools.partial(_by_function, decay=1.0),
           samples=(dict(threshold=0.7, surrogate=Sigmoid(4.0)), dict(surrogate=Window(), reset="to", detach_reset=True, save="bits"))),
    Module(kind=snn.ParametricLIF, options=dict(decay=0.9, shape=(4, 1), decay_input=True, **_OPTIONS), function=_parametric,
           state=("decay_logit",), samples=({"decay": 0.8}, dict(decay=0.8, threshold=0.3, decay_input=True))),
)  # fmt: skip

_VALUES = dict(decay=0.5, threshold=1.0, input_scale=0.5, reset_amount=0.75, v_reset=0.25, v_rest=0.125)
_GENERAL_VALUES = _VALUES | dict(v_min=-0.5, max_spikes=3)
NUMBERS = {
    SF.lif: (lambda **o: SF.lif(ROW, **o), _GENERAL_VALUES),
    SF.lif_rate: (lambda time_steps, **o: [SF.lif_rate(ROW, time_steps=time_steps, **o)], _VALUES | {"time_steps": 3}),
    snn.LIF: (lambda **o: [snn.LIF(**o)(ROW)], _GENERAL_VALUES),
    snn.IF: (lambda **o: [snn.IF(**o)(ROW)], {name: value for name, value in _GENERAL_VALUES.items() if name != "decay"}),
    snn.ParametricLIF: (lambda shape, **o: [snn.ParametricLIF(shape=(shape,), **o)(ROW)], _GENERAL_VALUES | {"shape": 3}),
}

# --- transforms -------------------------------------------------------------------------------------------------------------


def _parameters(reset="subtract", **options):
    def function(x, decay, v_init):
        return SF.lif(x, 0.4 + decay / 4, reset=reset, v_reset=-0.2, v_rest=0.1, v_init=v_init, **options)

    return transformed.Call(function, (X, ("N",), STEP), (1, None, 0))


TRANSFORMED = {
    "lif": of_x(lambda x: SF.lif(x, 0.9)),
    "lif/to": _parameters("to", strict=True),
    "lif/parameters": _parameters(),
    "lif/constant": transformed.Call(
        lambda x, v: SF.lif(x, 0.8, v_init=v, time_steps=4, reset="none"), (STEP, ("N",)), (0, None), steps_are_fixed=True
    ),
    "lif_rate": transformed.Call(lambda x, decay: SF.lif_rate(x, 0.4 + decay / 4, weighting="decay"), (X, ("N",)), (1, None)),
    "lif_rate/mean": of_x(lambda x: SF.lif_rate(x, 0.8, reset="to")),
    "LIF": of_module(lambda: nn.Sequential(snn.TimeDistributed(nn.Linear(WIDTH, 6, bias=False)), snn.LIF(0.8))),
    "IF": of_module(lambda: snn.IF(return_state=True)),
    "ParametricLIF": of_module(lambda: snn.ParametricLIF(0.6, shape=(WIDTH,))),
}

# --- benchmarks: the loops are leaner than the reference, because they leave out the options that are not measured -----------


class _Spike(torch.autograd.Function):
    """Heaviside step with a surrogate derivative."""

    @staticmethod
    def forward(ctx, distance):
        ctx.save_for_backward(distance)
        return (distance >= 0).to(distance.dtype)

    @staticmethod
    def backward(ctx, grad_spike):
        (distance,) = ctx.saved_tensors
        return grad_spike * SURROGATE.derivative(distance)


def lif_steps(x):
    v = torch.zeros_like(x[0])
    for x_t in x:
        u = DECAY * v + x_t
        spike = _Spike.apply(u - THRESHOLD)
        v = u - THRESHOLD * spike
        yield spike


def _variant(function, options, x, T):
    return function(x, DECAY, THRESHOLD, **options)[0]


_TESTS = ("test_lif.py", "test_lif_options.py", "test_surrogates.py")


def _variants():
    """Every surrogate with every reset, each of which is a code path of its own, but for the pair that `lif` is measured with."""
    kinds = [kind for kind in vars(surrogate).values() if isinstance(kind, type) and kind.__base__ is surrogate.Surrogate]
    for kind in kinds:
        for reset in RESETS:
            options = {"reset": reset, "surrogate": kind()}
            if (reset, kind) != ("subtract", type(SURROGATE)):
                fused, eager = (functools.partial(_variant, function, options) for function in (SF.lif, reference.lif))
                yield Op(f"lif {kind.__name__} {reset}", fused, eager, measured.currents, _TESTS, lambda T, N: (8 * T * N, 12 * T * N),
                         has_gradient=True, of="lif", sizes=VARIANTS)  # fmt: skip


MEASURED = (
    Op(
        "lif",
        fused=lambda x, T: SF.lif(x, DECAY, THRESHOLD, surrogate=SURROGATE)[0],
        eager=lambda x, T: torch.stack(list(lif_steps(x))),
        make_input=measured.currents,
        tests=_TESTS,
        moves=lambda T, N: (8 * T * N, 12 * T * N),
        has_gradient=True,
    ),
    Op(
        "lif_rate",
        fused=lambda x, T: SF.lif_rate(x, DECAY, THRESHOLD, surrogate=SURROGATE),
        eager=lambda x, T: sum(lif_steps(x)) / len(x),
        make_input=measured.currents,
        tests=("test_lif_rate.py", "test_surrogates.py"),
        moves=lambda T, N: (4 * T * N + 4 * N, 8 * T * N + 4 * N),
        has_gradient=True,
    ),
    *_variants(),
)
