"""The layers between spiking neurons. They act on one time step; the network folds time into the batch around them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F


class FullyConnected(nn.Linear):
    """A linear layer on all features of a sample: (N, ...) to (N, out_features)."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1))


def batch_norm_of(shape: tuple[int, ...]) -> nn.Module:
    """Batch norm of the channels or units of samples of this shape: (C, H, W) or (units,)."""
    return nn.BatchNorm2d(shape[0]) if len(shape) > 1 else nn.BatchNorm1d(shape[0])


class SumPool2d(nn.Module):
    """Sum over windows of size x size that do not overlap, times `gain`. (N, C, H, W) to (N, C, H // size, W // size)."""

    def __init__(self, size: int, gain: float = 1.0) -> None:
        super().__init__()
        self.size = size
        self.gain = gain

    def forward(self, x: Tensor) -> Tensor:
        return _WindowSum.apply(x, self.size, self.gain)

    def extra_repr(self) -> str:
        return f"size={self.size}, gain={self.gain}"


def _window_sum(x: Tensor, size: int) -> Tensor:
    """PyTorch's pooling, or a depthwise convolution with the same results where it is 2 to 6 times as fast: on the CPU, for
    channels that do not fill vectors."""
    channels = x.shape[1]
    is_vectorised = channels % 16 == 0 or not x.is_contiguous(memory_format=torch.channels_last)
    if is_vectorised or x.device.type != "cpu" or x.dtype != torch.float32 or x.numel() < 2**17:
        return F.avg_pool2d(x, size, divisor_override=1)
    return F.conv2d(x, x.new_ones(channels, 1, size, size), stride=size, groups=channels)


class _WindowSum(torch.autograd.Function):
    """Backward a plain enlargement, on the CPU 3 times as fast as that of PyTorch's avg_pool2d."""

    @staticmethod
    def forward(ctx, x: Tensor, size: int, gain: float) -> Tensor:
        ctx.size, ctx.gain, ctx.sides = size, gain, x.shape[2:]
        is_channels_last = x.is_contiguous(memory_format=torch.channels_last)
        ctx.layout = torch.channels_last if is_channels_last else torch.contiguous_format
        return _window_sum(x, size).mul_(gain)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor):
        # Into the layout of x while it is small: a fully connected layer behind sends its gradient back as N, C, H, W.
        grad = (grad * ctx.gain).contiguous(memory_format=ctx.layout)
        grad = F.interpolate(grad, scale_factor=ctx.size, mode="nearest")
        height, width = (side - covered for side, covered in zip(ctx.sides, grad.shape[2:]))
        # Rows and columns left over at the end belong to no window.
        return F.pad(grad, (0, width, 0, height)) if height or width else grad, None, None


class MeanOverSpace(nn.Module):
    """Mean over the last two axes: (..., H, W) to (...)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((-2, -1))


class TimeSharedDropout(nn.Module):
    """Dropout of x (T, N, ...) that drops the same at all time steps and scales what it keeps by 1 / (1 - p). In training only.

    Args:
        p: probability of a drop
        kind: "units" draws for every unit; "rows" for every row of every map of x (T, N, C, H, W), which is dropped over its whole
            width, and for every unit of x (T, N, units). "rows" is that of TSSL-BP's code, which hands dropout3d its maps with channels
            and rows as one axis of channels.
    """

    def __init__(self, p: float, kind: Literal["units", "rows"] = "units") -> None:
        super().__init__()
        self.p = p
        self.kind = kind

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        has_rows = self.kind == "rows" and x.dim() == 5
        return x * F.dropout(x.new_ones(*x.shape[1:-1], 1) if has_rows else torch.ones_like(x[0]), self.p)

    def extra_repr(self) -> str:
        return f"p={self.p}" + (f", kind={self.kind}" if self.kind != "units" else "")
