"""Which tensors hold spikes, 0 or 1 and nothing else, or sums of few of them: told by where they came from, never by their values.

What makes spikes marks the memory that they are in, together with the version that autograd counts for it. All views of that memory
show the mark, it goes when the memory goes, and whatever writes to it in place makes it void.

Spikes that have been copied (to the type of autocast, to another order, by max-pooling, next to others) are in memory without a mark.
While somebody wants to know (:func:`follow`), the nodes of autograd that made spikes are marked too, and a copy is told by the one
node between it and them. One and no more: what happened to the tensors between two copies would be seen by nobody, but where somebody asked
about the one between, whose node is then marked as well. Sums, as residual connections make them, are told in the same way.
"""

from __future__ import annotations

import threading
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch.compiler import is_dynamo_compiling

_PLAIN = (torch.Tensor, torch.nn.Parameter)
is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor
# Attributes of a storage: (version, type, largest value) of the spikes, or sums of such, that fill it; for those who keep them in another
# form, what they keep.
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
_SUM = "AddBackward0"
MOST = 255  # in a sum: exact in bfloat16 too, and a byte


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
        setattr(spikes.untyped_storage(), _MARK, (spikes._version, spikes.dtype, 1))
        if _of_thread.depth and spikes.grad_fn is not None:
            spikes.grad_fn.metadata[_NODE_KEY] = (spikes.output_nr, Version(spikes), 1)
    return spikes


def mark_first(outputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The same tensors, the first of them marked."""
    mark(outputs[0])
    return outputs


def unmark(tensor: torch.Tensor) -> None:
    setattr(tensor.untyped_storage(), _MARK, None)


def is_spikes(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a view of memory that holds nothing but spikes."""
    return largest(tensor) == 1


def largest(tensor: torch.Tensor) -> int:
    """The largest value that there may be in a view of memory with nothing but spikes (1), or sums of them: whole numbers from 0 to it. 0
    for any other tensor."""
    if not is_plain(tensor) or tensor.is_neg():
        return 0
    storage = tensor.untyped_storage()
    if not hasattr(storage, _MARK) and _of_thread.depth and (most := _largest_by_graph(tensor)):
        setattr(storage, _MARK, (tensor._version, tensor.dtype, most))
    version, dtype, most = getattr(storage, _MARK, None) or (None, None, 0)
    return most if (version, dtype) == (tensor._version, tensor.dtype) else 0


def packed_beside(tensor: torch.Tensor) -> WeakValueDictionary[Any, Any]:
    """Other forms of the memory of spikes, for as long as somebody holds them; of a version that is past there are none."""
    storage = tensor.untyped_storage()
    version, packed = getattr(storage, _PACKED, (None, None))
    if version != tensor._version:
        packed = WeakValueDictionary()
        setattr(storage, _PACKED, (tensor._version, packed))
    return packed


def _largest_by_graph(tensor: torch.Tensor) -> int:
    """`largest` of a view of what one node copied or added up, where nothing was written to since it was made; 0 of others."""
    if tensor.grad_fn is None or tensor._version != 0 or not tensor.is_floating_point():
        return 0
    node, output = _behind_views(tensor.grad_fn, tensor.output_nr)
    kind = None if node is None else node.name()
    is_sum = kind == _SUM and node._saved_alpha == 1
    if not is_sum and (kind not in _COPIES or (kind in _POOLS and _may_see_padding_alone(node))):
        return 0
    parts = [_largest_made(*_behind_views(*edge)) for edge in node.next_functions]
    most = sum(parts) if is_sum else max(parts)
    if 0 in parts or most > MOST:
        return 0
    node.metadata[_NODE_KEY] = (output, Version(tensor), most)
    return most


def _behind_views(node, output: int):
    while node is not None and node.name() in _VIEWS:
        ((node, output),) = node.next_functions
    return node, output


def _largest_made(node, output: int) -> int:
    made = None if node is None else node.metadata.get(_NODE_KEY)
    return made[2] if made is not None and made[0] == output and made[1].now == made[1].at_first else 0


def _may_see_padding_alone(pool) -> bool:
    """A window with taps far apart, whose maximum may be the minus infinity around the map."""
    return any(getattr(pool, "_saved_padding", ())) and any(d != 1 for d in getattr(pool, "_saved_dilation", ()))
