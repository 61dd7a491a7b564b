"""Leaky integrate-and-fire neurons, step by step, with gradients by ordinary autograd through a surrogate spike."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call
from spikeops.reference._spike import Outputs, ResetTo, Spike
from spikeops.surrogate import ATan

__all__ = ["lif", "lif_rate"]


def lif(x, decay=0.5, threshold=1.0, *, input_scale=1.0, reset="subtract", reset_amount=None, v_reset=0.0, v_rest=0.0,
        strict=False, detach_reset=False, surrogate=ATan(2.0), v_init=None, time_steps=None):  # fmt: skip
    """See :func:`spikeops.functional.lif`."""
    state = state_dtype(x.dtype)
    currents = x.to(state) if time_steps is None else x.to(state).expand(time_steps, *x.shape)
    reset_amount = threshold if reset_amount is None else reset_amount
    if isinstance(decay, torch.Tensor):
        decay = decay.to(state)
    v = torch.zeros_like(currents[0]) if v_init is None else v_init.to(state).expand(currents.shape[1:])
    spikes = []
    for x_t in currents:
        u = v_rest + decay * (v - v_rest) + input_scale * x_t
        s = call(Spike, u, threshold, strict, surrogate)
        s_reset = s.detach() if detach_reset else s
        if reset == "subtract":
            v = u - reset_amount * s_reset
        elif reset == "to":
            v = call(ResetTo, u, s_reset, v_reset)
        else:
            v = u
        spikes.append(s)
    return call(Outputs, torch.stack(spikes).to(x.dtype), v)


def lif_rate(x, decay=0.5, threshold=1.0, *, weighting="mean", **options):
    """See :func:`spikeops.functional.lif_rate`."""
    spikes, _ = lif(x.to(state_dtype(x.dtype)), decay, threshold, **options)
    if weighting == "mean":
        return (spikes.sum(0) / len(spikes)).to(x.dtype)
    weighted = weights = torch.zeros_like(spikes[0])
    for s in spikes:
        weighted = decay * weighted + s
        weights = decay * weights + 1
    return (weighted / weights).to(x.dtype)
