"""Leaky readouts."""

import functools

import torch
from op_tests import measured, transformed
from op_tests.kinds import Call, Module, Smooth
from op_tests.measured import DECAY, Op
from op_tests.neurons import SPREADS
from op_tests.transformed import STEP, WIDTH, WORKS, X, of_module, of_x

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------


def neurons(i, decay=None, initial=False, is_constant=False):
    """The arguments READOUT_NEURON of csrc/readout.cpp."""
    tensors = (i.decay(decay) if decay else None, i.v_init() if initial else None)
    return i.one_step() if is_constant else i.x(), *tensors, (0.8, 0.7, 0.1), (i.T if is_constant else 0,)


def _gradients(i):
    return i.gradient(), i.gradient(False, i.state)


RAW = {
    "leaky_readout": lambda i: ("leaky_readout_forward", neurons(i)),
    "leaky_readout/parameters": lambda i: ("leaky_readout_forward", neurons(i, "one", True)),
    "leaky_readout/constant": lambda i: ("leaky_readout_forward", neurons(i, "per_channel", is_constant=True)),
    "leaky_readout_backward": lambda i: ("leaky_readout_backward", (*_gradients(i), *neurons(i, "one", True), True, True)),
    "leaky_readout_backward/trace": lambda i: ("leaky_readout_backward", (i.gradient(), None, *neurons(i), False, False)),
    "leaky_readout_backward/state": lambda i: (
        "leaky_readout_backward", (None, i.gradient(False, i.state), *neurons(i, "per_neuron"), True, False)
    ),
    "leaky_readout_backward/constant": lambda i: (
        "leaky_readout_backward", (*_gradients(i), *neurons(i, "per_channel", True, is_constant=True), True, True)
    ),
}  # fmt: skip

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _readout(i, decay="number", v_init=None):
    return {"x": i.x(), "decay": i.decay(decay), "v_init": v_init and i.v_init(v_init)}


def _constant(i):
    return {"x": i.one_step(), "decay": i.decay("one"), "v_init": i.v_init(), "time_steps": i.T}


_BETWEEN = (-1.5, 1.5)
_NUMBERS = ("input_scale", "v_rest")
_TENSORS = ("x", "decay", "v_init")
_CALL = dict(differentiable=_TENSORS, keeps=_TENSORS)
CALLS = (
    Call(
        name="leaky_readout", arguments=_readout, any_number=_NUMBERS, float32=_NUMBERS,
        spreads={"decay": SPREADS, "v_init": (None, *SPREADS[1:])}, ranges=dict.fromkeys(_NUMBERS, _BETWEEN), **_CALL,
    ),
    Call(name="leaky_readout/parameters", arguments=functools.partial(_readout, decay="per_neuron", v_init="per_neuron"),
         options={"v_rest": 0.25, "input_scale": 0.5}, **_CALL),
    Call(name="leaky_readout/constant", arguments=_constant, **_CALL),
)  # fmt: skip


def _smooth(draw, shape):
    x = torch.randn(5, 2, 3, generator=draw).double()
    return x, (0.3 + 0.4 * torch.rand(shape, generator=draw)).double(), torch.rand(shape, generator=draw).double()


SMOOTH = tuple(
    Smooth(name=f"leaky_readout/{output}", tensors=_smooth,
           function=lambda x, decay, v_init, output=output: SF.leaky_readout(x, decay, v_rest=0.2, input_scale=1.5, v_init=v_init)[output])
    for output in (0, 1)
)  # fmt: skip

# --- spikeops.nn ------------------------------------------------------------------------------------------------------------


def _by_function(x, decay=0.9, return_state=False, learn_decay=False, shape=(), **options):
    outputs = SF.leaky_readout(x, decay, **options)
    return outputs if return_state else outputs[0]


MODULES = (
    Module(
        kind=snn.LeakyReadout,
        options=dict(decay=0.8, learn_decay=True, shape=(4, 1), input_scale=2.0, v_rest=0.1, return_state=True),
        function=_by_function,
        samples=({"decay": 0.5, "v_rest": 0.5},),
    ),
)

_ROW = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
_VALUES = dict(decay=0.5, input_scale=0.5, v_rest=0.125)
NUMBERS = {
    SF.leaky_readout: (lambda time_steps, **o: SF.leaky_readout(_ROW, time_steps=time_steps, **o), _VALUES | {"time_steps": 3}),
    snn.LeakyReadout: (
        lambda shape, **o: [snn.LeakyReadout(**o)(_ROW), snn.LeakyReadout(learn_decay=True, shape=(shape,))(_ROW)],
        _VALUES | {"shape": 3},
    ),
}

# --- transforms -------------------------------------------------------------------------------------------------------------

TRANSFORMED = {
    "leaky_readout": of_x(lambda x: SF.leaky_readout(x, 0.9), forward=WORKS),
    "leaky_readout/parameters": transformed.Call(
        lambda x, decay, v: SF.leaky_readout(x, 0.4 + decay / 4, v_rest=0.1, v_init=v), (X, ("N",), STEP), (1, None, 0), forward=WORKS
    ),
    "leaky_readout/constant": transformed.Call(
        lambda x, v: SF.leaky_readout(x, 0.8, v_init=v, time_steps=4), (STEP, ("N",)), (0, None), forward=WORKS, steps_are_fixed=True
    ),
    "LeakyReadout": of_module(lambda: snn.LeakyReadout(0.6, learn_decay=True, shape=(WIDTH,), return_state=True), forward=WORKS),
}

# --- benchmarks -------------------------------------------------------------------------------------------------------------

MEASURED = (
    Op(
        "leaky_readout",
        fused=lambda x, T: SF.leaky_readout(x, DECAY)[0],
        eager=lambda x, T: reference.leaky_readout(x, DECAY)[0],
        make_input=measured.currents,
        tests=("test_readout.py",),
        moves=lambda T, N: (8 * T * N, 12 * T * N),
        has_gradient=True,
    ),
)
