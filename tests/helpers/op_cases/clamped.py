"""Neurons that stop at a threshold which they learn."""

import functools

import torch
from op_tests import measured, transformed
from op_tests.inputs import ROW
from op_tests.kinds import Call, Module
from op_tests.layouts import lay_out
from op_tests.measured import Op
from op_tests.transformed import STEP, WIDTH, of_module

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference


def neurons(i):
    """x as a batch of T samples, whose second axis has the thresholds."""
    x = i.x()
    x = x if x.dim() > 1 else x.unsqueeze(1)
    thresholds = torch.rand(x.shape[1], generator=i.draw, dtype=torch.float64) - 0.3
    return x, i.leaf(thresholds.to(i.device, i.state))


def _way_back(i):
    """The gradient of the membrane potentials, and spike counts."""
    gradient = i.gradient(dtype=i.state)
    gradient = gradient if gradient.dim() > 1 else gradient.unsqueeze(1)
    count = torch.randint(0, 4, gradient.shape, generator=i.draw).to(i.dtype)
    return gradient, lay_out(count, i.layout, i.device) if count.dim() > 2 else count.to(i.device)


def _way_back_of_maps(i):
    """With one more axis, so that neurons that share a threshold lie next to each other, whatever the shape."""
    gradient, count = (torch.stack((tensor, tensor.flip(0)), -1).detach() for tensor in _way_back(i))
    return i.leaf(gradient), count


# numbers: dt, leak, threshold_gain, threshold_drift
RAW = {
    "clamped_lif": lambda i: ("clamped_lif_forward", (*neurons(i), (0.01, 2.0, 3.0, 0.1), 3)),
    "clamped_lif/one_step": lambda i: ("clamped_lif_forward", (*neurons(i), (0.5, 2.0, 3.0, 0.0), 1)),
    "clamped_lif_backward": lambda i: ("clamped_lif_backward", (*_way_back(i), (0.01, 2.0, 3.0, 0.1))),
    "clamped_lif_backward/maps": lambda i: ("clamped_lif_backward", (*_way_back_of_maps(i), (0.01, 2.0, 3.0, 0.1))),
}
TOO_SMALL_TO_POISON = ("clamped_lif_backward", "clamped_lif_backward/maps")  # a number for each channel


def _potential_first(function, **arguments):
    """(v, count): what has a gradient comes first."""
    count, v = function(**arguments)
    return v, count


CALLS = (
    Call(
        name="clamped_lif",
        arguments=lambda i: dict(zip(("x", "threshold"), neurons(i))),
        options={"dt": 0.01, "leak": 2.0, "threshold_gain": 3.0},
        positive=("dt",),
        float32=("leak", "threshold_gain", "threshold_drift"),
        differentiable=("x", "threshold"),
        keeps_outputs=(1,),
        spikes=1,
        run=functools.partial(_potential_first, SF.clamped_lif),
        definition=functools.partial(_potential_first, reference.clamped_lif),
        own_bad_input="test_clamped.py",
        own_test="test_clamped.py",
    ),
)

MODULES = (
    Module(kind=snn.ClampedLIF, needed=dict(units=4), state=("threshold",),
           options=dict(time_steps=5, dt=1e-4, leak=1.0, threshold_gain=2.0, threshold_drift=0.0)),
)  # fmt: skip

_VALUES = dict(time_steps=3, dt=0.25, leak=1.0, threshold_gain=2.0, threshold_drift=0.5)


def _with_gradient(function, threshold):
    count, v = function(ROW)
    return [count, v.detach(), *torch.autograd.grad(v.sum(), threshold)]


def _numbers_of_call(**options):
    threshold = torch.tensor([0.25, 0.5, 0.75], requires_grad=True)
    return _with_gradient(functools.partial(SF.clamped_lif, threshold=threshold, **options), threshold)


def _numbers_of_module(**options):
    torch.manual_seed(0)
    neurons = snn.ClampedLIF(**options)
    return _with_gradient(neurons, neurons.threshold)


NUMBERS = {SF.clamped_lif: (_numbers_of_call, _VALUES), snn.ClampedLIF: (_numbers_of_module, _VALUES | {"units": 3})}


def _transformed(x, threshold):
    return SF.clamped_lif(x, threshold - 0.3, dt=0.01, threshold_gain=2.0)


TRANSFORMED = {
    "clamped_lif": transformed.Call(_transformed, (STEP, ("N",)), (0, None), steps_are_fixed=True),
    "clamped_lif/maps": transformed.Call(_transformed, (("B", "N", 6, 8), ("N",)), (0, 0), steps_are_fixed=True),
    "ClampedLIF": of_module(lambda: snn.ClampedLIF(WIDTH, dt=0.01, threshold_gain=2.0), (STEP,), (0,), steps_are_fixed=True),
}

# --- benchmarks: one sample after T time steps, each neuron with a threshold of its own -------------------------------------


@functools.lru_cache
def _thresholds(N, device):
    return 0.3 + 0.2 * torch.randn(N, generator=torch.Generator().manual_seed(0)).to(device)


def _potentials(function):
    return lambda x, T: function(x, _thresholds(x.shape[1], x.device), time_steps=T)[1]


MEASURED = (
    Op(
        "clamped_lif",
        fused=_potentials(SF.clamped_lif),
        eager=_potentials(reference.clamped_lif),
        make_input=lambda T, N, dtype, device: measured.currents(1, N, dtype, device),
        tests=("test_clamped.py",),
        moves=lambda T, N: (8 * N, 8 * N),
        has_gradient=True,
        backward_reads_input=False,
    ),
)
