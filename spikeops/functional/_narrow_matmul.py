"""Matrix products of linear layers, those of layers with few outputs by kernels that read or write the large matrix once.

PyTorch's own are made for products whose operations take longer than their bytes. With ten outputs, as classifiers of ten classes have,
they take several times as long as a copy of the large matrix. Outside of autograd: for those who work out gradients by hand, and for the
autograd functions of layers. What a kernel does not take is PyTorch's own product, so that they can be differentiated all the same.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from spikeops.functional import _events
from spikeops.functional._transforms import wants_gradient

# The most outputs, and the fewest inputs, with which the kernels were faster wherever they were measured.
_MOST_OUTPUTS = 20
_FEWEST_INPUTS = 256
# Below that it is the call that takes time, and no matter who multiplies.
_FEWEST_PRODUCTS = 1 << 17


def pays(rows: int, inner: int, outputs: int) -> bool:
    """Whether the kernels are likely to beat PyTorch's products of (rows, inner) numbers with so many outputs."""
    return outputs <= _MOST_OUTPUTS and inner >= _FEWEST_INPUTS and rows * inner * outputs >= _FEWEST_PRODUCTS


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (R, C), weight (O, C), bias (O,) or None -> (R, O)"""
    if _has_kernel(x, weight, bias) and pays(*x.shape, len(weight)):
        return torch.ops.spikeops.narrow_matmul(x, weight, bias)
    return F.linear(x, weight, bias)


def weight_gradient(x: Tensor, grad_out: Tensor) -> Tensor:
    """The gradient of the weight (O, C), from x (R, C) and that of the output (R, O)."""
    if _has_kernel(x, grad_out) and pays(*x.shape, grad_out.shape[1]):
        return torch.ops.spikeops.narrow_matmul_weight(x, grad_out)
    return grad_out.t() @ x.to(grad_out.dtype)


def input_gradient(grad_out: Tensor, weight: Tensor) -> Tensor:
    """The gradient of x (R, C), from that of the output (R, O) and weight (O, C)."""
    if _has_kernel(grad_out, weight) and pays(len(grad_out), weight.shape[1], len(weight)):
        return torch.ops.spikeops.narrow_matmul_input(grad_out, weight)
    return grad_out @ weight


def _has_kernel(*tensors: Tensor | None) -> bool:
    return _events.have_kernel(*tensors) and wants_gradient(tensors) is False


@torch.library.register_fake("spikeops::narrow_matmul")
def _fake_product(x, weight, bias):
    return x.new_empty(x.shape[0], weight.shape[0])


@torch.library.register_fake("spikeops::narrow_matmul_weight")
def _fake_weight_gradient(x, grad_out):
    return x.new_empty(grad_out.shape[1], x.shape[1])


@torch.library.register_fake("spikeops::narrow_matmul_input")
def _fake_input_gradient(grad_out, weight):
    return grad_out.new_empty(grad_out.shape[0], weight.shape[1])
