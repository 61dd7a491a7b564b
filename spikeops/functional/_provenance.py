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

import torch

_PLAIN = (torch.Tensor, torch.nn.Parameter)
_ATTRIBUTE = "_spikeops_mark"
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


class Mark:
    """Of memory: its spikes are those of that type, as long as the version is that."""

    __slots__ = ("dtype", "packed", "version")

    def __init__(self, version: int, dtype: torch.dtype):
        self.version, self.dtype = version, dtype
        self.packed: Any = None  # for those who keep it as bits


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
    return (
        type(tensor) in _PLAIN
        and tensor.layout == torch.strided
        and not torch._C._functorch.is_functorch_wrapped_tensor(tensor)
        and not tensor.is_inference()
    )


def mark(spikes: torch.Tensor) -> torch.Tensor:
    """The same tensor, its values, 0 or 1, known as such from now on."""
    if not torch.compiler.is_compiling() and is_plain(spikes):
        storage, version = spikes.untyped_storage(), spikes._version
        if storage.nbytes() == spikes.numel() * spikes.element_size():
            before: Mark | None = getattr(storage, _ATTRIBUTE, None)
            if before is None or before.version != version or before.dtype != spikes.dtype:
                setattr(storage, _ATTRIBUTE, Mark(version, spikes.dtype))
            if _of_thread.depth and spikes.grad_fn is not None:
                spikes.grad_fn.metadata[_NODE_KEY] = (spikes.output_nr, Version(spikes))
    return spikes


def mark_first(outputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """The same tensors, the first of them marked."""
    mark(outputs[0])
    return outputs


def unmark(tensor: torch.Tensor) -> None:
    storage = tensor.untyped_storage()
    if hasattr(storage, _ATTRIBUTE):
        delattr(storage, _ATTRIBUTE)


def mark_of(tensor: torch.Tensor) -> Mark | None:
    """The mark of the memory that a tensor is a view of, if all in there are spikes."""
    if not is_plain(tensor) or tensor.is_neg():
        return None
    found: Mark | None = getattr(tensor.untyped_storage(), _ATTRIBUTE, None)
    if found is None and _of_thread.depth and _is_copy(tensor):
        found = Mark(0, tensor.dtype)
        setattr(tensor.untyped_storage(), _ATTRIBUTE, found)
    return found if found is not None and found.version == tensor._version and found.dtype == tensor.dtype else None


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
