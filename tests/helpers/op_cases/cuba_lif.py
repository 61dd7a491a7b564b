"""Current-based LIF neurons."""

import functools

import torch
from op_tests import measured, transformed
from op_tests.kinds import Call, Module, Smooth
from op_tests.measured import DECAY, SURROGATE, THRESHOLD, Op
from op_tests.neurons import SPREADS
from op_tests.transformed import STEP, WIDTH, X, of_module, of_x

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference
from spikeops.functional._lif_options import RESETS
from spikeops.functional.cuba_lif import ORDERS, TIMINGS
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------


def neurons(i, spread=None, initial=False, order="decay_input_membrane", reset="subtract", reset_timing="now", strict=False,
            detach_reset=False, takes_threshold=True, surrogate=ATan(2.0), is_constant=False):  # fmt: skip
    """The arguments CUBA_LIF_NEURON of csrc/cuba_lif.cpp."""
    kind, scale, peak = surrogate.coefficients
    numbers = (0.6, 0.5, 0.7, 1.0, 1.0, 0.8, -0.2, 0.1, scale, peak)
    modes = (ORDERS[order], RESETS[reset], TIMINGS[reset_timing], int(strict), int(detach_reset), int(takes_threshold), kind,
             i.T if is_constant else 0)  # fmt: skip
    tensors = [i.decay(spread), i.decay(spread), _scale(i, spread), _threshold(i, spread)] if spread else [None] * 4
    tensors += [i.v_init(), i.v_init()] if initial else [None, None]
    return i.one_step() if is_constant else i.x(), *tensors, numbers, modes


def _scale(i, spread):
    return i.parameter(spread, 0.5, 1.5)


def _threshold(i, spread):
    return i.parameter(spread, 0.6, 1.4)


def _gradients(i):
    return i.gradient(), i.gradient(False, i.state), i.gradient(False, i.state)


_ALL, _NONE = (True,) * 6, (False,) * 6
RAW = {
    "cuba_lif": lambda i: ("cuba_lif_forward", neurons(i)),
    "cuba_lif/to": lambda i: ("cuba_lif_forward", neurons(i, "one", True, "input_decay_membrane", reset="to", strict=True)),
    "cuba_lif/none": lambda i: ("cuba_lif_forward", neurons(i, "per_neuron", False, "input_membrane_decay", reset="none")),
    "cuba_lif/constant": lambda i: (
        "cuba_lif_forward",
        neurons(i, "per_channel", True, "membrane_decay_input", reset_timing="late", takes_threshold=False, is_constant=True),
    ),
    "cuba_lif_backward": lambda i: ("cuba_lif_backward", (*_gradients(i), *neurons(i, "one", True), *_ALL)),
    "cuba_lif_backward/spikes": lambda i: (
        "cuba_lif_backward", (i.gradient(), None, None, *neurons(i, None, False, "input_decay_membrane", takes_threshold=False), *_NONE)
    ),
    "cuba_lif_backward/state": lambda i: (
        "cuba_lif_backward",
        (None, *_gradients(i)[1:], *neurons(i, "per_channel", False, "membrane_decay_input", reset="to"), *(True, False) * 2, False, False),
    ),
    "cuba_lif_backward/late": lambda i: (
        "cuba_lif_backward", (*_gradients(i), *neurons(i, "per_neuron", True, "input_membrane_decay", reset_timing="late"), *_ALL)
    ),
    "cuba_lif_backward/detached": lambda i: (
        "cuba_lif_backward",
        (*_gradients(i), *neurons(i, None, True, reset="to", reset_timing="late_with_input", detach_reset=True), *(False,) * 4, True, True),
    ),
    "cuba_lif_backward/constant": lambda i: (
        "cuba_lif_backward", (*_gradients(i), *neurons(i, "one", True, reset="none", is_constant=True), *_ALL)
    ),
}  # fmt: skip

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _cuba_lif(i, decay="number", current_decay="number", current_scale=None, threshold=None, v_init=None, i_init=None):
    return {
        "x": i.x(), "decay": i.decay(decay), "current_decay": i.decay(current_decay),
        "current_scale": current_scale and _scale(i, current_scale), "threshold": threshold and _threshold(i, threshold),
        "v_init": v_init and i.v_init(v_init), "i_init": i_init and i.v_init(i_init),
    }  # fmt: skip


