"""Spike encodings of real numbers."""

import torch

from spikeops._dtypes import state_dtype

__all__ = ["latency_encode", "poisson_encode", "poisson_encode_from_seed"]

_MASK = 0xFFFFFFFF


def philox(key, neuron, time_group):
    """Philox4x32-10 (Salmon et al., SC 2011) in int64 arithmetic; products wrap, but their 64 bits are right."""
    k0, k1 = key & _MASK, (key >> 32) & _MASK
    c0, c1 = neuron & _MASK, (neuron >> 32) & _MASK
    c2, c3 = torch.full_like(c0, time_group & _MASK), torch.full_like(c0, time_group >> 32)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = ((p1 >> 32) & _MASK) ^ c1 ^ k0, p1 & _MASK, ((p0 >> 32) & _MASK) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return c0, c1, c2, c3


def poisson_encode_from_seed(p, T, seed):
    """The spikes of :func:`spikeops.functional.poisson_encode` for a given seed (int64 tensor with one element)."""
    # Random numbers belong to places in memory: number the neurons in memory order, then look at them in logical order.
    order = torch.empty_like(p, dtype=torch.int64)
    if order.stride() != p.stride():  # p has gaps or repeats: copied first
        order = order.contiguous()
    torch.as_strided(order, (p.numel(),), (1,)).copy_(torch.arange(p.numel(), device=p.device))
    steps = []
    for time_group in range((T + 3) // 4):
        for word in philox(seed.reshape(()), order, time_group):
            uniform = (word >> 8).to(torch.float32) * 2.0**-24
            steps.append(uniform < p.to(torch.float32))
    return torch.stack(steps[:T]).to(p.dtype)


def poisson_encode(p, T, generator=None):
    """See :func:`spikeops.functional.poisson_encode`."""
    device = p.device if generator is None else generator.device
    seed = torch.randint(2**63 - 1, (1,), generator=generator, device=device).to(p.device)
    return poisson_encode_from_seed(p, T, seed)


def latency_encode(p, T):
    """See :func:`spikeops.functional.latency_encode`."""
    dtype, p = p.dtype, p.to(state_dtype(p.dtype))
    when = torch.floor((1 - p.clamp(0, 1)) * (T - 1) + 0.5)
    t = torch.arange(T, device=p.device, dtype=p.dtype).reshape(T, *[1] * p.dim())
    return ((t == when) & (p > 0)).to(dtype)
