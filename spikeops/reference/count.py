"""Spike counts and bit-packed spikes: time step t of a neuron is bit t % 16 of its word t // 16."""

import torch

from spikeops._dtypes import state_dtype

__all__ = ["pack_spikes", "spike_count", "unpack_spikes"]

SPIKES_PER_WORD = 16


def pack_spikes(spikes):
    """See :func:`spikeops.functional.pack_spikes`."""
    words = []
    for chunk in (spikes != 0).to(torch.int32).split(SPIKES_PER_WORD):
        words.append(sum(step << bit for bit, step in enumerate(chunk)))
    return torch.stack(words).to(torch.uint16)


def unpack_spikes(packed, T, dtype=torch.float32):
    """See :func:`spikeops.functional.unpack_spikes`."""
    words = packed.to(torch.int32)
    return torch.stack([(words[t // SPIKES_PER_WORD] >> t % SPIKES_PER_WORD) & 1 for t in range(T)]).to(dtype)


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
