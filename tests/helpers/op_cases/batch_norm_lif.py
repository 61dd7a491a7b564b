"""Batch norm with LIF neurons behind it, and statistics of channels."""

import functools

import torch
from op_tests import measured, transformed
from op_tests.inputs import ROW
from op_tests.kinds import Call, Module, Smooth
from op_tests.measured import DECAY, SURROGATE, THRESHOLD, VARIANTS, Op
from op_tests.transformed import WIDTH, of_module, of_x

import spikeops.functional as SF
import spikeops.nn as snn
from op_cases.lif import lif_steps
from spikeops.functional._lif_options import RESETS
from spikeops.surrogate import ATan, Gaussian, Rectangle, Sigmoid, Triangle

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------

GIVEN, OWN, GATHERED = range(3)


def with_channels(tensor, of_steps=True):
    """(T, B, C, ...), or (B, C, ...): with axes of size 1 for those that the shape of a case lacks."""
    while tensor.dim() < 2 + of_steps:
        tensor = tensor.unsqueeze(int(of_steps))
    return tensor


def maps(tensor, of_steps=True):
    """With one more axis, so that numbers of a channel lie next to each other, whatever the shape."""
    return torch.stack((tensor, tensor.flip(0)), -1).detach() if of_steps else torch.stack((tensor, -tensor), -1).detach()


def _x(i, is_map=False):
    x = with_channels(i.x())
    return i.leaf(maps(x)) if is_map else x


def _of_channels(i, C, low, high):
    values = low + (high - low) * torch.rand(C, generator=i.draw, dtype=torch.float64)
    return i.leaf(values.to(i.state).to(i.device))


def _numbers(surrogate):
    _, scale, peak = surrogate.coefficients
    return 0.6, 1.0, 1.2, 0.9, -0.2, 0.1, scale, peak, 1e-5


def neurons(i, is_map=False, affine=True, v_init=False, reset="subtract", strict=False, detach_reset=False, surrogate=ATan(2.0),
            statistics=GIVEN):  # fmt: skip
    """The arguments BATCH_NORM_LIF of csrc/batch_norm_lif.cpp."""
    x = _x(i, is_map)
    C = x.shape[2]
    mean, inv_std = _of_channels(i, C, -0.5, 0.5).detach(), _of_channels(i, C, 0.5, 1.5).detach()
    weight, bias = (_of_channels(i, C, 0.5, 1.5), _of_channels(i, C, -0.5, 0.5)) if affine else (None, None)
    start = _of_channels(i, C, -0.5, 1.5).view(-1, *[1] * (x.dim() - 3)) if v_init else None
    kind, *_ = surrogate.coefficients
    modes = RESETS[reset], int(strict), int(detach_reset), kind, statistics
    return x, mean, inv_std, weight, bias, start if start is None else i.leaf(start), _numbers(surrogate), modes


def _way_back(i, is_map=False, spikes=True, v_last=True):
    of_spikes, of_v_last = with_channels(i.gradient()), with_channels(i.gradient(False, i.state), False)
    if is_map:
        of_spikes, of_v_last = i.leaf(maps(of_spikes)), i.leaf(maps(of_v_last, False))
    return of_spikes if spikes else None, of_v_last if v_last else None


def _backward(i, need_v_init=True, spikes=True, v_last=True, is_map=False, **options):
    return "batch_norm_lif_backward", (*_way_back(i, is_map, spikes, v_last), *neurons(i, is_map, **options), need_v_init)


def _norm_backward(i, is_map=False, affine=True):
    gradient, _ = _way_back(i, is_map)
    x, mean, inv_std, weight, *_ = neurons(i, is_map, affine)
    means = i.leaf(torch.randn(2, x.shape[2], generator=i.draw, dtype=torch.float64).to(i.device))
    return "batch_norm_backward", (gradient, x, mean, inv_std, weight, means)


