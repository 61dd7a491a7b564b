"""LIF neurons that keep rounded distances from the threshold for their backward pass."""

import copy
import functools

import torch
from op_tests import measured, transformed
from op_tests.kinds import Call
from op_tests.layouts import lay_out
from op_tests.measured import DECAY, THRESHOLD, VARIANTS, Op
from op_tests.neurons import SPREADS
from op_tests.transformed import STEP, X, of_module, of_x

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import reference
from spikeops.functional._lif_options import RESETS
from spikeops.surrogate import (
    ATan,
    Exponential,
    FastSigmoid,
    Gaussian,
    MultiGaussian,
    Sigmoid,
    SingleExponential,
    SuperSpike,
    Triangle,
)  # fmt: skip

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------


def kept_bytes(T):
    """Of a neuron."""
    return 2 * T


def wide(i):
    """The same inputs in the precision of the state: 16-bit x, which takes no more than distances do, is not for these ops."""
    other = copy.copy(i)
    other.dtype = i.state
    return other


def options(i, reset="subtract", strict=False, detach_reset=False, surrogate=ATan(2.0), is_constant=False):
    """The lists of csrc/lif_kept.cpp."""
    kind, *of_surrogate, in_thresholds = surrogate.all_coefficients
    numbers = (0.6, 0.8, 1.2, 0.9, -0.2, 0.1, *of_surrogate)
    return numbers, (RESETS[reset], int(strict), int(detach_reset), kind, in_thresholds, i.T if is_constant else 0)


def _forward(v_init=False, is_constant=False, **others):
    def call(i):
        i = wide(i)
        x, v = i.one_step() if is_constant else i.x(), i.v_init() if v_init else None
        return "lif_distances_forward", (x, v, *options(i, is_constant=is_constant, **others))

    return call


def _backward(v_last=True, need_v_init=True, **others):
    """Distances of any steps, of either sign and size."""

    def call(i):
        i = wide(i)
        distances = torch.randn((i.T, *i.shape), generator=i.draw, dtype=torch.float64).to(torch.bfloat16)
        distances = i.leaf(lay_out(distances, i.order, i.device))
        grads = i.gradient(), i.gradient(False, i.state) if v_last else None
        return "lif_distances_backward", (*grads, distances, *options(i, **others), need_v_init)

    return call


RAW = {
    "lif_distances": _forward(),
    "lif_distances/v_init": _forward(True, reset="to", strict=True),
    "lif_distances/none": _forward(reset="none"),
    "lif_distances/constant": _forward(True, True, reset="to"),
    "lif_distances_backward": _backward(),
    "lif_distances_backward/sigmoid": _backward(False, False, reset="to", surrogate=Sigmoid(3.0)),
    "lif_distances_backward/exponential": _backward(True, False, reset="none", surrogate=Exponential(1.5, center=-0.25)),
    "lif_distances_backward/fast_sigmoid": _backward(False, True, detach_reset=True, surrogate=FastSigmoid(5.0)),
    "lif_distances_backward/triangle": _backward(reset="to", detach_reset=True, surrogate=Triangle(1.5, height=-0.5)),
    "lif_distances_backward/gaussian": _backward(reset="to", surrogate=Gaussian(0.7)),
    "lif_distances_backward/multi_gaussian": _backward(surrogate=MultiGaussian(center=0.1)),
    "lif_distances_backward/in_thresholds": _backward(reset="to", surrogate=SingleExponential(0.7, center=0.2)),
    "lif_distances_backward/constant": _backward(is_constant=True),
    "lif_distances_backward/constant_center": _backward(need_v_init=False, reset="to", surrogate=ATan(1.0, center=0.3), is_constant=True),
}

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _lif(i, v_init=None):
    return {"x": i.x(), "v_init": v_init and i.v_init(v_init), "decay": 0.6}


def _constant(i):
    return {"x": i.one_step(), "v_init": i.v_init("one"), "decay": 0.6, "time_steps": i.T}


