"""LIF neurons in their general form: what `SF.lif` calls for options that the op lif has not."""

import functools

import torch
from op_tests import measured, transformed
from op_tests.kinds import Call, Smooth
from op_tests.measured import DECAY, SURROGATE, THRESHOLD, VARIANTS, Op
from op_tests.neurons import SPREADS
from op_tests.transformed import STEP, WIDTH, X, of_module, of_x
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference
from spikeops.functional._general_lif import RESET_TIMINGS, ROUNDINGS
from spikeops.functional._lif_options import RESETS
from spikeops.surrogate import (
    ATan,
    Exponential,
    Gaussian,
    Heaviside,
    MultiGaussian,
    PeriodicExponential,
    Rectangle,
    Sigmoid,
    SingleExponential,
    Step,
    StraightThrough,
    Triangle,
    Window,
)

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------

_ONE, _WHOLE, _NEAREST = range(3)  # Count
_NO_TRACE, _BEFORE, _AFTER = range(3)  # Trace


def neurons(i, numbers=None, v_init=False, scheme=0, strict=False, detach_reset=False, count=_ONE, most=3, bounded=False,
            trace=_NO_TRACE, surrogate=ATan(2.0), is_constant=False):  # fmt: skip
    """The arguments GENERAL_LIF_NEURON of csrc/general_lif.cpp. `numbers`: how those of the neurons are spread over them."""
    kind, *of_surrogate, in_thresholds = surrogate.all_coefficients
    listed = (0.6, 1.0, 0.9, 0.8, -0.2, 0.1, -0.5, most, *of_surrogate)
    modes = (scheme, int(strict), int(detach_reset), count, int(bounded), trace, kind, in_thresholds, i.T if is_constant else 0)
    tensors = [i.decay(numbers), *(i.parameter(numbers, 0.5, 1.5) for _ in range(3))] if numbers else [None] * 4
    return i.one_step() if is_constant else i.x(), *tensors, i.v_init() if v_init else None, listed, modes


def _gradients(i, with_trace=True):
    return i.gradient(), i.gradient(False, i.state), *([i.gradient()] if with_trace else [])


_ALL, _NONE = (True,) * 5, (False,) * 5
RAW = {
    "general_lif": lambda i: ("general_lif_forward", neurons(i)),
    "general_lif/late": lambda i: ("general_lif_forward", neurons(i, "one", True, 1, strict=True)),
    "general_lif/guarded": lambda i: ("general_lif_forward", neurons(i, "per_neuron", scheme=2, bounded=True)),
    "general_lif/counts": lambda i: ("general_lif_forward", neurons(i, "per_channel", True, count=_WHOLE, most=0)),
    "general_lif/nearest": lambda i: ("general_lif_forward", neurons(i, count=_NEAREST, strict=True, is_constant=True)),
    "general_lif/to": lambda i: ("general_lif_forward", neurons(i, "per_neuron", scheme=3)),
    "general_lif/none": lambda i: ("general_lif_forward", neurons(i, v_init=True, scheme=6, bounded=True)),
    "traced_lif": lambda i: ("traced_lif_forward", neurons(i, scheme=4, trace=_BEFORE)),
    "traced_lif/after": lambda i: ("traced_lif_forward", neurons(i, "per_neuron", True, 5, trace=_AFTER, is_constant=True)),
    "general_lif_backward": lambda i: ("general_lif_backward", (*_gradients(i, False), *neurons(i, "one", True), *_ALL)),
    "general_lif_backward/spikes": lambda i: (
        "general_lif_backward", (i.gradient(), None, *neurons(i, scheme=3, surrogate=Window(0, 2)), *_NONE)
    ),
    "general_lif_backward/state": lambda i: (
        "general_lif_backward",
        (None, i.gradient(False, i.state), *neurons(i, "per_channel", True, 2, surrogate=Step(0.1)), False, True, False, False, True),
    ),
    "general_lif_backward/counts": lambda i: (
        "general_lif_backward",
        (*_gradients(i, False), *neurons(i, "per_neuron", True, count=_WHOLE, surrogate=PeriodicExponential(0.5)), *_ALL),
    ),
    "traced_lif_backward": lambda i: (
        "traced_lif_backward", (*_gradients(i), *neurons(i, "per_neuron", True, 1, trace=_BEFORE, surrogate=MultiGaussian()), *_ALL)
    ),
    "traced_lif_backward/trace": lambda i: (
        "traced_lif_backward",
        (None, None, i.gradient(), *neurons(i, "one", bounded=True, trace=_AFTER, detach_reset=True), True, False, False, True, False),
    ),
    "traced_lif_backward/constant": lambda i: (
        "traced_lif_backward",
        (*_gradients(i), *neurons(i, "one", True, 4, trace=_AFTER, surrogate=SingleExponential(), is_constant=True), *_ALL),
    ),
    "traced_lif_backward/with_input": lambda i: (
        "traced_lif_backward", (*_gradients(i), *neurons(i, scheme=5, trace=_BEFORE, surrogate=Gaussian(center=0.2)), *_NONE)
    ),
    "traced_lif_backward/none": lambda i: (
        "traced_lif_backward", (*_gradients(i), *neurons(i, scheme=6, count=_NEAREST, trace=_AFTER, surrogate=Heaviside()), *_NONE)
    ),
}  # fmt: skip

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _lif(i, decay="number", threshold="number", input_scale="number", reset_amount=None, v_init=None):
    return {
        "x": i.x(), "decay": i.decay(decay), "threshold": i.parameter(threshold, 0.5, 1.5), "input_scale": i.parameter(input_scale, 0.5, 1.5),
        "reset_amount": reset_amount and i.parameter(reset_amount, 0.5, 1.5), "v_init": v_init and i.v_init(v_init),
    }  # fmt: skip


