"""From the tensors of a checkpoint that a method's authors published to those of our network: other names, sometimes another shape."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from spiketrain.errors import UserError, shortened, shown


@dataclass(frozen=True)
class Source:
    """A tensor as the published code keeps it.

    Attributes:
        name: its key in the checkpoint
        shape: what it has there
        read: makes ours of it
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[Tensor], Tensor] = lambda tensor: tensor


@dataclass(frozen=True)
class PublishedWeights:
    """Where the published code of a method keeps a network.

    Attributes:
        sources: for each tensor of our network, by its name there
        copies: beginnings of keys under which the checkpoint holds tensors once more
    """

    sources: dict[str, Source]
    copies: tuple[str, ...] = ()

    def translate(self, given: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
        """The state of our network.

        Args:
            given: the published checkpoint's tensors
            own: the state that the network has, for its data types

        Raises:
            UserError: the checkpoint is of another network: tensors are missing, left over, of another shape or type, or not finite.
                The message names them.
        """
        wanted = {source.name for source in self.sources.values()}
        missing = [name for name in wanted if name not in given]
        extra = [name for name in given if name not in wanted and not name.startswith(self.copies)]
        parts = [f"it lacks {_listed(missing)}"] * bool(missing) + [f"it holds {_listed(extra)}"] * bool(extra)
        if parts:
            raise UserError(f"{', and '.join(parts)}{', which the network has not' if extra else ''}")
        translated = {}
        for name, source in self.sources.items():
            tensor = given[source.name]
            check_tensor(source.name, tensor, source.shape, own[name])
            translated[name] = source.read(tensor)
        return translated


def check_tensor(name: str, tensor: object, shape: tuple[int, ...], like: Tensor) -> None:
    """Whether a tensor of a file is of this shape and of the type of `like`, and finite.

    Raises:
        UserError: it is not.
    """
    if not isinstance(tensor, Tensor):
        raise UserError(f"{name} is {shown(tensor)}, not a tensor")
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.device.type != "cpu":
        raise UserError(f"{name} is a tensor of another kind: expected plain numbers, got {tensor.layout} on {tensor.device.type}")
    if (tensor.shape, tensor.dtype) != (shape, like.dtype):
        found = f"{list(tensor.shape)} of {str(tensor.dtype).removeprefix('torch.')}"
        raise UserError(f"{name} is {found}, the network takes {list(shape)} of {str(like.dtype).removeprefix('torch.')}")
    if not tensor.isfinite().all():
        raise UserError(f"{name} holds numbers that are not finite")


def turned_kernels(kernel: Tensor) -> Tensor:
    """Kernels (..., x, y) for maps (..., y, x)."""
    return kernel.transpose(-1, -2).contiguous()


def turned_maps(maps: tuple[int, int, int]) -> Callable[[Tensor], Tensor]:
    """Weights whose last axis runs over flattened maps (C, W, H), for maps (C, H, W)."""
    channels, height, width = maps
    return lambda weight: weight.unflatten(-1, (channels, width, height)).transpose(-1, -2).flatten(-3)


def _listed(names: list[str]) -> str:
    names = sorted(shortened(name, 80) for name in names)
    return ", ".join(names[:2]) + (f" and {len(names) - 2} others" if len(names) > 2 else "")
