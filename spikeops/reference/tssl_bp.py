"""TSSL-BP (Zhang & Li, NeurIPS 2020, arXiv:2002.10085): forward loop and the backward recursion, as the paper's code defines them."""

import torch

from spikeops._dtypes import state_dtype

__all__ = ["tssl_bp"]


class _TsslBp(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, tau_m, tau_s, threshold):
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
        ctx.save_for_backward(*(torch.stack(history) for history in (us, dus, psc, spikes)))
        ctx.options = tau_m, tau_s, threshold, x.dtype
        spikes = torch.stack(spikes).to(x.dtype)
        ctx.mark_non_differentiable(spikes)
        return torch.stack(psc).to(x.dtype), spikes

    @staticmethod
    def backward(ctx, grad_psc, _):
        us, dus, psc, spikes = ctx.saved_tensors
        tau_m, tau_s, threshold, dtype = ctx.options
        g = carry = torch.zeros_like(us[0])
        grad_x = []
        for t in reversed(range(len(us))):
            u, du, a, s = us[t], dus[t], psc[t], spikes[t]
            g = 1 / tau_s * grad_psc[t].to(g.dtype) + (1 - 1 / tau_s) * g
            # d spike time / d membrane; 0 without a spike, also where du = 0 makes the reciprocal infinite
            p = torch.where(s > 0, (-1 / du).clamp(-8, 0), 0.0)
            inter = torch.where(s > 0, carry * u * (-1 / tau_m) * p - p * g, carry * (1 - 1 / tau_m))
            carry = inter
            e = torch.exp(((threshold - u) / 0.2).clamp(-8, 8))
            grad_x.append(torch.where(a < 1 / (4 * tau_s), g * (e / (0.2 * (1 + e) ** 2)), inter))
        return torch.stack(grad_x[::-1]).to(dtype), None, None, None


def tssl_bp(x, tau_m=5.0, tau_s=3.0, threshold=1.0, return_spikes=False):
    """See :func:`spikeops.functional.tssl_bp`."""
    psc, spikes = _TsslBp.apply(x, tau_m, tau_s, threshold)
    return (psc, spikes) if return_spikes else psc
