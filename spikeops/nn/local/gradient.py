"""Gradients that are computed by hand, and the way from the weights that a module works with to the parameters behind them."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from spikeops.nn._hooks import has_hooks, hooks_of_weights
from spikeops.nn.conv import SpikeConv2d
from spikeops.nn.linear import SpikeLinear

_FORWARDS = {(kind.forward, getattr(kind, "_conv_forward", None)) for kind in (nn.Linear, nn.Conv2d, SpikeConv2d, SpikeLinear)}


def is_plain(layer: nn.Linear | nn.Conv2d) -> bool:
    """Whether the gradient of the layer's weight may be computed by hand: it is a parameter itself, and what the layer computes of it
    is what its class of PyTorch's does."""
    forwards = type(layer).forward, getattr(type(layer), "_conv_forward", None)
    own = vars(layer)
    return forwards in _FORWARDS and "forward" not in own and "weight" in layer._parameters and not has_hooks(layer)


def effective_weight(module: nn.Module, name: str) -> Tensor | None:
    """A weight as a call of the module would use it, with its way to the parameters: pruned, of some norm, parametrised. For modules
    whose weights are used without a call."""
    with torch.enable_grad():
        for hook in hooks_of_weights(module):
            hook(module, ())
        return getattr(module, name)


def dtype_of_weight(module: nn.Module) -> torch.dtype:
    """Without computing a parametrised weight, which may change a state."""
    weight = module._parameters.get("weight")
    return next(module.parameters()).dtype if weight is None else weight.dtype


def add_gradients(roots: Iterable[tuple[Tensor, Tensor]]) -> None:
    """Adds gradients of weights, or of what modules made of them, to the ``.grad`` of the parameters behind, as autograd does: in the
    parameter's dtype and its order in memory, on which fused optimizers insist, shared parameters with the sum, and with all hooks.

    Args:
        roots: pairs of a tensor that requires a gradient, and its gradient, which nobody else may use.
    """
    tensors, gradients = [], []
    for tensor, gradient in roots:
        gradient = gradient.to(tensor.dtype)
        if tensor.is_leaf and tensor.grad is None and not (tensor._backward_hooks or tensor._post_accumulate_grad_hooks):
            tensor.grad = gradient if gradient.stride() == tensor.stride() else torch.empty_like(tensor).copy_(gradient)
            continue  # as below, without a copy and the way through autograd
        tensors.append(tensor)
        gradients.append(gradient)
    if tensors:
        # What is behind a weight may be asked again in the next time step.
        torch.autograd.backward(tensors, gradients, retain_graph=True)