def _constant(i):
    return _lif(i, "one", "per_channel", "one", "per_neuron", "one") | {"x": i.one_step(), "time_steps": i.T}


_TENSORS = ("x", "decay", "threshold", "input_scale", "reset_amount", "v_init")
_LIF = dict(differentiable=_TENSORS, keeps=_TENSORS)
_BETWEEN = (-1.5, 1.5)
# Of full height its gradients through resets to a value grow from step to step, beyond float16.
_PASSED_ON = StraightThrough(height=0.1)
_PER_NEURON = functools.partial(_lif, **dict.fromkeys(_TENSORS[1:], "per_neuron"))
_SPREADS = {name: SPREADS for name in _TENSORS[1:4]} | {name: (None, *SPREADS[1:]) for name in _TENSORS[4:]}
_ANY = dict(
    spreads=_SPREADS,
    ranges={
        "v_reset": _BETWEEN, "v_rest": _BETWEEN, "v_min": [None, -0.25, 0.0], "strict": [False, True], "detach_reset": [False, True],
        "surrogate": [ATan(2.0, height=0.5), Sigmoid(4.0), Exponential(1.0, center=0.5), Triangle(1.3, center=-0.25), Rectangle(1.1),
                      Gaussian(0.5, height=-1.5), SingleExponential(0.7), MultiGaussian(), Step(0.25, 0.75), _PASSED_ON],
        "return_trace": [False, "before", "after"],
    },
    float32=("threshold", "input_scale", "reset_amount", "v_reset", "v_rest", "v_min"),
)  # fmt: skip
_TIMINGS = {"reset_timing": [*RESET_TIMINGS], "reset": ["subtract", "none"]}
CALLS = (
    Call(name="lif/timing", arguments=_lif, on_device=False, options={"reset_timing": "late"},
         any_number=("threshold", "input_scale", "reset_amount", "v_reset", "v_rest"), **_LIF, **_ANY | {"ranges": _ANY["ranges"] | _TIMINGS}),
    Call(name="lif/to", arguments=_lif, options={"reset": "to", "reset_timing": "late"}, on_device=False, **_LIF,
         **_ANY | {"ranges": _ANY["ranges"] | {"reset_timing": ["now", "late", "late_with_input"]}}),
    Call(name="lif/numbers", arguments=_PER_NEURON, spikes=0, options={"reset_timing": "guarded", "return_trace": "before"}, **_LIF),
    Call(name="lif/late", arguments=functools.partial(_PER_NEURON, reset_amount=None), spikes=0, on_device=False,
         options={"reset": "to", "reset_timing": "late", "return_trace": "after", "v_min": -0.25}, **_LIF),
    Call(name="lif/constant_numbers", arguments=_constant, on_device=False, options={"detach_reset": True}, **_LIF),
    # Far above the threshold a potential in thresholds is any number: of those that are not finite, other tests tell.
    Call(name="lif/counts", arguments=_PER_NEURON, spikes=0, **_LIF, options={"max_spikes": None, "surrogate": PeriodicExponential(0.5)},
         ranges={"reset": [*RESETS], "rounding": [*ROUNDINGS], "max_spikes": [None, 1, 4], "strict": [False, True],
                 "detach_reset": [False, True], "v_min": [None, -0.25],
                 "surrogate": [PeriodicExponential(0.5), Window(0, 4), Heaviside(0.5), SingleExponential(), _PASSED_ON]}),
    Call(name="lif/late_counts", arguments=_lif, on_device=False, **_LIF,
         options={"max_spikes": 3, "rounding": "nearest", "reset_timing": "late", "surrogate": Window(0, 3)}),
)  # fmt: skip


