"""Current-based leaky integrate-and-fire neurons, step by step, with gradients by ordinary autograd through a surrogate spike."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call
from spikeops.reference._spike import Outputs, ResetBy, ResetTo, Spike
from spikeops.surrogate import ATan

__all__ = ["cuba_lif"]


def cuba_lif(x, decay=0.5, threshold=1.0, *, current_decay=0.5, order="decay_input_membrane", current_scale=1.0, input_scale=1.0,
             reset="subtract", reset_amount=None, v_reset=0.0, v_rest=0.0, reset_timing="now", strict=False, detach_reset=False,
             surrogate=ATan(2.0), v_init=None, i_init=None, time_steps=None):  # fmt: skip
    """See :func:`spikeops.functional.cuba_lif`."""
    state = state_dtype(x.dtype)
    currents = x.to(state) if time_steps is None else x.to(state).expand(time_steps, *x.shape)

    def wide(value):
        return value.to(state).expand(currents.shape[1:]) if isinstance(value, torch.Tensor) else value

    decay, threshold, current_decay, current_scale = map(wide, (decay, threshold, current_decay, current_scale))
    v, i = (torch.zeros_like(currents[0]) if s is None else wide(s) for s in (v_init, i_init))
    amount = threshold if reset_amount is None else reset_amount

    def reset_by(u, s):
        s = s.detach() if detach_reset or reset_timing != "now" else s
        if reset == "subtract":
            return call(ResetBy, u, s, amount) if isinstance(amount, torch.Tensor) else u - amount * s
        return call(ResetTo, u, s, v_reset) if reset == "to" else u

    spikes = []
    for x_t in currents:
        if order == "decay_input_membrane":
            i = read = current_decay * i + input_scale * x_t
        elif order == "input_decay_membrane":
            i = read = current_decay * (i + input_scale * x_t)
        elif order == "input_membrane_decay":
            read = i + input_scale * x_t
            i = current_decay * read
        else:
            read = i
            i = current_decay * i + input_scale * x_t
        fired = reset_timing != "now" and call(Spike, v, threshold, strict, surrogate)
        if reset_timing == "late" and reset == "to":
            v = reset_by(v, fired)
        u = v_rest + decay * (v - v_rest) + current_scale * read
        if reset_timing == "late_with_input" or (reset_timing == "late" and reset == "subtract"):
            u = reset_by(u, fired)
        s = call(Spike, u, threshold, strict, surrogate)
        v = reset_by(u, s) if reset_timing == "now" else u
        spikes.append(s)
    spikes, v = call(Outputs, torch.stack(spikes).to(x.dtype), v)
    spikes, i = call(Outputs, spikes, i)
    return spikes, v, i
