"""Copies of models."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn

Model = TypeVar("Model", bound=nn.Module)


def copied(function: str, model: Model, modules: Iterable[nn.Module]) -> Model:
    """A deep copy, also of states that belong to a graph, which are detached in it, as are pruned weights, which are worked out anew; with the
    modes and the frozen parameters of the model, which some libraries' copies lose, and with what changes its gradients, which torch's copies lose.

    Args:
        function: the public one that makes it, for the message.
        model: the model.
        modules: those in it whose states are copied.

    Raises:
        RuntimeError: it cannot be copied."""
    memo: dict = {}
    for module in modules:
        for state in (*vars(module).values(), *module._buffers.values(), *getattr(module, "_memories", {}).values()):
            if isinstance(state, torch.Tensor) and state.grad_fn is not None:
                memo[id(state)] = state.detach().clone()
    try:
        made = copy.deepcopy(model, memo)
    except Exception as error:
        raise RuntimeError(f"{function}: the model cannot be copied: {error} Hint: inplace=True needs no copy.") from error
    for module, original in zip(made.modules(), model.modules(), strict=True):
        module.training = original.training
    for parameter, original in zip(made.parameters(), model.parameters(), strict=True):
        parameter.requires_grad_(original.requires_grad)
    _keep_gradient_hooks(made, model)
    return made


def _keep_gradient_hooks(copied: nn.Module, model: nn.Module) -> None:
    """Registers the hooks of parameters, which change their gradients, for those of a deep copy, which torch leaves without.

    Norse's neurons do not learn weights to themselves by such hooks, and masks keep pruned weights from learning."""
    seen = set()
    for module, original in zip(copied.modules(), model.modules(), strict=True):
        for name, tensor in (*original._parameters.items(), *vars(original).items()):
            if isinstance(tensor, torch.Tensor) and tensor.is_leaf and tensor._backward_hooks and id(tensor) not in seen:
                seen.add(id(tensor))
                _register(tensor._backward_hooks.values(), getattr(module, name))


def _register(hooks: Iterable[Callable], tensor: torch.Tensor) -> None:
    if not tensor._backward_hooks:
        is_learned = tensor.requires_grad
        tensor.requires_grad_()  # frozen ones take none, but may be learned again
        for hook in hooks:
            tensor.register_hook(hook)
        tensor.requires_grad_(is_learned)
