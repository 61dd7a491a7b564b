"""LIF neurons that keep bits for their backward pass."""

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
from spikeops.surrogate import Heaviside, Rectangle, StraightThrough, Window
from spikeops.surrogate import Step as StepSurrogate

# --- torch.ops.spikeops -----------------------------------------------------------------------------------------------------


def steps_per_byte(reset):
    return 4 if reset == "to" else 8


def kept_bytes(reset, T):
    """Of a neuron."""
    return T // steps_per_byte(reset) + 1


def options(i, reset="subtract", strict=False, detach_reset=False, surrogate=Rectangle(1.1), is_constant=False):
    """The lists of csrc/lif_kept.cpp."""
    kind, *of_surrogate, in_thresholds = surrogate.all_coefficients
    numbers = (0.6, 1.0, 1.2, 0.9, -0.2, 0.1, *of_surrogate)
    return numbers, (RESETS[reset], int(strict), int(detach_reset or reset == "to"), kind, in_thresholds, i.T if is_constant else 0)


def neurons(i, v_init=False, is_constant=False, **others):
    return i.one_step() if is_constant else i.x(), i.v_init() if v_init else None, *options(i, is_constant=is_constant, **others)


def gradients(i, v_last=True, need_v_init=True, reset="subtract", **others):
    """Bits of any steps, of neurons that end with numbers."""
    bits = torch.randint(256, (kept_bytes(reset, i.T), *i.shape), generator=i.draw)
    bits[-1] &= (1 << i.T % steps_per_byte(reset) * (2 if reset == "to" else 1)) - 1
    bits = lay_out(bits.to(torch.uint8), i.order, i.device)
    return i.gradient(), i.gradient(False, i.state) if v_last else None, bits, *options(i, reset, **others), need_v_init


RAW = {
    "lif_bits": lambda i: ("lif_bits_forward", neurons(i)),
    "lif_bits/v_init": lambda i: ("lif_bits_forward", neurons(i, True, reset="to", strict=True, surrogate=Window(0.5, 1.5))),
    "lif_bits/none": lambda i: ("lif_bits_forward", neurons(i, reset="none", surrogate=StepSurrogate(center=-0.25))),
    "lif_bits/constant": lambda i: ("lif_bits_forward", neurons(i, True, True, reset="to", surrogate=Rectangle(0.5, center=0.1))),
    "lif_bits_backward": lambda i: ("lif_bits_backward", gradients(i)),
    "lif_bits_backward/spikes": lambda i: ("lif_bits_backward", gradients(i, False, False, reset="to", surrogate=Heaviside())),
    "lif_bits_backward/none": lambda i: ("lif_bits_backward", gradients(i, True, False, reset="none", surrogate=StepSurrogate(0.2, 0.5))),
    "lif_bits_backward/detached": lambda i: ("lif_bits_backward", gradients(i, False, True, detach_reset=True)),
    "lif_bits_backward/constant": lambda i: ("lif_bits_backward", gradients(i, is_constant=True)),
    "lif_bits_backward/constant_window": lambda i: (
        "lif_bits_backward", gradients(i, need_v_init=False, reset="to", surrogate=Window(), is_constant=True)
    ),
}  # fmt: skip

# --- spikeops.functional ----------------------------------------------------------------------------------------------------


def _lif(i, v_init=None):
    return {"x": i.x(), "v_init": v_init and i.v_init(v_init), "decay": 0.6}


def _constant(i):
    return {"x": i.one_step(), "v_init": i.v_init("one"), "decay": 0.6, "time_steps": i.T}