RAW = {
    "channel_statistics": lambda i: ("channel_statistics", (_x(i).detach(), 1e-5)),
    "channel_statistics/maps": lambda i: ("channel_statistics", (_x(i, True).detach(), 1e-5)),
    "batch_norm_lif": lambda i: ("batch_norm_lif_forward", neurons(i)),
    "batch_norm_lif/maps": lambda i: ("batch_norm_lif_forward", neurons(i, True, v_init=True, reset="to", strict=True)),
    "batch_norm_lif/no_affine": lambda i: ("batch_norm_lif_forward", neurons(i, affine=False, reset="none", statistics=OWN)),
    "batch_norm_lif_backward": lambda i: _backward(i, statistics=OWN, v_init=True),
    "batch_norm_lif_backward/maps": lambda i: _backward(i, is_map=True, statistics=OWN, v_init=True, reset="to", detach_reset=True),
    "batch_norm_lif_backward/given": lambda i: _backward(i, False, v_last=False, reset="to", surrogate=Triangle(1.2)),
    "batch_norm_lif_backward/no_affine": lambda i: _backward(i, False, spikes=False, affine=False, statistics=OWN),
    "batch_norm_lif_backward/gathered": lambda i: _backward(i, False, statistics=GATHERED, reset="none", surrogate=Gaussian(0.5)),
    "batch_norm_backward": _norm_backward,
    "batch_norm_backward/maps": lambda i: _norm_backward(i, True, False),
}
TOO_SMALL_TO_POISON = ("channel_statistics", "channel_statistics/maps")

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _arguments(i, is_running=True, v_init=False):
    x, mean, deviation, weight, bias, start, *_ = neurons(i, v_init=v_init)
    running = {"running_mean": mean, "running_var": deviation} if is_running else {}
    return {"x": x, **running, "weight": weight, "bias": bias, "v_init": start}


_CALL = dict(
    differentiable=("x", "weight", "bias", "v_init"),
    own_bad_input="test_batch_norm_lif.py",
    own_test="test_batch_norm_lif.py",
    float32=("threshold", "input_scale", "reset_amount", "v_reset", "v_rest"),
    on_device=False,
    weights=("running_mean", "running_var", "weight", "bias"),
)
_BETWEEN = (-1.5, 1.5)
CALLS = (
    Call(
        name="batch_norm_lif", arguments=_arguments, keeps=("x", "running_mean", "weight", "bias"), kept_of_channel=4, options={"decay": 0.6},
        ranges={
            "decay": (0.0, 1.0), "threshold": _BETWEEN, "input_scale": _BETWEEN, "reset": [*RESETS], "v_reset": _BETWEEN, "v_rest": _BETWEEN,
            "strict": [False, True], "detach_reset": [False, True], "reset_amount": [None, 0.0, 0.7, -1.1], "eps": [1e-5, 0.5],
            "surrogate": [ATan(2.0), Sigmoid(4.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)],
        },
        **_CALL,
    ),
    Call(name="batch_norm_lif/v_init", arguments=functools.partial(_arguments, v_init=True),
         keeps=("x", "running_mean", "weight", "bias", "v_init"), kept_of_channel=8, options={"decay": 0.9, "tdbn_alpha": 0.8}, **_CALL),
)

_FAR = dict(decay=0.3, training=True, surrogate=Triangle(0.1))


def _far_from_the_threshold(draw, shape):
    """Of two values, far apart, of which one is at 1 behind the norm and the other at -1; weight and bias put them far from 1."""
    sides = (torch.rand(5, 2, 3, generator=draw) < 0.5).double()
    return (sides + 0.05 * torch.rand(5, 2, 3, generator=draw).double(),)


SMOOTH = (
    Smooth(
        name="batch_norm_lif",
        function=lambda x: SF.batch_norm_lif(x, weight=x.new_full((3,), 20.0), **_FAR)[1],
        tensors=_far_from_the_threshold,
    ),
)

