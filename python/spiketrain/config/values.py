"""One value of a configuration: from what YAML, the command line or a program gives to what the field's type wants.

The command line gives text, and so does a YAML file (see `raw`): ``layers: 10``, ``progress: off`` and ``lr: 1e-3`` are read as
the field means them. Programs may give numbers, truth values and lists as they are. Nothing is ever imported or run.
"""

from __future__ import annotations

import math
import types
import typing
from typing import Annotated, Any, Literal, Union

from spiketrain.config.bounds import LARGEST_FLOAT, LARGEST_INT, SMALLEST_FLOAT, Bounds
from spiketrain.config.raw import parse_text
from spiketrain.errors import UserError, shown

LONGEST_TEXT = 4096  # characters; a path may have so many
LONGEST_LIST = 1000
NOTHING = ("", "~", "null", "Null", "NULL", "none", "None")
# The truth values of YAML 1.1.
TRUE, FALSE = ("true", "yes", "on", "y"), ("false", "no", "off", "n")


class WrongValue(Exception):
    """The value does not fit; the message says what was expected."""


def convert(kind: Any, value: Any) -> Any:
    """`value` as the type `kind`: int, float, bool, str, Literal, list, tuple, unions of these, Annotated with bounds.

    Raises:
        WrongValue: it cannot be read so, is out of bounds, not finite, too long.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        kind, bounds = arguments[0], arguments[1:]
        return _bounded_text(bounds, value) if kind is str else _number(kind, bounds, value)
    if kind in (int, float):
        return _number(kind, (), value)
    if origin in (Union, types.UnionType):
        return _one_of(kind, arguments, value)
    if origin is Literal:
        word = {True: "on", False: "off"}[value] if isinstance(value, bool) else value
        if isinstance(word, str) and word in arguments:
            return word
    elif origin in (list, tuple):
        return _sequence(kind, value)
    elif kind is bool:
        word = value.lower() if isinstance(value, str) else value
        if word is True or word in TRUE:
            return True
        if word is False or word in FALSE:
            return False
    elif kind is str:
        return _text(value)
    else:
        raise TypeError(f"a field of a configuration cannot have the type {kind}")
    raise WrongValue(describe(kind))


def describe(kind: Any) -> str:
    """What a value of this type looks like, in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        bounds = [str(bound) for bound in arguments[1:] if isinstance(bound, Bounds)]
        return " ".join([describe(arguments[0]), *bounds])
    if origin in (Union, types.UnionType):
        return " or ".join("null" if part is type(None) else describe(part) for part in arguments)
    if origin is Literal:
        return f"one of {', '.join(arguments)}"
    if origin is list:
        return f"a list [...] of which each is {describe(arguments[0])}"
    if origin is tuple:
        return f"a list [...] of {len(arguments)}, each {describe(arguments[0])}"
    return {int: "an int", float: "a number", bool: "true or false", str: "text"}[kind]


def _bounded_text(bounds: tuple, value: Any) -> str:
    try:
        text = _text(value)
        for bound in bounds:
            text = bound(text)
    except ValueError as error:
        raise WrongValue(str(error)) from None
    return text


def _number(kind: type, bounds: tuple[Bounds, ...], value: Any) -> int | float:
    number = _int(value) if kind is int else _float(value)
    for bound in bounds or (Bounds(),):
        finite = bound.and_finite(LARGEST_INT if kind is int else LARGEST_FLOAT)
        if number is None or number not in bound:
            raise WrongValue(f"{describe(kind)} {bound}".strip())
        if number not in finite:
            raise WrongValue(f"{describe(kind)} {finite}")
        if kind is float and 0 < abs(number) < SMALLEST_FLOAT:
            raise WrongValue(f"{describe(kind)} {bound} and no nearer to 0 than {SMALLEST_FLOAT}".replace("  ", " "))
    return number


def _int(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii():
        try:
            return int(value)
        except ValueError:  # no number, or of thousands of digits
            return None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _float(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)) or (isinstance(value, str) and not value.isascii()):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _text(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= LARGEST_FLOAT:
        value = shown(value)
    if isinstance(value, bool):
        raise WrongValue("text; write it in quotes")
    if not isinstance(value, str):
        raise WrongValue("text")
    if len(value) > LONGEST_TEXT:
        raise WrongValue(f"text of at most {LONGEST_TEXT} characters")
    if any(ord(c) < 32 or ord(c) == 127 for c in value):
        raise WrongValue("text on one line, without control characters")
    return value


def _one_of(kind: Any, kinds: tuple, value: Any) -> Any:
    if type(None) in kinds and (value is None or (isinstance(value, str) and value in NOTHING)):
        return None
    is_list = isinstance(value, (list, tuple)) or (isinstance(value, str) and value.lstrip().startswith("["))
    fitting = [part for part in kinds if part is not type(None) and (typing.get_origin(part) in (list, tuple)) == is_list]
    if len(fitting) == 1:
        return convert(fitting[0], value)
    for part in fitting:
        try:
            return convert(part, value)
        except WrongValue:
            continue
    raise WrongValue(describe(kind))


def _sequence(kind: Any, value: Any) -> list | tuple:
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = parse_text(value)
        except UserError:
            raise WrongValue(describe(kind)) from None
    parts = typing.get_args(kind)
    if not isinstance(value, (list, tuple)):
        raise WrongValue(describe(kind))
    if typing.get_origin(kind) is tuple:
        if len(value) != len(parts):
            raise WrongValue(describe(kind))
        return tuple(convert(part, item) for part, item in zip(parts, value))
    if len(value) > LONGEST_LIST:
        raise WrongValue(f"a list of at most {LONGEST_LIST}")
    return [convert(parts[0], item) for item in value]
