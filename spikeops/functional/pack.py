"""Bit-packed spikes: one bit per neuron and time step."""

from __future__ import annotations

import torch

from spikeops import _backend, _layout, reference
from spikeops.functional import _checks, _provenance, _register, _vmap
from spikeops.functional._vmap import SEQUENCE

SPIKES_PER_WORD = 16
PACKED_DTYPE = torch.uint16  # nobody keeps plain spikes in it, so spike_count can tell packed input by its dtype

DTYPES = (torch.bool, torch.uint8, torch.int32, torch.int64, torch.float32, torch.float64, torch.float16, torch.bfloat16)


def pack_spikes(spikes: torch.Tensor) -> torch.Tensor:
    """Packs spikes along time, 16 time steps to a word: 1 bit instead of 32 for float32 spikes.

    Args:
        spikes: (T, ...) floating, bool, uint8, int32 or int64; every value other than 0 counts as a spike.

    Returns:
        uint16 words (ceil(T / 16), ...) in the layout of ``spikes``: time step t is bit ``t % 16`` of word ``t // 16``.

    Raises:
        TypeError: a wrong type or dtype. ValueError: no time axis, or T = 0. RuntimeError: no kernel for the device.

    Example:
        >>> SF.pack_spikes(torch.tensor([1.0, 0.0, 1.0])).tolist()
        [5]
    """
    _checks.tensor("pack_spikes", "spikes", spikes)
    _checks.time_steps("pack_spikes", "spikes", spikes)
    _check_dtype("pack_spikes", "spikes", spikes.dtype)
    return pack_words(None if _backend.is_reference() else _backend.namespace("pack_spikes", spikes.device), spikes)


def unpack_spikes(packed: torch.Tensor, T: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Undoes :func:`pack_spikes`.

    Args:
        packed: uint16 words (ceil(T / 16), ...).
        T: number of time steps that were packed.
        dtype: of the result: floating, bool, uint8, int32 or int64.

    Returns:
        Spikes (T, ...), 0 or 1.

    Raises:
        TypeError: a wrong type or dtype. ValueError: T does not fit the number of words. RuntimeError: no kernel for the device.

    Example:
        >>> SF.unpack_spikes(SF.pack_spikes(torch.tensor([1.0, 0.0, 1.0])), 3)
        tensor([1., 0., 1.])
    """
    _checks.tensor("unpack_spikes", "packed", packed)
    if packed.dtype != PACKED_DTYPE:
        raise TypeError(f"unpack_spikes: expected packed to be uint16 words from pack_spikes, got {packed.dtype}.")
    _checks.time_steps("unpack_spikes", "packed", packed)
    T = _checks.time_count("unpack_spikes", T)
    _check_dtype("unpack_spikes", "dtype", dtype)
    words = (T + SPIKES_PER_WORD - 1) // SPIKES_PER_WORD
    if packed.shape[0] != words:
        raise ValueError(f"unpack_spikes: expected {words} words along time for T = {T}, got shape {tuple(packed.shape)}.")
    ops = None if _backend.is_reference() else _backend.namespace("unpack_spikes", packed.device)
    return _provenance.mark(unpack_words(ops, packed, T, dtype))


def pack_words(ops, spikes: torch.Tensor) -> torch.Tensor:
    """:func:`pack_spikes` by a namespace of ops, or, if that is None, by the reference."""
    return reference.pack_spikes(spikes) if ops is None else _pack(ops, spikes)


def unpack_words(ops, packed: torch.Tensor, T: int, dtype: torch.dtype) -> torch.Tensor:
    """The same for :func:`unpack_spikes`."""
    return reference.unpack_spikes(packed, T, dtype) if ops is None else _unpack(ops, packed, T, dtype)


def _check_dtype(op, name, dtype):
    if dtype not in DTYPES:
        expected = ", ".join(str(d).removeprefix("torch.") for d in DTYPES)
        raise TypeError(f"{op}: expected {name} to be one of {expected}, got {dtype}.")


def _pack_fake(spikes):
    words = (spikes.shape[0] + SPIKES_PER_WORD - 1) // SPIKES_PER_WORD
    return _layout.empty_sequence(_layout.time_major(spikes), words, PACKED_DTYPE)


_pack = _register.op("pack_spikes", _pack_fake, vmap=_vmap.as_neurons(lambda spikes: ((SEQUENCE,), (SEQUENCE,))))
_unpack = _register.op(
    "unpack_spikes", lambda packed, T, dtype: _layout.empty_sequence(_layout.time_major(packed), T, dtype),
    vmap=_vmap.as_neurons(lambda packed, T, dtype: ((SEQUENCE, None, None), (SEQUENCE,))),
)  # fmt: skip