# --- spikeops.nn ------------------------------------------------------------------------------------------------------------

MODULES = (
    Module(
        kind=snn.BatchNormLIF, needed=dict(num_features=3),
        options=dict(decay=0.9, threshold=0.5, eps=1e-3, momentum=0.2, affine=False, track_running_stats=False, tdbn_alpha=0.5, synchronized=True,
                     process_group=None, input_scale=2.0, reset="to", reset_amount=0.7, v_reset=-0.1, v_rest=0.1, strict=True,
                     detach_reset=True, surrogate=Sigmoid(3.0), return_state=True),
        samples=({"momentum": None}, {"decay": 0.9}),
        state=("weight", "bias", "running_mean", "running_var", "num_batches_tracked"),
    ),
)  # fmt: skip

_VALUES = dict(decay=0.5, threshold=1.0, input_scale=0.5, reset_amount=0.75, v_reset=0.25, v_rest=0.125, momentum=0.25, eps=0.125, tdbn_alpha=2.0)
_ROWS = ROW.unsqueeze(1)


def _numbers_of_module(num_features, **options):
    return [snn.BatchNormLIF(num_features, **options)(_ROWS)]


NUMBERS = {
    SF.batch_norm_lif: (lambda **o: SF.batch_norm_lif(_ROWS, training=True, **o), _VALUES),
    snn.BatchNormLIF: (_numbers_of_module, _VALUES | {"num_features": 3}),
}

# --- transforms -------------------------------------------------------------------------------------------------------------


def _trained(x, weight, bias):
    return SF.batch_norm_lif(x, weight=0.5 + weight, bias=bias, decay=0.8, training=True)


def _given(x):
    x = x.unsqueeze(1)
    return SF.batch_norm_lif(x, x.new_full((x.shape[2],), 0.5), x.new_full((x.shape[2],), 0.2), decay=0.8, reset="to")


TRANSFORMED = {
    "batch_norm_lif": of_x(lambda x: SF.batch_norm_lif(x.unsqueeze(1), decay=0.9, training=True)),
    "batch_norm_lif/given": of_x(_given),
    "batch_norm_lif/parameters": transformed.Call(_trained, (("T", 2, "N", "B"), ("N",), ("N",)), (3, None, None)),
    "BatchNormLIF": of_module(lambda: snn.BatchNormLIF(WIDTH, 0.8).eval(), (("T", 2, "N", "B"),), (3,)),
}

# --- benchmarks -------------------------------------------------------------------------------------------------------------


def _maps(x):
    """(T, N) as 32 samples of maps of 8 x 8, where the size lets it."""
    T, N = x.shape
    return x.view(T, 32, N // (32 * 64), 8, 8) if N % (32 * 64) == 0 else x.view(T, 1, 1, N)


def _fused(x, T):
    return SF.batch_norm_lif(_maps(x), decay=DECAY, threshold=THRESHOLD, training=True, surrogate=SURROGATE)[0].view_as(x)


def _normalised(x):
    maps = _maps(x)
    return torch.nn.functional.batch_norm(maps.flatten(0, 1), None, None, training=True).view_as(x)


_OP = dict(
    fused=_fused,
    make_input=measured.currents,
    tests=("test_batch_norm_lif.py",),
    # Besides, x is read once more for the statistics, and x and the gradient of what is normalised for that of x.
    moves=lambda T, N: (8 * T * N, 12 * T * N),
    has_gradient=True,
)
MEASURED = (
    Op("batch_norm_lif", eager=lambda x, T: torch.stack(list(lif_steps(_normalised(x)))), **_OP),
    Op("batch_norm_lif beside lif", eager=lambda x, T: SF.lif(_normalised(x), DECAY, THRESHOLD, surrogate=SURROGATE)[0],
       of="batch_norm_lif", sizes=VARIANTS, **_OP),
)  # fmt: skip
