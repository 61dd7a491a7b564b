"""LIF neurons in their general form: what :func:`spikeops.functional.lif` runs as soon as one of the options below is used, beside the
plain kernels, which know none of them."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch

from spikeops import reference
from spikeops.functional import _checks, _neuron, _provenance
from spikeops.functional._lif_options import LIFOptions, step_of
from spikeops.functional._neuron import LAST_STATE, SPIKES
from spikeops.functional._remembered import remembered
from spikeops.surrogate._of_numbers import from_coefficients

ResetTiming = Literal["now", "late", "late_with_input", "guarded"]
Rounding = Literal["down", "nearest"]
Trace = Literal[False, True, "before", "after"]

RESET_TIMINGS = ("now", "late", "late_with_input", "guarded")
ROUNDINGS = ("down", "nearest")
_TRACES = {False: "", True: "after", "before": "before", "after": "after"}


class GeneralOptions(NamedTuple):
    """The options that are this family's alone: see :func:`spikeops.functional.lif`."""

    reset_timing: ResetTiming = "now"
    v_min: float | None = None
    max_spikes: int | None = 1
    rounding: Rounding = "down"


NONE = GeneralOptions()

# (reset, reset_timing) -> ResetScheme of kernels/math/general_lif.h. A reset by subtraction comes after the input in any case, and where
# there is none it cannot be late.
_SCHEMES = {
    ("subtract", "now"): 0, ("subtract", "late"): 1, ("subtract", "late_with_input"): 1, ("subtract", "guarded"): 2,
    ("to", "now"): 3, ("to", "late"): 4, ("to", "late_with_input"): 5,
    **dict.fromkeys((("none", timing) for timing in RESET_TIMINGS), 6),
}  # fmt: skip
_RESETS = ("subtract", "subtract", "subtract", "to", "to", "to", "none")
_TIMINGS = ("now", "late", "guarded", "now", "late", "late_with_input", "now")


def trace_name(op: str, return_trace) -> str:
    """Which potentials are to be returned: "before", "after" or none, ""."""
    for value, name in _TRACES.items():
        if return_trace is value or (isinstance(return_trace, str) and return_trace == value):
            return name
    raise ValueError(f"{op}: expected return_trace to be one of False, True, 'before', 'after', got {return_trace!r}.")


def checked_general_options(op: str, options: LIFOptions, general: GeneralOptions) -> GeneralOptions:
    """The options, their numbers Python's own.

    Raises:
        TypeError, ValueError: what cannot be, whatever the input is; the message names it."""
    reset_timing, v_min, max_spikes, rounding = general
    # By their types first: True equals 1, and an array is equal in parts.
    if v_min is None and type(max_spikes) is int and type(reset_timing) is type(rounding) is str and general == NONE:
        return NONE
    _checks.choice(op, "reset_timing", reset_timing, RESET_TIMINGS)
    _checks.choice(op, "rounding", rounding, ROUNDINGS)
    if v_min is not None:
        v_min = _checks.number(op, "v_min", v_min)
    if max_spikes is not None:
        max_spikes = _checks.whole(op, "max_spikes", max_spikes, 1)
        if max_spikes > _checks.MAX_COUNT:
            raise ValueError(f"{op}: expected max_spikes to be at most {_checks.MAX_COUNT}, or None for no limit, got {max_spikes}.")
    if (options.reset, reset_timing) not in _SCHEMES:
        raise ValueError(f'{op}: reset_timing="guarded" is for reset="subtract", got reset={options.reset!r}. Use reset_timing="now".')
    return GeneralOptions(reset_timing, v_min, max_spikes, rounding)


