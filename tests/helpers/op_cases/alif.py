"""LIF neurons with an adaptive threshold."""

import functools

import torch
from op_tests import measured, transformed
from op_tests.inputs import ROW
from op_tests.kinds import Call, Module, Smooth
from op_tests.measured import DECAY, SURROGATE, THRESHOLD, Op
from op_tests.neurons import SPREADS
from op_tests.transformed import STEP, WIDTH, X, of_module, of_x

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference
from spikeops.functional._lif_options import RESETS
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------


def neurons(i, decays=None, initial=False, reset="subtract", strict=False, detach_reset=False, subtracts_threshold=True,
            surrogate=ATan(2.0), is_constant=False):  # fmt: skip
    """The arguments ALIF_NEURON of csrc/alif.cpp."""
    kind, scale, peak = surrogate.coefficients
    numbers = (0.6, 0.9, 1.0, 0.3, 1.0, 0.8, -0.2, 0.1, scale, peak)
    modes = (RESETS[reset], int(strict), int(detach_reset), int(subtracts_threshold), kind, i.T if is_constant else 0)
    tensors = [i.decay(decays), i.decay(decays)] if decays else [None, None]
    tensors += [i.v_init(), i.v_init()] if initial else [None, None]
    return i.one_step() if is_constant else i.x(), *tensors, numbers, modes


def _gradients(i):
    return i.gradient(), i.gradient(False, i.state), i.gradient(False, i.state)


_ALL, _NONE = (True,) * 4, (False,) * 4
RAW = {
    "alif": lambda i: ("alif_forward", neurons(i)),
    "alif/to": lambda i: ("alif_forward", neurons(i, "one", True, reset="to", strict=True)),
    "alif/none": lambda i: ("alif_forward", neurons(i, "per_neuron", reset="none")),
    "alif/constant": lambda i: ("alif_forward", neurons(i, "per_channel", True, subtracts_threshold=False, is_constant=True)),
    "alif_backward": lambda i: ("alif_backward", (*_gradients(i), *neurons(i, "one", True), *_ALL)),
    "alif_backward/spikes": lambda i: ("alif_backward", (i.gradient(), None, None, *neurons(i, subtracts_threshold=False), *_NONE)),
    "alif_backward/state": lambda i: (
        "alif_backward", (None, *_gradients(i)[1:], *neurons(i, "per_channel", reset="to"), True, False, False, False)
    ),
    "alif_backward/detached": lambda i: (
        "alif_backward", (*_gradients(i), *neurons(i, initial=True, detach_reset=True), False, False, True, True)
    ),
    "alif_backward/constant": lambda i: ("alif_backward", (*_gradients(i), *neurons(i, "one", True, is_constant=True), *_ALL)),
}  # fmt: skip

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _alif(i, decay="number", adaptation_decay="number", v_init=None, a_init=None):
    return {
        "x": i.x(), "decay": i.decay(decay), "adaptation_decay": i.decay(adaptation_decay),
        "v_init": v_init and i.v_init(v_init), "a_init": a_init and i.v_init(a_init),
    }  # fmt: skip


def _constant(i):
    return {"x": i.one_step(), "decay": i.decay("one"), "adaptation_decay": i.decay("one"), "a_init": i.v_init(), "time_steps": i.T}


_BETWEEN = (-1.5, 1.5)
_NUMBERS = ("threshold", "beta", "input_scale", "reset_amount", "v_reset", "v_rest")
_TENSORS = ("x", "decay", "adaptation_decay", "v_init", "a_init")
_ALIF = dict(differentiable=_TENSORS, keeps=_TENSORS)
_PER_NEURON = functools.partial(_alif, **dict.fromkeys(_TENSORS[1:], "per_neuron"))
CALLS = (
    Call(
        name="alif", arguments=_alif, spikes=0, any_number=_NUMBERS, float32=_NUMBERS, **_ALIF,
        spreads={"decay": SPREADS, "adaptation_decay": SPREADS, "v_init": (None, *SPREADS[1:]), "a_init": (None, *SPREADS[1:])},
        ranges={
            "threshold": _BETWEEN, "beta": _BETWEEN, "input_scale": _BETWEEN, "reset": [*RESETS], "v_reset": _BETWEEN,
            "v_rest": _BETWEEN, "strict": [False, True], "detach_reset": [False, True], "reset_amount": [None, 0.0, 0.7, -1.1],
            "surrogate": [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)],
        },
    ),
    Call(name="alif/parameters", arguments=_PER_NEURON, spikes=0, options={"reset": "to", "v_reset": -0.125}, **_ALIF),
    Call(name="alif/options", arguments=functools.partial(_alif, decay="one", a_init="one"), on_device=False,
         options={"reset_amount": 0.5, "strict": True, "v_rest": 0.5, "input_scale": 0.7, "surrogate": Triangle(1.0)}, **_ALIF),
    Call(name="alif/constant", arguments=_constant, spikes=0, options={"detach_reset": True}, **_ALIF),
)  # fmt: skip


