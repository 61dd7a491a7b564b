"""What a function decides by, read in its source: whether a trace of it holds for all calls of it.

A trace by torch.fx sees what is computed on the path that was taken. It fails at a branch on the values of a tensor, but sees no
branch that asks whether an argument is None, which type it has, or what a global says. Decisions may depend on what belongs to modules, which
stay as they are or are watched, and on nothing else.
"""

from __future__ import annotations

import ast
import builtins
import enum
import functools
import inspect
import textwrap
from collections import defaultdict
from collections.abc import Iterator
from types import CodeType, ModuleType
from typing import NamedTuple

import torch
from torch import nn


class Untraceable(Exception):
    """What a function computes cannot be known from a trace. The message says why."""

    called: frozenset[str] = frozenset()
    """The paths of modules that it called until then."""


class Function(NamedTuple):
    """A function that was called."""

    code: CodeType
    names: dict[str, object]
    """Its globals."""
    modules: dict[str, str]
    """Its arguments, and names of the functions around it, that are modules: their paths from the root of the trace."""


_PLAIN = (type(None), bool, int, float, str, enum.Enum, torch.dtype, type)
# What does not change between two calls with the same arguments, and looks into nothing else.
_PURE = ("all", "any", "bool", "enumerate", "float", "int", "isinstance", "issubclass", "len", "list", "max", "min", "range", "reversed",
         "sorted", "str", "tuple", "type", "zip")  # fmt: skip
_VIEWS = ("children", "items", "keys", "modules", "named_children", "named_modules", "values")
_LOOKING = ("callable", "getattr", "hasattr", "id", "isinstance", "issubclass", "type", "vars")
_OPERATORS = ("contains", "is_", "is_not")
_WRITING = ("delattr", "eval", "exec", "setattr")
# What may change modules, or call them without being seen.
_OF_MODULES = {name for kind in (nn.Module, nn.SyncBatchNorm) for name in dir(kind) if not name.startswith("__")} - set(_VIEWS)
_NESTED = ("<dictcomp>", "<genexpr>", "<listcomp>", "<setcomp>")
_PARTS = (ast.BinOp, ast.BoolOp, ast.Compare, ast.Dict, ast.IfExp, ast.JoinedStr, ast.FormattedValue, ast.List, ast.Set, ast.Slice,
          ast.Starred, ast.Subscript, ast.Tuple, ast.UnaryOp)  # fmt: skip


def settings_of(functions: list[Function], root: nn.Module) -> dict[str, object]:
    """The attributes by which functions decide what they compute, and their values: {path from the root: value}.

    Raises:
        Untraceable: one of them decides by something else, or what it does cannot be read."""
    read = [_Reader(function, root) for function in functions if function.code.co_name not in _NESTED]
    settings = {path: value for reader in read for path, value in reader.settings().items()}
    written = {name for reader in read for name in reader.written}
    for path in settings:
        if path.rpartition(".")[2] in written:
            raise Untraceable(f"it decides by {path}, and sets it")
    return settings


class _Varies(Exception):
    """An expression is not made of what belongs to modules."""