def _far_from_the_threshold(draw, shape):
    """Input on which every neuron is either far above or far below its threshold, at every step; numbers of the neurons."""
    far = torch.tensor([-20.0, 20.0])[torch.randint(2, (5, 2, 3), generator=draw)]
    x = (far + torch.rand(5, 2, 3, generator=draw)).double()
    decay, *others = ((0.2 + 0.2 * torch.rand(shape, generator=draw)).double() for _ in range(4))
    return x, decay, *(0.5 + number for number in others)


def _potentials(options, x, decay, input_scale, reset_amount, v_init):
    numbers = dict(input_scale=input_scale, reset_amount=reset_amount, v_init=v_init)
    spikes, v_last, trace = SF.lif(x, decay, surrogate=Triangle(0.1), **numbers, **options)
    assert 0 < spikes.mean() < 1
    return torch.cat([v_last[None], trace])


SMOOTH = tuple(
    Smooth(name=f"lif/{options}", function=functools.partial(_potentials, options), tensors=_far_from_the_threshold)
    for options in (
        dict(return_trace="before", v_rest=0.2), dict(reset_timing="late", return_trace="after"), dict(reset="to", reset_timing="late",
        return_trace="before"), dict(reset="to", reset_timing="late_with_input", v_reset=-0.3, return_trace="after"),
        dict(reset_timing="guarded", return_trace="after"), dict(v_min=-5.0, return_trace="after"),
    )
)  # fmt: skip

# --- transforms -------------------------------------------------------------------------------------------------------------


def _numbers(options):
    def function(x, threshold, v_init):
        numbers = dict(threshold=0.8 + threshold / 4, input_scale=1 + threshold / 8)
        return SF.lif(x, 0.9, v_init=v_init, reset_amount=numbers["threshold"] * 0.9, **numbers, **options)

    return transformed.Call(function, (X, ("N",), STEP), (1, None, 0))


TRANSFORMED = {
    "lif/late": of_x(lambda x: SF.lif(x, 0.9, reset_timing="late", v_min=-0.2, surrogate=ATan(2.0, center=0.1))),
    "lif/guarded": _numbers(dict(reset_timing="guarded", return_trace="before")),
    "lif/counts": _numbers(dict(max_spikes=4, surrogate=PeriodicExponential(0.5))),
    "lif/traced": _numbers(dict(reset="to", v_reset=-0.2, reset_timing="late_with_input", return_trace="after")),
    "LIF/threshold": of_module(lambda: snn.LIF(0.6, nn.Parameter(torch.linspace(0.5, 1.0, WIDTH)), return_trace="before")),
}

# --- benchmarks -------------------------------------------------------------------------------------------------------------


def _variant(function, options, x, T):
    return function(x, DECAY, THRESHOLD, surrogate=SURROGATE, **options)[0]


MEASURED = tuple(
    Op(
        f"lif {name}",
        fused=functools.partial(_variant, SF.lif, options),
        eager=functools.partial(_variant, reference.lif, options),
        make_input=measured.currents,
        tests=("test_general_lif.py",),
        moves=lambda T, N: (8 * T * N, 12 * T * N),
        has_gradient=True,
        of="lif",
        sizes=VARIANTS,
    )
    for name, options in (("late", {"reset_timing": "late"}), ("several spikes", {"max_spikes": None}))
)
