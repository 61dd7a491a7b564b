"""Matrix products with spikes."""

import torch.nn.functional as F

__all__ = ["spike_linear"]


def spike_linear(spikes, weight, bias=None):
    """See :func:`spikeops.functional.spike_linear`."""
    return F.linear(spikes, weight, bias)
