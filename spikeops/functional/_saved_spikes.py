"""Spikes, and sums of them, that autograd keeps for the backward pass, kept as bits."""

from __future__ import annotations

import threading
from typing import Any, NamedTuple

import torch

from spikeops.functional import _provenance
from spikeops.functional._bits import Bits, Counts
from spikeops.functional._provenance import Version
from spikeops.functional.pack import DTYPES


class _Kept(NamedTuple):
    """A tensor that is no spike train: itself, or what the hooks around made of it (version None)."""

    value: Any
    version: int | None


class _KeptSpikes(NamedTuple):
    """A view of spikes, or of sums: how it lies in the flat memory of the bits, and the tensor's version."""

    bits: Bits | Counts
    shape: torch.Size
    stride: tuple[int, ...]
    version: Version


class SavedSpikes:
    """Context manager, to be entered once: hooks that keep spikes as bits, and leave all else to the hooks around.

    Within a block that :mod:`torch.utils.checkpoint` computes again nothing is kept, so that there are no hooks either.

    Args:
        known: a tensor whose values are 0 or 1, wherever it comes from.
    """

    def __init__(self, known: torch.Tensor | None = None):
        self._known = known
        self._around = torch._C._autograd._top_saved_tensors_default_hooks(False)
        self._hooks: torch.autograd.graph.saved_tensors_hooks | None = None

    def __enter__(self) -> None:
        if self._around is None or getattr(self._around[0], "__module__", None) != "torch.utils.checkpoint":
            self._hooks = torch.autograd.graph.saved_tensors_hooks(self._pack, self._unpack)
            self._hooks.__enter__()

    def __exit__(self, *args: object) -> None:
        if self._hooks is not None:
            self._hooks.__exit__(*args)
        self._hooks = self._known = None  # the graph goes on holding us

    def _pack(self, tensor: torch.Tensor) -> _Kept | _KeptSpikes:
        if tensor.numel() and tensor.dtype in DTYPES:
            if most := _provenance.largest(tensor):
                bits = self._bits_of_marked(tensor, most)
            else:
                bits = self._handed_on(Bits(_memory(tensor))) if self._is_known(tensor) else None
            if bits is not None:
                return _KeptSpikes(bits, tensor.shape, tensor.stride(), Version(tensor))
        if self._around:
            return _Kept(self._around[0](tensor), None)
        # Not the tensor itself, which may hold the graph that is to keep it.
        return _Kept(tensor.detach(), None if _provenance.is_wrapped(tensor) else tensor._version)

    def _unpack(self, kept: _Kept | _KeptSpikes) -> torch.Tensor:
        if isinstance(kept, _KeptSpikes):
            check_version(kept, kept.version.at_first, kept.version.now)
            return kept.bits.spikes(self._words_of(kept.bits)).as_strided(kept.shape, kept.stride, 0)
        if self._around:
            return self._around[1](kept.value)
        if kept.version is not None:
            check_version(kept.value, kept.version, kept.value._version)
        return kept.value

    def _is_known(self, tensor: torch.Tensor) -> bool:
        known = self._known
        return known is not None and _place(tensor) == _place(known) and tensor.untyped_storage() is known.untyped_storage()

    def _bits_of_marked(self, tensor: torch.Tensor, most: int) -> Bits | Counts | None:
        """Those of before, if there are such; None if there is anything else in the memory after all."""
        flat, before = _memory(tensor), _provenance.packed_beside(tensor)
        place = (flat.storage_offset(), len(flat), self._around and self._around[0])
        # Some ways to write to memory are not counted as versions (`tensor.data`, NumPy). Where it waits for no device, look.
        can_look = flat.device.type == "cpu"
        bits = before.get(place)
        if bits is not None and (not can_look or bits.are_all_of(flat, self._words_of(bits))):
            return bits
        bits = Bits(flat) if most == 1 else Counts(flat, most)
        if can_look and not bits.are_all_of(flat, bits.words):
            _provenance.unmark(tensor)
            return None
        before[place] = self._handed_on(bits)
        return bits

    def _words_of(self, bits: Bits | Counts) -> torch.Tensor:
        return self._around[1](bits.words) if self._around else bits.words

    def _handed_on(self, bits: Bits | Counts) -> Bits | Counts:
        if self._around:
            bits.words = self._around[0](bits.words)
        return bits


