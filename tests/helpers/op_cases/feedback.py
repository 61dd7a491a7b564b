"""Steps of the neurons in feedback networks, in place on their state."""

import functools

import torch
from op_tests import measured, transformed
from op_tests.inputs import ROW
from op_tests.kinds import Call, Module
from op_tests.measured import STEPS, THRESHOLD, Op
from op_tests.transformed import IN_PLACE, REFUSED, STEP, WIDTH, X, of_module
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops._dtypes import state_dtype


def step(i, drive=True, current="constant", factor=True, count=True, fired=True):
    """The arguments FEEDBACK_NEURON of csrc/feedback.cpp. What is only written holds nonsense."""
    kinds = {
        None: lambda: None,
        "constant": lambda: i.per_neuron(-0.3, 0.3),
        "per_step": lambda: i.x().detach(),
    }
    return (
        i.per_neuron(-0.5, 0.9, i.state),
        i.nonsense(),
        i.per_neuron(0, 3, i.state),
        i.x().detach() if drive else None,
        kinds[current](),
        (i.per_neuron(0, 1) > 0.3).to(i.dtype) * 1.25 if factor else None,
        i.per_neuron(0, 3, i.state) if count else None,
        torch.full((i.T,), 7, dtype=torch.int32, device=i.device) if fired else None,
    )


RAW = {
    "feedback_step_": lambda i: ("feedback_step_", (*step(i), 0.9, 1.0, 1.5)),
    "feedback_step_/drive": lambda i: ("feedback_step_", (*step(i, True, None, False, False, False), 1.0, 1.0, 1.0)),
    "feedback_step_/current": lambda i: ("feedback_step_", (*step(i, False, "per_step", True, False), 0.9, 0.5, 0.5)),
    "ternary_step_": lambda i: ("ternary_step_", (*step(i), 0.7, 0.9, 0.5, 1.0)),
    "ternary_step_/drive": lambda i: ("ternary_step_", (*step(i, True, None, False, False, False), 0.7, 1.0, 0.3, 0.5)),
    "ternary_step_/current": lambda i: ("ternary_step_", (*step(i, False, "per_step", True, False), 1.0, 0.9, 0.5, 1.1)),
}


def _arguments(i, factor_is="mask", **given):
    return dict(zip(("membrane", "spikes", "rate", "drive", "current", factor_is, "count", "fired"), step(i, **given)))


_OPTIONAL = {"drive": [True, False], "current": ["constant", "per_step", None], "factor": [True, False], "count": [True, False],
             "fired": [True, False]}  # fmt: skip
_IN_PLACE = dict(written=("membrane", "spikes", "rate", "count", "fired"), spreads=_OPTIONAL, own_bad_input="test_feedback_bad_input.py")
CALLS = (
    Call(name="feedback_step_", arguments=_arguments, options={"leak": 0.9}, float32=("threshold", "reset_amount"),
         ranges={"leak": [0.83, 1.0], "threshold": [0.5], "reset_amount": (0.25, 1.5)}, **_IN_PLACE),
    Call(name="ternary_step_", arguments=functools.partial(_arguments, factor_is="gate"), options={"leak": 0.9, "amplitude": 1.0},
         ranges={"leak": [0.83, 1.0], "threshold": [0.5], "drive_scale": (0.25, 1.5), "amplitude": (0.25, 1.5)},
         float32=("threshold", "drive_scale", "amplitude"), **_IN_PLACE),
)  # fmt: skip

MODULES = (
    Module(
        kind=snn.FeedbackRing,
        needed=dict(layers=[], feedback=nn.Linear(6, 6), input_layer=nn.Linear(4, 6)),
        options=dict(method="spide", time_steps=3, leak=0.9, threshold=0.5, dropout=0.1, input="spikes", solver="fixed_point",
                     solver_steps=3, on_solver_failure="raise", u_rest=-0.1, backward_time_steps=4, backward_threshold=0.3,
                     backward_u_rest=-0.1, cuda_graph=False),
    ),
)  # fmt: skip


def _numbers_of_step(op):
    def function(**options):
        state = [torch.zeros(3), torch.empty(4, 3), torch.zeros(3)]
        op(*state, ROW, **options)
        return state

    return function


def _numbers_of_ring(method):
    def function(**options):
        torch.manual_seed(0)
        return [snn.FeedbackRing([], nn.Linear(4, 4), nn.Linear(3, 4), method=method, **options)(ROW)]

    return function


def _numbers_of_weights(change):
    def function(**options):
        torch.manual_seed(0)
        return [change(nn.Linear(4, 4), **options).weight]

    return function


