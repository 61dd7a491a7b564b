"""Neurons that stop at their threshold, and learn it (worden1/ICTAI_snn on GitHub, torch_snn.py)."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference._forward_mode import call, forward_mode

__all__ = ["clamped_lif", "clamped_threshold_gradient"]


@forward_mode
class _ClampedLIF(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, threshold, time_steps, dt, leak, threshold_gain, threshold_drift):
        state = state_dtype(x.dtype)
        h, th = x.to(state), _per_channel(threshold.to(state), x)
        # As tensors: on some devices PyTorch multiplies by the reciprocal of a Python number that it is to divide by. Rounded from
        # float64, since what rounds to the largest float32 may be a little larger.
        dt, leak = (torch.full((), number, dtype=torch.float64, device=x.device).to(state) for number in (dt, leak))
        v, count = torch.zeros_like(h), torch.zeros_like(h)
        for t in range(time_steps):
            command = h / dt if t == 0 else (h + h) * leak
            v = v + dt * (-leak * v + command)
            fires = v > th
            v = torch.where(fires, v - (v - th), v)
            count = count + fires.to(state)
        return count.to(x.dtype), v

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, threshold, *_, gain, drift = inputs
        count, _ = output
        ctx.mark_non_differentiable(count)
        ctx.save_for_backward(count)
        ctx.save_for_forward(count)
        ctx.options = gain, drift, x.dtype, threshold.dtype

    @staticmethod
    def backward(ctx, _, grad_v):
        (count,) = ctx.saved_tensors
        gain, drift, data, of_threshold = ctx.options
        grad_threshold = clamped_threshold_gradient(grad_v, count, gain, drift).to(of_threshold)
        return grad_v.to(data), grad_threshold, None, None, None, None, None

    @staticmethod
    def tangent(ctx, of_x, of_threshold, *_):
        """The transpose of what carries gradients back."""
        (count,) = ctx.saved_tensors
        gain, *_ = ctx.options
        state = state_dtype(count.dtype)
        tangent = torch.zeros_like(count, dtype=state) if of_x is None else of_x.to(state)
        if of_threshold is not None:
            tangent = tangent - gain / len(count) * count.to(state) * _per_channel(of_threshold.to(state), count)
        return None, tangent


def _per_channel(threshold, x):
    """One threshold for each index of axis 1: unit or channel."""
    return threshold.view(-1, *[1] * (x.dim() - 2))


def clamped_threshold_gradient(grad_v, count, threshold_gain, threshold_drift):
    """The published gradient of the thresholds, from that of the membrane potentials and the spike counts, both (N, C, ...)."""
    product = grad_v * count.to(grad_v.dtype)
    over_space = product.flatten(2).sum(2) if count.dim() > 2 else product
    return -threshold_gain * over_space.mean(0) + threshold_drift


def clamped_lif(x, threshold, *, time_steps=3, dt=3e-5, leak=2.0, threshold_gain=1e7, threshold_drift=0.1):
    """See :func:`spikeops.functional.clamped_lif`."""
    return call(_ClampedLIF, x, threshold, time_steps, dt, leak, threshold_gain, threshold_drift)
