"""Hooks of modules: those of one, and those that :mod:`torch.nn.modules.module` registers for all."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as for_all_modules
from torch.nn.utils import prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

_KINDS = ("forward_pre_hooks", "forward_hooks", "backward_pre_hooks", "backward_hooks")
# They do nothing but set a weight, whatever the input is.
_OF_WEIGHTS = (prune.BasePruningMethod, SpectralNorm, WeightNorm)


def have_hooks_for_all() -> bool:
    return any(getattr(for_all_modules, f"_global_{kind}") for kind in _KINDS)


def has_own_hooks(module: nn.Module) -> bool:
    return any(getattr(module, f"_{kind}") for kind in _KINDS)


def has_hooks(module: nn.Module) -> bool:
    """Whether a call of the module runs anything but its forward function."""
    return has_own_hooks(module) or have_hooks_for_all()


def hooks_of_weights(module: nn.Module) -> list:
    """Pruning, and the weight and spectral norms that are hooks. (The newer ones are parametrizations.)"""
    return [hook for hook in module._forward_pre_hooks.values() if isinstance(hook, _OF_WEIGHTS)]


def is_observed(module: nn.Module) -> bool:
    """Whether it has hooks besides those of its weights."""
    if have_hooks_for_all():
        return True
    return has_own_hooks(module) and sum(len(getattr(module, f"_{kind}")) for kind in _KINDS) > len(hooks_of_weights(module))
