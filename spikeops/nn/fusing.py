"""Puts batch norm and neurons of a model into one op."""

from __future__ import annotations

import copy
import warnings
from collections import Counter, OrderedDict
from collections.abc import Iterator
from typing import NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.utils import parametrize

from spikeops.functional import _general_lif
from spikeops.nn._hooks import keep_gradient_hooks
from spikeops.nn.batch_norm import BatchNormLIF
from spikeops.nn.neurons import IF, LIF, LIFNeurons
from spikeops.nn.time import TimeDistributed

Model = TypeVar("Model", bound=nn.Module)

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)
_NEURONS = (LIF, IF)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
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


class _Slot(NamedTuple):
    """A module in its place in a chain."""

    owner: nn.Module
    key: str
    name: str
    module: nn.Module
    is_folded: bool
    """Whether it sees time folded into the batch."""
    fold: _Slot | None
    """The snn.TimeDistributed that holds it and nothing else."""


def fuse(model: Model, *, inplace: bool = False, report: list[Pair] | None = None) -> Model:
    """A model in which batch norm and the LIF neurons behind it are one op, :class:`spikeops.nn.BatchNormLIF`.

    Pairs are BatchNorm1d, 2d, 3d or SyncBatchNorm inside :class:`spikeops.nn.TimeDistributed`, alone or at the end of an
    ``nn.Sequential`` in it, and :class:`spikeops.nn.LIF` or ``IF`` next in the ``nn.Sequential`` that holds both, which may be made of
    others. The forward pass of an ``nn.Sequential`` is known; batch norms elsewhere are left, and named, as are those whose neurons the
    op does not know (learned decays and thresholds, traces, another ``save`` than "input", ...) and modules that have hooks or a ``forward`` that was put
    over their class's, are parametrized, or are used in more than one place. A module of yours that calls the parts of an ``nn.Sequential``
    one by one, and does something between them, cannot be told from one that calls it as a whole: do not give it.

    Parameters and buffers are the same objects, and keep their names in the state dict, except where the batch norm is the end of a
    longer ``nn.Sequential`` inside TimeDistributed: then they are the neurons' (``renamed`` in the report). Of each pair one place is left
    to an ``nn.Identity``. Statistics, training mode and spikes stay: y is rounded in another order than torch's.

    Args:
        model: a module, which may be trained already.
        inplace: change this very model, whose parameters an optimiser may hold, instead of a deep copy.
        report: a list to which a :class:`Pair` is added for each batch norm. Without one, those that were left are in a warning.

    Raises:
        TypeError: the model is no module.

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
    if not inplace:
        original, model = model, copy.deepcopy(model)
        keep_gradient_hooks(model, original)
    modules = dict(model.named_modules(remove_duplicate=False))
    uses = Counter(map(id, modules.values()))
    norms = [name for name, module in modules.items() if isinstance(module, _NORMS)]
    found: dict[str, Pair] = {}
    for chain in _chains(model):
        for slot, following in zip(chain, [*chain[1:], None]):
            if isinstance(slot.module, _NORMS):
                reason = _obstacle(slot, following, uses)
                renamed = _put(slot, following) if following and not reason else {}
                found[slot.name] = Pair(slot.name, following.name if following else "", reason, renamed)
    pairs = [found.get(name) or Pair(name, "", "it is in no nn.Sequential, so that what follows it is not known", {}) for name in norms]
    if report is not None:
        report.extend(pairs)
    elif left := [pair for pair in pairs if pair.reason]:
        warnings.warn("fuse: some batch norms are as they were.\n" + "\n".join(map(str, left)), stacklevel=2)
    return model


def _chains(model: nn.Module) -> Iterator[list[_Slot]]:
    """The modules of each nn.Sequential that is in no other one, in the order in which they are called; without nn.Identity."""
    folded = {id(part) for module in model.modules() if type(module) is TimeDistributed for part in module.modules()}
    seen: set[int] = set()
    for name, module in model.named_modules():
        if type(module) is nn.Sequential and not _has_own_forward(module) and id(module) not in seen:
            seen.update(map(id, _containers(module)))
            chain = list(_parts(module, name, id(module) in folded))
            yield [slot for slot in chain if type(slot.module) is not nn.Identity or _is_watched(slot.module)]


def _is_container(module: nn.Module | None) -> bool:
    """Whether its forward pass is known, and nobody looks into it."""
    return type(module) in (nn.Sequential, TimeDistributed) and not _is_watched(module)


def _containers(module: nn.Module) -> Iterator[nn.Module]:
    yield module
    for child in module.children():
        if _is_container(child):
            yield from _containers(child)


def _parts(owner: nn.Module, prefix: str, is_folded: bool, fold: _Slot | None = None) -> Iterator[_Slot]:
    for key, module in owner._modules.items():
        name = f"{prefix}.{key}" if prefix else key
        slot = _Slot(owner, key, name, module, is_folded, fold)
        if _is_container(module):
            is_fold = type(module) is TimeDistributed
            yield from _parts(module, name, is_folded or is_fold, slot if is_fold else None)
        elif module is not None:
            yield slot


def _is_watched(module: nn.Module) -> bool:
    """Whether a call does more than its class says, or others see it."""
    return _has_own_forward(module) or _is_hooked(module, _HOOKS)


def _is_hooked(module: nn.Module, hooks: tuple[str, ...]) -> bool:
    return any(getattr(module, each) for each in hooks)


def _has_own_forward(module: nn.Module) -> bool:
    """Whether a function was put over that of its class, as libraries do that move or measure what a module computes."""
    return "forward" in vars(module)


def _obstacle(slot: _Slot, following: _Slot | None, uses: Counter[int]) -> str:
    """Why a batch norm and what follows it cannot be one op, or ""."""
    norm = slot.module
    if parametrize.is_parametrized(norm):
        return "it is parametrized"
    if type(norm) not in _NORMS:
        return f"it is a subclass of torch's, {type(norm).__qualname__}"
    if not slot.is_folded:
        return "it is not in snn.TimeDistributed: its batch would be the time steps"
    if following is None or not isinstance(following.module, LIFNeurons):
        return f"what follows it is {'nothing' if following is None else type(following.module).__name__}, not snn.LIF or snn.IF"
    neurons = following.module
    if following.is_folded:
        return f"its neurons, {following.name}, are in snn.TimeDistributed"
    if type(neurons) not in _NEURONS:
        return f"its neurons, {following.name}, are {type(neurons).__name__}: the op knows snn.LIF and snn.IF"
    if uses[id(norm)] > 1 or uses[id(following.owner)] > 1:
        return "it, or what holds its neurons, is used in more than one place"
    if any(_is_hooked(module, (*_HOOKS, *_STATE_HOOKS)) for module in (norm, neurons)):
        return "it or its neurons have hooks"
    if _has_own_forward(norm) or _has_own_forward(neurons):
        return "it or its neurons have a forward that is not that of their class"
    if others := [name for where, known in _OF_A_NORM.items() for name in getattr(norm, where) if name not in known]:
        return f"it holds more than a batch norm: {', '.join(others)}"
    if norm.momentum is not None and not 0 <= norm.momentum <= 1:
        return f"its momentum is {norm.momentum}"
    return _option(neurons)


def _option(neurons: LIFNeurons) -> str:
    """The option of neurons that the op does not know, or ""."""
    others = [f"{name}={value!r}" for name, value in neurons.general._asdict().items() if value != getattr(_general_lif.NONE, name)]
    tensors = [name for name in (*neurons.tensor_options, "threshold", "decay") if isinstance(getattr(neurons, name), torch.Tensor)]
    others += [f"a tensor as {name}" for name in tensors]
    if neurons.return_trace is not False:
        others.append(f"return_trace={neurons.return_trace!r}")
    if neurons.save != "input":
        others.append(f"save={neurons.save!r}")
    if not neurons.options.surrogate.suits_every_op:
        others.append(f"surrogate={neurons.options.surrogate!r}")
    return f"its neurons have options that the op does not know: {', '.join(others)}" if others else ""


def _put(slot: _Slot, following: _Slot) -> dict[str, str]:
    """Puts the op in the place of both. Returns which entries of the state dict have another name now."""
    fused = _fused(slot.module, following.module)
    if slot.fold is not None:  # what the batch norm was alone in goes on as a chain in which it has the same name
        _replace(slot.fold, nn.Sequential(OrderedDict([(slot.key, fused)])))
        _replace(following, nn.Identity())
        return {}
    _replace(slot, nn.Identity())
    _replace(following, fused)
    return {f"{slot.name}.{key}": f"{following.name}.{key}" for key in fused.state_dict()}


def _replace(slot: _Slot, module: nn.Module) -> None:
    slot.owner._modules[slot.key] = module


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
        fused.register_buffer(name, getattr(norm, name))
    return fused.train(norm.training)
