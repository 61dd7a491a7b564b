"""Puts batch norm and neurons of a model into one op."""

from __future__ import annotations

import warnings
from collections import Counter, OrderedDict
from operator import attrgetter
from typing import NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from spikeops.functional import _checks, _general_lif
from spikeops.nn._chains import Flows, Slot, SlotChain, is_watched
from spikeops.nn._copies import copied
from spikeops.nn._hooks import has_own_hooks
from spikeops.nn._mentions import NAMELESS, called_elsewhere
from spikeops.nn.batch_norm import BatchNormLIF
from spikeops.nn.neurons import IF, LIF, LIFNeurons

Model = TypeVar("Model", bound=nn.Module)

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_NEURONS = (LIF, IF)
_STATE_HOOKS = ("_state_dict_hooks", "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks")
_OF_A_NORM = {"_parameters": {"weight", "bias"}, "_buffers": {"running_mean", "running_var", "num_batches_tracked"}, "_modules": set()}


class Pair(NamedTuple):
    """A batch norm of a model, and what became of it."""

    norm: str
    """Its name in the model, as in ``named_modules()``."""
    neurons: str
    """That of the neurons behind it; "" if none were found."""
    reason: str
    """Why it was left as it is; "" if it was not."""
    renamed: dict[str, str]
    """The entries of the state dict that have another name now: {old: new}."""

    def __str__(self) -> str:
        if self.reason:
            return f"{self.norm or 'the model itself'}: left, since {self.reason}"
        moved = f"; in the state dict {', '.join(f'{old} is {new} now' for old, new in self.renamed.items())}" if self.renamed else ""
        return f"{self.norm} and {self.neurons}: fused{moved}"


