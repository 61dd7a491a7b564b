"""The options of LIF neurons: by name, as one object, and by their numbers in the op schemas (kernels/math/lif.h)."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch

from spikeops.functional import _checks, _transforms
from spikeops.functional._remembered import ATensor
from spikeops.surrogate import ATan, Surrogate

Reset = Literal["subtract", "to", "none"]
Weighting = Literal["mean", "decay"]

RESETS = {"subtract": 0, "to": 1, "none": 2}
RESET_NAMES = tuple(RESETS)
WEIGHTINGS = {"mean": 0, "decay": 1}


class LIFOptions(NamedTuple):
    """What the functions and modules with LIF neurons take by keyword and hand on as one: see :func:`spikeops.functional.lif`.

    Their signatures spell it out, for editors, type checkers and documentation, with the same names, order and defaults. Tensors and
    surrogates for lif alone are for :func:`spikeops.functional.lif` and its modules."""

    input_scale: float | torch.Tensor = 1.0
    reset: Reset = "subtract"
    reset_amount: float | torch.Tensor | None = None
    v_reset: float = 0.0
    v_rest: float = 0.0
    strict: bool = False
    detach_reset: bool = False
    surrogate: Surrogate = ATan(2.0)


_NO_TENSORS = (float, int, type(None))


def is_tensor(value) -> bool:
    """Whether it is a tensor, or stands for one. Numbers are told first: to ask torch.Tensor for its instances takes longer."""
    return type(value) not in _NO_TENSORS and isinstance(value, (ATensor, torch.Tensor))


def checked_options(
    op: str, threshold: float | torch.Tensor, options: LIFOptions, *, in_general: bool = False
) -> tuple[float | torch.Tensor, LIFOptions]:
    """The threshold and the options, their numbers Python's own.

    Args:
        in_general: whether tensors, or `ATensor` in their places, and surrogates for lif alone are taken.

    Raises:
        TypeError, ValueError: what cannot be, whatever the input is; the message names it."""

    def number(name, value):
        return value if in_general and is_tensor(value) else _checks.number(op, name, value)

    threshold = number("threshold", threshold)
    input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate = options
    input_scale = number("input_scale", input_scale)
    if reset_amount is not None:
        reset_amount = number("reset_amount", reset_amount)
    if v_reset is None:
        raise TypeError(f'{op}: expected v_reset to be a number, got NoneType. A reset by subtraction is reset="subtract".')
    v_reset, v_rest = _checks.number(op, "v_reset", v_reset), _checks.number(op, "v_rest", v_rest)
    _checks.choice(op, "reset", reset, RESETS)
    _checks.flag(op, "strict", strict)
    _checks.flag(op, "detach_reset", detach_reset)
    if not isinstance(surrogate, Surrogate):
        raise TypeError(f"{op}: expected surrogate to be one of spikeops.surrogate, such as ATan(2.0), got {surrogate!r}.")
    if not in_general:
        _checks.suits_every_op(op, surrogate)
    return threshold, LIFOptions(input_scale, reset, reset_amount, v_reset, v_rest, strict, detach_reset, surrogate)


def checked_input(op: str, x: torch.Tensor, time_steps: int | None) -> int:
    """How many time steps there are of an x without a time axis, else 0."""
    if time_steps is None:
        _checks.sequence(op, "x", x)
        return 0
    _checks.floating(op, "x", x)
    return _checks.time_count(op, time_steps, "time_steps")


def step_of(x: torch.Tensor, time_steps: int) -> torch.Size:
    """The shape of one time step of such an x."""
    return x.shape if time_steps else x.shape[1:]


def checked_states(op: str, x: torch.Tensor, time_steps: int, **states: torch.Tensor | None) -> None:
    """Initial states, each a tensor that broadcasts to one time step, or None."""
    for name, value in states.items():
        if value is not None:
            _checks.per_neuron(op, name, value, x, step_of(x, time_steps))


def checked_decay(op: str, name: str, value, x: torch.Tensor, time_steps: int) -> tuple[float, torch.Tensor | None]:
    """(the number, None), or (0, the tensor). Numbers are looked at where they are remembered, by `_checks.decay`."""
    if not is_tensor(value):
        return value, None
    _checks.per_neuron(op, name, value, x, step_of(x, time_steps))
    if value.numel() == 1 and _transforms.is_plain_eager(value):
        _checks.decay_tensor(op, name, value)
    return 0.0, value
