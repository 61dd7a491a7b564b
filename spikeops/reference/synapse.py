"""First-order synapse."""

import torch

from spikeops._dtypes import state_dtype


def synaptic_filter(spikes, tau_s):
    """See :func:`spikeops.functional.synaptic_filter`."""
    a = torch.zeros_like(spikes[0], dtype=state_dtype(spikes.dtype))
    out = []
    for s in spikes.to(a.dtype):
        a = a + 1 / tau_s * (s - a)
        out.append(a)
    return torch.stack(out).to(spikes.dtype)
