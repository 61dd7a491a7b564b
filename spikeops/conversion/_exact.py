"""What the counterparts of all libraries share: the refusal, numbers of their modules, and the input that they can take."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

import spikeops.functional as SF


class NotExact(ValueError):
    """A module, or a call of a converted module, that spikeops cannot compute exactly as its library does. The message says why."""


def number(name: str, value: object) -> float:
    """A finite number that a library keeps as a Python number or as a tensor of one element.

    Raises:
        NotExact: it is none."""
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise NotExact(f"{name} has {value.numel()} values")
        if value.requires_grad:
            raise NotExact(f"{name} is learned")
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NotExact(f"{name} is a {type(value).__name__}, not a number")
    if not math.isfinite(value):
        raise NotExact(f"{name} is {value}")
    return float(value)


def number_or_tensor(name: str, value: object) -> float | torch.Tensor:
    """A number where it is one, or a tensor of one value on the CPU that has no gradient, else the tensor.

    Raises:
        NotExact: it is neither."""
    if not isinstance(value, torch.Tensor) or (value.numel() == 1 and not value.requires_grad and value.device.type == "cpu"):
        return number(name, value)
    return value


def tensors_like(x: torch.Tensor, options: dict) -> dict:
    """Options whose tensors are of x's dtype, as the libraries' own operations make of them."""
    return {name: value.to(x.dtype) if isinstance(value, torch.Tensor) else value for name, value in options.items()}


def owned(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """States that a library may detach in place, which torch refuses for views: those of the reference backend are."""
    return tuple(tensor.clone() if tensor._is_view() else tensor for tensor in tensors)


def kept(*tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """States from the call before, for a call with gradients: those out of `torch.inference_mode` cannot be saved for one."""
    return tuple(tensor.clone() if tensor.is_inference() and torch.is_grad_enabled() else tensor for tensor in tensors)


def require(condition: bool, reason: str) -> None:
    """Raises NotExact for the reason if the condition does not hold."""
    if not condition:
        raise NotExact(reason)


def added_up(x: torch.Tensor, current: torch.Tensor, decay: float | torch.Tensor) -> torch.Tensor:
    """(T, ...): what a synapse holds once the input x of each step has come, from the current that is there before the first one. It decays
    between steps."""
    first = (current + x[0]).unsqueeze(0)
    return first if len(x) == 1 else SF.leaky_readout(torch.cat([first, x[1:]]), decay)[0]


def full_precision(library: str, x: torch.Tensor) -> None:
    """The libraries keep the state of 16-bit inputs in 16 bits, spikeops in float32.

    Raises:
        NotExact: x is not float32 or float64."""
    if x.dtype not in (torch.float32, torch.float64):
        raise NotExact(
            f"spikeops.convert: {library} computes the potentials of {x.dtype} inputs in that type, spikeops does not. Hint: give the "
            "neurons float32, x.float(), or keep that module with strict=False."
        )


class Counterpart:
    """Base of the modules that take the places of a library's own.

    A counterpart is a subclass of the module that it replaces, with the same attributes, parameters, buffers and state; only what
    it computes with is another. So all that the library and its users do with their modules goes on working: state dicts,
    optimisers, resetting and detaching of states, ``isinstance``. The options are read at each call, as the library reads them.
    """

    options: Callable[[Any], object]
    """What spikeops computes the module with, from its attributes now. Raises NotExact."""

    def _get_name(self) -> str:
        return f"spikeops.{type(self).__name__}"
