"""Which modules a module's forward calls one behind the other, found by tracing it with torch.fx."""

from __future__ import annotations

import copy
import os
import sys
import sysconfig
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import NamedTuple

import torch
from torch import fx, nn

from spikeops.nn._decisions import Function, Untraceable, settings_of

__all__ = ["Chain", "Flow", "Untraceable", "flow_of"]

_TORCH = os.path.join(os.path.dirname(torch.__file__), "")
_PYTHON = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("stdlib", "platstdlib"))
_PACKAGES = tuple(os.path.join(sysconfig.get_path(name), "") for name in ("purelib", "platlib"))


class Chain(NamedTuple):
    """Modules of which each is called on nothing but the result of the one before, which goes nowhere else, with nothing done in between."""

    paths: tuple[str, ...]
    """From the module whose forward calls them."""
    unfolded: frozenset[str]
    """Those whose result is brought from (T * B, ...) to (T, B, ...) before it goes on."""
    end: str
    """What becomes of the result of the last."""


class Flow(NamedTuple):
    """What a module's forward does, whatever its input."""

    chains: tuple[Chain, ...]
    text: str
    """All of it, to be compared."""
    settings: dict[str, object]
    """The attributes by which it decides what it does, but ``training``: {path: value}."""
    read: frozenset[tuple[str, int]]
    """The functions that were called: file and first line."""


def flow_of(module: nn.Module, training: bool) -> Flow:
    """What the module's forward does in this mode. Modules in it are not entered. The module is left as it is.

    Raises:
        Untraceable: forward fails for a symbol in the place of a tensor, or does not do the same for all inputs."""
    if "forward" in vars(module):
        raise Untraceable("a forward was put over that of its class")
    if type(module).__call__ is not nn.Module.__call__:
        raise Untraceable("a call of it does not only call its forward")
    try:
        root = _without_tensors(module)
    except Exception as error:  # foreign classes may raise anything
        raise Untraceable(f"its attributes cannot be copied: {error}") from error
    tracer = _Tracer(root)
    for part in root.modules():
        part.training = training
    try:
        graph = tracer.graph_of(root)
        settings = settings_of(tracer.functions, root)
    except Untraceable as reason:
        reason.called = frozenset(tracer.called)
        raise
    read = frozenset((function.code.co_filename, function.code.co_firstlineno) for function in tracer.functions)
    return Flow(tuple(_chains(graph, tracer.kept())), str(graph), settings, read)


def _without_tensors(module: nn.Module) -> nn.Module:
    """A copy on which a trace may leave its marks, with the same tensors in it."""
    held = (value for part in module.modules() for where in (part._parameters, part._buffers, vars(part)) for value in where.values())
    return copy.deepcopy(module, {id(value): value for value in held if isinstance(value, torch.Tensor)})


class _Tracer(fx.Tracer):
    """Calls of modules become nodes, whatever the module; the functions that a trace runs through are noted."""

    proxy_buffer_attributes = True

    def __init__(self, root: nn.Module) -> None:
        super().__init__()
        self.functions: list[Function] = []
        self.called: set[str] = set()
        """Paths of modules, those too that are in a container that is none of the root's, as a part of an nn.Sequential is."""
        self._paths = {module: name for name, module in root.named_modules()}
        self._noted: set[tuple[CodeType, frozenset]] = set()
        self._symbols: list[tuple[fx.Node, weakref.ref]] = []

    def graph_of(self, root: nn.Module) -> fx.Graph:
        """The trace.

        Raises:
            Untraceable: it fails."""
        try:
            with torch.random.fork_rng(devices=[]), torch.enable_grad(), _observed(self):
                return self.trace(root)
        except Untraceable:
            raise
        except Exception as error:  # of the forward itself, to which symbols are no tensors
            if isinstance(error, fx.proxy.TraceError) or "'Proxy' object" in str(error):
                raise Untraceable("it decides by the values or sizes of its input, or walks along it") from None
            first_line = str(error).partition("\n")[0]
            raise Untraceable(f"it cannot be traced: {type(error).__name__}: {first_line}") from None

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return True

    def proxy(self, node: fx.Node) -> fx.Proxy:
        symbol = super().proxy(node)
        self._symbols.append((node, weakref.ref(symbol)))
        return symbol

    def path_of_module(self, mod: nn.Module) -> str:
        if mod not in self._paths:
            raise Untraceable(f"it calls a {type(mod).__name__} that PyTorch does not know to be in it")
        return super().path_of_module(mod)

    def call_module(self, m, forward, args, kwargs):
        if m is self.root:
            raise Untraceable("it calls itself")
        known = [m] if m in self._paths else m.modules()
        self.called.update(self._paths[module] for module in known if module in self._paths)
        frame = sys._getframe(1)
        while _is_of_fx(frame):
            frame = frame.f_back
        if not torch.is_grad_enabled():
            raise Untraceable("it turns gradients off")
        called = super().call_module(m, forward, args, kwargs)
        called.node.meta["caller"] = frame.f_code
        while not _is_of_fx(frame):  # whoever calls modules, PyTorch's own functions too
            self._note(frame)
            frame = frame.f_back
        return called

    def observe(self, frame: FrameType, event: str, _: object) -> None:
        """For ``sys.setprofile``."""
        if event == "call" and _is_read(frame.f_code.co_filename) and not frame.f_globals.get("__name__", "").startswith("namedtuple_"):
            self._note(frame)

    def _note(self, frame: FrameType) -> None:
        code = frame.f_code
        names = (*code.co_varnames[: code.co_argcount + code.co_kwonlyargcount], *code.co_freevars)
        given = {name: frame.f_locals.get(name) for name in names}
        modules = {name: self._paths[value] for name, value in given.items() if isinstance(value, nn.Module) and value in self._paths}
        if (key := (code, frozenset(modules.items()))) not in self._noted:
            self._noted.add(key)
            self.functions.append(Function(code, frame.f_globals, modules))

    def kept(self) -> set[fx.Node]:
        """The calls of modules whose results somebody holds after the trace."""
        return {node for node, symbol in self._symbols if node.op == "call_module" and symbol() is not None}