def _far_from_the_threshold(draw, shape):
    """Input on which every neuron is either far above or far below its threshold, at every step; decays and initial state."""
    far = torch.tensor([-20.0, 20.0])[torch.randint(2, (5, 2, 3), generator=draw)]
    x = (far + torch.rand(5, 2, 3, generator=draw)).double()
    decays = [(0.2 + 0.2 * torch.rand(shape, generator=draw)).double() for _ in range(2)]
    return x, *decays, *(torch.rand(shape, generator=draw).double() for _ in range(2))


def _state(options, x, decay, adaptation_decay, v_init, a_init):
    tensors = dict(adaptation_decay=adaptation_decay, v_init=v_init, a_init=a_init)
    spikes, v_last, a_last = SF.alif(x, decay, beta=0.3, surrogate=Triangle(0.1), **tensors, **options)
    assert 0 < spikes.mean() < 1
    return torch.stack((v_last, a_last))


SMOOTH = tuple(
    Smooth(name=f"alif/{options}", function=functools.partial(_state, options), tensors=_far_from_the_threshold)
    for options in (dict(reset="subtract"), dict(reset_amount=0.4, v_rest=0.2, input_scale=1.5), dict(reset="to", v_reset=-0.3))
)  # fmt: skip

# --- spikeops.nn ------------------------------------------------------------------------------------------------------------


def _by_function(x, decay=0.5, threshold=1.0, return_state=False, learn_decays=False, shape=(), **options):
    outputs = SF.alif(x, decay, threshold, **options)
    return outputs if return_state else outputs[0]


MODULES = (
    Module(
        kind=snn.ALIF,
        options=dict(decay=0.9, threshold=0.5, adaptation_decay=0.8, beta=0.4, learn_decays=True, shape=(4, 1), input_scale=2.0,
                     reset="to", reset_amount=0.7, v_reset=-0.1, v_rest=0.1, strict=True, detach_reset=True, surrogate=Sigmoid(3.0),
                     return_state=True),
        function=_by_function,
        samples=({"decay": 0.9, "beta": 0.5}, dict(adaptation_decay=0.7, reset="to")),
    ),
)  # fmt: skip

_VALUES = dict(decay=0.5, threshold=1.0, adaptation_decay=0.75, beta=0.25, input_scale=0.5, reset_amount=0.75, v_reset=0.25, v_rest=0.125)
NUMBERS = {
    SF.alif: (lambda time_steps, **o: SF.alif(ROW, time_steps=time_steps, **o), _VALUES | {"time_steps": 3}),
    snn.ALIF: (
        lambda shape, **o: [snn.ALIF(**o)(ROW), snn.ALIF(learn_decays=True, shape=(shape,))(ROW)], _VALUES | {"shape": 3},
    ),
}  # fmt: skip

# --- transforms -------------------------------------------------------------------------------------------------------------


def _parameters(reset):
    def function(x, decay, v_init, a_init):
        decays = dict(decay=0.4 + decay / 4, adaptation_decay=0.5 + decay / 5)
        return SF.alif(x, **decays, beta=0.3, reset=reset, v_reset=-0.2, v_rest=0.1, v_init=v_init, a_init=a_init)

    return transformed.Call(function, (X, ("N",), STEP, STEP), (1, None, 0, 0))


TRANSFORMED = {
    "alif": of_x(lambda x: SF.alif(x, 0.9)),
    "alif/parameters": _parameters("subtract"),
    "alif/to": _parameters("to"),
    "alif/constant": transformed.Call(
        lambda x, a: SF.alif(x, 0.8, a_init=a, time_steps=4, reset_amount=0.7), (STEP, ("N",)), (0, None), steps_are_fixed=True
    ),
    "ALIF": of_module(lambda: snn.ALIF(0.6, learn_decays=True, shape=(WIDTH,), return_state=True)),
}

# --- benchmarks -------------------------------------------------------------------------------------------------------------

MEASURED = (
    Op(
        "alif",
        fused=lambda x, T: SF.alif(x, DECAY, THRESHOLD, surrogate=SURROGATE)[0],
        eager=lambda x, T: reference.alif(x, DECAY, THRESHOLD, surrogate=SURROGATE)[0],
        make_input=measured.currents,
        tests=("test_alif.py",),
        moves=lambda T, N: (8 * T * N, 12 * T * N),
        has_gradient=True,
    ),
)
