"""A call of each differentiable op over time, for the self-test and the benchmark that come with the package."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

import spikeops.functional as SF
from spikeops import surrogate


def _uniform(T: int, N: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    draw = torch.Generator().manual_seed(0)  # of the CPU: the same numbers on every device
    return torch.rand((T, N), generator=draw).mul_(0.6).to(device, dtype)


@dataclass(frozen=True)
class Sample:
    """One way to call an op.

    Attributes:
        name: of the op, with what is special.
        call: x (T, N) -> output, differentiable in x.
        moved: how many tensors as large as x both passes must at least read or write; 0 where x is not what counts.
        is_exact: float32 outputs are spikes or counts: equal bit for bit on all backends.
        x: (T, N, device, dtype) -> the input.
    """

    name: str
    call: Callable[[Tensor], Tensor]
    moved: float = 5  # x and the gradient in, spikes out; x again, the gradient of x out
    is_exact: bool = True
    x: Callable[[int, int, torch.device, torch.dtype], Tensor] = _uniform


def _spikes(T: int, N: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    return (torch.rand((T, N), generator=torch.Generator().manual_seed(1)) < 0.05).to(device, dtype)


# Drawn once: what is timed is the product.
@functools.lru_cache(maxsize=1)
def _weight(rows: int, columns: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Multiples of 2^-7, few in a sum: in whatever order they are added up, the result is the same."""
    draw = torch.Generator().manual_seed(2)
    return (torch.randint(-16, 17, (rows, columns), generator=draw).float() / 128).to(device, dtype)


SAMPLES = [
    Sample("lif", lambda x: SF.lif(x, 0.9)[0]),
    Sample('lif, reset="to", Sigmoid', lambda x: SF.lif(x, 0.9, reset="to", surrogate=surrogate.Sigmoid(4.0))[0]),
    Sample("lif_rate", lambda x: SF.lif_rate(x, 0.9), moved=3),
    Sample("alif", lambda x: SF.alif(x, 0.9, adaptation_decay=0.95, beta=0.1)[0]),
    Sample("cuba_lif", lambda x: SF.cuba_lif(x, 0.9, current_decay=0.5)[0]),
    Sample("tssl_bp", lambda x: SF.tssl_bp(x, tau_m=5.0, tau_s=2.0), is_exact=False),
    Sample("synaptic_filter", lambda x: SF.synaptic_filter(x, tau_s=2.0), moved=4, is_exact=False, x=_spikes),
    Sample("leaky_readout", lambda x: SF.leaky_readout(x, 0.9)[0], moved=4, is_exact=False),
    Sample("spike_linear", lambda x: SF.spike_linear(x, _weight(64, x.shape[1], x.device, x.dtype)), moved=0, is_exact=False, x=_spikes),
]
