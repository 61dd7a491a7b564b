"""Convolution of spikes."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from spikeops import _backend, reference
from spikeops._numbers import plain_numbers
from spikeops.functional import _checks, _events
from spikeops.functional._event_conv import EventConv2d

_OP = "spike_conv2d"


def spike_conv2d(
    spikes: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] | str = 0,
    dilation: int | tuple[int, ...] = 1,
    groups: int = 1,
) -> torch.Tensor:
    """:func:`torch.nn.functional.conv2d`, faster on the CPU for input that is mostly 0, as spikes are.

    Where few neurons fire, the weights of those that did are added up, and the gradient of the weights is that of the neurons that
    saw them fire: with 64 channels and more, 2 to 3 times as fast as the dense convolution at 5 % of neurons firing. A model of the
    costs decides from the share of inputs that are not 0. Else, on other devices, with groups, in 16 bits, under autocast, in compiled
    code and under transforms of `torch.func` it is the dense convolution. Both give the same numbers up to rounding; the same input
    takes the same path on every run, and the sums over events do not depend on the number of threads. 0 times an infinite weight is
    NaN on either path: weights and upstream gradients that are not finite go the dense way.

    Args:
        spikes: (N, C, H, W). Any values; fastest if few are not 0, and in channels-last order. Fold time into N.
        weight: (O, C / groups, KH, KW).
        bias: (O,) or None.
        stride: of the windows, a number or a pair.
        padding: of the maps, with zeros: a number, a pair, or a string as `conv2d` takes it.
        dilation: distance between the taps of a window, a number or a pair.
        groups: of channels that are convolved by themselves.

    Returns:
        (N, O, H', W'), in channels-last order where events were added up.

    Raises:
        As `conv2d`. TypeError: spikes or weight are no tensors.

    Example:
        >>> spikes = (torch.rand(8, 12, 12, 12) < 0.05).float()
        >>> SF.spike_conv2d(spikes, torch.rand(64, 12, 5, 5)).shape
        torch.Size([8, 64, 8, 8])
    """
    _checks.tensor(_OP, "spikes", spikes)
    _checks.tensor(_OP, "weight", weight)
    stride, padding, dilation, groups = map(plain_numbers, (stride, padding, dilation, groups))
    if _backend.is_reference():
        return reference.spike_conv2d(spikes, weight, bias, stride, padding, dilation, groups)
    geometry = tuple(map(_pair, (stride, padding, dilation)))
    if _has_kernel(spikes, weight, bias, geometry, groups):
        conv = EventConv2d.planned(weight, *geometry)
        pixels = _pixels(conv, spikes)
        if pixels > 0:
            density = _events.density(spikes)
            on_events = conv.pays(density, pixels), weight.requires_grad and conv.gradient_pays(density, len(spikes), pixels)
            if any(on_events):
                return _SpikeConv2d.apply(spikes, weight, bias, conv, on_events)
    return F.conv2d(spikes, weight, bias, stride, padding, dilation, groups)


def spike_conv2d_weight(spikes: torch.Tensor, weight: torch.Tensor, grad_out: torch.Tensor, stride, padding, dilation, groups: int):
    """The gradient of the weight of :func:`spike_conv2d` from that of its output, for those who work out gradients by hand."""
    geometry = tuple(map(_pair, (stride, padding, dilation)))
    if _has_kernel(spikes, weight, None, geometry, groups):
        conv = EventConv2d.planned(weight, *geometry)
        pixels = _pixels(conv, spikes)
        if pixels > 0 and conv.gradient_pays(_events.density(spikes), len(spikes), pixels) and _events.is_finite(grad_out):
            return conv.weight_gradient(spikes, grad_out, weight)
    return torch.nn.grad.conv2d_weight(spikes, weight.shape, grad_out, stride, padding, dilation, groups)


class _SpikeConv2d(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spikes, weight, bias, conv, on_events):
        ctx.save_for_backward(spikes, weight)
        forward_pays, ctx.gradient_pays = on_events
        ctx.conv = conv
        if forward_pays and _events.is_finite(weight):
            return conv.with_weights(weight, bias)(spikes)
        return F.conv2d(spikes, weight, bias, conv.stride, conv.padding, conv.dilation)

    @staticmethod
    def backward(ctx, grad_out):
        spikes, weight = ctx.saved_tensors
        conv, (need_spikes, need_weight, need_bias, *_) = ctx.conv, ctx.needs_input_grad
        # What is to be differentiated again goes the dense way, which can be.
        on_events = need_weight and ctx.gradient_pays and not torch.is_grad_enabled()
        on_events = on_events and _events.have_kernel(spikes, grad_out) and _events.is_finite(grad_out)
        dense = need_spikes, need_weight and not on_events, need_bias
        grad_spikes, grad_weight, grad_bias = None, None, None
        if any(dense):
            geometry = conv.stride, conv.padding, conv.dilation, False, (0, 0), 1
            grad_spikes, grad_weight, grad_bias = torch.ops.aten.convolution_backward(
                grad_out, spikes, weight, [len(weight)], *geometry, dense
            )
        if on_events:
            grad_weight = conv.weight_gradient(spikes, grad_out, weight)
        return grad_spikes, grad_weight, grad_bias, None, None


def _pair(value) -> tuple[int, int] | None:
    """What `conv2d` takes for two ints; None for anything else."""
    values = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    return values if len(values) == 2 and all(type(v) is int for v in values) else None


def _pixels(conv: EventConv2d, spikes: torch.Tensor) -> int:
    """Of all outputs; not above 0 where there are none, or windows are larger than maps."""
    height, width = conv.output_size(*spikes.shape[2:])
    return len(spikes) * height * width if min(height, width) > 0 else 0


def _has_kernel(spikes, weight, bias, geometry, groups) -> bool:
    """Whether it is a plain convolution of spikes where events may be added up. What is wrong is for `conv2d` to say."""
    return (
        _events.have_kernel(spikes, weight, bias)
        and groups == 1
        and None not in geometry
        and min(geometry[0] + geometry[2]) > 0
        and min(geometry[1]) >= 0
        and spikes.dim() == weight.dim() == 4
        and weight.shape[1] == spikes.shape[1]
        and min(*spikes.shape, *weight.shape) > 0
        and (bias is None or bias.shape == weight.shape[:1])
    )
