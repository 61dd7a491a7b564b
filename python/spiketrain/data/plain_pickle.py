"""Pickles as data: numbers, text, bytes, containers of them and NumPy arrays are read, of any protocol; nothing is called or imported.

A pickle is a program for a stack machine. Here the machine lacks the instructions that make objects, and where the program asks for a
function by name it gets one of the few below, which put together arrays from their bytes. They answer for NumPy's under the names that
these have had in all its versions. Nothing of a pickle's own choosing is looked up anywhere.
"""

from __future__ import annotations

import io
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np

INSTRUCTIONS = (
    "PROTO", "FRAME", "STOP", "MARK", "POP", "POP_MARK", "DUP", "NONE", "NEWTRUE",
    "NEWFALSE", "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
    "BINBYTES8", "BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "EMPTY_LIST", "APPEND", "APPENDS", "LIST", "EMPTY_TUPLE", "TUPLE",
    "TUPLE1", "TUPLE2", "TUPLE3", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS",
    "GET", "BINGET", "LONG_BINGET", "PUT", "BINPUT",
    "LONG_BINPUT", "MEMOIZE", "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD",
)  # fmt: skip
NUMPY_MODULES = re.compile(r"numpy(\._?core(\.(_?multiarray(_umath)?|numeric))?)?")
PLAIN_DTYPE = re.compile(r"[biuf]\d{1,2}|[SU]\d{1,5}")
LONGEST_DECIMAL = 4000  # digits; the time that Python takes to read a decimal number grows with their square


class NoPlainData(ValueError):
    """The pickle holds, or asks for, something else."""


def load(content: bytes) -> Any:
    """What a pickle says: None, bool, int, float, str, bytes, bytearray, list, tuple, dict (keys: str, bytes or int), NumPy's arrays and
    scalars of numbers and text. Text that Python 2 wrote comes as latin-1.

    Memory grows with the length of `content` and no faster.

    Raises:
        NoPlainData: it asks for a function or a class, an array of objects, or more memory than it could fill.
        Exception: it is damaged; almost any kind.
    """
    return _finished(_Reader(content).load())


def _finished(value: Any, levels: int = 3) -> Any:
    """Arrays in the place of those in the making, in the upper levels of lists, tuples and dictionaries."""
    if isinstance(value, _Array):
        return value.finished()
    if levels and isinstance(value, dict):
        return {key: _finished(item, levels - 1) for key, item in value.items()}
    if levels and isinstance(value, (list, tuple)):
        return type(value)([_finished(item, levels - 1) for item in value])
    return value


class _Dtype:
    """A data type in the making: its byte order comes after its name."""

    def __init__(self, name: Any) -> None:
        if isinstance(name, bytes):
            name = name.decode("latin1")
        if not isinstance(name, str) or not PLAIN_DTYPE.fullmatch(name):
            raise NoPlainData(f"it holds an array of the type {name!r:.40}, expected numbers")
        self.dtype = np.dtype(name)
        if self.dtype.itemsize == 0:
            raise NoPlainData("it holds an array of empty items")

    def set_state(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) >= 8 else None
        if order not in ("<", ">", "|", "=") or any(part is not None for part in state[2:5]):
            raise NoPlainData("it holds an array of a type with fields, expected numbers")
        self.dtype = self.dtype.newbyteorder(order) if order != "|" else self.dtype


class _Array:
    """An array in the making: `_reconstruct` makes it, its state follows."""

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def set_state(self, state: Any) -> None:
        if not isinstance(state, tuple) or len(state) not in (4, 5):
            raise NoPlainData("it holds an array without shape, type and data")
        shape, dtype, in_columns, data = state[-4:]
        self.array = _shaped(data, dtype, shape, "F" if in_columns else "C")

    def finished(self) -> np.ndarray:
        if self.array is None:
            raise NoPlainData("it holds an array without data")
        return self.array


def _shaped(data: Any, dtype: Any, shape: Any, order: str) -> np.ndarray:
    """The array over `data`, which has to have its very length."""
    if not isinstance(dtype, _Dtype) or not isinstance(data, (bytes, bytearray)):
        raise NoPlainData("it holds an array of something else than numbers")
    if not isinstance(shape, tuple) or len(shape) > 8 or not all(isinstance(n, int) and 0 <= n < 2**48 for n in shape):
        raise NoPlainData("it holds an array of an impossible shape")
    if math.prod(shape) * dtype.dtype.itemsize != len(data):
        raise NoPlainData(f"it holds an array of shape {shape} and type {dtype.dtype} with {len(data)} bytes of data")
    return np.frombuffer(data, dtype.dtype).reshape(shape, order=order)


class _Instructions(dict):
    """Instructions by their codes."""

    def __missing__(self, code: int) -> None:
        raise NoPlainData(f"it asks to build an object, or is damaged (instruction {code:#04x})")


