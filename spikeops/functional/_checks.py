"""Argument checks: once, before any kernel runs. Values on a device are never read back."""

from __future__ import annotations

import math

import torch

from spikeops._dtypes import FLOATING


def tensor(op: str, name: str, value) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{op}: expected {name} to be a tensor, got {type(value).__name__}.")
    if value.layout != torch.strided:
        raise TypeError(f"{op}: expected {name} to be a strided tensor, got layout {value.layout}. Call {name}.to_dense() first.")


def floating(op: str, name: str, value) -> None:
    tensor(op, name, value)
    if value.dtype not in FLOATING:
        dtype = str(value.dtype).removeprefix("torch.")
        raise TypeError(
            f"{op}: expected {name} to be float32, float64, float16 or bfloat16, got {dtype}. Call {name}.float() first."
        )


def sequence(op: str, name: str, value) -> None:
    """A floating tensor (T, ...) with T >= 1."""
    floating(op, name, value)
    time_steps(op, name, value)


def time_steps(op: str, name: str, value) -> None:
    if value.dim() == 0:
        raise ValueError(f"{op}: expected {name} to have shape (T, ...) with the time steps first, got a 0-d tensor.")
    if value.shape[0] == 0:
        raise ValueError(f"{op}: expected {name} to have at least one time step, got shape {tuple(value.shape)} (T = 0).")


def number(op: str, name: str, value) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float, torch.SymInt, torch.SymFloat)):
        hint = f" Call {name}.item() first." if isinstance(value, torch.Tensor) else ""
        raise TypeError(f"{op}: expected {name} to be a number, got {type(value).__name__}.{hint}")
    if not -math.inf < value < math.inf:  # unlike math.isfinite, also for the symbolic numbers of torch.compile
        raise ValueError(f"{op}: expected {name} to be finite, got {value}.")


# From here on, float32 rounds to infinity.
_TOO_LARGE = 3.4028235677973366e38


def fit(op: str, data: torch.dtype, **numbers) -> None:
    """Finite numbers that are finite in the precision of the state too."""
    if data == torch.float64:
        return
    for name, value in numbers.items():
        if not -_TOO_LARGE < value < _TOO_LARGE:
            raise ValueError(
                f"{op}: expected {name} to be a float32, at most 3.4e38, as the state is for {str(data).removeprefix('torch.')} data, "
                f"got {value}. Use float64 data, or a smaller number."
            )


def positive(op: str, name: str, value) -> None:
    number(op, name, value)
    if value <= 0:
        raise ValueError(f"{op}: expected {name} to be above 0, got {value}.")


def time_count(op: str, value, name: str = "T") -> None:
    if isinstance(value, bool) or not isinstance(value, (int, torch.SymInt)):
        raise TypeError(f"{op}: expected {name}, the number of time steps, to be an int, got {type(value).__name__}.")
    if value < 1:
        raise ValueError(f"{op}: expected {name}, the number of time steps, to be at least 1, got {value}.")


def flag(op: str, name: str, value) -> None:
    if not isinstance(value, bool):
        raise TypeError(f"{op}: expected {name} to be True or False, got {value!r}.")


def choice(op: str, name: str, value, allowed) -> None:
    if not isinstance(value, str) or value not in allowed:
        raise ValueError(f"{op}: expected {name} to be one of {', '.join(map(repr, allowed))}, got {value!r}.")


def per_neuron(op: str, name: str, value, x, step: torch.Size) -> None:
    """A floating tensor on x's device that broadcasts to the shape of one time step of x."""
    floating(op, name, value)
    if value.device != x.device:
        raise ValueError(
            f"{op}: expected {name} on the device of x, {x.device}, got {value.device}. Call {name}.to(x.device) first."
        )
    fits = value.dim() <= len(step) and all(
        size == 1 or size == wanted for size, wanted in zip(reversed(value.shape), reversed(step))
    )
    if not fits:
        raise ValueError(
            f"{op}: expected {name} to be broadcastable to one time step of x, shape {tuple(step)}, got shape {tuple(value.shape)}."
        )
