"""Pooling of maps."""

from __future__ import annotations

import torch
from torch import nn

from spikeops import functional as SF


class AvgPool2d(nn.AvgPool2d):
    """:class:`torch.nn.AvgPool2d`, on the CPU several times as fast for windows of 2 x 2: :func:`spikeops.functional.avg_pool2d` as a module.

    Same arguments and results. It acts on one time step: fold time into the batch (:class:`TimeDistributed`).

    Shapes:
        x (N, C, H, W) -> (N, C, H', W').

    Example:
        >>> pool = snn.TimeDistributed(snn.AvgPool2d(2))
        >>> pool((torch.rand(10, 8, 15, 24, 24) < 0.05).float()).shape
        torch.Size([10, 8, 15, 12, 12])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return SF.avg_pool2d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor_override
        )