class _Reader(pickle._Unpickler):
    """The machine, written in Python: unlike the one in C it can be without instructions, and keeps no table as long as a number says."""

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="latin1")
        self.budget = len(content)  # bytes that functions may copy together: each string is copied once at most
        self.numpy_functions: dict[str, Callable] = {
            "ndarray": self._no_call, "dtype": lambda name, *_: _Dtype(name), "_reconstruct": lambda *_: _Array(),
            "scalar": self._scalar, "_frombuffer": lambda data, dtype, shape, order: _shaped(data, dtype, shape, str(order)),
        }  # fmt: skip
        self.functions: dict[tuple[str, str], Callable] = {
            ("_codecs", "encode"): self._encode,
            ("collections", "OrderedDict"): lambda: {},
        }
        for builtins in ("builtins", "__builtin__"):
            self.functions[builtins, "bytes"] = self._bytes
            self.functions[builtins, "bytearray"] = lambda *arguments: bytearray(self._bytes(*arguments))

    def find_class(self, module: str, name: str) -> Callable:
        if isinstance(module, str) and NUMPY_MODULES.fullmatch(module) and name in self.numpy_functions:
            return self.numpy_functions[name]
        if (module, name) not in self.functions:
            raise NoPlainData(f"it asks for {module}.{name}"[:200])
        return self.functions[module, name]

    def _no_call(self, *_: Any) -> None:
        raise NoPlainData("it makes an array without data")

    def _pay(self, count: int) -> None:
        self.budget -= count
        if self.budget < 0:
            raise NoPlainData("it unpacks to more than its own length")

    def _encode(self, text: Any, encoding: Any = "latin1") -> bytes:
        if not isinstance(text, str) or encoding not in ("latin1", "latin-1"):
            raise NoPlainData("it asks for _codecs.encode of something else than bytes")
        self._pay(len(text))
        return text.encode("latin1")

    def _bytes(self, data: Any = b"", encoding: Any = "latin-1") -> bytes:
        if isinstance(data, str):
            return self._encode(data, encoding)
        if not isinstance(data, (bytes, bytearray)):
            raise NoPlainData("it asks for bytes of something else")
        self._pay(len(data))
        return bytes(data)

    def _scalar(self, dtype: Any, data: Any = b"") -> Any:
        data = self._encode(data) if isinstance(data, str) else data
        return _shaped(data, dtype, (1,), "C")[0]

    def load_decimal(self) -> None:
        """An int, bool or long in decimal digits."""
        line = self.readline()
        if len(line) > LONGEST_DECIMAL:
            raise NoPlainData("it holds a number without end")
        text = line.strip()
        self.append(text == b"01" if text in (b"00", b"01") else int(text.rstrip(b"L"), 10))

    def load_bytearray8(self) -> None:
        size = int.from_bytes(self.read(8), "little")
        data = self.read(size)
        if len(data) < size:
            raise EOFError("Ran out of input")
        self.append(bytearray(data))

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._set(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def load_setitems(self) -> None:
        self._set(self.pop_mark())

    def _set(self, items: list) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or not all(isinstance(key, (str, bytes, int)) for key in items[::2]):
            raise NoPlainData("it holds a dictionary with keys that are neither text nor numbers")
        target.update(zip(items[::2], items[1::2]))

    def load_appends(self) -> None:
        items = self.pop_mark()
        self._list().extend(items)

    def load_append(self) -> None:
        value = self.stack.pop()
        self._list().append(value)

    def _list(self) -> list:
        if not isinstance(self.stack[-1], list):
            raise NoPlainData("it appends to something that is no list")
        return self.stack[-1]

    def load_reduce(self) -> None:
        arguments, function = self.stack.pop(), self.stack[-1]
        if not callable(function) or not isinstance(arguments, tuple):
            raise NoPlainData("it calls something that is no function")
        self.stack[-1] = function(*arguments)

    def load_build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if not isinstance(target, (_Dtype, _Array)):
            raise NoPlainData("it sets the state of something that is no array")
        if isinstance(state, tuple) and state and isinstance(state[-1], str) and isinstance(target, _Array):
            state = (*state[:-1], self._encode(state[-1]))  # bytes of Python 2
        target.set_state(state)

    dispatch = _Instructions(
        (getattr(pickle, name)[0], pickle._Unpickler.dispatch[getattr(pickle, name)[0]]) for name in INSTRUCTIONS
    )
    for name, instruction in {
        "INT": load_decimal, "LONG": load_decimal, "BYTEARRAY8": load_bytearray8, "DICT": load_dict, "SETITEM": load_setitem,
        "SETITEMS": load_setitems, "APPEND": load_append, "APPENDS": load_appends, "REDUCE": load_reduce, "BUILD": load_build,
    }.items():  # fmt: skip
        dispatch[getattr(pickle, name)[0]] = instruction
