"""Numbers from elsewhere as Python's own."""

from __future__ import annotations

import math
import numbers
from typing import Any

import torch


def plain_number(value: Any) -> Any:
    """A number as Python's own float or int, or torch's symbolic ones; what is none, as it is."""
    kind = type(value)
    if kind is float or kind is int:
        return value
    if isinstance(value, (bool, torch.SymFloat, torch.SymInt)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        try:
            return float(value)
        except OverflowError:
            return math.inf
    if kind.__module__ == "numpy" and getattr(value, "ndim", None) == 0:  # an array without axes
        return plain_number(value.item())
    return value


def plain_numbers(value: Any) -> Any:
    """The same of a number, or of each in a tuple or list, as a tuple."""
    return tuple(map(plain_number, value)) if isinstance(value, (tuple, list)) else plain_number(value)
