"""Pooling of maps."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from spikeops import _backend, reference
from spikeops._numbers import plain_numbers
from spikeops.functional import _checks, _events
from spikeops.functional._transforms import wants_gradient

_OP = "avg_pool2d"
_WINDOW = (2, 2)
_NUMBERS = 4  # in one
_TILES = _WINDOW, _WINDOW, (0, 0), False, True
# Below that it is the call that takes time.
_FEWEST_NUMBERS = 1 << 13


def avg_pool2d(
    x: torch.Tensor,
    kernel_size: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    padding: int | tuple[int, ...] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> torch.Tensor:
    """:func:`torch.nn.functional.avg_pool2d`, on the CPU several times as fast for the windows of 2 x 2 that most networks have.

    PyTorch's takes 5 to 20 times as long as a copy of maps in the plain order, in both directions; with 2 x 2 windows that do not overlap
    this takes about as long as the copy, gives the same bits, and keeps nothing for the backward pass but the shape, where PyTorch
    keeps x. Else, on other devices, in 16 bits, under autocast, in compiled code and under transforms of `torch.func` it is
    PyTorch's. ``divisor_override=1`` makes it the sum over windows.

    Args:
        x: (N, C, H, W) or (C, H, W). Fold time into N.
        kernel_size: of the windows, a number or a pair.
        stride: of the windows, a number or a pair; as large as they are by default.
        padding: of the maps, with zeros, a number or a pair.
        ceil_mode: whether windows may stick out at the end.
        count_include_pad: whether the padding counts in the average.
        divisor_override: what sums are divided by instead.

    Returns:
        (N, C, H', W') or (C, H', W'), in the order of x.

    Raises:
        As `avg_pool2d`. TypeError: x is no tensor.

    Example:
        >>> spikes = (torch.rand(80, 15, 24, 24) < 0.05).float()
        >>> SF.avg_pool2d(spikes, 2).shape
        torch.Size([80, 15, 12, 12])
    """
    _checks.tensor(_OP, "x", x)
    kernel_size, stride, padding, divisor_override = map(plain_numbers, (kernel_size, stride, padding, divisor_override))
    if _backend.is_reference():
        return reference.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    if _has_kernel(x, kernel_size, stride, padding, ceil_mode, divisor_override):
        divisor = divisor_override or _NUMBERS
        return _AvgPool2d.apply(x, divisor) if wants_gradient((x,)) else _pooled(x, divisor)
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool2d_to(
    out: torch.Tensor, x: torch.Tensor, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
) -> torch.Tensor:
    """The same into `out`, for time loops, which are not to allocate. Outside of autograd."""
    if _has_kernel(x, kernel_size, stride, padding, ceil_mode, divisor_override) and _is_channels_last(out) == _is_channels_last(x):
        torch.ops.spikeops.pool_(out, x, divisor_override or _NUMBERS, _is_channels_last(x))
        return out
    options = kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    return torch.ops.aten.avg_pool2d.out(x, *options, out=out)


def spread_tiles_to(grad_x: torch.Tensor, grad_out: torch.Tensor, divisor: int) -> torch.Tensor:
    """The way back through averages over windows of 2 x 2 that leave nothing over, likewise."""
    if _events.have_kernel(grad_x, grad_out):
        torch.ops.spikeops.pool_backward_(grad_x, grad_out, divisor, _is_channels_last(grad_x))
        return grad_x
    return torch.ops.aten.avg_pool2d_backward.grad_input(grad_out, grad_x, *_TILES, divisor, grad_input=grad_x)


def _pooled(x: torch.Tensor, divisor: int) -> torch.Tensor:
    height, width = x.shape[2:]
    channels_last = _is_channels_last(x)
    out = _empty((*x.shape[:2], height // 2, width // 2), x, channels_last)
    torch.ops.spikeops.pool_(out, x, divisor, channels_last)
    return out


class _AvgPool2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, divisor):
        ctx.shape, ctx.divisor, ctx.channels_last = x.shape, divisor, _is_channels_last(x)
        return _pooled(x, divisor)

    @staticmethod
    def backward(ctx, grad_out):
        # What is to be differentiated again goes PyTorch's way, which can be.
        x = _empty(ctx.shape, grad_out, ctx.channels_last)
        if torch.is_grad_enabled() or not _events.have_kernel(grad_out):
            return torch.ops.aten.avg_pool2d_backward(grad_out, x, *_TILES, ctx.divisor), None, None
        torch.ops.spikeops.pool_backward_(x, grad_out, ctx.divisor, ctx.channels_last)
        return x, None, None


def _is_both(value, number: int) -> bool:
    """Whether it says `number` for height and width."""
    values = value if isinstance(value, tuple) else (value,)
    return len(values) in (1, 2) and all(type(v) is int and v == number for v in values)


def _is_channels_last(x: torch.Tensor) -> bool:
    return not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last)


def _empty(shape, like: torch.Tensor, channels_last: bool) -> torch.Tensor:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    return torch.empty(shape, dtype=like.dtype, device=like.device, memory_format=layout)


def _has_kernel(x: torch.Tensor, kernel_size, stride, padding, ceil_mode, divisor) -> bool:
    """Whether the maps are many and the windows 2 x 2 tiles of them. What is wrong is for `avg_pool2d` to say."""
    return (
        _events.have_kernel(x)
        and x.dim() == 4
        and x.numel() >= _FEWEST_NUMBERS
        and _is_both(kernel_size, 2)
        and (stride is None or (isinstance(stride, tuple) and not stride) or _is_both(stride, 2))
        and _is_both(padding, 0)
        and min(x.shape[2:]) >= 2
        and (ceil_mode is False or (ceil_mode is True and x.shape[2] % 2 == x.shape[3] % 2 == 0))
        and (divisor is None or (type(divisor) is int and divisor != 0))
    )


@torch.library.register_fake("spikeops::pool_")
def _fake_pool(out, x, divisor, channels_last):
    return None


@torch.library.register_fake("spikeops::pool_backward_")
def _fake_pool_backward(grad_x, grad_out, divisor, channels_last):
    return None
