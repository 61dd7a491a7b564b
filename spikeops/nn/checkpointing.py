"""Blocks of spiking networks that are computed again in the backward pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
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
    """``block(spikes, *args, **kwargs)``, of which nothing is kept for the backward pass but the spikes, as bits: there the block is
    computed again.

    TODO
    """
    if not callable(block):
        raise TypeError(f"{_OP}: expected block to be a module or a function, got {type(block).__name__}.")
    _checks.tensor(_OP, "spikes", spikes)
    _checks.flag(_OP, "check_values", check_values)
    _checks.flag(_OP, "preserve_rng_state", preserve_rng_state)

    def run(*inputs: Any) -> Any:
        return block(*inputs, **kwargs)

    if torch.compiler.is_compiling():
        return checkpoint_of_torch(run, spikes, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state)
    _transforms.refuse(_OP, "PyTorch's hooks for saved tensors are not. Call the block itself.")
    if not torch.is_grad_enabled():
        return run(spikes, *args)
    known = _known(spikes, check_values)
    fixed = list(block.modules()) if isinstance(block, nn.Module) else []
    replay = Replay(modules_of(block, args, kwargs), fixed)
    with SavedSpikes(known):
        return checkpoint_of_torch(
            run, spikes, *args, use_reentrant=False, preserve_rng_state=preserve_rng_state, context_fn=replay.contexts
        )


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
    return spikes
