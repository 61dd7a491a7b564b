"""Who else calls parts of a module, as far as its own methods and those of the modules around it say."""

from __future__ import annotations

import ast
import builtins
import functools
import inspect
from types import FunctionType

from torch import nn

from spikeops.nn._decisions import Untraceable, body_of


def called_elsewhere(model: nn.Module, root: str, parts: set[str], read: frozenset[tuple[str, int]]) -> str:
    """The method that seems to call one of the parts of a module, and is not among the functions that its forward runs through; "" if none
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
    found, seen = [], {"__init__"}
    for each in kind.__mro__:
        if each.__module__.partition(".")[0] in ("builtins", "spikeops", "torch"):
            continue
        for name, value in vars(each).items():
            if name in seen:
                continue
            seen.add(name)
            function = inspect.unwrap(getattr(value, "fget", None) or getattr(value, "__func__", value))
            if isinstance(function, FunctionType):
                code = function.__code__
                found.append((name, (code.co_filename, code.co_firstlineno), _called(function)))
    return found


def _called(function: FunctionType) -> set[tuple[str, bool]]:
    """(attribute, whether of the function's first argument) of all that it calls, or gives to another function, which may. In a function that
    calls what has no name, all attributes may be meant."""
    code = function.__code__
    own = code.co_varnames[0] if code.co_argcount else ""
    try:
        nodes = [node for statement in body_of(code) for node in ast.walk(statement)]
    except Untraceable:
        return set()
    calls = [node for node in nodes if isinstance(node, ast.Call) and not (isinstance(node.func, ast.Name) and hasattr(builtins, node.func.id))]
    if any(_is_nameless(call.func, code.co_varnames) for call in calls):
        meant = nodes
    else:
        meant = [part for call in calls for part in (call.func, *call.args, *(keyword.value for keyword in call.keywords))]
    return {(node.attr, isinstance(node.value, ast.Name) and node.value.id == own) for node in meant if isinstance(node, ast.Attribute)}


def _is_nameless(called: ast.expr, local: tuple[str, ...]) -> bool:
    return isinstance(called, (ast.Subscript, ast.Call)) or (isinstance(called, ast.Name) and called.id in local)
