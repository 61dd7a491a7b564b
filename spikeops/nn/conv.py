"""Convolution of spikes."""

from __future__ import annotations

import torch
from torch import nn

from spikeops import functional as SF


class SpikeConv2d(nn.Conv2d):
    """:class:`torch.nn.Conv2d`, faster on the CPU for input that is mostly 0: :func:`spikeops.functional.spike_conv2d` as a module.

    Same arguments, parameters and state dict. For the layers of a network that see spikes; between time steps folded into the batch,
    :class:`TimeDistributed` does that.

    Shapes:
        spikes (N, C, H, W) -> (N, O, H', W').

    Example:
        >>> layer = snn.TimeDistributed(snn.SpikeConv2d(12, 64, 5, bias=False))
        >>> layer((torch.rand(10, 8, 12, 12, 12) < 0.05).float()).shape
        torch.Size([10, 8, 64, 8, 8])
    """

    def _conv_forward(self, input: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        if self.padding_mode != "zeros":
            return super()._conv_forward(input, weight, bias)
        return SF.spike_conv2d(input, weight, bias, self.stride, self.padding, self.dilation, self.groups)
