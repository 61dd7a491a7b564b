"""TSSL-BP (Zhang & Li, NeurIPS 2020, arXiv:2002.10085): forward loop and the backward recursion, as the paper's code defines them."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call, forward_mode

__all__ = ["tssl_bp", "tssl_bp_gradient"]


@forward_mode
class _TsslBp(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, tau_m, tau_s, threshold):
        _, _, psc, spikes = _run(x, tau_m, tau_s, threshold)
        return torch.stack(psc).to(x.dtype), torch.stack(spikes).to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, *ctx.numbers = inputs
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(x)
        ctx.save_for_forward(x)

    @staticmethod
    def backward(ctx, grad_psc, _):
        (x,) = ctx.saved_tensors
        return tssl_bp_gradient(grad_psc, x, *ctx.numbers), None, None, None

    @staticmethod
    def tangent(ctx, tangent, *_):
        (x,) = ctx.saved_tensors
        # The transpose of what carries gradients back.
        _, transposed = torch.func.vjp(lambda grad: tssl_bp_gradient(grad, x, *ctx.numbers), torch.zeros_like(x))
        return transposed(tangent)[0], None


def _run(x, tau_m, tau_s, threshold):
    """Per step: membrane potential, its change, post-synaptic current, spikes."""
    v = a = torch.zeros_like(x[0], dtype=state_dtype(x.dtype))
    us, dus, psc, spikes = [], [], [], []
    for x_t in x.to(v.dtype):
        du = x_t - 1 / tau_m * v
        u = v + du
        s = (u > threshold).to(u.dtype)
        v = torch.where(s > 0, 0.0, u)
        a = a + 1 / tau_s * (s - a)
        for history, value in zip((us, dus, psc, spikes), (u, du, a, s)):
            history.append(value)
    return us, dus, psc, spikes


def tssl_bp_gradient(grad_psc, x, tau_m, tau_s, threshold):
    """The gradient of x from that of the post-synaptic current. Its own derivatives are those of this formula, at the same spikes."""
    us, dus, psc, spikes = _run(x, tau_m, tau_s, threshold)
    g = carry = torch.zeros_like(us[0])
    grad_x = []
    for t in reversed(range(len(us))):
        u, a, s = us[t], psc[t], spikes[t]
        g = 1 / tau_s * grad_psc[t].to(g.dtype) + (1 - 1 / tau_s) * g
        p = torch.where(s > 0, _spike_time_slope(dus[t]), 0.0)
        inter = torch.where(s > 0, carry * u * (-1 / tau_m) * p - p * g, carry * (1 - 1 / tau_m))
        carry = inter
        e = torch.exp(((threshold - u) / 0.2).clamp(-8, 8))
        grad_x.append(torch.where(a < 1 / (4 * tau_s), g * (e / (0.2 * (1 + e) ** 2)), inter))
    return torch.stack(grad_x[::-1]).to(x.dtype)


def _spike_time_slope(du):
    """d spike time / d membrane: -1 / du, between -8 and 0. No derivative passes where it is cut off, as where du is 0."""
    is_inside = du > 1 / 8
    return torch.where(is_inside, -1 / torch.where(is_inside, du, 1.0), (-1 / du.detach()).clamp(-8, 0))


def tssl_bp(x, tau_m=5.0, tau_s=3.0, threshold=1.0, return_spikes=False):
    """See :func:`spikeops.functional.tssl_bp`."""
    psc, spikes = call(_TsslBp, x, tau_m, tau_s, threshold)
    return (psc, spikes) if return_spikes else psc
