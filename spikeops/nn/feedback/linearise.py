"""The derivative of a sub-network that is not affine, at a point, transposed: for products with it without autograd's detours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import nn

from spikeops.nn.feedback.operators import Operator
from spikeops.nn.feedback.subnetworks import BATCH_NORMS


def linearise(parts: Iterable[Operator | nn.Module | Callable], x: torch.Tensor) -> tuple[torch.Tensor, Operator]:
    """The output for the input x, and the operator v -> D^T v with D the derivative there.

    Args:
        parts: as of :meth:`SubNetwork.parts`. Batch-norms use the statistics of this batch, and keep their running ones.
        x: (B, ...).
    """
    stages = ()
    for part in parts:
        if isinstance(part, Operator):
            transposed = part.transposed(x).stages
            x = part.apply(x)
        else:
            x, stage = _batch_norm(part, x) if isinstance(part, BATCH_NORMS) else _by_autograd(part, x)
            transposed = (stage,)
        stages = (*transposed, *stages)
    return x, Operator(stages)


@dataclass(frozen=True)
class BatchNormTransposed:
    """Of a batch-norm with the statistics of the batch x."""

    x: torch.Tensor
    weight: torch.Tensor | None
    mean: torch.Tensor
    inverse_std: torch.Tensor
    eps: float

    def apply(self, v: torch.Tensor) -> torch.Tensor:
        only_input = (True, False, False)
        return torch.ops.aten.native_batch_norm_backward(
            v, self.x, self.weight, None, None, self.mean, self.inverse_std, True, self.eps, only_input
        )[0]


def _batch_norm(leaf, x):
    weight = None if leaf.weight is None else leaf.weight.detach()
    bias = None if leaf.bias is None else leaf.bias.detach()
    y, mean, inverse_std = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, leaf.eps)
    return y, BatchNormTransposed(x, weight, mean, inverse_std, leaf.eps)


@dataclass(frozen=True)
class TransposedByAutograd:
    """Of any function, whose output for the input x is y."""

    x: torch.Tensor
    y: torch.Tensor

    can_be_captured = False

    def apply(self, v: torch.Tensor) -> torch.Tensor:
        return torch.autograd.grad(self.y, self.x, v, retain_graph=True)[0]


def _by_autograd(function, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x.clone())  # it may work in place
    return y.detach(), TransposedByAutograd(x, y)
