"""One table of calls of spikeops.functional and of modules of spikeops.nn, keyed by family, as functions of tensors.

Every sequence has T = 4 time steps, a batch of 3 as its second axis and 5 neurons, or maps (2, 6, 6), behind it."""

from __future__ import annotations

from collections.abc import Callable

import op_cases
import torch
from op_tests.transformed import BATCH, NONE, REFUSED, STEP, WIDTH, WORKS, Call, T, X, of_module, of_x

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle


def _parameters(reset="subtract", **options):
    def function(x, decay, v_init):
        return SF.lif(x, 0.4 + decay / 4, reset=reset, v_reset=-0.2, v_rest=0.1, v_init=v_init, **options)

    return Call(function, (X, ("N",), STEP), (1, None, 0))


def _feedback(op):
    def function(membrane, drive):
        membrane, rate, spikes = membrane.clone(), torch.zeros_like(membrane), torch.empty_like(drive)
        op(membrane, spikes, rate, drive, leak=0.9)
        return spikes, membrane, rate

    return function


def _local_step(current, membrane, weight):
    membrane = membrane.clone()
    spikes, gradient = torch.empty_like(current), torch.empty_like(current)
    classes = [current.new_zeros(current.shape[0], 4) for _ in range(3)]
    squared, labels = current.new_zeros(current.shape[0]), torch.ones(current.shape[0], dtype=torch.int64)
    SF.local_learning_step_(membrane, spikes, gradient, current, weight, *classes[:2], squared, classes[2], labels, 0.7)
    return spikes, gradient, membrane, squared


def _clamped(x, threshold):
    return SF.clamped_lif(x, threshold - 0.3, dt=0.01, threshold_gain=2.0)


def _trial(x, feedforward):
    decoder = 0.1 * torch.ones(2, 6, dtype=x.dtype)
    recurrent = -torch.ones(6, 2, dtype=x.dtype) @ decoder
    thresholds = torch.linspace(-0.5, 0.5, 6, dtype=x.dtype)
    trials = SF.convex_snn_trial(x, feedforward, recurrent, thresholds, decoder, dt=0.1, leak=2.0)
    return trials.readout, trials.spikes


_LINEAR = dict(forward=WORKS, low=-1.0)
_CONSTANT = dict(gradient=NONE, forward=NONE)
_IN_PLACE = dict(gradient=REFUSED, forward=REFUSED, vmap=REFUSED)
SURROGATES = (ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(3.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5))

OPS = {
    "lif": {
        "lif": of_x(lambda x: SF.lif(x, 0.9)),
        "lif/to": _parameters("to", strict=True),
        "lif/parameters": _parameters(),
        "lif/constant": Call(lambda x, v: SF.lif(x, 0.8, v_init=v, time_steps=4, reset="none"), (STEP, ("N",)), (0, None),
                             steps_are_fixed=True),
        "lif_rate": Call(lambda x, decay: SF.lif_rate(x, 0.4 + decay / 4, weighting="decay"), (X, ("N",)), (1, None)),
        "lif_rate/mean": of_x(lambda x: SF.lif_rate(x, 0.8, reset="to")),
    },
    "tssl_bp": {
        "tssl_bp": of_x(lambda x: SF.tssl_bp(x)),
        "tssl_bp/spikes": of_x(lambda x: SF.tssl_bp(x, 4.0, 2.0, return_spikes=True)),
    },
    "synapse": {"synaptic_filter": of_x(lambda x: SF.synaptic_filter(x, 3.0), **_LINEAR)},
    "count": {
        "spike_count": of_x(lambda x: SF.spike_count(x), **_LINEAR),
        "spike_count/integers": of_x(lambda x: SF.spike_count((x > 1).int()), **_CONSTANT),
        "spike_count/packed": of_x(lambda x: SF.spike_count(SF.pack_spikes(x - 1 > 0)), **_CONSTANT),
    },
    "pack": {
        "pack_spikes": of_x(lambda x: SF.pack_spikes((x - 1).relu()).int(), **_CONSTANT),
        "unpack_spikes": of_x(lambda x: SF.unpack_spikes(SF.pack_spikes((x - 1).relu()), 4), steps_are_fixed=True, **_CONSTANT),
    },
    "encode": {
        "latency_encode": Call(lambda p: SF.latency_encode(p, 4), (STEP,), (0,), steps_are_fixed=True, **_CONSTANT),
        "poisson_encode": Call(lambda p: SF.poisson_encode(p, 4), (STEP,), (0,), steps_are_fixed=True, **_CONSTANT),
    },
    "conv": {
        "spike_conv2d": Call(lambda x, w: SF.spike_conv2d(x, w, padding=1), (("B", 2, "N", 6), (4, 2, 3, 3)), (0, None), forward=WORKS,
                             steps_are_fixed=True),
    },
    "feedback": {
        "feedback_step_": Call(_feedback(SF.feedback_step_), (STEP, X), (0, 1), **_IN_PLACE),
        "ternary_step_": Call(_feedback(SF.ternary_step_), (STEP, X), (0, 1), **_IN_PLACE),
    },
    "local": {
        "local_learning_step_": Call(_local_step, (STEP, STEP, (4, "N")), (0, 0, None), steps_are_fixed=True, **_IN_PLACE),
        "local_gradient_in_time": Call(lambda g, d: SF.local_gradient_in_time(g, d, 0.7), (STEP, X), (0, 1), forward=WORKS),
    },
    "clamped": {
        "clamped_lif": Call(_clamped, (STEP, ("N",)), (0, None), steps_are_fixed=True),
        "clamped_lif/maps": Call(_clamped, (("B", "N", 6, 8), ("N",)), (0, 0), steps_are_fixed=True),
    },
    "convex": {
        "convex_snn_trial": Call(_trial, (("T", "B", 2), (6, 2)), (1, None), gradient=REFUSED, forward=REFUSED),
    },
}  # fmt: skip


