"""Between data with a time axis and layers without one."""

from __future__ import annotations

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from spikeops import _layout


class TimeDistributed(nn.Module):
    """Folds time into the batch for a module that knows no time: ``(T, B, ...) -> (T * B, ...) -> module -> (T, B, ...)``.

    One large call instead of T small ones. Do not wrap modules that treat samples of a batch together where time steps must
    stay apart (batch norm then normalises over time too, which is usually what is wanted).

    Args:
        module: takes (B, ...) and returns (B, ...).

    Example:
        >>> layer = snn.TimeDistributed(torch.nn.Conv2d(1, 8, 3))
        >>> layer(torch.rand(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 8, 26, 26])
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() < 2:
            raise ValueError(f"TimeDistributed: expected x to have shape (T, B, ...), got shape {tuple(x.shape)}.")
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


class AtAllSteps(torch.autograd.Function):
    """A current (N, ...) repeated in time (T, N, ...), in its memory order, which `expand` would lose in the neurons' kernel."""

    @staticmethod
    def forward(ctx, current: torch.Tensor, steps: int) -> torch.Tensor:
        return _layout.empty_sequence(_layout.dense(current).unsqueeze(0), steps).copy_(current)

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient: torch.Tensor):
        return gradient.sum(0), None
