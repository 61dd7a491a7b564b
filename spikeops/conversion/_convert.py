"""Which modules of a model have a counterpart, and putting it in their places."""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import NamedTuple, TypeVar

from torch import nn

from spikeops.conversion._exact import Counterpart, NotExact, require
from spikeops.nn._copies import copied

Model = TypeVar("Model", bound=nn.Module)


class Library(NamedTuple):
    name: str
    version: str
    """The known one: its releases up to the next minor version count as the same."""


LIBRARIES = {
    "norse": Library("Norse", "1.1"),
    "sinabs": Library("sinabs", "3.1"),
    "snntorch": Library("snnTorch", "1.0"),
    "spikingjelly": Library("SpikingJelly", "2.0"),
}
# What a subclass may define without changing what is computed.
_HARMLESS = {
    "__annotations__", "__doc__", "__firstlineno__", "__init__", "__module__", "__orig_bases__", "__parameters__", "__qualname__",
    "__static_attributes__", "__annotate_func__", "__annotations_cache__", "extra_repr",
}  # fmt: skip
_OF_TORCH = set(vars(nn.Module()))  # attributes of all modules
_DEEPEST = 4  # containers in containers
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


class Finding(NamedTuple):
    """A neuron of another library in a model."""

    name: str
    """Of the module in the model, as in ``named_modules()``; "" is the model itself."""
    kind: str
    """Its class, by its full name."""
    reason: str
    """Why it has no exact counterpart; "" if it has one, or is one."""

    def __str__(self) -> str:
        return f"{self.name or 'the model itself'} ({self.kind}): {self.reason or 'has an exact counterpart'}"


def inspect(model: nn.Module) -> list[Finding]:
    """What :func:`convert` would do: the neurons of other libraries in a model, each with the reason if it has no exact counterpart.

    Args:
        model: a module, which is not changed.

    Raises:
        TypeError: it is no module.
    """
    return [finding for finding, _ in _plan(model)]


def convert(model: Model, *, inplace: bool = False, strict: bool = True, report: list[Finding] | None = None) -> Model:
    """A model of SpikingJelly 2.0, snnTorch 1.0, Norse 1.1 or sinabs 3.1 whose neurons run on the kernels of spikeops.

    Each neuron module becomes an instance of a subclass of its class that computes the same with one kernel call per call: the same
    parameters and buffers by the same names, the same arguments and outputs, the same hidden state between calls, which the
    library's own functions reset and detach as before. All other modules stay as they are. `docs/neurons.md` has the neurons, and
    how near to the threshold a potential has to be for another order of operations to round it to its other side.

    Args:
        model: a module that may hold others; its hidden states are kept. Training may go on where it was.
        inplace: convert the neurons of this very model, whose parameters an optimiser may hold, instead of those of a deep copy.
        strict: refuse a model with a neuron that has no exact counterpart. If not, such neurons stay as they are, and are in the
            report, or in a warning if there is none.
        report: a list to which a :class:`Finding` is added for each neuron.

    Returns:
        The converted model: a copy, or model itself with ``inplace=True``. A model without such neurons is returned alike.

    Raises:
        NotExact: a neuron without an exact counterpart: of an unknown kind, option or version of the library, of a subclass that
            changes what is computed, with hooks, in a plain list or dict. All of them are named, and nothing has been converted.
        RuntimeError: the model cannot be copied.
        TypeError: an argument of a wrong type.
    """
    for name, flag in (("inplace", inplace), ("strict", strict)):
        if not isinstance(flag, bool):
            raise TypeError(f"spikeops.convert: expected {name} to be a bool, got {type(flag).__name__}.")
    if report is not None and not isinstance(report, list):
        raise TypeError(f"spikeops.convert: expected report to be a list, got {type(report).__name__}.")
    plan = _plan(model)
    refused = [finding for finding, _ in plan if finding.reason]
    if refused and strict:
        lines = "".join(f"\n  {finding}" for finding in refused)
        raise NotExact(
            f"spikeops.convert: {len(refused)} of {len(plan)} neurons have no exact counterpart, so nothing was converted:{lines}\n"
            "Hint: strict=False leaves them as they are, and converts the others."
        )
    if not inplace:
        model = copied("spikeops.convert", model, [module for _, module, _ in _modules(model)])
    modules = dict(model.named_modules())
    for finding, counterpart in plan:
        if counterpart is not None:
            modules[finding.name].__class__ = counterpart
    if not inplace:
        for _, library, module, _ in _neurons(model):
            library.adopt(module)
    if report is not None:
        report.extend(finding for finding, _ in plan)
    elif refused:
        warnings.warn(f"spikeops.convert left these neurons as they are: {'; '.join(map(str, refused))}.", stacklevel=2)
    return model


