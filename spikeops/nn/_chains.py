"""The modules of a model in the chains in which they are called: those whose order is known, and those that a trace finds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from torch import nn

from spikeops.nn._dataflow import Chain, Flow, Untraceable, flow_of
from spikeops.nn._hooks import has_own_hooks
from spikeops.nn.time import TimeDistributed


class Slot(NamedTuple):
    """A module in its place."""

    owner: nn.Module
    key: str
    name: str
    module: nn.Module
    is_folded: bool
    """Whether it sees time folded into the batch."""
    fold: Slot | None
    """The snn.TimeDistributed that holds it and nothing else."""

    @property
    def place(self) -> tuple[int, str]:
        return id(self.owner), self.key


class SlotChain(NamedTuple):
    """Modules that are called one behind the other, without nn.Identity."""

    slots: list[Slot]
    end: str
    """What comes behind the last; "" if nothing does that is known."""
    root: str | None
    """The module whose forward calls them; None for those of an nn.Sequential that no known forward calls."""
    called: tuple[str, ...]
    """What that forward calls: these modules, or containers of them."""

    def spans(self, slot: Slot, following: Slot) -> bool:
        """Whether the order of two of its modules is known from that forward alone, not from a container of both."""
        within = (f"{name}." for name in self.called)
        return self.root is not None and not any(slot.name.startswith(each) and following.name.startswith(each) for each in within)


class Flows:
    """What the forwards of a model do that are not of this package or of PyTorch's containers, as far as traces know it.

    Args:
        model: the model.
        kinds: the modules that matter: forwards of modules without any of them are not traced."""

    def __init__(self, model: nn.Module, kinds: tuple[type[nn.Module], ...]):
        self._model = model
        self.known: dict[str, tuple[Flow, Flow]] = {}
        self.unknown: dict[str, str] = {}
        """Why it is not known: {name of the module: reason}."""
        self._called: dict[str, set[str]] = {}
        """The modules that unknown forwards call: {name of the module: names}."""
        for name, module in model.named_modules():
            if _has_forward(module) and not keeps_order(module) and any(isinstance(part, kinds) and part is not module for part in module.modules()):
                try:
                    self.known[name] = self._both_modes(module)
                except Untraceable as reason:
                    self.unknown[name] = str(reason)
                    self._called[name] = {_joined(name, path) for path in reason.called}

    @staticmethod
    def _both_modes(module: nn.Module) -> tuple[Flow, Flow]:
        flows = flow_of(module, True), flow_of(module, False)
        if flows[0].chains != flows[1].chains:
            raise Untraceable("it does not do the same in training and in evaluation")
        return flows

    def changed(self) -> list[str]:
        """The modules whose forwards do something else by now, innermost first."""
        return [name for name in sorted(self.known, key=len, reverse=True) if not self._is_as_it_was(name)]

    def _is_as_it_was(self, name: str) -> bool:
        try:
            flows = self._both_modes(self._model.get_submodule(name))
        except Untraceable:
            return False
        return all(flow.text == before.text for flow, before in zip(flows, self.known[name]))

    def why_not(self, name: str) -> str:
        """Why nothing is known of a module."""
        for around in _around(name):
            kind = type(self._model.get_submodule(around)).__name__
            where = f"{around} ({kind})" if around else kind
            if around in self.unknown:
                return f"the forward of {where} is not known: {self.unknown[around]}"
            if around in self.known:
                return f"the forward of {where} does not call it"
        return ""

    def chains(self) -> Iterator[SlotChain]:
        """Those that a trace found, then those of each nn.Sequential of which no trace, even one that failed, found a part."""
        folded = {id(part) for module in self._model.modules() if type(module) is TimeDistributed for part in module.modules()}
        called: set[tuple[int, str]] = set()
        for name, (flow, _) in self.known.items():
            for chain in flow.chains:
                for slots, end in _pieces(self._model.get_submodule(name), name, chain, folded):
                    called.update(slot.place for slot in slots)
                    yield SlotChain(_without_identity(slots), end, name, tuple(_joined(name, path) for path in chain.paths))
        seen: set[int] = set()
        for name, module in self._model.named_modules():
            if is_sequence(module) and not _has_own_forward(module) and id(module) not in seen:
                if any(each.startswith(f"{name}.") for around in _around(name) for each in self._called.get(around, ())):
                    continue  # its parts are called one by one; those that are sequences come later
                seen.update(map(id, _containers(module)))
                slots = list(_parts(module, name, id(module) in folded))
                if not any(slot.place in called for slot in slots):
                    yield SlotChain(_without_identity(slots), "", None, ())


def _joined(name: str, path: str) -> str:
    return f"{name}.{path}" if name else path


def is_sequence(module: nn.Module) -> bool:
    """Whether it is an nn.Sequential, or of a subclass that differs by its constructor alone."""
    if not isinstance(module, nn.Sequential):
        return False
    own = type(module).__mro__[: type(module).__mro__.index(nn.Sequential)]
    changed = {name for kind in own for name in vars(kind)}
    return not any(name in ("__call__", "__iter__") or not (name.startswith("__") or name == "extra_repr") for name in changed)


def keeps_order(module: nn.Module) -> bool:
    """Whether its forward pass is known, and nobody looks into it."""
    return (is_sequence(module) or type(module) is TimeDistributed) and not is_watched(module)


def is_watched(module: nn.Module) -> bool:
    """Whether a call does more than its class says, or others see it."""
    return _has_own_forward(module) or has_own_hooks(module)


def _has_own_forward(module: nn.Module) -> bool:
    """Whether a function was put over that of its class, as libraries do that move or measure what a module computes."""
    return "forward" in vars(module)


def _has_forward(module: nn.Module) -> bool:
    return type(module).forward is not nn.Module.forward or _has_own_forward(module)


def _around(name: str) -> Iterator[str]:
    """The names of the modules that hold one, from the inside to the model."""
    while name:
        name = name.rpartition(".")[0]
        yield name


def _containers(module: nn.Module) -> Iterator[nn.Module]:
    yield module
    for child in module.children():
        if keeps_order(child):
            yield from _containers(child)


def _parts(owner: nn.Module, prefix: str, is_folded: bool, fold: Slot | None = None) -> Iterator[Slot]:
    """The slots of a container, with those of containers in it."""
    for key, module in owner._modules.items():
        name = _joined(prefix, key)
        slot = Slot(owner, key, name, module, is_folded, fold)
        if module is not None:
            yield from _opened(slot)


def _opened(slot: Slot) -> Iterator[Slot]:
    if not keeps_order(slot.module):
        yield slot
        return
    is_fold = type(slot.module) is TimeDistributed
    yield from _parts(slot.module, slot.name, slot.is_folded or is_fold, slot if is_fold else None)


def _pieces(root: nn.Module, name: str, chain: Chain, folded: set[int]) -> Iterator[tuple[list[Slot], str]]:
    """The slots of a chain, which ends where time is unfolded that was not folded."""
    slots: list[Slot] = []
    for path in chain.paths:
        parent, _, key = path.rpartition(".")
        owner = root.get_submodule(parent)
        slot = Slot(owner, key, _joined(name, path), owner._modules[key], id(root) in folded, None)
        slots += _opened(slot)
        if path in chain.unfolded and slots:
            if slots[-1].is_folded:
                yield slots, "what follows it is unflatten"
                slots = []
            else:
                slots[-1] = slots[-1]._replace(is_folded=True)
    yield slots, chain.end


def _without_identity(slots: list[Slot]) -> list[Slot]:
    return [slot for slot in slots if type(slot.module) is not nn.Identity or is_watched(slot.module)]
