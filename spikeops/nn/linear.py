"""Linear layers on spikes."""

from __future__ import annotations

import torch
from torch import nn

from spikeops import functional as SF


class SpikeLinear(nn.Linear):
    """:class:`torch.nn.Linear`, faster on the CPU for input that is mostly 0: :func:`spikeops.functional.spike_linear` as a module.

    Same arguments, parameters and state dict. For the layers of a network that see spikes; time stays an axis before the last, or is
    folded into the batch.

    Shapes:
        spikes (..., in_features) -> (..., out_features).

    Example:
        >>> layer = snn.SpikeLinear(784, 800, bias=False)
        >>> layer((torch.rand(10, 8, 784) < 0.05).float()).shape
        torch.Size([10, 8, 800])
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return SF.spike_linear(input, self.weight, self.bias)