def _plan(model: nn.Module) -> list[tuple[Finding, type[nn.Module] | None]]:
    """For each neuron of another library what it is, and the class of its counterpart; None if it has none, or is one."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"spikeops.convert: expected model to be a torch.nn.Module, got {type(model).__name__}.")
    plan = []
    for name, library, module, is_registered in _neurons(model):
        kind, counterpart, reason = f"{type(module).__module__}.{type(module).__qualname__}", None, ""
        if not isinstance(module, Counterpart):
            try:
                require(is_registered, "it is in a plain list or dict, where torch does not see it; use nn.ModuleList or nn.ModuleDict")
                counterpart = _counterpart(module, _kinds(module)[0], library)
            except NotExact as refusal:
                reason = str(refusal)
        plan.append((Finding(name, kind, reason), counterpart))
    return plan


def _kinds(module: nn.Module) -> list[type]:
    """The classes of the libraries that a module is of, the nearest first."""
    return [kind for kind in type(module).__mro__ if kind.__module__.partition(".")[0] in LIBRARIES]


def _neurons(model: nn.Module) -> Iterator[tuple[str, ModuleType, nn.Module, bool]]:
    """(name, our file on its library, the neuron, whether torch knows that the model holds it) of each neuron of a library."""
    for name, module, is_registered in _modules(model):
        kinds = _kinds(module)
        if kinds and (library := _library(kinds[0])).is_neuron(module):
            yield name, library, module, is_registered


def _modules(model: nn.Module) -> Iterator[tuple[str, nn.Module, bool]]:
    """(name, module, whether torch knows that the model holds it) of all modules, those in plain lists and dicts too."""
    found = [(name, module, True) for name, module in model.named_modules()]
    seen = {id(module) for _, module, _ in found}
    for name, module, is_registered in found:  # which grows on the way
        yield name, module, is_registered
        for key, value in vars(module).items():
            if key in _OF_TORCH:
                continue
            for path, outer in _in_containers(f"{name}.{key}" if name else key, value):
                inner = [(path, part, False) for path, part in outer.named_modules(prefix=path) if id(part) not in seen]
                seen.update(id(part) for _, part, _ in inner)
                found += inner


def _in_containers(path: str, value: object, depth: int = 0) -> Iterator[tuple[str, nn.Module]]:
    if not isinstance(value, (list, tuple, set, frozenset, dict)) or depth == _DEEPEST:
        return
    for key, part in value.items() if isinstance(value, dict) else enumerate(value):
        if isinstance(part, nn.Module):
            yield f"{path}[{key!r}]", part
        else:
            yield from _in_containers(f"{path}[{key!r}]", part, depth + 1)


def _library(kind: type) -> ModuleType:
    """Our file on the library of a class. Its package is there, since a class of it is."""
    return importlib.import_module(f"spikeops.conversion.{kind.__module__.partition('.')[0]}")


def _counterpart(module: nn.Module, kind: type, library: ModuleType) -> type[nn.Module]:
    """The class of the module's counterpart, given the library's class that it is, or is derived from."""
    _check_version(kind.__module__.partition(".")[0])
    counterpart = library.COUNTERPARTS.get(kind)
    if counterpart is None:
        raise NotExact(f"{kind.__name__} has no counterpart")
    for subclass in type(module).__mro__[: type(module).__mro__.index(kind)]:
        if changed := sorted(set(vars(subclass)) - _HARMLESS):
            raise NotExact(f"a subclass of {kind.__name__} that defines {', '.join(changed)}")
    shadowed = [name for name in vars(module) if callable(getattr(kind, name, None)) and not isinstance(getattr(kind, name), type)]
    if shadowed:
        raise NotExact(f"its own {', '.join(sorted(shadowed))} in the place of that of its class")
    if any(getattr(module, hooks) for hooks in _HOOKS):
        raise NotExact("it has hooks; remove them, and register them on the converted module")
    counterpart.options(module)
    return counterpart


def _check_version(package: str) -> None:
    name, known = LIBRARIES[package]
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        raise NotExact(f"of a {name} of unknown version; {known} is known") from None
    if version != known and not version.startswith(f"{known}."):
        raise NotExact(f"of {name} {version}; {known} is known")
