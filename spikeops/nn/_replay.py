"""What a block that is computed again finds as it was: the state of its modules."""

from __future__ import annotations

import functools
import threading
import types
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import nn

from spikeops.functional._saved_spikes import check_version

# Attributes that stay as they are: parameters, modules, hooks.
_OF_TORCH = frozenset(vars(nn.Module())) - {"training", "_buffers"}
# Modules may be reached by blocks that two threads of autograd compute again.
_one_at_a_time = threading.RLock()


def modules_of(*values: Any) -> list[nn.Module]:
    """The modules that a call may use: those given, those that functions are bound to or find in their closures, defaults and globals,
    all in lists, dictionaries and the attributes of objects on the way, and those inside of all of them."""
    found: dict[int, nn.Module] = {}
    seen: set[int] = set()

    def look(value: Any, depth: int) -> None:
        if depth > _DEPTH or id(value) in seen or isinstance(value, _WITHOUT_MODULES):
            return
        seen.add(id(value))
        if isinstance(value, nn.Module):
            found.update((id(module), module) for module in value.modules())
            return
        for inner in _inside(value):
            look(inner, depth + 1)

    for value in values:
        look(value, 0)
    return list(found.values())


# How far from the call, and how much in one place (data sets are lists too).
_DEPTH, _MOST = 4, 1000
_WITHOUT_MODULES = (torch.Tensor, types.ModuleType, type, str, bytes, int, float, type(None))


def _inside(value: Any) -> Iterable[Any]:
    if isinstance(value, (list, tuple, set, frozenset, dict)):
        return () if len(value) > _MOST else value.values() if isinstance(value, dict) else value
    if isinstance(value, functools.partial):
        return value.func, *value.args, *value.keywords.values()
    if isinstance(value, types.MethodType):
        return value.__self__, value.__func__
    if isinstance(value, types.FunctionType):
        return _used_by(value)
    return vars(value).values() if hasattr(value, "__dict__") else ()


def _used_by(function: types.FunctionType) -> Iterator[Any]:
    for cell in function.__closure__ or ():
        with suppress(ValueError):  # not filled yet
            yield cell.cell_contents
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    yield vars(function).get("__wrapped__")
    codes = [function.__code__]
    for code in codes:
        codes += [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]
        for name in code.co_names:
            # Not functions: from one to the next there is a way through whole packages.
            if isinstance(value := function.__globals__.get(name), (nn.Module, list, tuple, dict)):
                yield value


class _State:
    """The attributes of modules at one time, dictionaries of them (buffers, the memories of stateful neurons) with their entries."""

    def __init__(self, modules: list[nn.Module]):
        self._modules = [(module, {n: v for n, v in vars(module).items() if n not in _OF_TORCH}) for module in modules]
        self._entries = [(value, dict(value)) for _, own in self._modules for value in own.values() if isinstance(value, dict)]

    def put_back(self) -> None:
        for module, attributes in self._modules:
            own = vars(module)
            for name in [name for name in own if name not in attributes and name not in _OF_TORCH]:
                del own[name]
            own.update(attributes)
        for dictionary, entries in self._entries:
            dictionary.clear()
            dictionary.update(entries)


class Replay:
    """Computes again with the modules as they were before the first time, and leaves them as they are.

    Args:
        modules: those whose state counts.
        fixed: those among them whose parameters may not be changed in between.
    """

    def __init__(self, modules: list[nn.Module], fixed: list[nn.Module]):
        self._modules, self._fixed = modules, fixed
        # Tensors that the first pass wrote to, by their identity: (tensor, its values before).
        self._before: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    @contextmanager
    def first(self):
        self._state = _State(self._modules)
        every = {id(tensor): tensor for _, _, tensor in _tensors(self._modules)}.values()
        copies = [(tensor, tensor._version, tensor.clone()) for tensor in every]
        yield
        self._before = {id(tensor): (tensor, copy) for tensor, version, copy in copies if tensor._version != version}
        self._parameters = [
            (module, name, parameter, parameter._version)
            for module in self._fixed for name, parameter in module._parameters.items() if parameter is not None
        ]  # fmt: skip

    @contextmanager
    def again(self):
        for module, name, parameter, version in self._parameters:
            if module._parameters.get(name) is parameter:
                check_version(parameter, version, parameter._version)
        with _one_at_a_time:
            now = _State(self._modules)
            try:
                self._state.put_back()
                self._put_copies()
                yield
            finally:
                now.put_back()

    def _put_copies(self) -> None:
        """In the place of tensors, which are then written to once more: batch norm does so without counting a version."""
        copies: dict[int, torch.Tensor] = {}
        for holder, key, tensor in list(_tensors(self._modules)):
            if id(tensor) not in copies:
                _, values = self._before.get(id(tensor), (tensor, tensor))
                copies[id(tensor)] = values.clone()
            holder[key] = copies[id(tensor)]


def _tensors(modules: list[nn.Module]) -> Iterator[tuple[dict, Any, torch.Tensor]]:
    """(dictionary, key, tensor) of all that are state: buffers, attributes, and what stands in dictionaries that are attributes. Not
    those that are part of a graph, such as the potentials of stateful neurons: they are replaced, not written to."""
    for module in modules:
        own = vars(module)
        for holder in (own, *(value for name, value in own.items() if isinstance(value, dict) and name not in _OF_TORCH)):
            for key, value in holder.items():
                if isinstance(value, torch.Tensor) and not (value.requires_grad or value.is_inference() or nn.parameter.is_lazy(value)):
                    yield holder, key, value