class _Reader:
    """One function."""

    def __init__(self, function: Function, root: nn.Module):
        self._function, self._root = function, root
        self._body = body_of(function.code)
        self.written = {node.attr for node in self._walk() if isinstance(node, ast.Attribute) and self._is_written(node)}
        self._values = self._bound()
        # Of local names that are made of what belongs to modules: the attributes in them.
        self._local: dict[str, dict[str, object] | None] = {name: {} for name in self._values}
        while self._settle():
            pass

    def settings(self) -> dict[str, object]:
        found: dict[str, object] = {}
        for node in self._walk():
            for decision in self._decisions(node):
                try:
                    found |= self._of_modules(decision)
                except _Varies as reason:
                    detail = f", {reason}" if str(reason) else ""
                    raise Untraceable(f"{self._function.code.co_name} decides by `{ast.unparse(decision)}`{detail}") from None
        return found

    def _walk(self) -> Iterator[ast.AST]:
        """All nodes but assertions, which end the program or do nothing."""
        waiting: list[ast.AST] = list(self._body)
        while waiting:
            node = waiting.pop()
            yield node
            if not isinstance(node, ast.Assert):
                waiting.extend(ast.iter_child_nodes(node))

    def _is_written(self, node: ast.Attribute) -> bool:
        """Whether it is an attribute that is set.

        Raises:
            Untraceable: it is one of a module in the root, which may be replaced."""
        if isinstance(node.ctx, ast.Load):
            return False
        if isinstance(node.value, ast.Name) and self._function.modules.get(node.value.id) == "":
            return True
        raise Untraceable(f"{self._function.code.co_name} sets {ast.unparse(node)}")

    def _decisions(self, node: ast.AST) -> Iterator[ast.expr]:
        if isinstance(node, (ast.With, ast.AsyncWith, ast.Try, ast.Match, ast.Await)) or type(node).__name__ == "TryStar":
            raise Untraceable(f"{self._function.code.co_name} has a `{type(node).__name__.lower()}` statement")
        if isinstance(node, (ast.If, ast.IfExp, ast.While)):
            yield node.test
        elif isinstance(node, (ast.For, ast.comprehension)):
            yield node.iter
            yield from getattr(node, "ifs", ())
        elif isinstance(node, ast.BoolOp):
            yield from node.values[:-1]
        elif isinstance(node, ast.Compare) and any(isinstance(op, (ast.Is, ast.IsNot, ast.In, ast.NotIn)) for op in node.ops):
            yield node
        elif isinstance(node, ast.Subscript) and (self._is_of_modules(node.value) or self._is_of_modules(node.slice)):
            yield node.slice
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr in _OF_MODULES and self._is_of_modules(node.func.value):
                raise Untraceable(f"{self._function.code.co_name} calls {ast.unparse(node.func)}")
            if node.func.attr in _OPERATORS:
                yield from node.args
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in _WRITING:
                raise Untraceable(f"{self._function.code.co_name} calls {node.func.id}")
            if node.func.id in _LOOKING:
                yield from node.args

    def _bound(self) -> dict[str, list[ast.expr | None]]:
        """What local names stand for: expressions, or None for what is not known."""
        bound: dict[str, list[ast.expr | None]] = defaultdict(list)
        code = self._function.code
        arguments = code.co_argcount + code.co_kwonlyargcount + sum(bool(code.co_flags & flag) for flag in (inspect.CO_VARARGS, inspect.CO_VARKEYWORDS))
        for name in (*code.co_varnames[:arguments], *code.co_freevars):
            if name not in self._function.modules:
                bound[name].append(None)
        for node in self._walk():
            if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.NamedExpr)):
                for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                    _bind(bound, target, node.value)
            elif isinstance(node, (ast.For, ast.comprehension)):
                _bind(bound, node.target, node.iter)
            elif isinstance(node, ast.arg):
                bound[node.arg].append(None)
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                bound[node.name].append(None)
            elif isinstance(node, ast.alias):
                bound[(node.asname or node.name).partition(".")[0]].append(None)
        return bound

    def _settle(self) -> bool:
        """One round of finding out what local names are made of. Whether anything changed."""
        changed = False
        for name, values in self._values.items():
            if self._local[name] is None:
                continue
            try:
                found: dict[str, object] | None = {}
                for value in values:
                    if value is None:
                        raise _Varies
                    found |= self._of_modules(value)
            except _Varies:
                found = None
            changed |= found != self._local[name]
            self._local[name] = found
        return changed

    def _is_of_modules(self, node: ast.expr) -> bool:
        try:
            self._of_modules(node)
        except _Varies:
            return False
        return True

    def _of_modules(self, node: ast.expr | None) -> dict[str, object]:
        """The plain attributes in an expression that is made of what belongs to modules.

        Raises:
            _Varies: it is not."""
        if node is None or isinstance(node, ast.Constant):
            return {}
        if isinstance(node, (ast.Name, ast.Attribute)):
            return self._of_path(node)
        if isinstance(node, ast.Call):
            return self._of_call(node)
        if not isinstance(node, _PARTS):
            raise _Varies
        children = [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.expr)]
        return {path: value for child in children for path, value in self._of_modules(child).items()}

    def _of_path(self, node: ast.expr) -> dict[str, object]:
        first, names = node, []
        while isinstance(first, ast.Attribute):
            names.insert(0, first.attr)
            first = first.value
        if not isinstance(first, ast.Name):
            raise _Varies
        if first.id in self._values:
            found = self._local[first.id]
            if found is None or names:
                raise _Varies
            return found
        if first.id in self._function.modules:
            return self._of_root([*filter(None, self._function.modules[first.id].split(".")), *names])
        value = self._function.names.get(first.id, getattr(builtins, first.id, None))
        for name in names:
            value = getattr(value, name, None)
        if not isinstance(value, (type, ModuleType, enum.Enum, torch.dtype)):
            raise _Varies
        return {}

    def _of_root(self, names: list[str]) -> dict[str, object]:
        value: object = self._root
        for name in names:
            if not hasattr(value, name):
                raise _Varies("which is not there yet")
            value = getattr(value, name)
        if isinstance(value, nn.Module) or names == ["training"]:  # which is traced both ways
            return {}
        if names[-1] == "training":
            raise _Varies("the mode of a module in it")
        if not _is_plain(value):
            raise _Varies(f"a {type(value).__name__}")
        return {".".join(names): value}

    def _of_call(self, node: ast.Call) -> dict[str, object]:
        arguments = [*node.args, *(keyword.value for keyword in node.keywords)]
        function = node.func
        if isinstance(function, ast.Attribute) and function.attr in _VIEWS:
            arguments.append(function.value)
        elif isinstance(function, ast.Name) and function.id == "getattr" and _is_plain_getattr(node):
            return self._of_path(ast.Attribute(node.args[0], node.args[1].value))
        elif not (isinstance(function, ast.Name) and function.id in _PURE and function.id not in {*self._values, *self._function.names}):
            raise _Varies
        return {path: value for argument in arguments for path, value in self._of_modules(argument).items()}


def _is_plain_getattr(node: ast.Call) -> bool:
    return len(node.args) == 2 and isinstance(node.args[1], ast.Constant) and isinstance(node.args[1].value, str)


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (isinstance(value, tuple) and all(map(_is_plain, value)))


def _bind(bound: dict[str, list[ast.expr | None]], target: ast.expr, value: ast.expr | None) -> None:
    for node in ast.walk(target):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            bound[node.id].append(value)


@functools.lru_cache(maxsize=1024)
def body_of(code: CodeType) -> list[ast.AST]:
    """What a function does, without its decorators and arguments.

    Raises:
        Untraceable: its source is not there."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(code)))
    except (OSError, SyntaxError, TypeError):
        raise Untraceable(f"the source of {code.co_name} cannot be read") from None
    (first,) = tree.body[:1] or [None]
    if isinstance(first, (ast.FunctionDef, ast.AsyncFunctionDef)) and first.name == code.co_name:
        return list(first.body)
    if code.co_name != "<lambda>":
        raise Untraceable(f"the source of {code.co_name} cannot be read")
    return list(tree.body)
