"""The layers between spiking neurons. They act on one time step; the network folds time into the batch around them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FullyConnected(nn.Linear):
    """A linear layer on all features of a sample: (N, ...) to (N, out_features)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


class SumPool2d(nn.Module):
    """Sum over windows of size x size that do not overlap, times `gain`. (N, C, H, W) to (N, C, H // size, W // size)."""

    def __init__(self, size: int, gain: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        summed = F.avg_pool2d(x, self.size, divisor_override=1)
        return summed if self.gain == 1.0 else summed.mul_(self.gain)

    def extra_repr(self) -> str:
        return f"size={self.size}, gain={self.gain}"


class TimeSharedDropout(nn.Module):
    """Dropout of x (T, N, ...) that drops the same units at all time steps and scales the others by 1 / (1 - p)."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        return x * F.dropout(torch.ones_like(x[0]), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}"


class RepeatInTime(torch.autograd.Function):
    """y[t] = gain[t] * x for a constant gain (T,): what a static input becomes. One matrix product back, no temporaries."""

    @staticmethod
    def forward(ctx, x: Tensor, gain: Tensor) -> Tensor:
        ctx.save_for_backward(gain)
        return gain.view(-1, *[1] * x.dim()) * x

    @staticmethod
    def backward(ctx, grad: Tensor):
        (gain,) = ctx.saved_tensors
        # (T, ...) seen as (T, neurons) in the memory order of one time step, so that channels-last needs no copy.
        order = sorted(range(1, grad.dim()), key=grad.stride, reverse=True)
        flat = grad.permute(0, *order).reshape(len(gain), -1)
        summed = torch.mv(flat.t(), gain).view([grad.shape[d] for d in order])
        return summed.permute([order.index(d) for d in range(1, grad.dim())]), None
