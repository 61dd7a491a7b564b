"""Who else calls parts of a module, as far as its own methods and those of the modules around it say."""

from __future__ import annotations

import ast
import functools
import inspect
from types import FunctionType

from torch import nn

from spikeops.nn._decisions import Untraceable, body_of


def called_elsewhere(model: nn.Module, root: str, parts: set[str], read: frozenset[tuple[str, int]]) -> str:
    """The method that calls one of the parts of a module by name, and is not among the functions that its forward runs through; "" if none
    does.

    Args:
        model: the model.
        root: the module's name in it.
        parts: names of attributes.
        read: file and first line of the functions that its forward runs through."""
    around = root
    while True:
        kind = type(model.get_submodule(around))
        for method, place, calls in _methods(kind):
            if place not in read and any((name, around == root) in calls for name in parts):
                return f"{kind.__name__}.{method}"
        if not around:
            return ""
        around = around.rpartition(".")[0]


@functools.lru_cache(maxsize=256)
def _methods(kind: type) -> list[tuple[str, tuple[str, int], set[tuple[str, bool]]]]:
    """(name, file and line, {(attribute that is called, whether of the object itself)}) of each method of a class but PyTorch's."""
    found = []
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] in ("builtins", "spikeops", "torch"):
            continue
        for value in vars(each).values():
            function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
            if isinstance(function, FunctionType):
                code = function.__code__
                found.append((function.__name__, (code.co_filename, code.co_firstlineno), _calls(function)))
    return found


def _calls(function: FunctionType) -> set[tuple[str, bool]]:
    code = function.__code__
    own = code.co_varnames[0] if code.co_argcount else ""
    try:
        nodes = [node for statement in body_of(code) for node in ast.walk(statement)]
    except Untraceable:
        return set()
    called = [node.func for node in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    return {(node.attr, isinstance(node.value, ast.Name) and node.value.id == own) for node in called}