def fuse(model: Model, *, inplace: bool = False, report: list[Pair] | None = None) -> Model:
    """A model in which batch norm and the LIF neurons behind it are one op, :class:`spikeops.nn.BatchNormLIF`.

    Pairs are BatchNorm1d, 2d, 3d or SyncBatchNorm inside :class:`spikeops.nn.TimeDistributed`, alone or at the end of an
    ``nn.Sequential`` in it, and :class:`spikeops.nn.LIF` or ``IF`` next: in the ``nn.Sequential`` that holds both, which may be made of
    others, or in the ``forward`` of a module of your own. That is traced by torch.fx, in training and evaluation, and again once the op is
    in. It has to give the norm's result, or ``unflatten(0, (T, B))`` of it, to the neurons at once and to nobody else, whatever its input.
    So a forward is left that branches on its input, its type, or whether it is None, on global state or on chance, that loops over time
    steps, has ``with`` or ``try`` statements, sets attributes of the modules in it, or calls one of a pair elsewhere; so are modules of which
    another method seems to call a part. An attribute by which forward decides has to stay as it is: it is looked at before each call.

    Left, and named, are also those whose neurons the op does not know (learned decays and thresholds, traces, another ``save`` than "input",
    ...), and modules that have hooks or a ``forward`` that was put over their class's, are parametrized, or are used in more than one place.
    Two cannot be told from what is sound: a function outside the model that calls one of a pair, and a module that calls the parts of an
    ``nn.Sequential`` in it one by one, and does something in between, where a trace of its forward does not get there, or in another
    method. Do not give such models.

    Parameters and buffers are the same objects, and keep their names in the state dict, except where the batch norm is in no TimeDistributed
    of its own: then they are the neurons' (``renamed`` in the report). Of each pair one place is left
    to an ``nn.Identity``. Statistics, training mode and spikes stay: y is rounded in another order than torch's.

    Args:
        model: a module, which may be trained already.
        inplace: change this very model, whose parameters an optimiser may hold, instead of a deep copy.
        report: a list to which a :class:`Pair` is added for each batch norm. Without one, those that were left are in a warning.

    Raises:
        TypeError: the model is no module, inplace no bool, report no list.
        RuntimeError: the model cannot be copied; by a later call of the fused model: an attribute by which a forward decides is not what it was.

    Example:
        >>> net = torch.nn.Sequential(
        ...     snn.TimeDistributed(torch.nn.Conv2d(3, 8, 3)), snn.TimeDistributed(torch.nn.BatchNorm2d(8)), snn.LIF(0.5)
        ... )
        >>> spikeops.fuse(net)[1]
        Sequential(
          (module): BatchNormLIF(num_features=8)
        )
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"fuse: expected a module, got {type(model).__name__}.")
    _checks.flag("fuse", "inplace", inplace)
    if report is not None and not isinstance(report, list):
        raise TypeError(f"fuse: expected report to be a list, got {type(report).__name__}.")
    if not inplace:
        model = copied("fuse", model, model.modules())
    pairs = _Fusing(model).pairs()
    if report is not None:
        report.extend(pairs)
    elif left := [pair for pair in pairs if pair.reason]:
        warnings.warn("fuse: some batch norms are as they were.\n" + "\n".join(map(str, left)), stacklevel=2)
    return model


class _Fusing:
    """One call of fuse, on the model that is changed."""

    def __init__(self, model: nn.Module):
        self._model = model
        self._flows = Flows(model, _NORMS)
        self._chains = list(self._flows.chains())
        modules = dict(model.named_modules(remove_duplicate=False))
        self._norms = [name for name, module in modules.items() if isinstance(module, _NORMS)]
        self._uses = Counter(map(id, modules.values()))
        self._calls = Counter(slot.place for chain in self._chains for slot in chain.slots)
        self._replaced: dict[str, list[Slot]] = {}
        """What was in the places of a pair: {name of the batch norm: slots}."""
        self._traced: dict[str, str] = {}
        """The module whose forward makes it a pair: {name of the batch norm: name}."""

    def pairs(self) -> list[Pair]:
        found: dict[str, Pair] = {}
        for chain in self._chains:
            for slot, following in zip(chain.slots, [*chain.slots[1:], None]):
                if isinstance(slot.module, _NORMS):
                    neurons = following.name if following else ""
                    reason = self._obstacle(slot, following, chain)
                    found[slot.name] = Pair(slot.name, neurons, reason, {}) if reason else self._put(slot, following)
                    if not reason and chain.spans(slot, following):
                        self._traced[slot.name] = chain.root
        self._undo(found)
        self._watch()
        return [found.get(name) or Pair(name, "", self._unknown(name), {}) for name in self._norms]

    def _unknown(self, name: str) -> str:
        if self._uses[id(self._model.get_submodule(name))] > 1:
            return "it is used in more than one place"
        return self._flows.why_not(name) or "nothing is known to call it"

    def _obstacle(self, slot: Slot, following: Slot | None, chain: SlotChain) -> str:
        """Why a batch norm and what follows it cannot be one op, or ""."""
        if reason := _obstacle_of(slot.module):
            return reason
        if not slot.is_folded:
            return "it is not in snn.TimeDistributed: its batch would be the time steps"
        if following is None or not isinstance(following.module, LIFNeurons):
            return self._no_neurons(slot, following, chain)
        if following.is_folded:
            return f"its neurons, {following.name}, are in snn.TimeDistributed"
        if self._uses[id(slot.module)] > 1 or self._uses[id(following.owner)] > 1:
            return "it, or what holds its neurons, is used in more than one place"
        if self._calls[slot.place] > 1 or self._calls[following.place] > 1:
            return f"it or its neurons, {following.name}, are called more than once"
        if any(has_own_hooks(module) or _has_state_hooks(module) for module in (slot.module, following.module)):
            return "it or its neurons have hooks"
        if is_watched(slot.module) or is_watched(following.module):
            return "it or its neurons have a forward that is not that of their class"
        return _option(following.module) or (self._other_caller(slot, following, chain.root) if chain.spans(slot, following) else "")

    def _no_neurons(self, slot: Slot, following: Slot | None, chain: SlotChain) -> str:
        if following is not None:
            return f"what follows it is {type(following.module).__name__}, not snn.LIF or snn.IF"
        around = self._flows.why_not(slot.name)
        return chain.end or (f"nothing follows it in its nn.Sequential, and {around}" if around else "nothing follows it")

    def _other_caller(self, slot: Slot, following: Slot, root: str) -> str:
        paths = [each.name.removeprefix(f"{root}." if root else "").split(".") for each in (slot, following)]
        names = {part for path in paths for part in path if part.isidentifier()} - {"module"}
        if any(path[0].isdigit() for path in paths):
            names.add(NAMELESS)
        read = frozenset(function for flow in self._flows.known[root] for function in flow.read)
        method = called_elsewhere(self._model, root, names, read)
        return f"{method} seems to call it or its neurons, too" if method else ""

    def _put(self, slot: Slot, following: Slot) -> Pair:
        """Puts the op in the place of both."""
        fused = _fused(slot.module, following.module)
        if slot.fold is not None:  # what the batch norm was alone in goes on as a chain in which it has the same name
            self._replace(slot.name, slot.fold, nn.Sequential(OrderedDict([(slot.key, fused)])))
            self._replace(slot.name, following, nn.Identity())
            return Pair(slot.name, following.name, "", {})
        self._replace(slot.name, slot, nn.Identity())
        self._replace(slot.name, following, fused)
        return Pair(slot.name, following.name, "", {f"{slot.name}.{key}": f"{following.name}.{key}" for key in fused.state_dict()})

    def _replace(self, norm: str, slot: Slot, module: nn.Module) -> None:
        self._replaced.setdefault(norm, []).append(slot)
        slot.owner._modules[slot.key] = module

    def _undo(self, found: dict[str, Pair]) -> None:
        """Takes back what changes what the forwards do that were traced: they may ask what their modules are."""
        for root in self._flows.changed():
            inside = [name for name in self._replaced if name.startswith(f"{root}." if root else "")]
            for name in inside:
                for slot in self._replaced.pop(name):
                    slot.owner._modules[slot.key] = slot.module
                kind = type(self._model.get_submodule(root)).__name__
                found[name] = Pair(name, found[name].neurons, f"the forward of {kind} does something else once it is replaced", {})

    def _watch(self) -> None:
        """Has forwards that decide by attributes say so if they decide otherwise later."""
        for root in sorted({root for norm, root in self._traced.items() if norm in self._replaced}):
            training, evaluation = self._flows.known[root]
            if settings := training.settings | evaluation.settings:
                self._model.get_submodule(root).register_forward_pre_hook(StaysAsFused(settings))


class StaysAsFused:
    """A hook before the forward of a module whose batch norms were fused: the attributes by which it decides what it does are as they
    were then."""

    def __init__(self, settings: dict[str, object]):
        self._settings = settings

    def __call__(self, module: nn.Module, inputs: tuple) -> None:
        for path, expected in self._settings.items():
            value = attrgetter(path)(module)
            if value is not expected and value != expected:
                raise RuntimeError(
                    f"fuse: the forward of {type(module).__name__} decides by {path}, which was {expected!r} when its batch norms and neurons "
                    f"were fused, and is {value!r} now. Hint: fuse the model with the other value."
                )


def _has_state_hooks(module: nn.Module) -> bool:
    return any(getattr(module, each) for each in _STATE_HOOKS)


def _obstacle_of(norm: nn.Module) -> str:
    """What in a batch norm itself the op does not know, or ""."""
    if parametrize.is_parametrized(norm):
        return "it is parametrized"
    if type(norm) not in _NORMS:
        return f"it is a subclass of torch's, {type(norm).__qualname__}"
    if others := [name for where, known in _OF_A_NORM.items() for name in getattr(norm, where) if name not in known]:
        return f"it holds more than a batch norm: {', '.join(others)}"
    if norm.momentum is not None and not 0 <= norm.momentum <= 1:
        return f"its momentum is {norm.momentum}"
    return ""


def _option(neurons: LIFNeurons) -> str:
    """What in neurons the op does not know, or ""."""
    if type(neurons) not in _NEURONS:
        return f"its neurons are {type(neurons).__name__}: the op knows snn.LIF and snn.IF"
    others = [f"{name}={value!r}" for name, value in neurons.general._asdict().items() if value != getattr(_general_lif.NONE, name)]
    tensors = [name for name in (*neurons.tensor_options, "threshold", "decay") if isinstance(getattr(neurons, name), torch.Tensor)]
    others += [f"a tensor as {name}" for name in tensors]
    if neurons.return_trace is not False:
        others.append(f"return_trace={neurons.return_trace!r}")
    others += [name for name in (*neurons._parameters, *neurons._buffers, *neurons._modules) if name not in tensors]
    if neurons.save != "input":
        others.append(f"save={neurons.save!r}")
    if not neurons.options.surrogate.suits_every_op:
        others.append(f"surrogate={neurons.options.surrogate!r}")
    return f"its neurons have options that the op does not know: {', '.join(others)}" if others else ""


def _fused(norm: nn.Module, neurons: LIFNeurons) -> BatchNormLIF:
    fused = BatchNormLIF(
        norm.num_features, neurons.decay, neurons.threshold, eps=norm.eps, momentum=norm.momentum, affine=False, track_running_stats=False,
        synchronized=isinstance(norm, nn.SyncBatchNorm), process_group=getattr(norm, "process_group", None),
        return_state=neurons.return_state, **neurons.options._asdict(),
    )  # fmt: skip
    fused.affine, fused.track_running_stats = norm.affine, norm.track_running_stats
    for name in ("weight", "bias"):
        fused.register_parameter(name, getattr(norm, name))
    for name in ("running_mean", "running_var", "num_batches_tracked"):
        fused.register_buffer(name, getattr(norm, name), persistent=name not in norm._non_persistent_buffers_set)
    return fused.train(norm.training)
