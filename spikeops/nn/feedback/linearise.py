"""The derivative of a sub-network that is not affine, at a point, transposed: for products with it without autograd's detours."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

import torch
from torch import nn

from spikeops.nn.feedback.operators import Operator
from spikeops.nn.feedback.subnetworks import BATCH_NORMS

Transposed = Callable[[torch.Tensor], torch.Tensor]


def linearise(parts: Iterable[Operator | nn.Module | Callable], x: torch.Tensor) -> tuple[torch.Tensor, Transposed]:
    """The output for the input x, and the function v -> D^T v with D the derivative there.

    Args:
        parts: as of :meth:`SubNetwork.parts`. Batch-norms use the statistics of this batch, and keep their running ones.
        x: (B, ...).
    """
    transposes = []
    for part in parts:
        if isinstance(part, Operator):
            transposes.append(part.transposed(x).apply)
            x = part.apply(x)
        else:
            x, transpose = _batch_norm(part, x) if isinstance(part, BATCH_NORMS) else _by_autograd(part, x)
            transposes.append(transpose)
    return x, partial(_one_after_the_other, transposes[::-1])


def _one_after_the_other(functions, v):
    for function in functions:
        v = function(v)
    return v


def _batch_norm(leaf, x):
    weight = None if leaf.weight is None else leaf.weight.detach()
    bias = None if leaf.bias is None else leaf.bias.detach()
    y, mean, inverse_std = torch.native_batch_norm(x, weight, bias, None, None, True, 0.0, leaf.eps)

    def transpose(v):
        only_input = (True, False, False)
        return torch.ops.aten.native_batch_norm_backward(v, x, weight, None, None, mean, inverse_std, True, leaf.eps, only_input)[0]

    return y, transpose


def _by_autograd(function, x):
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        y = function(x.clone())  # it may work in place
    return y.detach(), lambda v: torch.autograd.grad(y, x, v, retain_graph=True)[0]
