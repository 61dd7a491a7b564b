"""Argument checks: once, before any kernel runs. Values on a device are never read back.

Checks of numbers return them as Python's own: NumPy's scalars, and whatever else is a :class:`numbers.Real`, become float or int."""

from __future__ import annotations

import math
from typing import Any

import torch

from spikeops._dtypes import FLOATING, state_dtype
from spikeops._numbers import plain_number

_INTS = (int, torch.SymInt)
_NUMBERS = (float, int, torch.SymFloat, torch.SymInt)
# Up to here float32 counts one by one.
MAX_COUNT = 1 << 24


def tensor(op: str, name: str, value) -> None:
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{op}: expected {name} to be a tensor, got {type(value).__name__}.")
    if value.layout != torch.strided:
        raise TypeError(f"{op}: expected {name} to be a strided tensor, got layout {value.layout}. Call {name}.to_dense() first.")


def floating(op: str, name: str, value) -> None:
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and value.dtype in FLOATING:
        return
    tensor(op, name, value)
    if value.dtype not in FLOATING:
        dtype = str(value.dtype).removeprefix("torch.")
        raise TypeError(
            f"{op}: expected {name} to be float32, float64, float16 or bfloat16, got {dtype}. Call {name}.float() first."
        )


def sequence(op: str, name: str, value) -> None:
    """A floating tensor (T, ...) with T >= 1."""
    if isinstance(value, torch.Tensor) and value.layout == torch.strided and value.dtype in FLOATING and value.dim() and value.shape[0]:
        return
    floating(op, name, value)
    time_steps(op, name, value)


def time_steps(op: str, name: str, value) -> None:
    if value.dim() == 0:
        raise ValueError(f"{op}: expected {name} to have shape (T, ...) with the time steps first, got a 0-d tensor.")
    if value.shape[0] == 0:
        raise ValueError(f"{op}: expected {name} to have at least one time step, got shape {tuple(value.shape)} (T = 0).")


def number(op: str, name: str, value: Any) -> Any:
    """A finite number."""
    given, value = value, plain_number(value)
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        hint = f" Call {name}.item() first." if isinstance(given, torch.Tensor) else ""
        raise TypeError(f"{op}: expected {name} to be a number, got {type(given).__name__}.{hint}")
    is_large = type(value) is int and value.bit_length() > 1023
    if is_large or not -math.inf < value < math.inf:  # unlike math.isfinite, also for the symbolic numbers of torch.compile
        raise ValueError(f"{op}: expected {name} to be finite, got {given}.")
    return value


def decay(op: str, name: str, value: Any) -> Any:
    """A factor per time step, in [0, 1]."""
    value = number(op, name, value)
    if not 0 <= value <= 1:
        raise ValueError(outside(op, name, value))
    return value


_DECAYING = {"adaptation_decay": "adaptation", "current_decay": "current"}


def outside(op: str, name: str, value: Any) -> str:
    return (
        f"{op}: expected {name}, the factor on the {_DECAYING.get(name, 'membrane potential')} per time step, to be between 0 and 1, got {value}. Hint: for a "
        f"time constant use {name}=1 - 1/tau or exp(-1/tau)."
    )


def decay_tensor(op: str, name: str, value: torch.Tensor) -> None:
    """The same for the values of a tensor, where looking at them waits for no device. Those that are not finite go their way."""
    if not value.is_cpu or value.numel() == 0:
        return
    low, high = (value.item(),) * 2 if value.numel() == 1 else (bound.item() for bound in value.detach().aminmax())
    if -math.inf < low < 0 or 1 < high < math.inf:
        values = f"{low:.6g}" if low == high else f"values from {low:.6g} to {high:.6g}"
        raise ValueError(outside(op, name, values))


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


def positive(op: str, name: str, value: Any) -> Any:
    value = number(op, name, value)
    if value <= 0:
        raise ValueError(f"{op}: expected {name} to be above 0, got {value}.")
    return value


def whole(op: str, name: str, value: Any, least: int) -> Any:
    """An int of at least that size."""
    given, value = value, plain_number(value)
    if isinstance(value, bool) or not isinstance(value, _INTS):
        raise TypeError(f"{op}: expected {name} to be an int, got {type(given).__name__}.")
    if value < least:
        wanted = f"at least {least}" if least else "0 or above"
        raise ValueError(f"{op}: expected {name} to be {wanted}, got {value}.")
    return value


def time_count(op: str, value: Any, name: str = "T") -> Any:
    return whole(op, f"{name}, the number of time steps,", value, 1)


def countable(op: str, steps: int, data: torch.dtype) -> None:
    """No more time steps than the numbers of the state count one by one. Compiled code does not ask: sizes stay symbolic there."""
    if state_dtype(data) == torch.float32 and not torch.compiler.is_compiling() and steps > MAX_COUNT:
        raise ValueError(
            f"{op}: expected at most {MAX_COUNT} time steps, since spikes are counted in float32, which is exact up to there, got "
            f"{steps}. Use float64 data, or cut the sequence into pieces."
        )


def suits_every_op(op: str, surrogate) -> None:
    if not surrogate.suits_every_op:
        raise ValueError(
            f"{op}: expected a surrogate that every op knows, got {surrogate!r}. Those for spikeops.functional.lif alone are Heaviside, "
            "MultiGaussian, PeriodicExponential, SingleExponential, Step, StraightThrough and Window, and others with a center."
        )


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


def _same_shape(a, b):
    return len(a) == len(b) and all(m == n for m, n in zip(a, b))


def shape(op: str, name: str, value: torch.Tensor, shapes, because: str = "") -> None:
    """One of several shapes. (Words in ``because`` that name a size would have torch.compile take it for the only one.)"""
    # Not `in`: torch 2.13 compiles that to False where sizes vary.
    if not any(_same_shape(value.shape, shape) for shape in shapes):
        wanted = " or ".join(str(tuple(shape)) for shape in shapes)
        raise ValueError(f"{op}: expected {name} to have shape {wanted}{because}, got {tuple(value.shape)}.")
