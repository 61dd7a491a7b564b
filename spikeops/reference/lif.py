"""Leaky integrate-and-fire neurons, step by step, with gradients by ordinary autograd through a surrogate spike."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call, forward_mode
from spikeops.surrogate import ATan

__all__ = ["lif", "lif_rate"]


@forward_mode
class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(u, threshold, strict, surrogate):
        return (u > threshold if strict else u >= threshold).to(u.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, ctx.threshold, _, ctx.surrogate = inputs
        ctx.save_for_backward(u)
        ctx.save_for_forward(u)

    @staticmethod
    def backward(ctx, grad_spike):
        (u,) = ctx.saved_tensors
        return grad_spike * ctx.surrogate.derivative(u - ctx.threshold), None, None, None

    @staticmethod
    def tangent(ctx, tangent, *_):
        (u,) = ctx.saved_tensors
        return tangent * ctx.surrogate.derivative(u - ctx.threshold)


@forward_mode
class _ResetTo(torch.autograd.Function):
    """v_reset where a neuron fired, else u, whatever u is. The derivatives are those of u + s * (v_reset - u)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u, s, v_reset):
        return torch.where(s > 0, v_reset, u)

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, s, ctx.v_reset = inputs
        ctx.save_for_backward(u, s)
        ctx.save_for_forward(u, s)

    @staticmethod
    def backward(ctx, grad_v):
        u, s = ctx.saved_tensors
        return call(_ResetTo, grad_v, s, 0.0), grad_v * (ctx.v_reset - u), None

    @staticmethod
    def tangent(ctx, tangent_u, tangent_s, _):
        u, s = ctx.saved_tensors
        return torch.where(s > 0, 0.0, tangent_u) + tangent_s * (ctx.v_reset - u)


@forward_mode
class _Outputs(torch.autograd.Function):
    """An output without an upstream gradient counts as one whose gradient is 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spikes, v):
        return spikes.view_as(spikes), v.view_as(v)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad_spikes, grad_v):
        return grad_spikes, grad_v

    @staticmethod
    def tangent(ctx, tangent_spikes, tangent_v):
        return tangent_spikes.view_as(tangent_spikes), tangent_v.view_as(tangent_v)


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
        s = call(_Spike, u, threshold, strict, surrogate)
        s_reset = s.detach() if detach_reset else s
        if reset == "subtract":
            v = u - reset_amount * s_reset
        elif reset == "to":
            v = call(_ResetTo, u, s_reset, v_reset)
        else:
            v = u
        spikes.append(s)
    return call(_Outputs, torch.stack(spikes).to(x.dtype), v)


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