def _constant(i):
    return {"x": i.one_step(), "decay": i.decay("one"), "current_decay": i.decay("one"), "i_init": i.v_init(), "time_steps": i.T}


_BETWEEN = (-1.5, 1.5)
_NUMBERS = ("threshold", "current_scale", "input_scale", "reset_amount", "v_reset", "v_rest")
_TENSORS = ("x", "decay", "threshold", "current_decay", "current_scale", "v_init", "i_init")
_CUBA = dict(differentiable=_TENSORS, keeps=_TENSORS)
_PER_NEURON = functools.partial(_cuba_lif, **dict.fromkeys(_TENSORS[1:], "per_neuron"))
CALLS = (
    Call(
        name="cuba_lif", arguments=_cuba_lif, spikes=0, any_number=_NUMBERS, float32=_NUMBERS, **_CUBA,
        spreads={"decay": SPREADS, "current_decay": SPREADS, **dict.fromkeys(_TENSORS[-2:], (None, *SPREADS[1:]))},
        ranges={
            "threshold": _BETWEEN, "current_scale": _BETWEEN, "input_scale": _BETWEEN, "order": [*ORDERS], "reset": [*RESETS],
            "v_reset": _BETWEEN, "v_rest": _BETWEEN, "reset_timing": [*TIMINGS], "strict": [False, True],
            "detach_reset": [False, True], "reset_amount": [None, 0.0, 0.7, -1.1],
            "surrogate": [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)],
        },
    ),
    Call(name="cuba_lif/parameters", arguments=_PER_NEURON, spikes=0, **_CUBA,
         options={"reset": "to", "v_reset": -0.125, "order": "input_decay_membrane"}),
    Call(name="cuba_lif/late", arguments=_PER_NEURON, spikes=0, options={"reset_timing": "late", "order": "input_membrane_decay"}, **_CUBA),
    Call(name="cuba_lif/options", arguments=functools.partial(_cuba_lif, decay="one", threshold="one", i_init="one"), on_device=False,
         options={"reset_amount": 0.5, "strict": True, "v_rest": 0.5, "input_scale": 0.7, "surrogate": Triangle(1.0)}, **_CUBA),
    Call(name="cuba_lif/constant", arguments=_constant, spikes=0, options={"detach_reset": True, "order": "membrane_decay_input"}, **_CUBA),
)  # fmt: skip


def _far_from_the_threshold(draw, shape):
    """Input on which every neuron is either far above or far below its threshold, at every step; numbers and initial state."""
    far = torch.tensor([-20.0, 20.0])[torch.randint(2, (5, 2, 3), generator=draw)]
    x = (far + torch.rand(5, 2, 3, generator=draw)).double()
    ranges = ((0.02, 0.05), (0.1, 0.2), (0.9, 1.1), (0.9, 1.1))
    numbers = [(low + (high - low) * torch.rand(shape, generator=draw)).double() for low, high in ranges]
    return x, *numbers, *((0.4 * torch.rand(shape, generator=draw)).double() for _ in range(2))


def _state(options, x, decay, current_decay, current_scale, threshold, v_init, i_init):
    tensors = dict(current_decay=current_decay, current_scale=current_scale, v_init=v_init, i_init=i_init)
    spikes, v_last, i_last = SF.cuba_lif(x, decay, threshold, surrogate=Triangle(0.1), **tensors, **options)
    assert 0 < spikes.mean() < 1
    return torch.stack((v_last, i_last))


