"""What the definitions of spiking neurons share: the spike with its surrogate derivative, the reset to a potential, the outputs."""

import torch

from spikeops.reference._forward_mode import call, forward_mode


@forward_mode
class Spike(torch.autograd.Function):
    """Whether u reaches the threshold: a number, or a tensor, which then has a derivative, too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u, threshold, strict, surrogate):
        return (u > threshold if strict else u >= threshold).to(u.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, threshold, _, ctx.surrogate = inputs
        ctx.has_number = not isinstance(threshold, torch.Tensor)
        ctx.number = threshold if ctx.has_number else None
        tensors = (u,) if ctx.has_number else (u, threshold)
        ctx.save_for_backward(*tensors)
        ctx.save_for_forward(*tensors)

    @staticmethod
    def derivative(ctx):
        u, *threshold = ctx.saved_tensors
        return ctx.surrogate.derivative(u - (ctx.number if ctx.has_number else threshold[0]))

    @staticmethod
    def backward(ctx, grad_spike):
        grad = grad_spike * Spike.derivative(ctx)
        return grad, None if ctx.has_number else -grad, None, None

    @staticmethod
    def tangent(ctx, tangent_u, tangent_threshold, *_):
        tangent = tangent_u if ctx.has_number else tangent_u - tangent_threshold
        return tangent * Spike.derivative(ctx)


@forward_mode
class ResetTo(torch.autograd.Function):
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
        return call(ResetTo, grad_v, s, 0.0), grad_v * (ctx.v_reset - u), None

    @staticmethod
    def tangent(ctx, tangent_u, tangent_s, _):
        u, s = ctx.saved_tensors
        return torch.where(s > 0, 0.0, tangent_u) + tangent_s * (ctx.v_reset - u)


@forward_mode
class ResetBy(torch.autograd.Function):
    """u - amount where a neuron fired, else u, whatever the amount is. The derivatives are those of u - s * amount."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u, s, amount):
        return torch.where(s > 0, u - amount, u)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, s, amount = inputs
        ctx.save_for_backward(s, amount)
        ctx.save_for_forward(s, amount)

    @staticmethod
    def backward(ctx, grad_v):
        s, amount = ctx.saved_tensors
        return grad_v, -grad_v * amount, -call(ResetTo, grad_v, 1 - s, 0.0)

    @staticmethod
    def tangent(ctx, tangent_u, tangent_s, tangent_amount):
        s, amount = ctx.saved_tensors
        return tangent_u - amount * tangent_s - torch.where(s > 0, tangent_amount, 0.0)


@forward_mode
class Outputs(torch.autograd.Function):
    """Spikes and a last state. An output without an upstream gradient counts as one whose gradient is 0."""

    generate_vmap_rule = True

    @staticmethod
    def forward(spikes, state):
        return spikes.view_as(spikes), state.view_as(state)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad_spikes, grad_state):
        return grad_spikes, grad_state

    @staticmethod
    def tangent(ctx, tangent_spikes, tangent_state):
        return tangent_spikes.view_as(tangent_spikes), tangent_state.view_as(tangent_state)
