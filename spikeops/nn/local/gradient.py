"""Gradients that are computed by hand."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def set_gradient(parameter: nn.Parameter, gradient: Tensor) -> None:
    """Gives a parameter its gradient as autograd would: in its dtype and its order in memory, on which fused optimizers insist (on
    a GPU, gradients of convolutions come in another)."""
    gradient = gradient.to(parameter.dtype)
    if gradient.stride() != parameter.stride():
        gradient = torch.empty_like(parameter).copy_(gradient)
    parameter.grad = gradient
