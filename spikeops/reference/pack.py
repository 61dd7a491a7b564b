"""Bit-packed spikes: time step t of a neuron is bit t % 16 of its word t // 16."""

import torch

__all__ = ["pack_spikes", "unpack_spikes"]

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
