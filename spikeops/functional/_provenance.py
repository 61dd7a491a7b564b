"""Which tensors hold spikes, 0 or 1 and nothing else: told by where they came from, never by their values.

What makes spikes marks the memory that they are in, together with the version that autograd counts for it. All views of that memory
show the mark, it goes when the memory goes, and whatever writes to it in place makes it void.

Spikes that have been copied (to the type of autocast, to another order, by max-pooling, next to others) are in memory without a mark.
While somebody wants to know (:func:`follow`), the nodes of autograd that made spikes are marked too, and a copy is told by the one
node between it and them. One and no more: what happened to the tensors between two copies would be seen by nobody.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch.compiler import is_dynamo_compiling

_PLAIN = (torch.Tensor, torch.nn.Parameter)
is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
# Attributes of a storage: (version, type) of spikes that fill it; for those who keep them in another form, what they keep.
_MARK, _PACKED = "_spikeops_mark", "_spikeops_packed"
_NODE_KEY = "spikeops: spikes"

_VIEWS = frozenset(
    f"{name}Backward{variant}"
    for name in (
        "Alias", "AsStrided", "Diagonal", "Expand", "Permute", "ReshapeAlias", "Select", "Slice", "Split", "SplitWithSizes", "Squeeze", "T",
        "Transpose", "Unbind", "Unfold", "UnsafeSplit", "UnsafeView", "Unsqueeze", "View",
    )
    for variant in ("0", "1", "2")
) - {"ViewBackward1"}  # fmt: skip  (the last one reads the bits as another type)
_POOLS = frozenset(f"MaxPool{n}DWithIndicesBackward0" for n in (2, 3)) | {f"AdaptiveMaxPool{n}DBackward0" for n in (2, 3)}
_COPIES = frozenset(("CatBackward0", "CloneBackward0", "StackBackward0", "ToCopyBackward0")) | _POOLS


class Version:
    """How often a tensor was written to in place, asked later, without keeping its memory."""

    __slots__ = ("_counter", "at_first")

    def __init__(self, tensor: torch.Tensor):
        self._counter = tensor.detach()  # has the counter of the tensor,
        self._counter.data = tensor.new_empty(0)  # and keeps it with other memory
        self.at_first: int = tensor._version

    @property
    def now(self) -> int:
        return self._counter._version


class _OfThread(threading.local):
    depth = 0


_of_thread = _OfThread()


def follow(more: int) -> None:
    """Adds to the number of those, in this thread, who want copies of spikes to be told, too."""
    _of_thread.depth += more


def is_plain(tensor: torch.Tensor) -> bool:
    """Whether it is a tensor with memory of its own, which autograd counts the versions of."""
    return type(tensor) in _PLAIN and not is_wrapped(tensor) and not tensor.is_inference() and tensor.layout == torch.strided


def mark(spikes: torch.Tensor) -> torch.Tensor:
    """The same tensor, its values, 0 or 1, known as such from now on. It fills its memory. (Ops call it each time: 1 us.)"""
    if not is_dynamo_compiling() and type(spikes) in _PLAIN and not is_wrapped(spikes) and not spikes.is_inference():
        setattr(spikes.untyped_storage(), _MARK, (spikes._version, spikes.dtype))
        if _of_thread.depth and spikes.grad_fn is not None:
            spikes.grad_fn.metadata[_NODE_KEY] = (spikes.output_nr, Version(spikes))
    return spikes


def mark_first(outputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The same tensors, the first of them marked."""
    mark(outputs[0])
    return outputs


def unmark(tensor: torch.Tensor) -> None:
    setattr(tensor.untyped_storage(), _MARK, None)


def is_spikes(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a view of memory that holds nothing but spikes."""
    if not is_plain(tensor) or tensor.is_neg():
        return False
    storage, state = tensor.untyped_storage(), (tensor._version, tensor.dtype)
    if not hasattr(storage, _MARK) and _of_thread.depth and _is_copy(tensor):
        setattr(storage, _MARK, state)
    return getattr(storage, _MARK, None) == state


def packed_beside(tensor: torch.Tensor) -> WeakValueDictionary[Any, Any]:
    """Other forms of the memory of spikes, for as long as somebody holds them; of a version that is past there are none."""
    storage = tensor.untyped_storage()
    version, packed = getattr(storage, _PACKED, (None, None))
    if version != tensor._version:
        packed = WeakValueDictionary()
        setattr(storage, _PACKED, (tensor._version, packed))
    return packed


def _is_copy(tensor: torch.Tensor) -> bool:
    """Whether it is a view of what one node copied from spikes, and neither was written to since it was made."""
    if tensor.grad_fn is None or tensor._version != 0 or not tensor.is_floating_point():
        return False
    node, _ = _behind_views(tensor.grad_fn, tensor.output_nr)
    if node is None or node.name() not in _COPIES or (node.name() in _POOLS and _may_see_padding_alone(node)):
        return False
    return all(_made_spikes(*_behind_views(*edge)) for edge in node.next_functions)


def _behind_views(node, output: int):
    while node is not None and node.name() in _VIEWS:
        ((node, output),) = node.next_functions
    return node, output


def _made_spikes(node, output: int) -> bool:
    made = None if node is None else node.metadata.get(_NODE_KEY)
    return made is not None and made[0] == output and made[1].now == made[1].at_first


def _may_see_padding_alone(pool) -> bool:
    """A window with taps far apart, whose maximum may be the minus infinity around the map."""
    return any(getattr(pool, "_saved_padding", ())) and any(d != 1 for d in getattr(pool, "_saved_dilation", ()))