SMOOTH = tuple(
    Smooth(name=f"cuba_lif/{options}", function=functools.partial(_state, options), tensors=_far_from_the_threshold)
    for options in (
        dict(reset="subtract"),
        dict(reset_amount=0.4, v_rest=0.2, input_scale=1.5, order="input_decay_membrane"),
        dict(reset="to", v_reset=-0.3, order="input_membrane_decay"),
        dict(reset_timing="late", order="membrane_decay_input"),
        dict(reset="to", v_reset=-0.3, reset_timing="late"),
        dict(reset="to", v_reset=-0.3, reset_timing="late_with_input"),
    )
)  # fmt: skip

# --- spikeops.nn ------------------------------------------------------------------------------------------------------------


def _by_function(x, decay=0.5, threshold=1.0, return_state=False, learn_decays=False, shape=(), **options):
    outputs = SF.cuba_lif(x, decay, threshold, **options)
    return outputs if return_state else outputs[0]


MODULES = (
    Module(
        kind=snn.CubaLIF,
        options=dict(decay=0.9, threshold=0.5, current_decay=0.8, order="input_decay_membrane", current_scale=0.4, learn_decays=True,
                     shape=(4, 1), input_scale=2.0, reset="to", reset_amount=0.7, v_reset=-0.1, v_rest=0.1, reset_timing="late", strict=True,
                     detach_reset=True, surrogate=Sigmoid(3.0), return_state=True),
        function=_by_function,
        samples=({"decay": 0.9, "current_scale": 0.5}, dict(current_decay=0.7, reset="to", order="membrane_decay_input")),
    ),
)  # fmt: skip

_ROW = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
_VALUES = dict(decay=0.5, threshold=1.0, current_decay=0.75, current_scale=0.25, input_scale=0.5, reset_amount=0.75, v_reset=0.25,
               v_rest=0.125)  # fmt: skip
NUMBERS = {
    SF.cuba_lif: (lambda time_steps, **o: SF.cuba_lif(_ROW, time_steps=time_steps, **o), _VALUES | {"time_steps": 3}),
    snn.CubaLIF: (
        lambda shape, **o: [snn.CubaLIF(**o)(_ROW), snn.CubaLIF(learn_decays=True, shape=(shape,))(_ROW)], _VALUES | {"shape": 3},
    ),
}  # fmt: skip

# --- transforms -------------------------------------------------------------------------------------------------------------


def _parameters(**options):
    def function(x, number, v_init, i_init):
        decays = dict(decay=0.4 + number / 4, current_decay=0.3 + number / 5)
        return SF.cuba_lif(x, **decays, threshold=0.5 + number / 2, current_scale=0.5 + number, v_init=v_init, i_init=i_init, **options)

    return transformed.Call(function, (X, ("N",), STEP, STEP), (1, None, 0, 0))


TRANSFORMED = {
    "cuba_lif": of_x(lambda x: SF.cuba_lif(x, 0.9)),
    "cuba_lif/parameters": _parameters(order="input_decay_membrane"),
    "cuba_lif/to": _parameters(reset="to", v_reset=-0.2, v_rest=0.1, order="input_membrane_decay"),
    "cuba_lif/late": _parameters(reset_timing="late", order="membrane_decay_input"),
    "cuba_lif/constant": transformed.Call(
        lambda x, i: SF.cuba_lif(x, 0.8, i_init=i, time_steps=4, reset_amount=0.7), (STEP, ("N",)), (0, None), steps_are_fixed=True
    ),
    "CubaLIF": of_module(lambda: snn.CubaLIF(0.6, learn_decays=True, shape=(WIDTH,), return_state=True)),
}

# --- benchmarks -------------------------------------------------------------------------------------------------------------

MEASURED = (
    Op(
        "cuba_lif",
        fused=lambda x, T: SF.cuba_lif(x, DECAY, THRESHOLD, surrogate=SURROGATE)[0],
        eager=lambda x, T: reference.cuba_lif(x, DECAY, THRESHOLD, surrogate=SURROGATE)[0],
        make_input=measured.currents,
        tests=("test_cuba_lif.py",),
        moves=lambda T, N: (8 * T * N, 12 * T * N),
        has_gradient=True,
    ),
)
