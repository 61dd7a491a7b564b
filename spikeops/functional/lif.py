"""Multi-step leaky integrate-and-fire neurons."""

from __future__ import annotations

import torch

from spikeops import _backend, reference
from spikeops.functional import _checks, _neuron
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
)
from spikeops.functional._neuron import LAST_STATE, RATE, SPIKES
from spikeops.functional._other_words import NEURON, explain_other_words
from spikeops.surrogate import ATan, Surrogate, from_coefficients


@explain_other_words(NEURON)
def lif(
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
) -> tuple[torch.Tensor, torch.Tensor]:
    """Leaky integrate-and-fire neurons over all time steps in one kernel, with a surrogate gradient.

    For each neuron, ``t = 0 .. T-1``, in this order (decay, input, spike, reset; no delay)::

        u[t] = v_rest + decay * (v[t-1] - v_rest) + input_scale * x[t]
        s[t] = 1 if u[t] >= threshold else 0            (strict: u[t] > threshold)
        v[t] = u[t] - reset_amount * s[t]               reset "subtract"
             = v_reset if s[t] else u[t]                reset "to"
             = u[t]                                     reset "none"

    The gradient is that of the unrolled loop with ``d s / d u`` replaced by ``surrogate`` (Neftci, Mostafa & Zenke, 2019),
    through the reset too unless ``detach_reset``. Only x is kept for the backward pass. Second derivatives (``create_graph=True``,
    `torch.func.grad` twice) are those of the same loop with ``surrogate`` in the place of ``d s / d u`` wherever s stands; they run
    the loop in plain PyTorch, some 1 ms per time step. Forward mode is refused (docs/transforms.md).

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
        threshold: membrane potential at which a neuron fires.
        input_scale: factor on x.
        reset: what a spike does to the membrane potential: "subtract", "to" or "none".
        reset_amount: subtracted by reset "subtract"; the threshold by default.
        v_reset: membrane potential after a spike with reset "to".
        v_rest: resting potential.
        strict: fire only above the threshold, not at it.
        detach_reset: treat the spike in the reset as a constant in the backward pass.
        surrogate: one of :mod:`spikeops.surrogate`.
        v_init: membrane potential before the first step, broadcastable to ``x.shape[1:]``; gets a gradient. 0 by default
            (whatever v_rest is).
        time_steps: T, for a current x (...) that has no time axis and is the same in all time steps, as from a still image. It is
            not copied T times, and its gradient is summed over time in the kernel.

    Returns:
        ``(spikes, v_last)``: spikes (T, ...), 0 or 1, in x's dtype and layout; v_last (...), the membrane potential after the
        last reset, in float32 for 16-bit x, so that a sequence cut into pieces gives the same spikes as in one piece.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value. RuntimeError: no kernel for the device.

    Example:
        >>> x = torch.tensor([[0.6], [0.6], [0.6]])
        >>> spikes, v = SF.lif(x, decay=0.5)
        >>> spikes.T, v
        (tensor([[0., 0., 1.]]), tensor([0.0500]))
        >>> SF.lif(torch.tensor([0.6]), decay=0.5, time_steps=3)[0].T
        tensor([[0., 0., 1.]])
    """
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    return run_lif(x, decay, threshold, options, v_init, time_steps)


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
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    arguments = _arguments("lif_rate", x, decay, threshold, options, v_init, time_steps)
    _checks.choice("lif_rate", "weighting", weighting, WEIGHTINGS)
    _checks.countable("lif_rate", arguments[-1][-1] or x.shape[0], x.dtype)
    if _backend.is_reference():
        return _on_reference(reference.lif_rate, arguments, options, weighting=weighting)
    return _lif_rate_forward(_backend.namespace("lif_rate", x.device), *arguments, WEIGHTINGS[weighting])


def run_lif(
    x: torch.Tensor,
    decay: float | torch.Tensor,
    threshold: float,
    options: LIFOptions,
    v_init: torch.Tensor | None,
    time_steps: int | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`lif` with its options as one object."""
    arguments = _arguments("lif", x, decay, threshold, options, v_init, time_steps)
    if _backend.is_reference():
        return _on_reference(reference.lif, arguments, options)
    return _lif_forward(_backend.namespace("lif", x.device), *arguments)


def _arguments(op, x, decay, threshold, options, v_init, time_steps):
    """Checks the arguments and puts them into the form of the schemas (LIF_NEURON in csrc/lif.cpp)."""
    step, time_steps = checked_input(op, x, time_steps)
    decay, decay_tensor = checked_decay(op, "decay", decay, x, step)
    threshold, options = checked_options(op, threshold, options)
    input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate = options
    if reset_amount is None:
        reset_amount = threshold
    _checks.fit(op, x.dtype, threshold=threshold, input_scale=input_scale, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest)
    if v_init is not None:
        _checks.per_neuron(op, "v_init", v_init, x, step)
    kind, scale, peak = surrogate.coefficients
    numbers = (decay, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak)
    return x, decay_tensor, v_init, numbers, (RESETS[reset], int(strict), int(detach_reset), kind, time_steps)


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
