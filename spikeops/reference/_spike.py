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
        return ctx.surrogate.at(u, ctx.number if ctx.has_number else threshold[0])

    @staticmethod
    def backward(ctx, grad_spike):
        grad = grad_spike * Spike.derivative(ctx)
        return grad, None if ctx.has_number else -grad, None, None

    @staticmethod
    def tangent(ctx, tangent_u, tangent_threshold, *_):
        tangent = tangent_u if ctx.has_number else tangent_u - tangent_threshold
        return tangent * Spike.derivative(ctx)


@forward_mode
class Spikes(torch.autograd.Function):
    """How many spikes u makes of a threshold, a tensor: u in thresholds, rounded down or, ``nearest``, half to even; ``most`` at most.
    ``strict``: just reaching one more is not enough. They count as a function of u / threshold."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u, threshold, strict, nearest, most, surrogate):
        thresholds = u / threshold
        count = torch.round(thresholds) if nearest else torch.floor(thresholds)
        if strict:
            count = torch.where(count - thresholds == (0.5 if nearest else 0.0), count - 1, count)
        return torch.where(count > 0, count.clamp(max=most), torch.zeros_like(count))

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, threshold, _, _, _, ctx.surrogate = inputs
        ctx.save_for_backward(u, threshold)
        ctx.save_for_forward(u, threshold)

    @staticmethod
    def backward(ctx, grad_spikes):
        u, threshold = ctx.saved_tensors
        grad = grad_spikes * ctx.surrogate.at(u, threshold)
        return grad, -(grad * (u / threshold)), None, None, None, None

    @staticmethod
    def tangent(ctx, tangent_u, tangent_threshold, *_):
        u, threshold = ctx.saved_tensors
        return (tangent_u - u / threshold * tangent_threshold) * ctx.surrogate.at(u, threshold)


@forward_mode
class Counted(torch.autograd.Function):
    """A number times a count of spikes, 0 where there are none whatever the number is. The derivatives are those of the product."""

    generate_vmap_rule = True

    @staticmethod
    def forward(number, s):
        return torch.where(s != 0, number * s, torch.zeros_like(s))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx, grad):
        number, s = ctx.saved_tensors
        return call(Counted, grad, s), grad * number

    @staticmethod
    def tangent(ctx, tangent_number, tangent_s):
        number, s = ctx.saved_tensors
        return torch.where(s != 0, tangent_number * s, 0.0) + number * tangent_s


@forward_mode
class ResetTo(torch.autograd.Function):
    """v_reset where a neuron fired, else u, whatever u is. The derivatives are those of u + s * (v_reset - u)."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u, s, v_reset):
        # By way of float64: what rounds to the largest float32 is no overflow.
        return torch.where(s > 0, torch.full((), v_reset, dtype=torch.float64, device=u.device).to(u.dtype), u)

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
class Rounded(torch.autograd.Function):
    """A distance from the threshold in bfloat16, by way of float32. No finite one becomes infinite. Derivatives are those of the
    distance."""

    generate_vmap_rule = True

    @staticmethod
    def forward(distance):
        most = torch.finfo(torch.bfloat16).max
        within = torch.where(distance.isinf(), distance, distance.clamp(-most, most))
        return within.to(torch.float32).to(torch.bfloat16).to(distance.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass

    @staticmethod
    def backward(ctx, grad):
        return grad

    @staticmethod
    def tangent(ctx, tangent):
        return tangent.clone()


class OfRounded:
    """A surrogate for :class:`Spike`, of which the distance from the threshold is known but rounded."""

    def __init__(self, surrogate):
        self.surrogate = surrogate

    def at(self, u, threshold):
        return self.surrogate.at_distance(call(Rounded, u - threshold), threshold)


@forward_mode
class ResetToOfRounded(torch.autograd.Function):
    """:class:`ResetTo`, whose derivative knows of u but its rounded distance from the threshold."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u, s, v_reset, threshold):
        return ResetTo.forward(u, s, v_reset)

    @staticmethod
    def setup_context(ctx, inputs, output):
        u, s, ctx.v_reset, ctx.threshold = inputs
        ctx.save_for_backward(u, s)
        ctx.save_for_forward(u, s)

    @staticmethod
    def drop(ctx):
        """What a spike takes away."""
        u, _ = ctx.saved_tensors
        return ctx.v_reset - (ctx.threshold + call(Rounded, u - ctx.threshold))

    @staticmethod
    def backward(ctx, grad_v):
        _, s = ctx.saved_tensors
        return call(ResetTo, grad_v, s, 0.0), grad_v * ResetToOfRounded.drop(ctx), None, None

    @staticmethod
    def tangent(ctx, tangent_u, tangent_s, *_):
        _, s = ctx.saved_tensors
        return torch.where(s > 0, 0.0, tangent_u) + tangent_s * ResetToOfRounded.drop(ctx)


@forward_mode
class ResetBy(torch.autograd.Function):
    """u - s * amount where a neuron fired, s times, else u, whatever the amount is. The derivatives are those of u - s * amount."""

    generate_vmap_rule = True

    @staticmethod
    def forward(u, s, amount):
        return torch.where(s != 0, u - s * amount, u)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, s, amount = inputs
        ctx.save_for_backward(s, amount)
        ctx.save_for_forward(s, amount)

    @staticmethod
    def backward(ctx, grad_v):
        s, amount = ctx.saved_tensors
        return grad_v, -grad_v * amount, -call(Counted, grad_v, s)

    @staticmethod
    def tangent(ctx, tangent_u, tangent_s, tangent_amount):
        s, amount = ctx.saved_tensors
        return tangent_u - amount * tangent_s - torch.where(s != 0, s * tangent_amount, 0.0)


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