def run(op, ops, x, time_steps, decay, decay_tensor, threshold, options: LIFOptions, general: GeneralOptions, trace: str, v_init):
    """Arguments as lif.py has checked them; threshold, input_scale and reset_amount may still be tensors."""
    _, reset, _, v_reset, v_rest, strict, detach_reset, surrogate = options
    reset_timing, v_min, max_spikes, rounding = general
    given = {"threshold": threshold, "input_scale": options.input_scale, "reset_amount": options.reset_amount}
    if given["reset_amount"] is None:
        given["reset_amount"] = threshold
    tensors = {name: value for name, value in given.items() if isinstance(value, torch.Tensor)}
    for name, value in tensors.items():
        if name != "reset_amount" or value is not threshold:
            _checks.per_neuron(op, name, value, x, step_of(x, time_steps))
    listed, modes = _lists(
        x.dtype, decay, *(0.0 if name in tensors else value for name, value in given.items()), "threshold" in tensors, reset, v_reset,
        v_rest, strict, detach_reset, surrogate, *general, trace, time_steps,
    )  # fmt: skip
    if ops is None:
        outputs = reference.lif(
            x, decay if decay_tensor is None else decay_tensor, given["threshold"], input_scale=given["input_scale"], reset=reset,
            reset_amount=given["reset_amount"], v_reset=v_reset, v_rest=v_rest, strict=strict, detach_reset=detach_reset,
            surrogate=surrogate, reset_timing=reset_timing, v_min=v_min, max_spikes=max_spikes, rounding=rounding,
            return_trace=trace or False, v_init=v_init, time_steps=time_steps or None,
        )  # fmt: skip
        return _provenance.mark_first(outputs) if max_spikes == 1 else outputs
    if reset != "subtract":
        tensors.pop("reset_amount", None)
    call = _traced_lif_forward if trace else _general_lif_forward
    outputs = call(
        ops, x, decay_tensor, tensors.get("threshold"), tensors.get("input_scale"), tensors.get("reset_amount"),
        v_init, listed, modes,
    )  # fmt: skip
    return _provenance.mark_first(outputs) if max_spikes == 1 else outputs


@remembered
def _lists(
    data, decay, threshold, input_scale, reset_amount, has_threshold_tensor, reset, v_reset, v_rest, strict, detach_reset, surrogate,
    reset_timing, v_min, max_spikes, rounding, trace, time_steps,
):  # fmt: skip
    """The numbers and modes of GENERAL_LIF_NEURON in csrc/general_lif.cpp; 0 stands where there is a tensor."""
    bound = 0.0 if v_min is None else v_min + 0.0  # no negative zero
    _checks.fit(
        "lif", data, threshold=threshold, input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest, v_min=bound
    )
    counts = max_spikes != 1 or rounding == "nearest"
    if counts and not has_threshold_tensor and threshold <= 0:
        raise ValueError(f"lif: expected threshold, of which there are several in a potential, to be above 0, got {threshold}.")
    kind, *of_surrogate, in_thresholds = surrogate.all_coefficients
    most = 0 if max_spikes is None else max_spikes
    numbers = (decay, threshold, input_scale, reset_amount, v_reset, v_rest, bound, float(most), *of_surrogate)
    return numbers, (
        _SCHEMES[reset, reset_timing], int(strict), int(detach_reset), (1 + ROUNDINGS.index(rounding)) * counts, int(v_min is not None),
        ("", "before", "after").index(trace), kind, in_thresholds, time_steps,
    )  # fmt: skip


def _definition(x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes):
    scheme, strict, detach_reset, count, is_bounded, trace, kind, in_thresholds, time_steps = modes
    chosen = [
        number if tensor is None else tensor for number, tensor in zip(numbers[:4], (decay, threshold, input_scale, reset_amount))
    ]
    v_reset, v_rest, v_min, max_spikes, *of_surrogate = numbers[4:]
    return reference.lif(
        x, *chosen[:2], input_scale=chosen[2], reset_amount=chosen[3], reset=_RESETS[scheme], reset_timing=_TIMINGS[scheme],
        v_reset=v_reset, v_rest=v_rest, strict=bool(strict), detach_reset=bool(detach_reset), v_min=v_min if is_bounded else None,
        max_spikes=(max_spikes or math.inf) if count else 1, rounding=ROUNDINGS[max(count - 1, 0)],
        return_trace=(False, "before", "after")[trace], surrogate=from_coefficients(kind, *of_surrogate, in_thresholds), v_init=v_init,
        time_steps=time_steps or None,
    )  # fmt: skip


_general_lif_forward = _neuron.register("general_lif", (SPIKES, LAST_STATE), 5, _definition, function="lif")
_traced_lif_forward = _neuron.register("traced_lif", (SPIKES, LAST_STATE, SPIKES), 5, _definition, function="lif")
