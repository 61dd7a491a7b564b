"""Leaky readout, step by step, with gradients by ordinary autograd."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call
from spikeops.reference._spike import Outputs

__all__ = ["leaky_readout"]


def leaky_readout(x, decay=0.9, *, input_scale=1.0, v_rest=0.0, v_init=None, time_steps=None):
    """See :func:`spikeops.functional.leaky_readout`."""
    state = state_dtype(x.dtype)
    currents = x.to(state) if time_steps is None else x.to(state).expand(time_steps, *x.shape)
    if isinstance(decay, torch.Tensor):
        decay = decay.to(state)
    v = torch.zeros_like(currents[0]) if v_init is None else v_init.to(state).expand(currents.shape[1:])
    trace = []
    for x_t in currents:
        v = v_rest + decay * (v - v_rest) + input_scale * x_t
        trace.append(v)
    return call(Outputs, torch.stack(trace).to(x.dtype), v)
