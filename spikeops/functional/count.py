"""Spike counts."""

from __future__ import annotations

import torch

from spikeops import _backend, _layout, reference
from spikeops.functional import _checks, _register, _vmap
from spikeops.functional._vmap import SEQUENCE, STEP
from spikeops.functional.pack import PACKED_DTYPE, SPIKES_PER_WORD

_MOST = 2**31 - 1
_INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


def spike_count(spikes: torch.Tensor) -> torch.Tensor:
    """Sums spikes over time.

    Args:
        spikes: (T, ...) floating, integer or bool; or the words of :func:`pack_spikes` (uint16).

    Returns:
        The counts (...): int32 for integer, bool and packed input (integers other than 0 and 1 are summed as they are, and must not
        exceed it); for floating input in its dtype, summed in double and rounded once, with a gradient.

    Raises:
        TypeError: a wrong type or dtype. ValueError: no time axis, T = 0, or more steps than int32 counts. RuntimeError: no kernel for the device.

    Example:
        >>> SF.spike_count(torch.tensor([[1, 0], [1, 1]]))
        tensor([2, 1], dtype=torch.int32)
    """
    _checks.tensor("spike_count", "spikes", spikes)
    if spikes.dtype not in (PACKED_DTYPE, *_INTEGERS):
        _checks.floating("spike_count", "spikes", spikes)
    _checks.time_steps("spike_count", "spikes", spikes)
    _check_int32(spikes)
    if spikes.dtype in (torch.int8, torch.int16):
        spikes = spikes.to(torch.int32)
    if _backend.is_reference():
        return reference.spike_count(spikes)
    return _spike_count(_backend.namespace("spike_count", spikes.device), spikes)


def _check_int32(spikes: torch.Tensor) -> None:
    if spikes.is_floating_point() or torch.compiler.is_compiling():  # there sizes stay symbolic
        return
    steps = spikes.shape[0] * (SPIKES_PER_WORD if spikes.dtype == PACKED_DTYPE else 1)
    if steps > _MOST:
        raise ValueError(f"spike_count: expected at most {_MOST} time steps of integer or packed spikes, whose count is int32, got {steps}.")


def _fake(spikes):
    return _layout.empty_step(_layout.time_major(spikes), spikes.dtype if spikes.is_floating_point() else torch.int32)


def _setup_context(ctx, inputs, output):
    ctx.shape = inputs[0].shape


_spike_count = _register.op(
    "spike_count", _fake, lambda ops, ctx, grad: grad.expand(ctx.shape), _setup_context, is_linear=True,
    vmap=_vmap.as_neurons(lambda spikes: ((SEQUENCE,), (STEP,))),
)  # fmt: skip
