"""What the ops have in common that add up weights where neurons fired."""

from __future__ import annotations

import math

import torch

from spikeops import _backend
from spikeops.functional._transforms import is_batch_of_gradients, is_plain_eager

VECTOR_BYTES = 64
# About so many samples are looked through for the share of neurons that fire.
_SAMPLED = 16


def is_available(x: torch.Tensor) -> bool:
    """Whether events may be added up where x is, by the chosen backend."""
    return x.device.type == "cpu" and not _backend.is_reference()


def have_kernel(*tensors: torch.Tensor | None) -> bool:
    """Whether events of the first of these tensors, and sums of the others, may be found by a kernel, as far as dtypes, devices and
    onlookers tell."""
    first = tensors[0]
    return (
        is_plain_eager(first)
        and is_available(first)
        and not torch.is_autocast_enabled("cpu")
        and first.dtype in (torch.float32, torch.float64)
        and all(t is None or (t.dtype == first.dtype and t.device == first.device and not is_batch_of_gradients(t)) for t in tensors)
    )


def density(spikes: torch.Tensor) -> float:
    """The share of neurons that fire, in some samples (N, ...)."""
    sample = spikes.detach()[:: max(1, len(spikes) // _SAMPLED)]
    # Ones in the numbers' own type: to add up bools takes PyTorch nine times as long.
    return torch.ne(sample, 0, out=torch.empty_like(sample)).sum().item() / sample.numel()


def is_finite(values: torch.Tensor) -> bool:
    """False if any number is not (or the sum of all is too large)."""
    return math.isfinite(values.detach().sum().item())
