"""Recurrent spiking neurons, step by step, with gradients by ordinary autograd through a surrogate spike."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call, forward_mode
from spikeops.reference._spike import Outputs, ResetBy, ResetTo, Spike
from spikeops.surrogate import ATan

__all__ = ["recurrent_lif"]


@forward_mode
class _Returned(torch.autograd.Function):
    """``start + s @ weight.T``, added up neuron by neuron, without those that did not fire: the same bits on all backends."""

    generate_vmap_rule = True

    @staticmethod
    def forward(start, s, weight):
        total = start
        for j in range(weight.shape[1]):
            s_j = s[..., j : j + 1]
            total = torch.where(s_j != 0, total + s_j * weight[:, j], total)
        return total.clone() if total is start else total

    @staticmethod
    def setup_context(ctx, inputs, output):
        _, s, weight = inputs
        ctx.save_for_backward(s, weight)
        ctx.save_for_forward(s, weight)

    @staticmethod
    def backward(ctx, grad):
        s, weight = ctx.saved_tensors
        return grad, grad @ weight, torch.einsum("...n,...j->nj", grad, s)

    @staticmethod
    def tangent(ctx, tangent_start, tangent_s, tangent_weight):
        s, weight = ctx.saved_tensors
        return tangent_start + tangent_s @ weight.T + s @ tangent_weight.T


def recurrent_lif(x, weight, decay=0.5, threshold=1.0, *, bias=None, current_decay=0.0, order="decay_input_membrane", current_scale=1.0,
                  adaptation_decay=0.9, beta=0.0, input_scale=1.0, reset="subtract", reset_amount=None, v_reset=0.0, v_rest=0.0,
                  reset_timing="now", strict=False, detach_reset=False, surrogate=ATan(2.0), v_init=None, i_init=None, a_init=None,
                  s_init=None):  # fmt: skip
    """See :func:`spikeops.functional.recurrent_lif`."""
    state, step = state_dtype(x.dtype), x.shape[1:]

    def wide(value):
        return value.to(state).expand(step) if isinstance(value, torch.Tensor) else value

    weight = weight.to(state)
    start = torch.zeros(step, dtype=state, device=x.device) if bias is None else wide(bias)
    decay, threshold, current_decay, current_scale, adaptation_decay = map(
        wide, (decay, threshold, current_decay, current_scale, adaptation_decay)
    )
    v, i, a, s = (torch.zeros_like(x[0], dtype=state) if given is None else wide(given) for given in (v_init, i_init, a_init, s_init))

    def reset_by(u, s, theta):
        if reset_timing != "now":
            s = (s > 0).to(s.dtype)  # a constant; spikes before the first step may be any numbers
        s = s.detach() if detach_reset else s
        if reset == "subtract":
            return call(ResetBy, u, s, theta if reset_amount is None else reset_amount * torch.ones_like(u))
        return call(ResetTo, u, s, v_reset) if reset == "to" else u

    spikes = []
    for x_t in x.to(state):
        total = x_t + (start + weight * s if weight.dim() == 1 else call(_Returned, start, s, weight))
        if order == "decay_input_membrane":
            i = read = current_decay * i + input_scale * total
        elif order == "input_decay_membrane":
            i = read = current_decay * (i + input_scale * total)
        elif order == "input_membrane_decay":
            read = i + input_scale * total
            i = current_decay * read
        else:
            read = i
            i = current_decay * i + input_scale * total
        theta = threshold + beta * a
        if reset_timing == "late" and reset == "to":
            v = reset_by(v, s, theta)
        u = v_rest + decay * (v - v_rest) + current_scale * read
        if reset_timing == "late_with_input" or (reset_timing == "late" and reset == "subtract"):
            u = reset_by(u, s, theta)
        s = call(Spike, u, theta, strict, surrogate)
        v = reset_by(u, s, theta) if reset_timing == "now" else u
        a = adaptation_decay * a + s
        spikes.append(s)
    spikes, v = call(Outputs, torch.stack(spikes).to(x.dtype), v)
    spikes, i = call(Outputs, spikes, i)
    spikes, a = call(Outputs, spikes, a)
    return spikes, v, i, a
