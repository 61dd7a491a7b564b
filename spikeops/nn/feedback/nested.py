"""Tensors inside nested dataclasses and tuples, such as time loops, solvers, and what they come to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace

import torch


def map_tensors(value, function: Callable):
    """A copy of nested dataclasses and tuples with ``function`` applied to every tensor."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if is_dataclass(value):
        return replace(value, **{f.name: map_tensors(getattr(value, f.name), function) for f in fields(value)})
    return tuple(map_tensors(item, function) for item in value) if isinstance(value, tuple) else value


def parts_of(value) -> list:
    """All there is in nested dataclasses and tuples, and these themselves."""
    found = [value]
    for part in found:  # grows meanwhile
        if is_dataclass(part):
            found += [getattr(part, f.name) for f in fields(part)]
        elif isinstance(part, tuple):
            found += part
    return found


def tensors_of(value) -> list[torch.Tensor]:
    """All tensors in nested dataclasses and tuples."""
    found: list[torch.Tensor] = []
    map_tensors(value, lambda tensor: (found.append(tensor), tensor)[1])
    return found


def distinct_tensors(value) -> list[torch.Tensor]:
    """The same, each once."""
    return list({id(tensor): tensor for tensor in tensors_of(value)}.values())


def copy_tensors(to, source) -> None:
    """Give every tensor the values of its counterpart in a structure of the same shapes. In ``to`` none may be there twice, as
    those of ``source`` may differ there."""
    torch._foreach_copy_(tensors_of(to), tensors_of(source))


def clone_tensors(value):
    """A copy with tensors of its own. One that is there twice is so in the copy."""
    copies = {id(tensor): tensor.clone() for tensor in distinct_tensors(value)}
    return map_tensors(value, lambda tensor: copies[id(tensor)])


def describe(tensor: torch.Tensor) -> tuple:
    """What the kernels that work on a tensor depend on, but for its values."""
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device
