"""Blocks of spiking networks that are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.compiler import is_compiling
from torch.utils.checkpoint import checkpoint as checkpoint_of_torch

from spikeops.functional import _checks, _provenance, _transforms
from spikeops.functional._saved_spikes import SavedSpikes
from spikeops.functional.pack import DTYPES
from spikeops.nn._replay import Replay, modules_of

_OP = "checkpoint"


def checkpoint(
    block: Callable[..., Any],
    spikes: torch.Tensor,
    *args: Any,
    check_values: bool = False,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """``block(spikes, *args, **kwargs)``, of which nothing is kept for the backward pass but its input, the spikes as bits: there the
    block is computed again.

    It is :func:`torch.utils.checkpoint.checkpoint` (``use_reentrant=False``) with 1/32 of the memory for float32 spikes, and a second
    pass that leaves no trace. The modules of the block begin it with the state that they had before the first: statistics of batch norm
    are updated once, spectral norms iterated once, neurons with a hidden state go on from where they were. Random numbers (dropout) and
    autocast are replayed. Outputs and gradients are those of the block itself, bit for bit.

    Args:
        block: a module, or a function. The state of a function is that of the modules that it is bound to, has in its closure, its
            defaults, and the globals that it names, in lists and the like too, and of those among the arguments.
        spikes: of any shape, 0 or 1, floating, bool, uint8, int32 or int64; they get a gradient if they want one. What is known to be
            spikes by :class:`spikeops.pack_saved_spikes` is taken as such. On the CPU the values of others are looked at.
        args, kwargs: passed on. Known spikes among args are kept as bits, all else as it is.
        check_values: look at the values of spikes that come from elsewhere on other devices too, which waits for the device.
        preserve_rng_state: replay random numbers. Without, a block that draws none is a little faster.

    Returns:
        What the block returns.

    Compiled code that holds the call leaves the second pass to the compiler, keeps spikes as they are and does not look at them. Without
    gradients (`torch.no_grad`) it is the call of the block.

    Raises:
        TypeError: an argument of a wrong type or dtype. ValueError: spikes other than 0 and 1, such as -0.0, or of unknown origin on a
        device.
        NotImplementedError: a transform of `torch.func`, or forward mode. RuntimeError, in the backward pass: the spikes, or parameters
        of a block that is a module, were written to in between.

    Example:
        >>> block = torch.nn.Sequential(snn.TimeDistributed(torch.nn.Conv2d(2, 4, 3)), snn.LIF(0.9))
        >>> spikes = SF.poisson_encode(torch.rand(8, 2, 16, 16), T=4)
        >>> snn.checkpoint(block, spikes).sum().backward()
    """
    if not callable(block):
        raise TypeError(f"{_OP}: expected block to be a module or a function, got {type(block).__name__}.")
    _checks.tensor(_OP, "spikes", spikes)
    _checks.flag(_OP, "check_values", check_values)
    _checks.flag(_OP, "preserve_rng_state", preserve_rng_state)

    run = _replayed(block, kwargs)
    if is_compiling():
        return checkpoint_of_torch(run, spikes, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state)
    _transforms.refuse(_OP, "PyTorch's hooks for saved tensors are not. Call the block itself.")
    if not torch.is_grad_enabled():
        return block(spikes, *args, **kwargs)
    with SavedSpikes(_known(spikes, check_values)):
        return checkpoint_of_torch(run, spikes, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state)


def _replayed(block: Callable[..., Any], kwargs: dict[str, Any]) -> Callable[..., Any]:
    """The block as a function that knows whether it runs for the first time. In a graph of the compiler it runs once; what the compiler
    cannot take into one comes here in eager code."""
    passes: list[Replay] = []

    def run(*inputs: Any) -> Any:
        if is_compiling():
            return block(*inputs, **kwargs)
        if passes:
            with passes[0].again():
                return block(*inputs, **kwargs)
        fixed = list(block.modules()) if isinstance(block, nn.Module) else []
        passes.append(Replay(modules_of(block, inputs, kwargs), fixed))
        with passes[0].first():
            return block(*inputs, **kwargs)

    return run


def _known(spikes: torch.Tensor, check_values: bool) -> torch.Tensor | None:
    """The spikes, if their values are known to be 0 or 1 from looking at them; None if they are known from where they come from."""
    if spikes.dtype not in DTYPES:
        expected = ", ".join(str(dtype).removeprefix("torch.") for dtype in DTYPES)
        raise TypeError(f"{_OP}: expected spikes to be one of {expected}, got {str(spikes.dtype).removeprefix('torch.')}.")
    if _provenance.is_spikes(spikes) or not _provenance.is_plain(spikes):
        return None
    if spikes.device.type != "cpu" and not check_values:
        raise ValueError(
            f"{_OP}: expected spikes on {spikes.device} that a spiking op or module of spikeops made, or views of such, since they are "
            "kept as bits; these come from elsewhere, or were changed in place. With check_values=True their values are looked at, which "
            "waits for the device. For inputs other than 0 and 1 there is torch.utils.checkpoint."
        )
    if not ((spikes == 0) | (spikes == 1)).all().item():
        least, most = (bound.item() for bound in spikes.detach().aminmax())
        raise ValueError(
            f"{_OP}: expected spikes to be 0 or 1, since they are kept as bits, got other values, from {least:.6g} to {most:.6g}. For "
            "such inputs there is torch.utils.checkpoint."
        )
    if spikes.is_floating_point() and torch.signbit(spikes).any().item():
        raise ValueError(
            f"{_OP}: expected spikes to be 0 or 1, since they are kept as bits, got -0.0, whose sign would be lost. Adding 0.0 makes it 0."
        )
    return spikes