_BETWEEN = (-1.5, 1.5)
_NUMBERS = ("threshold", "input_scale", "reset_amount", "v_reset", "v_rest")
_SMOOTH = [ATan(2.0), Sigmoid(3.0), Exponential(1.5, center=0.25), FastSigmoid(5.0), Triangle(1.5), Gaussian(0.6, height=-0.5),
           SuperSpike(0.5), MultiGaussian()]  # fmt: skip
_LIF = dict(differentiable=("x", "v_init"), kept_bytes=kept_bytes)
_ANY = dict(
    ranges={name: _BETWEEN for name in _NUMBERS}
    | {"strict": [False, True], "surrogate": _SMOOTH, "reset": list(RESETS), "detach_reset": [False, True]},
    float32=_NUMBERS,
)
_SAVE = {"save": "bfloat16"}
CALLS = (
    Call(name="lif/bfloat16", arguments=_lif, options=_SAVE, on_device=False, any_number=_NUMBERS, spreads={"v_init": (None, *SPREADS[1:])},
         **_LIF, **_ANY),
    Call(name="lif/bfloat16_to", arguments=functools.partial(_lif, v_init="per_neuron"), spikes=0, spreads={"v_init": SPREADS[1:]},
         options=_SAVE | {"reset": "to", "surrogate": FastSigmoid(4.0), "v_reset": -0.125}, **_LIF, **_ANY),
    # In thresholds: one near 0 would make gradients of any size.
    Call(name="lif/bfloat16_in_thresholds", arguments=functools.partial(_lif, v_init="one"), on_device=False,
         options=_SAVE | {"surrogate": SingleExponential(0.6), "threshold": 0.75, "v_rest": 0.1, "input_scale": 0.7},
         ranges={"surrogate": [SingleExponential(0.5), SingleExponential(1.0, center=-0.25)], "strict": [False, True],
                 "reset": list(RESETS)}, **_LIF),
    Call(name="lif/bfloat16_constant", arguments=_constant, on_device=False, options=_SAVE | {"reset": "to", "detach_reset": True}, **_LIF),
    Call(name="lif/bfloat16_constant_center", arguments=_constant, on_device=False, options=_SAVE | {"surrogate": Sigmoid(center=0.2)},
         **_LIF),
)  # fmt: skip

# --- transforms -------------------------------------------------------------------------------------------------------------


# They pass as gradients of the distances, in bfloat16: four steps' terms, each off by half a unit of eight digits.
_OPTIONS = dict(second_rounding=4 * 2**-8)


def _to(x, v):
    return SF.lif(x, 0.8, reset="to", v_init=v, save="bfloat16")


TRANSFORMED = {
    "lif/bfloat16": of_x(lambda x: SF.lif(x, 0.9, save="bfloat16"), **_OPTIONS),
    "lif/bfloat16_to": transformed.Call(_to, (X, STEP), (1, 0), **_OPTIONS),
    "lif/bfloat16_constant": transformed.Call(
        lambda x, v: SF.lif(x, 0.8, surrogate=MultiGaussian(), v_init=v, time_steps=4, save="bfloat16"), (STEP, ("N",)), (0, None),
        steps_are_fixed=True, **_OPTIONS,
    ),
    "LIF/bfloat16": of_module(lambda: snn.LIF(0.6, surrogate=Sigmoid(), save="bfloat16"), **_OPTIONS),
}  # fmt: skip

# --- benchmarks -------------------------------------------------------------------------------------------------------------


def _variant(function, options, x, T):
    return function(x, DECAY, THRESHOLD, surrogate=ATan(2.0), save="bfloat16", **options)[0]


MEASURED = tuple(
    Op(
        f"lif bfloat16 {reset}",
        fused=functools.partial(_variant, SF.lif, {"reset": reset}),
        eager=functools.partial(_variant, reference.lif, {"reset": reset}),
        make_input=measured.currents,
        tests=("test_lif_distances.py",),
        moves=lambda T, N: (8 * T * N, (8 * T + kept_bytes(T)) * N),
        keeps=lambda T, N: kept_bytes(T) * N,
        has_gradient=True,
        backward_reads_input=False,
        of="lif",
        sizes=VARIANTS,
    )
    for reset in ("subtract", "to")
)
