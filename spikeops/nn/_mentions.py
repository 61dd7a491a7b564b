"""Who else calls parts of a module, as far as its own methods and those of the modules around it say."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
from types import FunctionType
from typing import NamedTuple

from torch import nn

from spikeops.nn._decisions import Untraceable, body_of

NAMELESS = ""
"""A part that is no attribute, but known by its number."""


def called_elsewhere(model: nn.Module, root: str, parts: set[str], read: frozenset[tuple[str, int]]) -> str:
    """The method that seems to call one of the parts of a module, and is not among the functions that its forward runs through; "" if none
    does.

    Args:
        model: the model.
        root: the module's name in it.
        parts: names of attributes, or NAMELESS.
        read: file and first line of the functions that its forward runs through."""
    around = root
    while True:
        kind = type(model.get_submodule(around))
        for method in _methods(kind):
            if method.place not in read and any((name, around == root) in method.called for name in parts):
                return f"{kind.__name__}.{method.name}"
        if not around:
            return ""
        around = around.rpartition(".")[0]


class _Method(NamedTuple):
    name: str
    place: tuple[str, int]
    """File and first line."""
    called: set[tuple[str, bool]]
    """(attribute, whether of the object itself) of all that it calls, or gives to another function, which may."""
    of_bases: set[str]
    """What it takes from ``super()``."""


@functools.lru_cache(maxsize=256)
def _methods(kind: type) -> list[_Method]:
    """Those of a class and its bases, without PyTorch's and ours, that an object of it may run."""
    found: dict[str, list[_Method]] = {}
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] not in ("builtins", "spikeops", "torch"):
            for name, value in vars(each).items():
                function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
                if isinstance(function, FunctionType) and name != "__init__":
                    found.setdefault(name, []).append(_read(name, function))
    of_bases = {name for methods in found.values() for method in methods for name in method.of_bases}
    return [method for name, methods in found.items() for method in (methods if name in of_bases else methods[:1])]


def _read(name: str, function: FunctionType) -> _Method:
    code = function.__code__
    own = code.co_varnames[0] if code.co_argcount else ""
    try:
        nodes = [node for statement in body_of(code) for node in ast.walk(statement)]
    except Untraceable:
        nodes = []
    attributes = [node for node in nodes if isinstance(node, ast.Attribute)]
    calls = [node for node in nodes if isinstance(node, ast.Call) and not _only_looks(node.func)]
    given = [part for call in calls for part in (call.func, *call.args, *(keyword.value for keyword in call.keywords))]
    is_nameless = any(_is_nameless(call.func, code.co_varnames) for call in calls)  # then each attribute may be meant
    meant = attributes if is_nameless else [node for node in given if isinstance(node, ast.Attribute)]
    called = {(node.attr, isinstance(node.value, ast.Name) and node.value.id == own) for node in meant}
    if is_nameless:
        called.add((NAMELESS, True))
    of_bases = {node.attr for node in attributes if isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "super"}
    return _Method(name, (code.co_filename, code.co_firstlineno), called, of_bases)


def _only_looks(called: ast.expr) -> bool:
    return isinstance(called, ast.Name) and hasattr(builtins, called.id) and called.id not in ("filter", "map")


def _is_nameless(called: ast.expr, local: tuple[str, ...]) -> bool:
    return isinstance(called, (ast.Subscript, ast.Call)) or (isinstance(called, ast.Name) and called.id in local)