def _linear(width=WIDTH):
    return torch.nn.Linear(width, 6, bias=False)


def _local_block(rule="bell"):
    return snn.LocalBlock(_linear(), snn.LocalClassifier((6,), 4), rule)


def _ring(method):
    feedback = torch.nn.Linear(6, 6, bias=False)
    torch.nn.init.normal_(feedback.weight, std=0.05)
    return snn.FeedbackRing([], feedback, torch.nn.Linear(WIDTH, 6), method=method, time_steps=6, threshold=1.0)


class _Losses(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.block = snn.LocalLossBlock(_linear(), (6,), 4, batch_norm=False)

    def forward(self, x):
        return self.block.local_losses(self.block(x), torch.arange(x.shape[1]) % 4).total


_MAPS = (("B", 2, 6, 6),)
_IMAGES = dict(shapes=_MAPS, batched=(0,), steps_are_fixed=True, forward=WORKS)
_RING = dict(
    shapes=(STEP,), batched=(0,), gradient=REFUSED, forward=REFUSED, vmap=REFUSED, trace=REFUSED, export=REFUSED, compile=REFUSED,
    steps_are_fixed=True,
)  # fmt: skip

MODULES = {
    "neurons": {
        "LIF": of_module(lambda: torch.nn.Sequential(snn.TimeDistributed(_linear()), snn.LIF(0.8))),
        "IF": of_module(lambda: snn.IF(return_state=True)),
        "ParametricLIF": of_module(lambda: snn.ParametricLIF(0.6, shape=(WIDTH,))),
        "TSSLBP": of_module(lambda: snn.TSSLBP(return_spikes=True)),
        "SynapticFilter": of_module(lambda: snn.SynapticFilter(3.0), forward=WORKS),
        "ClampedLIF": of_module(lambda: snn.ClampedLIF(WIDTH, dt=0.01, threshold_gain=2.0), (STEP,), (0,), steps_are_fixed=True),
    },
    "layers": {
        "TimeDistributed": of_module(lambda: snn.TimeDistributed(_linear()), forward=WORKS),
        "SpikeConv2d": of_module(lambda: snn.SpikeConv2d(2, 4, 3), **_IMAGES),
        "ClassifierPool2d": of_module(lambda: snn.ClassifierPool2d((2, 6, 6), 8), **_IMAGES),
        "WSConv2d": of_module(lambda: snn.WSConv2d(2, 4, 3), **_IMAGES),
    },
    "local": {
        "LocalBlock": of_module(_local_block),
        "LocalClassifier/transpose": of_module(lambda: snn.LocalClassifier((WIDTH,), 4), (STEP,), (0,), steps_are_fixed=True, forward=WORKS),
        "LocalClassifier/alignment": of_module(lambda: snn.LocalClassifier((WIDTH,), 4, feedback="alignment"), (STEP,), (0,),
                                                steps_are_fixed=True, trace=REFUSED),
        "LocalLossBlock": of_module(_Losses, vmap=NONE),
    },
    "convex": {"ConvexSNN": of_module(lambda: snn.ConvexSNN(2, 6, 1), (("T", "B", 2),), gradient=REFUSED, forward=REFUSED)},
    "feedback": {
        "FeedbackRing/ide": of_module(lambda: _ring("ide"), **_RING),
        "FeedbackRing/spide": of_module(lambda: _ring("spide"), **_RING),
    },
}

OPS["of case files"] = {name: call for name, call in op_cases.TRANSFORMED.items() if call.module is None}
MODULES["of case files"] = {name: call for name, call in op_cases.TRANSFORMED.items() if call.module is not None}
CALLS = {name: call for table in (OPS, MODULES) for family in table.values() for name, call in family.items()}


def as_tuple(outputs) -> tuple[torch.Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, tuple) else (outputs,)


def loss(function) -> Callable:
    """A scalar of a call's floating outputs, not linear in them, whose gradients for all of them differ."""

    def of_output(output):
        factors = torch.cos(torch.arange(output.numel(), dtype=output.dtype) + 1).view(output.shape)
        return (output * factors + output.square()).sum()

    return lambda *tensors: sum(of_output(output) for output in as_tuple(function(*tensors)) if output.is_floating_point())


__all__ = ["BATCH", "CALLS", "MODULES", "NONE", "OPS", "REFUSED", "SURROGATES", "T", "WIDTH", "WORKS", "Call", "as_tuple", "loss"]
