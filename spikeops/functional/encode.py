"""Spike encodings of real numbers."""

from __future__ import annotations

import torch

from spikeops import _backend, _layout, reference
from spikeops.functional import _checks, _provenance, _register, _seed, _vmap
from spikeops.functional._other_words import ENCODER, explain_other_words
from spikeops.functional._vmap import SEQUENCE, STEP


@explain_other_words(ENCODER)
def poisson_encode(p: torch.Tensor, T: int, generator: torch.Generator | None = None) -> torch.Tensor:
    """Rate coding: each neuron fires in each time step with probability p, independently.

    The random numbers come from Philox4x32-10 (Salmon et al., SC 2011), counted by neuron and time step. The spikes depend on
    the generator's seed and on each neuron's place in memory, not on threads or backend.

    Args:
        p: firing probability per time step (...), floating. Values below 0 count as 0, above 1 as 1; NaN never fires.
        T: number of time steps.
        generator: draws the seed; the default generator of p's device by default. One on the CPU serves p on a GPU too, without
            a wait, but not while a CUDA graph is captured: each replay would repeat the seed, where a generator on p's device,
            registered with the graph as the default one always is, draws a new one.

    Returns:
        Spikes (T, ...), 0 or 1, in p's dtype and layout. Not differentiable.

    Raises:
        TypeError: a wrong type or dtype. ValueError: T < 1. RuntimeError: no kernel for the device, or a generator of another
        device while a CUDA graph is captured.

    Example:
        >>> SF.poisson_encode(torch.tensor([0.0, 1.0]), T=2)
        tensor([[0., 1.],
                [0., 1.]])
    """
    _checks.floating("poisson_encode", "p", p)
    T = _checks.time_count("poisson_encode", T)
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"poisson_encode: expected generator to be a torch.Generator, got {type(generator).__name__}.")
    if _backend.is_reference():
        return _provenance.mark(reference.poisson_encode(p, T, generator))
    ops = _backend.namespace("poisson_encode", p.device)
    return _provenance.mark(_poisson_encode(ops, p.detach(), T, _seed.draw("poisson_encode", generator, p.device)))


@explain_other_words(ENCODER)
def latency_encode(p: torch.Tensor, T: int) -> torch.Tensor:
    """Time-to-first-spike coding: one spike per neuron, the earlier the larger p.

    The spike falls on time step ``floor((1 - p) * (T - 1) + 0.5)``: p = 1 fires at step 0, a p just above 0 at step T - 1.
    p <= 0 and NaN never fire.

    Args:
        p: intensity (...), floating; values above 1 count as 1.
        T: number of time steps.

    Returns:
        Spikes (T, ...), 0 or 1, in p's dtype and layout. Not differentiable.

    Raises:
        TypeError: a wrong type or dtype. ValueError: T < 1. RuntimeError: no kernel for the device.

    Example:
        >>> SF.latency_encode(torch.tensor([1.0, 0.5, 0.0]), T=3)
        tensor([[1., 0., 0.],
                [0., 1., 0.],
                [0., 0., 0.]])
    """
    _checks.floating("latency_encode", "p", p)
    T = _checks.time_count("latency_encode", T)
    if _backend.is_reference():
        return _provenance.mark(reference.latency_encode(p, T))
    return _provenance.mark(_latency_encode(_backend.namespace("latency_encode", p.device), p.detach(), T))


def _fake(p, T, *_):
    p = _layout.dense(p)
    return p.new_empty_strided((T, *p.shape), (p.numel(), *p.stride()))


_poisson_encode = _register.op("poisson_encode", _fake, vmap=_vmap.one_by_one)
_latency_encode = _register.op("latency_encode", _fake, vmap=_vmap.as_neurons(lambda p, T: ((STEP, None), (SEQUENCE,))))
