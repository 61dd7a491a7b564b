"""Leaky integrate-and-fire neurons, step by step, with gradients by ordinary autograd through a surrogate spike."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.surrogate import ATan

__all__ = ["lif", "lif_rate"]


class _Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, threshold, strict, surrogate):
        ctx.save_for_backward(u)
        ctx.threshold, ctx.surrogate = threshold, surrogate
        return (u > threshold if strict else u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx, grad_spike):
        (u,) = ctx.saved_tensors
        return grad_spike * ctx.surrogate.derivative(u - ctx.threshold), None, None, None


class _ResetTo(torch.autograd.Function):
    """v_reset where a neuron fired, else u, whatever u is. The gradient is that of u + s * (v_reset - u)."""

    @staticmethod
    def forward(ctx, u, s, v_reset):
        ctx.save_for_backward(u, s)
        ctx.v_reset = v_reset
        return torch.where(s > 0, v_reset, u)

    @staticmethod
    def backward(ctx, grad_v):
        u, s = ctx.saved_tensors
        return torch.where(s > 0, 0, grad_v), grad_v * (ctx.v_reset - u), None


class _Outputs(torch.autograd.Function):
    """An output without an upstream gradient counts as one whose gradient is 0."""

    @staticmethod
    def forward(ctx, spikes, v):
        return spikes.view_as(spikes), v.view_as(v)

    @staticmethod
    def backward(ctx, grad_spikes, grad_v):
        return grad_spikes, grad_v


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
        s = _Spike.apply(u, threshold, strict, surrogate)
        s_reset = s.detach() if detach_reset else s
        if reset == "subtract":
            v = u - reset_amount * s_reset
        elif reset == "to":
            v = _ResetTo.apply(u, s_reset, v_reset)
        else:
            v = u
        spikes.append(s)
    return _Outputs.apply(torch.stack(spikes).to(x.dtype), v)


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