_BETWEEN = (-1.5, 1.5)
_NUMBERS = ("threshold", "input_scale", "reset_amount", "v_reset", "v_rest")
_LIF = dict(differentiable=("x", "v_init"))
_WINDOWS = [Rectangle(1.1), Rectangle(0.8, height=-0.5, center=0.2), StepSurrogate(0.1, 0.3), StraightThrough(height=0.1)]
_ANY = dict(
    spreads={"v_init": (None, *SPREADS[1:])},
    ranges={name: _BETWEEN for name in _NUMBERS}
    | {"strict": [False, True], "surrogate": _WINDOWS, "reset": ["subtract", "none"], "detach_reset": [False, True]},
    float32=_NUMBERS,
)
_TO = {"save": "bits", "reset": "to", "detach_reset": True}
CALLS = (
    Call(name="lif/bits", arguments=_lif, options={"save": "bits", "surrogate": Rectangle(1.1)}, on_device=False, any_number=_NUMBERS,
         kept_bytes=functools.partial(kept_bytes, "subtract"), **_LIF, **_ANY),
    Call(name="lif/bits_to", arguments=functools.partial(_lif, v_init="per_neuron"), spikes=0,
         options=_TO | {"surrogate": Rectangle(0.9), "v_reset": -0.125}, kept_bytes=functools.partial(kept_bytes, "to"), **_LIF,
         **_ANY | {"spreads": {"v_init": SPREADS[1:]}, "ranges": _ANY["ranges"] | {"reset": ["to"], "detach_reset": [True]}}),
    # In thresholds: one near 0 would make gradients of any size.
    Call(name="lif/bits_window", arguments=functools.partial(_lif, v_init="one"), on_device=False,
         options={"save": "bits", "surrogate": Window(0.5, 1.25), "v_rest": 0.1, "input_scale": 0.7},
         ranges={"surrogate": [Window(0.5, 1.25), Heaviside(0.25), Window(-0.5, 0.5, height=-0.5, center=0.25)], "strict": [False, True]},
         kept_bytes=functools.partial(kept_bytes, "subtract"), **_LIF),
    Call(name="lif/bits_constant", arguments=_constant, on_device=False, options=_TO | {"surrogate": Rectangle(1.1)},
         kept_bytes=functools.partial(kept_bytes, "to"), **_LIF),
    Call(name="lif/bits_constant_window", arguments=_constant, on_device=False, options={"save": "bits", "surrogate": Window(0.5, 1.25)},
         kept_bytes=functools.partial(kept_bytes, "subtract"), **_LIF),
)  # fmt: skip

# --- transforms -------------------------------------------------------------------------------------------------------------


def _both(x, v):
    return SF.lif(x, 0.8, surrogate=Rectangle(1.5), reset="to", detach_reset=True, v_init=v, save="bits")


TRANSFORMED = {
    "lif/bits": of_x(lambda x: SF.lif(x, 0.9, surrogate=Rectangle(1.5), save="bits")),
    "lif/bits_to": transformed.Call(_both, (X, STEP), (1, 0)),
    "lif/bits_constant": transformed.Call(
        lambda x, v: SF.lif(x, 0.8, surrogate=Window(0.4, 1.6), v_init=v, time_steps=4, save="bits"), (STEP, ("N",)), (0, None),
        steps_are_fixed=True,
    ),
    "LIF/bits": of_module(lambda: snn.LIF(0.6, surrogate=Heaviside(), save="bits")),
}  # fmt: skip

# --- benchmarks -------------------------------------------------------------------------------------------------------------


def _variant(function, options, x, T):
    return function(x, DECAY, THRESHOLD, surrogate=Rectangle(1.0), save="bits", **options)[0]


MEASURED = tuple(
    Op(
        f"lif bits {reset}",
        fused=functools.partial(_variant, SF.lif, {"reset": reset, "detach_reset": reset == "to"}),
        eager=functools.partial(_variant, reference.lif, {"reset": reset, "detach_reset": reset == "to"}),
        make_input=measured.currents,
        tests=("test_lif_bits.py",),
        moves=lambda T, N, reset=reset: (8 * T * N, (8 * T + kept_bytes(reset, T)) * N),
        keeps=lambda T, N, reset=reset: kept_bytes(reset, T) * N,
        has_gradient=True,
        backward_reads_input=False,
        of="lif",
        sizes=VARIANTS,
    )
    for reset in ("subtract", "to")
)