NUMBERS = {
    SF.feedback_step_: (_numbers_of_step(SF.feedback_step_), dict(leak=0.5, threshold=0.5, reset_amount=0.25)),
    SF.ternary_step_: (_numbers_of_step(SF.ternary_step_), dict(drive_scale=0.5, leak=0.5, threshold=0.25, amplitude=0.5)),
    snn.FeedbackRing: (_numbers_of_ring("ide"), dict(time_steps=5, leak=0.5, threshold=1.0, dropout=0.0, solver_steps=3)),
    "spide": (_numbers_of_ring("spide"), dict(
        time_steps=5, leak=0.5, threshold=1.0, dropout=0.0, u_rest=-0.5, backward_time_steps=4, backward_threshold=0.5, backward_u_rest=-0.25,
    )),
    snn.restrict_spectral_norm: (_numbers_of_weights(snn.restrict_spectral_norm), dict(norm_range=0.5)),
    snn.restrict_frobenius_norm: (_numbers_of_weights(snn.restrict_frobenius_norm), dict(norm_range=0.5, samples=4)),
    snn.init_unit_norm_: (_numbers_of_weights(snn.init_unit_norm_), dict(gain=0.5)),
}  # fmt: skip

# --- transforms -------------------------------------------------------------------------------------------------------------


def _step_of(op):
    def function(membrane, drive):
        membrane, rate, spikes = membrane.clone(), torch.zeros_like(membrane), torch.empty_like(drive)
        op(membrane, spikes, rate, drive, leak=0.9)
        return spikes, membrane, rate

    return function


def _ring(method):
    feedback = nn.Linear(6, 6, bias=False)
    nn.init.normal_(feedback.weight, std=0.05)
    return snn.FeedbackRing([], feedback, nn.Linear(WIDTH, 6), method=method, time_steps=6, threshold=1.0)


_OF_RING = dict(
    shapes=(STEP,), batched=(0,), gradient=REFUSED, forward=REFUSED, vmap=REFUSED, trace=REFUSED, export=REFUSED, compile=REFUSED,
    steps_are_fixed=True,
)  # fmt: skip
TRANSFORMED = {
    "feedback_step_": transformed.Call(_step_of(SF.feedback_step_), (STEP, X), (0, 1), **IN_PLACE),
    "ternary_step_": transformed.Call(_step_of(SF.ternary_step_), (STEP, X), (0, 1), **IN_PLACE),
    "FeedbackRing/ide": of_module(lambda: _ring("ide"), **_OF_RING),
    "FeedbackRing/spide": of_module(lambda: _ring("spide"), **_OF_RING),
}

# --- benchmarks -------------------------------------------------------------------------------------------------------------

def _feedback_loop(drive, T, membrane, rate, spikes):
    """Integrate-and-fire neurons: the input (T, ...), their state (...), the spikes (T, ...)."""
    for x, spike in zip(drive, spikes):
        membrane.add_(x)
        spike.copy_(membrane >= THRESHOLD)
        rate.add_(spike)
        membrane.sub_(spike, alpha=THRESHOLD)
    return spikes


def _ternary_loop(drive, T, membrane, rate, spikes):
    """The same for neurons that fire +A, -A or not at all, A twice the threshold."""
    for x, spike in zip(drive, spikes):
        membrane.add_(x)
        torch.mul((membrane >= THRESHOLD).to(x.dtype) - (membrane <= -THRESHOLD).to(x.dtype), 2 * THRESHOLD, out=spike)
        rate.add_(spike)
        membrane.sub_(spike)
    return spikes


def _state(x):
    """Membrane potentials, rates, and room for the spikes."""
    state = state_dtype(x.dtype)
    return torch.zeros_like(x[0], dtype=state), torch.zeros_like(x[0], dtype=state), torch.empty_like(x)


_MEASURED = dict(
    make_input=measured.currents,
    tests=("test_feedback.py", "test_feedback_bad_input.py"),
    moves=lambda T, N: (8 * T * N + 16 * N, None),  # membrane potentials and rates are read and written
    make_state=_state,
    sizes=STEPS,
)
MEASURED = (
    Op(
        "feedback_step_",
        fused=lambda x, T, membrane, rate, spikes: SF.feedback_step_(membrane, spikes, rate, x, threshold=THRESHOLD),
        eager=_feedback_loop,
        **_MEASURED,
    ),
    Op(
        "ternary_step_",
        fused=lambda x, T, membrane, rate, spikes: SF.ternary_step_(membrane, spikes, rate, x, threshold=THRESHOLD),
        eager=_ternary_loop,
        **_MEASURED,
    ),
)
