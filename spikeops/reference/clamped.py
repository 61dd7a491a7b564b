"""Neurons that stop at their threshold, and learn it (worden1/ICTAI_snn on GitHub, torch_snn.py)."""

import torch

from spikeops._dtypes import state_dtype


class _ClampedLIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, threshold, time_steps, dt, leak, threshold_gain, threshold_drift):
        state = state_dtype(x.dtype)
        h = x.to(state)
        # One threshold for each index of axis 1: unit or channel.
        th = threshold.to(state).view(-1, *[1] * (x.dim() - 2))
        # As tensors: on some devices PyTorch multiplies by the reciprocal of a Python number that it is to divide by.
        dt, leak = torch.full((), dt, dtype=state, device=x.device), torch.full((), leak, dtype=state, device=x.device)
        v, count = torch.zeros_like(h), torch.zeros_like(h)
        for t in range(time_steps):
            command = h / dt if t == 0 else (h + h) * leak
            v = v + dt * (-leak * v + command)
            fires = v > th
            v = torch.where(fires, v - (v - th), v)
            count = count + fires.to(state)
        count = count.to(x.dtype)
        ctx.save_for_backward(count)
        ctx.options = threshold_gain, threshold_drift, x.dtype, threshold.dtype
        ctx.mark_non_differentiable(count)
        return count, v

    @staticmethod
    def backward(ctx, _, grad_v):
        (count,) = ctx.saved_tensors
        gain, drift, data, of_threshold = ctx.options
        over_space = (grad_v * count.to(grad_v.dtype)).flatten(2).sum(2) if count.dim() > 2 else grad_v * count.to(grad_v.dtype)
        grad_threshold = -gain * over_space.mean(0) + drift
        return grad_v.to(data), grad_threshold.to(of_threshold), None, None, None, None, None


def clamped_lif(x, threshold, *, time_steps=3, dt=3e-5, leak=2.0, threshold_gain=1e7, threshold_drift=0.1):
    """See :func:`spikeops.functional.clamped_lif`."""
    return _ClampedLIF.apply(x, threshold, time_steps, dt, leak, threshold_gain, threshold_drift)
