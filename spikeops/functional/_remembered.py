"""What follows from the options of a call alone: worked out once, and found again where the options are the same objects.

A training step calls an op with the same options each time, and looking at a dozen of them costs as much as a small kernel. They are told
by what they are, not by what they equal: True equals 1, which is no flag, and 0.0 equals -0.0, which is another potential."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeVar

import torch

from spikeops.surrogate import Surrogate

Result = TypeVar("Result")

_FIXED = (int, float, bool, str, type(None), torch.dtype)
_SURROGATES = Surrogate.__module__.rpartition(".")[0]  # frozen, which what others derive from them need not be
# Of a function; options that are worked out anew for each call are new objects each time.
_MOST = 512


def remembered(function: Callable[..., Result]) -> Callable[..., Result]:
    """The same function of positional arguments, which is asked once for the same objects, if they cannot change: numbers, flags,
    strings, dtypes and surrogates. Others, tensors among them, it is asked for each time, as it is in code that Dynamo traces. An error
    is not remembered."""
    kept: dict[tuple[int, ...], tuple[Result, tuple]] = {}

    @functools.wraps(function)
    def call(*args):
        if torch.compiler.is_dynamo_compiling():
            return function(*args)
        key = tuple(map(id, args))
        try:
            return kept[key][0]
        except KeyError:
            pass
        result = function(*args)
        if all(map(_cannot_change, args)):
            if len(kept) >= _MOST:
                kept.clear()
            kept[key] = result, args  # which keeps the objects, so that no others get their ids
        return result

    return call


def _cannot_change(value) -> bool:
    kind = type(value)
    return kind in _FIXED or (isinstance(value, Surrogate) and kind.__module__.startswith(_SURROGATES))
