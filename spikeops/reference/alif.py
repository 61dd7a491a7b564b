"""Leaky integrate-and-fire neurons with an adaptive threshold, step by step, with gradients by ordinary autograd."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call
from spikeops.reference._spike import Outputs, ResetBy, ResetTo, Spike
from spikeops.surrogate import ATan

__all__ = ["alif"]


def alif(x, decay=0.5, threshold=1.0, *, adaptation_decay=0.9, beta=0.2, input_scale=1.0, reset="subtract", reset_amount=None,
         v_reset=0.0, v_rest=0.0, strict=False, detach_reset=False, surrogate=ATan(2.0), v_init=None, a_init=None,
         time_steps=None):  # fmt: skip
    """See :func:`spikeops.functional.alif`."""
    state = state_dtype(x.dtype)
    currents = x.to(state) if time_steps is None else x.to(state).expand(time_steps, *x.shape)
    decay, adaptation_decay = (d.to(state) if isinstance(d, torch.Tensor) else d for d in (decay, adaptation_decay))
    v, a = (torch.zeros_like(currents[0]) if s is None else s.to(state).expand(currents.shape[1:]) for s in (v_init, a_init))
    spikes = []
    for x_t in currents:
        theta = threshold + beta * a
        u = v_rest + decay * (v - v_rest) + input_scale * x_t
        s = call(Spike, u, theta, strict, surrogate)
        s_reset = s.detach() if detach_reset else s
        if reset == "subtract":
            v = call(ResetBy, u, s_reset, theta) if reset_amount is None else u - reset_amount * s_reset
        elif reset == "to":
            v = call(ResetTo, u, s_reset, v_reset)
        else:
            v = u
        a = adaptation_decay * a + s
        spikes.append(s)
    spikes, v = call(Outputs, torch.stack(spikes).to(x.dtype), v)
    spikes, a = call(Outputs, spikes, a)
    return spikes, v, a
