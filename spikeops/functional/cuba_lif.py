"""Multi-step current-based leaky integrate-and-fire neurons."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

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
    is_tensor,
    step_of,
)
from spikeops.functional._neuron import LAST_STATE, SPIKES
from spikeops.functional._other_words import CUBA, explain_other_words
from spikeops.functional._remembered import remembered
from spikeops.surrogate import ATan, Surrogate
from spikeops.surrogate._of_numbers import from_coefficients

CurrentOrder = Literal["decay_input_membrane", "input_decay_membrane", "input_membrane_decay", "membrane_decay_input"]

# The numbers are part of the op schemas (kernels/math/cuba_lif.h).
ORDERS = {"decay_input_membrane": 0, "input_decay_membrane": 1, "input_membrane_decay": 2, "membrane_decay_input": 3}
ORDER_NAMES = tuple(ORDERS)

CubaTiming = Literal["now", "late", "late_with_input"]

TIMINGS = {"now": 0, "late": 1, "late_with_input": 2}
TIMING_NAMES = tuple(TIMINGS)


class CubaOptions(NamedTuple):
    """What :func:`cuba_lif` and its module have beside the options of LIF neurons."""

    order: CurrentOrder = "decay_input_membrane"
    current_scale: float | torch.Tensor = 1.0
    reset_timing: CubaTiming = "now"


@explain_other_words(CUBA)
def cuba_lif(
    x: torch.Tensor,
    decay: float | torch.Tensor = 0.5,
    threshold: float | torch.Tensor = 1.0,
    *,
    current_decay: float | torch.Tensor = 0.5,
    order: CurrentOrder = "decay_input_membrane",
    current_scale: float | torch.Tensor = 1.0,
    input_scale: float = 1.0,
    reset: Reset = "subtract",
    reset_amount: float | None = None,
    v_reset: float = 0.0,
    v_rest: float = 0.0,
    reset_timing: CubaTiming = "now",
    strict: bool = False,
    detach_reset: bool = False,
    surrogate: Surrogate = ATan(2.0),
    v_init: torch.Tensor | None = None,
    i_init: torch.Tensor | None = None,
    time_steps: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Current-based leaky integrate-and-fire neurons, synapse and membrane in one kernel, with a surrogate gradient.

    A step takes the synaptic current i through its decay and its input; the membrane potential u reads it and is reset by a spike.
    Simulators differ in the order of the three, which ``order`` spells out::

        "decay_input_membrane"   i[t] = current_decay * i[t-1] + input_scale * x[t],   read i[t]      snnTorch, SpikingJelly, NIR
        "input_decay_membrane"   i[t] = current_decay * (i[t-1] + input_scale * x[t]), read i[t]      sinabs
        "input_membrane_decay"   read j = i[t-1] + input_scale * x[t], then i[t] = current_decay * j  Norse's LIF
        "membrane_decay_input"   read i[t-1], then i[t] = current_decay * i[t-1] + input_scale * x[t] Norse's LSNN

        u[t] = v_rest + decay * (v[t-1] - v_rest) + current_scale * (what is read)
        s[t] = 1 if u[t] >= threshold else 0            (strict: u[t] > threshold)
        v[t] = u[t] - reset_amount * s[t]               reset "subtract"
             = v_reset if s[t] else u[t]                reset "to"
             = u[t]                                     reset "none"

    With a late reset, as is snnTorch's default, a spike resets the potential in the next step, if ``v[t-1]`` is at the threshold:
    "subtract" takes the amount from u[t], before it fires itself; "to" puts v_reset in the place of v[t-1], or, "late_with_input", of
    u[t], whose input is lost. ``v[t] = u[t]`` is what comes back. For the gradient it is a constant.

    The gradient is that of the unrolled loop with ``d s / d u`` replaced by ``surrogate``, through the reset too unless
    ``detach_reset``. Only x is kept for the backward pass. Numbers that are not finite go through these equations like others, as in
    :func:`lif`. NIR's CubaLIF with time step dt: ``decay=1 - dt/tau_mem``, ``current_decay=1 - dt/tau_syn``,
    ``input_scale=w_in * dt/tau_syn``, ``current_scale=r * dt/tau_mem``, ``v_rest=v_leak``, ``reset="to"``, ``strict=True``.

    Args:
        x: input (T, ...), float32, float64, float16 or bfloat16. T >= 1. Layouts as in :func:`lif`.
        decay: factor by which the membrane potential decays towards v_rest in one time step, ``exp(-1 / tau)`` or ``1 - 1 / tau``. A
            number, or a tensor that broadcasts to ``x.shape[1:]`` and then gets a gradient (summed in a fixed order).
        threshold: membrane potential at which a neuron fires; a number or a tensor, as decay.
        current_decay: factor by which the current decays in one time step; a number or a tensor, as decay. 0: no synapse.
        order: see above.
        current_scale: factor on the current that the membrane reads; a number or a tensor, as decay.
        reset_amount: subtracted by reset "subtract"; by default the threshold, with its gradient.
        input_scale, reset, v_reset, v_rest, strict, detach_reset, surrogate, time_steps: as in :func:`lif`.
        reset_timing: "now", in the step of the spike, or "late" or "late_with_input": see above.
        v_init, i_init: membrane potential and current before the first step, broadcastable to ``x.shape[1:]``; they get gradients.
            0 by default.

    Returns:
        ``(spikes, v_last, i_last)``: spikes (T, ...), 0 or 1, in x's dtype and layout; v_last and i_last (...), membrane potential and
        current after the last step, in float32 for 16-bit x, with which a sequence goes on.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value. RuntimeError: no kernel for the device.

    Example:
        >>> spikes, v, i = SF.cuba_lif(torch.tensor([[1.0], [0.0], [0.0], [0.0]]), decay=0.5, threshold=0.9)
        >>> spikes.T, i
        (tensor([[1., 0., 0., 0.]]), tensor([0.1250]))
    """
    options = (input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    return run_cuba_lif(x, decay, threshold, current_decay, (order, current_scale, reset_timing), options, v_init, i_init, time_steps)


def number_or_tensor(op: str, name: str, value: Any, x: torch.Tensor, time_steps: int) -> tuple[float, torch.Tensor | None]:
    """(the number, None), or (0, the tensor). Numbers are looked at where they are remembered."""
    if not is_tensor(value):
        return value, None
    _checks.per_neuron(op, name, value, x, step_of(x, time_steps))
    return 0.0, value


def checked_cuba(op: str, options: CubaOptions) -> CubaOptions:
    """The options; what can be wrong with them alone is said. A tensor is looked at where the input is known."""
    order, current_scale, reset_timing = options
    _checks.choice(op, "order", order, ORDERS)
    if not isinstance(current_scale, torch.Tensor):
        current_scale = _checks.number(op, "current_scale", current_scale)
    _checks.choice(op, "reset_timing", reset_timing, TIMINGS)
    return CubaOptions(order, current_scale, reset_timing)


def run_cuba_lif(
    x: torch.Tensor,
    decay: float | torch.Tensor,
    threshold: float | torch.Tensor,
    current_decay: float | torch.Tensor,
    cuba: tuple[Any, ...],
    options: tuple[Any, ...],
    v_init: torch.Tensor | None,
    i_init: torch.Tensor | None,
    time_steps: int | None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """:func:`cuba_lif` with its options as tuples, those of CubaOptions and LIFOptions."""
    time_steps = checked_input("cuba_lif", x, time_steps)
    decay, decay_tensor = checked_decay("cuba_lif", "decay", decay, x, time_steps)
    current_decay, current_decay_tensor = checked_decay("cuba_lif", "current_decay", current_decay, x, time_steps)
    order, current_scale, reset_timing = cuba
    current_scale, current_scale_tensor = number_or_tensor("cuba_lif", "current_scale", current_scale, x, time_steps)
    threshold, threshold_tensor = number_or_tensor("cuba_lif", "threshold", threshold, x, time_steps)
    numbers, modes = _lists(x.dtype, decay, threshold, current_decay, order, current_scale, reset_timing, *options, time_steps)
    checked_states("cuba_lif", x, time_steps, v_init=v_init, i_init=i_init)
    arguments = (x, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, v_init, i_init, numbers, modes)
    ops = _backend.serving("cuba_lif", x)
    if ops is None:
        return _provenance.mark_first(_definition(*arguments, options[-1]))
    return _provenance.mark_first(_cuba_lif_forward(ops, *arguments))


@remembered
def _lists(
    data, decay, threshold, current_decay, order, current_scale, reset_timing, input_scale, reset, reset_amount, v_reset, v_rest, strict,
    detach_reset, surrogate, time_steps,
):  # fmt: skip
    """The numbers and modes of CUBA_LIF_NEURON in csrc/cuba_lif.cpp."""
    decay, current_decay = _checks.decay("cuba_lif", "decay", decay), _checks.decay("cuba_lif", "current_decay", current_decay)
    order, current_scale, reset_timing = checked_cuba("cuba_lif", CubaOptions(order, current_scale, reset_timing))
    options = LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)
    threshold, options = checked_options("cuba_lif", threshold, options)
    input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate = options
    subtracted = threshold if reset_amount is None else reset_amount
    _checks.fit("cuba_lif", data, current_scale=current_scale, threshold=threshold, input_scale=input_scale, reset_amount=subtracted,
                v_reset=v_reset, v_rest=v_rest)  # fmt: skip
    numbers = (decay, current_decay, current_scale, threshold, input_scale, subtracted, v_reset, v_rest, *surrogate.coefficients[1:])
    modes = (ORDERS[order], RESETS[reset], TIMINGS[reset_timing], int(strict), int(detach_reset), int(reset_amount is None),
             surrogate.coefficients[0], time_steps)  # fmt: skip
    return numbers, modes


def _definition(
    x, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, v_init, i_init, numbers, modes, surrogate=None
):  # fmt: skip
    decay, current_decay, current_scale, threshold, input_scale, reset_amount, v_reset, v_rest, scale, peak = numbers
    order, reset, reset_timing, strict, detach_reset, takes_threshold, kind, time_steps = modes
    return reference.cuba_lif(
        x, decay if decay_tensor is None else decay_tensor, threshold if threshold_tensor is None else threshold_tensor,
        current_decay=current_decay if current_decay_tensor is None else current_decay_tensor, order=ORDER_NAMES[order],
        current_scale=current_scale if current_scale_tensor is None else current_scale_tensor, input_scale=input_scale,
        reset=RESET_NAMES[reset], reset_amount=None if takes_threshold else reset_amount, v_reset=v_reset, v_rest=v_rest,
        reset_timing=TIMING_NAMES[reset_timing], strict=bool(strict), detach_reset=bool(detach_reset),
        surrogate=surrogate or from_coefficients(kind, scale, peak), v_init=v_init, i_init=i_init, time_steps=time_steps or None,
    )  # fmt: skip


_cuba_lif_forward = _neuron.register("cuba_lif", (SPIKES, LAST_STATE, LAST_STATE), 6, _definition)