def _memory(tensor: torch.Tensor) -> torch.Tensor:
    """From its first element to the last, in one dimension."""
    length = 1 + sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride()))
    return tensor.detach().as_strided((length,), (1,))


def _place(tensor: torch.Tensor) -> tuple:
    return tensor.dtype, tensor.shape, tensor.stride(), tensor.storage_offset()


def check_version(kept, before: int, now: int) -> None:
    """As autograd does where it keeps tensors without hooks."""
    if before != now:
        raise RuntimeError(
            "one of the variables needed for gradient computation has been modified by an inplace operation: a tensor of shape "
            f"{list(kept.shape)} is at version {now}; expected version {before} instead. Hint: clone it before the operation, or use an "
            "operation that is not in place."
        )


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.blocks: list[SavedSpikes] = []


_of_thread = _OfThread()


class pack_saved_spikes:
    """Context manager: ``with spikeops.pack_saved_spikes(): y = net(x)`` keeps the spikes that convolutions, linear layers and all other
    operations in the block keep for the backward pass as bits: 1/32 of the memory of float32 spikes. Nothing else changes.

    Spikes are told by where they come from; their values are never read on a device. They are

    - the spikes, 0 or 1, of the ops and modules of spikeops: `lif`, `alif`, `cuba_lif`, `recurrent_lif`, `tssl_bp`, `poisson_encode`,
      `latency_encode`, `unpack_spikes`, and of converted neurons;
    - all views of them: time folded into the batch, other orders of the axes, parts;
    - copies of spikes with a gradient, made in the block by one of: a cast, that of `torch.autocast` too, `clone`, `contiguous`,
      `reshape`, max-pooling, `cat` and `stack` of such spikes alone;
    - sums of such spikes with a gradient, by `+` in the block, as of residual connections: as many bits for each number as the largest sum
      takes, up to 255 spikes;
    - copies and sums of copies and sums that something in the block has kept before.

    All else is kept as ever: several spikes in a step (``max_spikes``), rates, potentials, what was computed from spikes (dropout,
    products, copies of copies), and spikes that were written to. Writing that autograd does not count (``spikes.data``, NumPy) is noticed on the
    CPU; on a device it may not be done to spikes before they are used.

    Gradients, of any order, are the same bit for bit. The bits are made once for all that keep the same spikes, and are unpacked where
    the backward pass needs them, on the backend of the forward pass. Writing to what is kept is an error of the backward pass, as it is
    without the block. Saved-tensor hooks around the block (`torch.autograd.graph.save_on_cpu`) get the bits and all else; hooks and
    checkpoints inside it come first. A block is for its thread. Compiled code around the block passes it by, and keeps what it keeps;
    spikes that come into compiled code inside the block are kept as bits. `torch.func.grad` and the like refuse hooks.

    Example:
        >>> net = torch.nn.Sequential(snn.LIF(0.9), torch.nn.Linear(100, 10))
        >>> with spikeops.pack_saved_spikes():
        ...     y = net(torch.rand(16, 8, 100))
        >>> y.sum().backward()
    """

    def __enter__(self) -> None:
        if torch.compiler.is_dynamo_compiling():
            return
        hooks = SavedSpikes()
        hooks.__enter__()
        _provenance.follow(1)
        _of_thread.blocks.append(hooks)

    def __exit__(self, *_: object) -> None:
        if torch.compiler.is_dynamo_compiling():
            return
        _provenance.follow(-1)
        _of_thread.blocks.pop().__exit__()