def _is_of_fx(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").startswith("torch.fx.")


def _is_read(file: str) -> bool:
    """Whether a function of this file is one of the user's, or of a package that is neither PyTorch nor Python's own."""
    if file.startswith((_TORCH, "<frozen ")) or file == __file__:
        return False
    return file.startswith(_PACKAGES) or not file.startswith(_PYTHON)


@contextmanager
def _observed(tracer: _Tracer) -> Iterator[None]:
    before = sys.getprofile()
    sys.setprofile(tracer.observe)
    try:
        yield
    finally:
        sys.setprofile(before)


def _chains(graph: fx.Graph, kept: set[fx.Node]) -> Iterator[Chain]:
    nodes = list(graph.nodes)
    following = {node: after for node, after in zip(nodes, [*nodes[1:], None])}
    inside: set[fx.Node] = set()
    for node in nodes:
        if node.op != "call_module" or node in inside:
            continue
        paths, unfolded = [node.target], set()
        while True:
            last, after = node, following[node]
            if _unfolds(last, after, kept):
                last, after = after, following[after]
            if not (_takes_all(last, after, kept) and after.op == "call_module" and after.meta["caller"] is node.meta["caller"]):
                break
            if last is not node:
                unfolded.add(node.target)
            node = after
            inside.add(node)
            paths.append(node.target)
        yield Chain(tuple(paths), frozenset(unfolded), _end(node, following[node], kept))


def _takes_all(node: fx.Node, after: fx.Node | None, kept: set[fx.Node]) -> bool:
    """Whether the next thing that is done takes the result of a node and nothing else, and nobody else takes it."""
    return after is not None and list(node.users) == [after] and after.args == (node,) and not after.kwargs and node not in kept


def _unfolds(node: fx.Node, after: fx.Node | None, kept: set[fx.Node]) -> bool:
    """Whether it is ``x.unflatten(0, (T, B))``."""
    if after is None or (after.op, after.target) != ("call_method", "unflatten") or list(node.users) != [after] or node in kept or after.kwargs:
        return False
    x, *place = after.args
    return x is node and len(place) == 2 and place[0] == 0 and isinstance(place[1], (tuple, list)) and len(place[1]) == 2


def _end(node: fx.Node, after: fx.Node | None, kept: set[fx.Node]) -> str:
    users = list(node.users)
    if node in kept:
        return "its result is put away"
    if not users:
        return "nothing takes its result"
    if len(users) > 1:
        return f"{len(users)} others take its result: {', '.join(map(_named, users))}"
    if users[0] is not after:
        return f"something is done between it and what takes its result, {_named(users[0])}"
    if after.op == "call_module" and (after.args != (node,) or after.kwargs):
        return f"{after.target}, which follows it, is given more than its result"
    if after.op == "call_module":
        return f"what follows it, {after.target}, is called by another function"
    return f"what follows it is {_named(after)}"


def _named(node: fx.Node) -> str:
    if node.op == "output":
        return "the end of forward"
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))
