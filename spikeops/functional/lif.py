"""Multi-step leaky integrate-and-fire neurons."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, overload

import torch

from spikeops import _backend, reference
from spikeops.functional import _checks, _general_lif, _lif_kept, _neuron, _provenance, _transforms
from spikeops.functional._general_lif import GeneralOptions, ResetTiming, Rounding, Trace
from spikeops.functional._lif_kept import Save
from spikeops.functional._lif_options import (
    RESET_NAMES,
    RESETS,
    WEIGHTINGS,
    LIFOptions,
    Reset,
    Weighting,
    checked_decay,
    checked_input,
    checked_options,
    checked_states,
    is_tensor,
)
from spikeops.functional._neuron import LAST_STATE, RATE, SPIKES
from spikeops.functional._other_words import LIF, NEURON, explain_other_words
from spikeops.functional._remembered import A_TENSOR, ATensor, remembered
from spikeops.surrogate import ATan, Surrogate
from spikeops.surrogate._of_numbers import from_coefficients


@overload
def lif(
    x: torch.Tensor, decay: float | torch.Tensor = 0.5, threshold: float | torch.Tensor = 1.0, *, input_scale: float | torch.Tensor = 1.0,
    reset: Reset = "subtract", reset_amount: float | torch.Tensor | None = None, v_reset: float = 0.0, v_rest: float = 0.0,
    strict: bool = False, detach_reset: bool = False, surrogate: Surrogate = ATan(2.0), reset_timing: ResetTiming = "now",
    v_min: float | None = None, max_spikes: int | None = 1, rounding: Rounding = "down", return_trace: Literal[False] = False,
    save: Save = "input", v_init: torch.Tensor | None = None, time_steps: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]: ...  # fmt: skip
@overload
def lif(
    x: torch.Tensor, decay: float | torch.Tensor = 0.5, threshold: float | torch.Tensor = 1.0, *, input_scale: float | torch.Tensor = 1.0,
    reset: Reset = "subtract", reset_amount: float | torch.Tensor | None = None, v_reset: float = 0.0, v_rest: float = 0.0,
    strict: bool = False, detach_reset: bool = False, surrogate: Surrogate = ATan(2.0), reset_timing: ResetTiming = "now",
    v_min: float | None = None, max_spikes: int | None = 1, rounding: Rounding = "down", return_trace: Literal[True, "before", "after"],
    save: Save = "input", v_init: torch.Tensor | None = None, time_steps: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]: ...  # fmt: skip
@explain_other_words(LIF)
def lif(
    x: torch.Tensor,
    decay: float | torch.Tensor = 0.5,
    threshold: float | torch.Tensor = 1.0,
    *,
    input_scale: float | torch.Tensor = 1.0,
    reset: Reset = "subtract",
    reset_amount: float | torch.Tensor | None = None,
    v_reset: float = 0.0,
    v_rest: float = 0.0,
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate = ATan(2.0),
    reset_timing: ResetTiming = "now",
    v_min: float | None = None,
    max_spikes: int | None = 1,
    rounding: Rounding = "down",
    return_trace: Trace = False,
    save: Save = "input",
    v_init: torch.Tensor | None = None,
    time_steps: int | None = None,
) -> tuple[torch.Tensor, ...]:
    """Leaky integrate-and-fire neurons over all time steps in one kernel, with a surrogate gradient.

    For each neuron, ``t = 0 .. T-1``, in this order (decay, input, spike, reset; no delay)::

        u[t] = v_rest + decay * (v[t-1] - v_rest) + input_scale * x[t]
        s[t] = 1 if u[t] >= threshold else 0            (strict: u[t] > threshold)
        v[t] = u[t] - reset_amount * s[t]               reset "subtract"
             = v_reset if s[t] else u[t]                reset "to"
             = u[t]                                     reset "none"

    The gradient is that of the unrolled loop with ``d s / d u`` replaced by ``surrogate`` (Neftci, Mostafa & Zenke, 2019),
    through the reset too unless ``detach_reset``. Only x is kept for the backward pass, or less of it (``save``). Second derivatives
    (``create_graph=True``, `torch.func.grad` twice) are those of the same loop with ``surrogate`` in the place of ``d s / d u`` wherever
    s stands; they run the loop in plain PyTorch, some 1 ms per time step. Forward mode is refused (docs/transforms.md).

    Numbers that are not finite go through these equations like others: an infinite u fires, a NaN does not; after reset "to" v is
    v_reset whatever u was, and no gradient passes from it to u but that through s, which is NaN for an infinite u, as 0 times
    infinity is, unless ``detach_reset``. A NaN u has a NaN gradient with every surrogate.

    Args:
        x: input current (T, ...), float32, float64, float16 or bfloat16. T >= 1. A time step that is dense in memory in any
            order of its dimensions (channels-last, say) is used as it is; other strides are copied.
        decay: factor by which the membrane potential decays towards v_rest in one time step, in [0, 1]: ``exp(-1 / tau)`` or
            ``1 - 1 / tau`` for a time constant. A number, or a tensor that broadcasts to ``x.shape[1:]`` and then gets a gradient
            (summed in a fixed order). Of a tensor only a single value is checked, on the CPU and in eager code: the decays of many
            neurons, and those on a device, are taken as they are.
        threshold: membrane potential at which a neuron fires; a number or a tensor, as decay. Its gradient is that of s, by the
            surrogate, and that of the reset where it is the reset_amount.
        input_scale: factor on x; a number or a tensor, as decay.
        reset: what a spike does to the membrane potential: "subtract", "to" or "none".
        reset_amount: subtracted by reset "subtract"; a number or a tensor, as decay; the threshold by default.
        v_reset: membrane potential after a spike with reset "to".
        v_rest: resting potential.
        strict: fire only above the threshold, not at it; of several spikes, only above the potential that takes one more.
        detach_reset: treat the spike in the reset as a constant in the backward pass.
        surrogate: one of :mod:`spikeops.surrogate`.
        reset_timing: when a spike resets. "now" as above. "late": ``v[t] = u[t]``, and where v[t-1] fires, u[t] is less by reset_amount,
            or, with reset "to", v[t-1] is v_reset before it decays; "late_with_input": the same, but with reset "to" u[t] is v_reset,
            whatever the input. "guarded", for reset "subtract": where v[t-1] still fires, u[t] is less by reset_amount and a spike of
            step t resets no second time; without one the reset is taken back. (snnTorch's ``reset_delay=True``, that of its Lapicque
            neurons, and ``reset_delay=False``.) Late resets are constants in the backward pass.
        v_min: lower bound of the membrane potential: last in a step, ``v[t] = max(v[t] - v_min, 0) + v_min``.
        max_spikes: how many spikes a neuron may have in a time step, or None for no limit. If more than one, ``s[t]`` is the whole number
            of thresholds in u[t], between 0 and max_spikes; each resets by reset_amount; and s counts as a function of
            ``u[t] / threshold``. The threshold must be above 0.
        rounding: how the number of thresholds is made whole: "down", or to the "nearest" one, half to even, of a single spike too.
        return_trace: return the membrane potentials of all steps as well: "before" the reset (u), or "after" it (v; True is the same).
        save: what is kept for the backward pass, of which less than the "input" x is for numbers, not tensors, as options, and not with a
            trace, several spikes, a late reset or v_min (docs/memory.md). "bits" from which the same gradients follow, of a step one for
            whether the surrogate has its inner value and, with reset "to", one for whether the neuron has fired: a neuron with T steps
            takes ``T // 8 + 1`` bytes, with reset "to" ``T // 4 + 1``, instead of 4 T in float32. For surrogates of two values
            (Rectangle, Window, Heaviside, Step, StraightThrough); with reset "to" for detach_reset only. "bfloat16", for the other
            surrogates but PeriodicExponential: 2 T bytes, of each step ``u - threshold`` rounded to bfloat16, of which the sign says
            exactly whether the neuron has fired. Spikes are the same, the surrogate derivative is off by 2^-8 of its peak at most (with a
            center, of its peak and center times its steepest slope), and with reset "to" without detach_reset, so is u by 2^-8 of its
            distance from the threshold; second derivatives as well. 16-bit x takes as little, and is kept itself.
        v_init: membrane potential before the first step, broadcastable to ``x.shape[1:]``; gets a gradient. 0 by default
            (whatever v_rest is).
        time_steps: T, for a current x (...) that has no time axis and is the same in all time steps, as from a still image. It is
            not copied T times, and its gradient is summed over time in the kernel.

    Returns:
        ``(spikes, v_last)``: spikes (T, ...), 0 or 1, or up to max_spikes, in x's dtype and layout; v_last (...), the membrane potential
        after the last reset, in float32 for 16-bit x, so that a sequence cut into pieces gives the same spikes as in one piece. With
        return_trace ``(spikes, v_last, trace)``: trace (T, ...) in x's dtype and layout, with a gradient.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value, or options that exclude each other.
        RuntimeError: no kernel for the device.

    Example:
        >>> x = torch.tensor([[0.6], [0.6], [0.6]])
        >>> spikes, v = SF.lif(x, decay=0.5)
        >>> spikes.T, v
        (tensor([[0., 0., 1.]]), tensor([0.0500]))
        >>> SF.lif(torch.tensor([0.6]), decay=0.5, time_steps=3)[0].T
        tensor([[0., 0., 1.]])
        >>> spikes, v, u = SF.lif(2 * x, decay=0.5, threshold=torch.tensor([0.5]), max_spikes=None, return_trace="before")
        >>> spikes.T, u.T
        (tensor([[2., 2., 2.]]), tensor([[1.2000, 1.3000, 1.3500]]))
    """
    options = (input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    general = (reset_timing, v_min, max_spikes, rounding)
    return run_lif(x, decay, threshold, options, v_init, time_steps, general, return_trace, save)


@explain_other_words(NEURON)
def lif_rate(
    x: torch.Tensor,
    decay: float | torch.Tensor = 0.5,
    threshold: float = 1.0,
    *,
    input_scale: float = 1.0,
    reset: Reset = "subtract",
    reset_amount: float | None = None,
    v_reset: float = 0.0,
    v_rest: float = 0.0,
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate = ATan(2.0),
    v_init: torch.Tensor | None = None,
    time_steps: int | None = None,
    weighting: Weighting = "mean",
) -> torch.Tensor:
    """The firing rate of :func:`lif`, without storing a spike train.

    Args:
        x, ...: as in :func:`lif`.
        weighting: "mean" for ``sum_t s[t] / T``; "decay" for ``sum_t decay^(T-1-t) s[t] / sum_t decay^t`` (Xiao et al.,
            NeurIPS 2021), whose gradient includes the weights' dependence on a decay tensor.

    Derivatives of any order, `vmap` and forward mode as in :func:`lif`.

    Returns:
        The rate (...), between 0 and 1 (spikes per time step), in x's dtype and the layout of one of its time steps.

    Raises:
        As :func:`lif`. ValueError: more than 2^24 time steps of data other than float64, beyond which float32 does not count.

    Example:
        >>> SF.lif_rate(torch.tensor([[0.6], [0.6], [0.6]]), 0.5)
        tensor([0.3333])
    """
    time_steps = checked_input("lif_rate", x, time_steps)
    decay, decay_tensor = checked_decay("lif_rate", "decay", decay, x, time_steps)
    plan = _rate_plan(
        x.dtype, decay, threshold, input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate, time_steps
    )
    checked_states("lif_rate", x, time_steps, v_init=v_init)
    _checks.choice("lif_rate", "weighting", weighting, WEIGHTINGS)
    _checks.countable("lif_rate", time_steps or x.shape[0], x.dtype)
    arguments = x, decay_tensor, v_init, plan.numbers, plan.modes
    ops = _backend.serving("lif_rate", x)
    if ops is None:
        return _on_reference(reference.lif_rate, arguments, plan.options, weighting=weighting)
    return _lif_rate_forward(ops, *arguments, WEIGHTINGS[weighting])


def run_lif(
    x: torch.Tensor,
    decay: float | torch.Tensor,
    threshold: float | torch.Tensor,
    options: tuple[Any, ...],
    v_init: torch.Tensor | None,
    time_steps: int | None,
    general: tuple[Any, ...] = _general_lif.NONE,
    return_trace: Trace = False,
    save: Save = "input",
) -> tuple[torch.Tensor, ...]:
    """:func:`lif` with its options as tuples, those of LIFOptions and GeneralOptions."""
    time_steps = checked_input("lif", x, time_steps)
    decay, decay_tensor = checked_decay("lif", "decay", decay, x, time_steps)
    given = None
    if is_tensor(threshold) or is_tensor(options[0]) or is_tensor(options[2]):
        given = threshold, *options
        threshold, *options = (A_TENSOR if is_tensor(value) else value for value in given)
    plan = _plan(x.dtype, decay, threshold, *options, time_steps, *general, return_trace, save, decay_tensor is not None)
    threshold, options, general, trace, decay, numbers, modes = plan
    if given is not None:
        threshold, *options = (tensor if isinstance(value, ATensor) else value for value, tensor in zip((threshold, *options), given))
        options = LIFOptions(*options)
    if v_init is not None:
        checked_states("lif", x, time_steps, v_init=v_init)
    ops = _backend.serving("lif", x)
    # Without gradients nothing is kept. Of an exported program, which is for inference, it would be one more size that depends on T, of
    # which torch.export would have to know whether it is 1.
    if save != "input" and torch.is_grad_enabled() and not _transforms.is_exporting() and _lif_kept.is_of_use(save, x):
        return _provenance.mark_first(_lif_kept.run("lif", ops, x, time_steps, decay, threshold, options, v_init, save))
    if numbers is None:
        return _general_lif.run("lif", ops, x, time_steps, decay, decay_tensor, threshold, options, general, trace, v_init)
    arguments = x, decay_tensor, v_init, numbers, modes
    return _provenance.mark_first(_on_reference(reference.lif, arguments, options) if ops is None else _lif_forward(ops, *arguments))


class _Plan(NamedTuple):
    """The options of a call, looked at, and the lists of LIF_NEURON in csrc/lif.cpp, or None where they do not say it all."""

    threshold: float | torch.Tensor
    options: LIFOptions
    general: GeneralOptions
    trace: str
    decay: float
    numbers: tuple[float, ...] | None
    modes: tuple[int, ...] | None


@remembered
def _plan(
    data, decay, threshold, input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate, time_steps,
    reset_timing, v_min, max_spikes, rounding, return_trace, save, has_decay_tensor,
) -> _Plan:  # fmt: skip
    op, decay = "lif", _checks.decay("lif", "decay", decay)
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    threshold, options = checked_options(op, threshold, options, in_general=True)
    general = _general_lif.checked_general_options(op, options, GeneralOptions(reset_timing, v_min, max_spikes, rounding))
    trace = _general_lif.trace_name(op, return_trace)
    if save != "input":
        _lif_kept.checked_save(op, save, has_decay_tensor, threshold, options, general, trace)
    has_tensor = any(isinstance(value, ATensor) for value in (threshold, options.input_scale, options.reset_amount))
    if trace or general != _general_lif.NONE or has_tensor or not options.surrogate.suits_every_op:
        return _Plan(threshold, options, general, trace, decay, None, None)
    return _Plan(threshold, options, general, trace, decay, *_lists(op, data, decay, threshold, options, time_steps))


@remembered
def _rate_plan(
    data, decay, threshold, input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate, time_steps
) -> _Plan:  # fmt: skip
    decay = _checks.decay("lif_rate", "decay", decay)
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    threshold, options = checked_options("lif_rate", threshold, options)
    return _Plan(threshold, options, _general_lif.NONE, "", decay, *_lists("lif_rate", data, decay, threshold, options, time_steps))


def _lists(op, data, decay, threshold, options, time_steps):
    """The numbers and modes of LIF_NEURON in csrc/lif.cpp."""
    input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate = options
    if reset_amount is None:
        reset_amount = threshold
    _checks.fit(op, data, threshold=threshold, input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest)
    kind, scale, peak = surrogate.coefficients
    numbers = (decay, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak)
    return numbers, (RESETS[reset], int(strict), int(detach_reset), kind, time_steps)


def _on_reference(function, arguments, options: LIFOptions, **others):
    x, decay_tensor, v_init, numbers, modes = arguments
    decay, threshold, input_scale, reset_amount, v_reset, v_rest, *_ = numbers
    options = options._replace(input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest)
    decay = decay if decay_tensor is None else decay_tensor
    return function(x, decay, threshold, v_init=v_init, time_steps=modes[-1] or None, **options._asdict(), **others)


# --- the ops ----------------------------------------------------------------------------------------------------------------

_WEIGHTING_NAMES = tuple(WEIGHTINGS)


def _definition(x, decay, v_init, numbers, modes):
    return reference.lif(x, **_options(decay, v_init, numbers, modes))


def _rate_definition(x, decay, v_init, numbers, modes, weighting):
    return reference.lif_rate(x, weighting=_WEIGHTING_NAMES[weighting], **_options(decay, v_init, numbers, modes))


def _options(decay, v_init, numbers, modes):
    decay_number, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak = numbers
    reset, strict, detach_reset, kind, time_steps = modes
    return dict(
        decay=decay_number if decay is None else decay, threshold=threshold, input_scale=input_scale, reset=RESET_NAMES[reset],
        reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest, strict=bool(strict), detach_reset=bool(detach_reset),
        surrogate=from_coefficients(kind, scale, peak), v_init=v_init, time_steps=time_steps or None,
    )  # fmt: skip


_lif_forward = _neuron.register("lif", (SPIKES, LAST_STATE), 2, _definition)
_lif_rate_forward = _neuron.register("lif_rate", (RATE,), 2, _rate_definition, others=1)
