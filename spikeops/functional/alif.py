"""Multi-step leaky integrate-and-fire neurons with an adaptive threshold."""

from __future__ import annotations

from typing import Any

import torch

from spikeops import _backend, reference
from spikeops.functional import _checks, _neuron, _provenance
from spikeops.functional._lif_options import (
    RESET_NAMES,
    RESETS,
    LIFOptions,
    Reset,
    checked_decay,
    checked_input,
    checked_options,
    checked_states,
)
from spikeops.functional._neuron import LAST_STATE, SPIKES
from spikeops.functional._other_words import NEURON, explain_other_words
from spikeops.functional._remembered import remembered
from spikeops.surrogate import ATan, Surrogate
from spikeops.surrogate._of_numbers import from_coefficients


@explain_other_words(NEURON)
def alif(
    x: torch.Tensor,
    decay: float | torch.Tensor = 0.5,
    threshold: float = 1.0,
    *,
    adaptation_decay: float | torch.Tensor = 0.9,
    beta: float = 0.2,
    input_scale: float = 1.0,
    reset: Reset = "subtract",
    reset_amount: float | None = None,
    v_reset: float = 0.0,
    v_rest: float = 0.0,
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate = ATan(2.0),
    v_init: torch.Tensor | None = None,
    a_init: torch.Tensor | None = None,
    time_steps: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Adaptive leaky integrate-and-fire neurons over all time steps in one kernel, with a surrogate gradient.

    Each spike raises the neuron's own threshold, which decays back: the adaptive neuron of Bellec et al., "Long short-term memory and
    learning-to-learn in networks of spiking neurons" (NeurIPS 2018), in the form of Bellec et al., Nature Communications 11:3625
    (2020). For each neuron, ``t = 0 .. T-1``, in this order::

        theta[t] = threshold + beta * a[t-1]
        u[t] = v_rest + decay * (v[t-1] - v_rest) + input_scale * x[t]
        s[t] = 1 if u[t] >= theta[t] else 0             (strict: u[t] > theta[t])
        v[t] = u[t] - reset_amount * s[t]               reset "subtract"
             = v_reset if s[t] else u[t]                reset "to"
             = u[t]                                     reset "none"
        a[t] = adaptation_decay * a[t-1] + s[t]

    The gradient is that of the unrolled loop with the derivative of s with respect to ``u - theta`` replaced by ``surrogate``, through
    the adaptation, and through the reset too unless ``detach_reset``. Only x is kept for the backward pass. With ``beta=0`` the
    spikes are those of :func:`lif`. Numbers that are not finite go through these equations like others, as in :func:`lif`.

    Args:
        x: input current (T, ...), float32, float64, float16 or bfloat16. T >= 1. Layouts as in :func:`lif`.
        decay: factor by which the membrane potential decays towards v_rest in one time step, ``exp(-1 / tau)``. A number, or a
            tensor that broadcasts to ``x.shape[1:]`` and then gets a gradient (summed in a fixed order).
        threshold: that of a neuron that has long been silent.
        adaptation_decay: factor by which the adaptation decays in one time step, ``exp(-1 / tau_a)``; a number or a tensor, as decay.
        beta: how much one unit of adaptation raises the threshold. (In 2018 the adaptation grew by ``1 - adaptation_decay`` with
            each spike: beta here is that beta times this.)
        reset_amount: subtracted by reset "subtract"; by default the threshold that was reached, theta[t], with its gradient.
        input_scale, reset, v_reset, v_rest, strict, detach_reset, surrogate, time_steps: as in :func:`lif`.
        v_init, a_init: membrane potential and adaptation before the first step, broadcastable to ``x.shape[1:]``; they get
            gradients. 0 by default.

    Returns:
        ``(spikes, v_last, a_last)``: spikes (T, ...), 0 or 1, in x's dtype and layout; v_last and a_last (...), membrane potential
        and adaptation after the last step, in float32 for 16-bit x, with which a sequence goes on.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value. RuntimeError: no kernel for the device.

    Example:
        >>> spikes, v, a = SF.alif(torch.full((6, 1), 1.5), decay=0.5, adaptation_decay=0.5, beta=1.0)
        >>> spikes.T, a
        (tensor([[1., 0., 1., 0., 1., 0.]]), tensor([0.6562]))
    """
    options = (input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    return run_alif(x, decay, threshold, adaptation_decay, beta, options, v_init, a_init, time_steps)


def run_alif(
    x: torch.Tensor,
    decay: float | torch.Tensor,
    threshold: float,
    adaptation_decay: float | torch.Tensor,
    beta: float,
    options: tuple[Any, ...],
    v_init: torch.Tensor | None,
    a_init: torch.Tensor | None,
    time_steps: int | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """:func:`alif` with its options as a tuple, that of LIFOptions."""
    time_steps = checked_input("alif", x, time_steps)
    decay, decay_tensor = checked_decay("alif", "decay", decay, x, time_steps)
    adaptation_decay, adaptation_decay_tensor = checked_decay("alif", "adaptation_decay", adaptation_decay, x, time_steps)
    numbers, modes = _lists(x.dtype, decay, threshold, adaptation_decay, beta, *options, time_steps)
    checked_states("alif", x, time_steps, v_init=v_init, a_init=a_init)
    arguments = x, decay_tensor, adaptation_decay_tensor, v_init, a_init, numbers, modes
    ops = _backend.serving("alif", x)
    if ops is None:
        return _provenance.mark_first(_definition(*arguments, surrogate=options[-1]))
    return _provenance.mark_first(_alif_forward(ops, *arguments))


@remembered
def _lists(
    data, decay, threshold, adaptation_decay, beta, input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate,
    time_steps,
):  # fmt: skip
    """The numbers and modes of ALIF_NEURON in csrc/alif.cpp."""
    decay = _checks.decay("alif", "decay", decay)
    adaptation_decay = _checks.decay("alif", "adaptation_decay", adaptation_decay)
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    threshold, options = checked_options("alif", threshold, options)
    beta = _checks.number("alif", "beta", beta)
    input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate = options
    subtracted = threshold if reset_amount is None else reset_amount
    _checks.fit("alif", data, threshold=threshold, beta=beta, input_scale=input_scale, reset_amount=subtracted, v_reset=v_reset,
                v_rest=v_rest)  # fmt: skip
    numbers = (decay, adaptation_decay, threshold, beta, input_scale, subtracted, v_reset, v_rest, *surrogate.coefficients[1:])
    return numbers, (RESETS[reset], int(strict), int(detach_reset), int(reset_amount is None), surrogate.coefficients[0], time_steps)


def _definition(x, decay_tensor, adaptation_decay_tensor, v_init, a_init, numbers, modes, surrogate=None):
    decay, adaptation_decay, threshold, beta, input_scale, reset_amount, v_reset, v_rest, scale, peak = numbers
    reset, strict, detach_reset, subtracts_threshold, kind, time_steps = modes
    return reference.alif(
        x, decay if decay_tensor is None else decay_tensor, threshold, beta=beta,
        adaptation_decay=adaptation_decay if adaptation_decay_tensor is None else adaptation_decay_tensor, input_scale=input_scale,
        reset=RESET_NAMES[reset], reset_amount=None if subtracts_threshold else reset_amount, v_reset=v_reset, v_rest=v_rest,
        strict=bool(strict), detach_reset=bool(detach_reset), surrogate=surrogate or from_coefficients(kind, scale, peak), v_init=v_init,
        a_init=a_init, time_steps=time_steps or None,
    )  # fmt: skip


_alif_forward = _neuron.register("alif", (SPIKES, LAST_STATE, LAST_STATE), 4, _definition)
