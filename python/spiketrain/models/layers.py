"""The layers between spiking neurons. They act on one time step; the network folds time into the batch around them."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import spikeops.functional as SF


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
        return SF.avg_pool2d(x, self.size, divisor_override=1).mul_(self.gain)

    def extra_repr(self) -> str:
        return f"size={self.size}, gain={self.gain}"


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
