"""Leaky integrate-and-fire neurons, step by step, with gradients by ordinary autograd through a surrogate spike."""

import math

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call
from spikeops.reference._spike import OfRounded, Outputs, ResetBy, ResetTo, ResetToOfRounded, Spike, Spikes
from spikeops.surrogate import ATan

__all__ = ["lif", "lif_rate"]


def lif(x, decay=0.5, threshold=1.0, *, input_scale=1.0, reset="subtract", reset_amount=None, v_reset=0.0, v_rest=0.0,
        strict=False, detach_reset=False, surrogate=ATan(2.0), reset_timing="now", v_min=None, max_spikes=1, rounding="down",
        return_trace=False, save="input", v_init=None, time_steps=None):  # fmt: skip
    """See :func:`spikeops.functional.lif`. Here all is kept for the backward pass, which rounds what it would find rounded."""
    state = state_dtype(x.dtype)
    is_rounded = save == "bfloat16" and x.dtype == state
    surrogate = OfRounded(surrogate) if is_rounded else surrogate
    currents = x.to(state) if time_steps is None else x.to(state).expand(time_steps, *x.shape)
    step = currents.shape[1:]
    decay = decay.to(state) if isinstance(decay, torch.Tensor) else decay
    threshold, input_scale, reset_amount = (
        number.to(state).expand(step) if isinstance(number, torch.Tensor) else number
        for number in (threshold, input_scale, threshold if reset_amount is None else reset_amount)
    )
    counts = max_spikes != 1 or rounding == "nearest"
    # Beside numbers of each neuron, several spikes and late resets need what takes tensors.
    as_tensor = counts or reset_timing != "now" or any(isinstance(number, torch.Tensor) for number in (threshold, reset_amount))
    if as_tensor:
        # By way of float64: what rounds to the largest float32 is no overflow.
        threshold, reset_amount = (
            number if isinstance(number, torch.Tensor) else torch.full((), number, dtype=torch.float64, device=x.device).to(state).expand(step)
            for number in (threshold, reset_amount)
        )
    v = torch.zeros_like(currents[0]) if v_init is None else v_init.to(state).expand(step)

    def reset_by(u, s):
        return call(ResetBy, u, s, reset_amount) if as_tensor else u - reset_amount * s

    def spikes_of(u):
        if not counts:
            return call(Spike, u, threshold, strict, surrogate)
        most = math.inf if max_spikes is None else max_spikes
        return call(Spikes, u, threshold, strict, rounding == "nearest", most, surrogate)

    spikes, before, after = [], [], []
    for x_t in currents:
        late = None if reset_timing == "now" else spikes_of(v).detach()
        if reset == "to" and reset_timing == "late":
            v = call(ResetTo, v, late, v_reset)
        u = v_rest + decay * (v - v_rest) + input_scale * x_t
        if reset == "subtract" and late is not None:
            u = reset_by(u, late)
        if reset == "to" and reset_timing == "late_with_input":
            u = call(ResetTo, u, late, v_reset)
        s = spikes_of(u)
        s_reset = s.detach() if detach_reset else s
        if reset == "none" or reset_timing in ("late", "late_with_input"):
            v = u
        elif reset == "subtract":
            v = reset_by(u, s_reset if late is None else s_reset - late)
        elif is_rounded:
            v = call(ResetToOfRounded, u, s_reset, v_reset, threshold)
        else:
            v = call(ResetTo, u, s_reset, v_reset)
        if v_min is not None:
            v = torch.relu(v - v_min) + v_min
        spikes.append(s)
        before.append(u)
        after.append(v)
    spikes, v = call(Outputs, torch.stack(spikes).to(x.dtype), v)
    if return_trace is False:
        return spikes, v
    trace = torch.stack(before if return_trace == "before" else after)
    return spikes, v, call(Outputs, trace.to(x.dtype), v)[0]


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
