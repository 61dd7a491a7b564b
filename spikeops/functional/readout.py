"""Leaky readout: membranes that integrate and never fire."""

from __future__ import annotations

import torch

from spikeops import _backend, reference
from spikeops.functional import _checks, _neuron
from spikeops.functional._lif_options import checked_decay, checked_input, checked_states
from spikeops.functional._neuron import LAST_STATE, SPIKES
from spikeops.functional._other_words import READOUT, explain_other_words
from spikeops.functional._remembered import remembered


@explain_other_words(READOUT)
def leaky_readout(
    x: torch.Tensor,
    decay: float | torch.Tensor = 0.9,
    *,
    input_scale: float = 1.0,
    v_rest: float = 0.0,
    v_init: torch.Tensor | None = None,
    time_steps: int | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """The membrane potential of leaky integrators at every time step, in one kernel: what the last layer of a classifier tells.

    For each neuron ``v[t] = v_rest + decay * (v[t-1] - v_rest) + input_scale * x[t]``: :func:`lif` without spikes. With
    ``input_scale=1 - decay`` it is the low-pass filter of :func:`synaptic_filter`, there with ``tau_s = 1 / (1 - decay)``.
    The derivatives are exact. Only x is kept for the backward pass.

    Args:
        x: input current (T, ...), float32, float64, float16 or bfloat16. T >= 1. Layouts as in :func:`lif`.
        decay: factor by which the membrane potential decays towards v_rest in one time step, ``exp(-1 / tau)`` or ``1 - 1 / tau``. A
            number, or a tensor that broadcasts to ``x.shape[1:]`` and then gets a gradient (summed in a fixed order). 1: it integrates.
        input_scale: factor on x.
        v_rest: resting potential.
        v_init: membrane potential before the first step, broadcastable to ``x.shape[1:]``; gets a gradient. 0 by default.
        time_steps: T, for a current x (...) that has no time axis and is the same in all time steps.

    Returns:
        ``(trace, v_last)``: trace (T, ...), the membrane potential after each step, in x's dtype and layout; v_last (...), after the
        last one, in float32 for 16-bit x, with which a sequence goes on.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value. RuntimeError: no kernel for the device.

    Example:
        >>> trace, v = SF.leaky_readout(torch.tensor([[1.0], [0.0], [1.0]]), decay=0.5)
        >>> trace.T, v
        (tensor([[1.0000, 0.5000, 1.2500]]), tensor([1.2500]))
    """
    time_steps = checked_input("leaky_readout", x, time_steps)
    decay, decay_tensor = checked_decay("leaky_readout", "decay", decay, x, time_steps)
    checked_states("leaky_readout", x, time_steps, v_init=v_init)
    arguments = (x, decay_tensor, v_init, *_lists(x.dtype, decay, input_scale, v_rest, time_steps))
    ops = _backend.serving("leaky_readout", x)
    return _definition(*arguments) if ops is None else _leaky_readout_forward(ops, *arguments)


@remembered
def _lists(data, decay, input_scale, v_rest, time_steps):
    """The numbers and modes of READOUT_NEURON in csrc/readout.cpp."""
    decay = _checks.decay("leaky_readout", "decay", decay)
    input_scale = _checks.number("leaky_readout", "input_scale", input_scale)
    v_rest = _checks.number("leaky_readout", "v_rest", v_rest)
    _checks.fit("leaky_readout", data, input_scale=input_scale, v_rest=v_rest)
    return (decay, input_scale, v_rest), (time_steps,)


def _definition(x, decay_tensor, v_init, numbers, modes):
    decay, input_scale, v_rest = numbers
    return reference.leaky_readout(
        x, decay if decay_tensor is None else decay_tensor, input_scale=input_scale, v_rest=v_rest, v_init=v_init,
        time_steps=modes[0] or None,
    )  # fmt: skip


# The trace has the layout of spikes.
_leaky_readout_forward = _neuron.register("leaky_readout", (SPIKES, LAST_STATE), 2, _definition, has_spikes=False)
