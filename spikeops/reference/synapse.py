"""First-order synapse."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call, forward_mode

__all__ = ["synaptic_filter"]


@forward_mode
class _SynapticFilter(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(spikes, tau_s):
        a = torch.zeros_like(spikes[0], dtype=state_dtype(spikes.dtype))
        out = []
        for s in spikes.to(a.dtype):
            a = a + 1 / tau_s * (s - a)
            out.append(a)
        return torch.stack(out).to(spikes.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, ctx.tau_s = inputs

    @staticmethod
    def tangent(ctx, tangent, _):
        return synaptic_filter(tangent, ctx.tau_s)  # it is linear

    @staticmethod
    def backward(ctx, grad_out):
        g = torch.zeros_like(grad_out[0], dtype=state_dtype(grad_out.dtype))
        grad_spikes = []
        for grad_a in reversed(grad_out.to(g.dtype)):
            # That of a[t]: its own, and a[t + 1]'s.
            grad_spikes.append(1 / ctx.tau_s * grad_a + (1 - 1 / ctx.tau_s) * g)
            g = grad_spikes[-1]
        return torch.stack(grad_spikes[::-1]).to(grad_out.dtype), None


def synaptic_filter(spikes, tau_s):
    """See :func:`spikeops.functional.synaptic_filter`."""
    return call(_SynapticFilter, spikes, tau_s)
