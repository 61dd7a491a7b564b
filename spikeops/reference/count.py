"""Spike counts."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference.pack import SPIKES_PER_WORD, unpack_spikes

__all__ = ["spike_count"]


def spike_count(spikes):
    """See :func:`spikeops.functional.spike_count`."""
    if spikes.dtype == torch.uint16:
        return unpack_spikes(spikes, SPIKES_PER_WORD * len(spikes), torch.int32).sum(0, dtype=torch.int32)
    if spikes.is_floating_point():
        count = torch.zeros_like(spikes[0], dtype=torch.float64)
        for s in spikes:
            count = count + s
        return count.to(state_dtype(spikes.dtype)).to(spikes.dtype)
    return spikes.sum(0, dtype=torch.int32)
