"""Gradients of parameters that many neurons share, summed in a fixed order (csrc: row_sum), so that the result does not depend
on the number of threads."""

from __future__ import annotations

import torch

from spikeops import _layout
from spikeops.functional import _register, _vmap


def _setup_context(ctx, inputs, output):
    ctx.shape = inputs[0].shape


_row_sum = _register.op(
    "row_sum", lambda x: x.new_empty(x.shape[0]), lambda ops, ctx, grad: grad.unsqueeze(1).expand(ctx.shape), _setup_context,
    is_linear=True, vmap=_vmap.rows,
)  # fmt: skip


def sum_to(ops, grad: torch.Tensor, parameter: torch.Tensor) -> torch.Tensor:
    """Sums grad (one value per neuron) to the shape and dtype of a parameter that was broadcast to it."""
    return sum_to_shape(ops, grad, parameter.shape, parameter.dtype)


def sum_to_shape(ops, grad: torch.Tensor, of_parameter: torch.Size, dtype: torch.dtype) -> torch.Tensor:
    if _layout.count(of_parameter) == 1 and grad.is_contiguous():  # one for all neurons: a sum of memory as it lies
        return _row_sum(ops, grad.reshape(1, _layout.count(grad.shape))).reshape(of_parameter).to(dtype)
    shape = (1,) * (grad.dim() - len(of_parameter)) + tuple(of_parameter)
    kept = [d for d in range(grad.dim()) if shape[d] != 1]
    reduced = [d for d in range(grad.dim()) if shape[d] == 1]
    if not any(grad.shape[d] != 1 for d in reduced):
        return grad.reshape(of_parameter).to(dtype)
    # Largest stride first: a full sum then walks memory as it lies, without a copy.
    reduced.sort(key=lambda d: -grad.stride(d))
    # Both sizes are named: of no neurons, one that is left to be found could be any.
    rows = grad.permute(kept + reduced).reshape(_layout.count(of_parameter), _layout.count([grad.shape[d] for d in reduced])).contiguous()
    return _row_sum(ops, rows).reshape(of_parameter).to(dtype)
