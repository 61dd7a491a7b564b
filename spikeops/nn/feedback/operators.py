"""Affine operators: a sub-network with its weights frozen for one pass.

The time loops apply the same operator at every step, so everything that does not change from step to step (norm restrictions,
weight standardisation, batch-norm in eval mode) is worked into plain weights once. The transpose of an operator's linear part,
which the backward passes step through, is an operator again.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import nn

from spikeops import functional as SF
from spikeops.functional.pool import avg_pool2d_to, spread_tiles_to

Pair = tuple[int, int]
# Outputs of an operator's stages, by stage and shape of its input, to be used again.
Memory = dict[tuple[int, torch.Size], torch.Tensor]


def per_channel(values: torch.Tensor, dim: int) -> torch.Tensor:
    """(C,) shaped to scale the channels of a (B, C, ...) tensor of that many dimensions."""
    return values.view(-1, *(1,) * (dim - 2))


@dataclass(frozen=True)
class Convolution:
    weight: torch.Tensor
    bias: torch.Tensor | None
    stride: Pair
    padding: Pair
    dilation: Pair
    groups: int

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def scaled(self, scale: torch.Tensor) -> Convolution:
        return replace(self, weight=self.weight * scale.view(-1, 1, 1, 1))

    def transposed(self, input_shape: torch.Size, output_shape: torch.Size) -> Convolution | TransposedConvolution:
        reach = [d * (k - 1) for d, k in zip(self.dilation, self.weight.shape[2:])]
        if self.stride == (1, 1) and self.groups == 1 and all(r >= p for r, p in zip(reach, self.padding)):
            # The transpose of a convolution without stride is one with the flipped kernel: the faster kind on CPUs.
            flipped = loop_order(self.weight.flip(2, 3).transpose(0, 1))
            padding = tuple(r - p for r, p in zip(reach, self.padding))
            return Convolution(flipped, None, self.stride, padding, self.dilation, 1)
        output_padding = tuple(
            n - ((m - 1) * s - 2 * p + r + 1)
            for n, m, s, p, r in zip(input_shape[2:], output_shape[2:], self.stride, self.padding, reach)
        )
        return TransposedConvolution(self.weight, None, self.stride, self.padding, output_padding, self.dilation, self.groups)


@dataclass(frozen=True)
class TransposedConvolution:
    weight: torch.Tensor
    bias: torch.Tensor | None
    stride: Pair
    padding: Pair
    output_padding: Pair
    dilation: Pair
    groups: int

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        return F.conv_transpose2d(
            x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups, self.dilation
        )

    def scaled(self, scale: torch.Tensor) -> TransposedConvolution:
        # weight (in channels, out channels / groups, ...): the out channels of a group belong to its in channels.
        by_group = scale.view(self.groups, 1, -1).expand(-1, self.weight.shape[0] // self.groups, -1)
        return replace(self, weight=self.weight * by_group.reshape(self.weight.shape[:2])[:, :, None, None])

    def transposed(self, input_shape: torch.Size, output_shape: torch.Size) -> Convolution:
        return Convolution(self.weight, None, self.stride, self.padding, self.dilation, self.groups)


@dataclass(frozen=True)
class Linear:
    weight: torch.Tensor
    bias: torch.Tensor | None

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.weight, self.bias)

    def apply_to(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        rows, out_rows = (value.flatten(0, -2) for value in (x, out))
        if self.bias is None:
            torch.mm(rows, self.weight.t(), out=out_rows)
        else:
            torch.addmm(self.bias, rows, self.weight.t(), out=out_rows)
        return out

    def scaled(self, scale: torch.Tensor) -> Linear:
        return replace(self, weight=self.weight * scale[:, None])

    def transposed(self, input_shape: torch.Size, output_shape: torch.Size) -> Linear:
        return Linear(self.weight.t(), None)


@dataclass(frozen=True)
class ChannelScale:
    """What is left of a batch-norm that no convolution or linear layer comes before."""

    scale: torch.Tensor
    bias: torch.Tensor | None

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        y = x * per_channel(self.scale, x.dim())
        return y if self.bias is None else y + per_channel(self.bias, x.dim())

    def scaled(self, scale: torch.Tensor) -> ChannelScale:
        return replace(self, scale=self.scale * scale)

    def transposed(self, input_shape: torch.Size, output_shape: torch.Size) -> ChannelScale:
        return ChannelScale(self.scale, None)


@dataclass(frozen=True)
class AveragePool:
    kernel: Pair
    stride: Pair
    padding: Pair
    ceil_mode: bool
    count_include_pad: bool
    divisor: int | None

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        return SF.avg_pool2d(x, self.kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor)

    def apply_to(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return avg_pool2d_to(out, x, self.kernel, self.stride, self.padding, self.ceil_mode, self.count_include_pad, self.divisor)

    def transposed(self, input_shape: torch.Size, output_shape: torch.Size) -> AveragePoolTransposed | Spread | Operator:
        tiles = self.kernel == self.stride and self.padding == (0, 0)
        if tiles and all(n == m * k for n, m, k in zip(input_shape[2:], output_shape[2:], self.kernel)):
            divisor = self.divisor or self.kernel[0] * self.kernel[1]
            return Spread(divisor) if self.kernel == (2, 2) else Operator((Factor(1 / divisor), Enlargement(self.kernel)))
        return AveragePoolTransposed(self, tuple(input_shape[1:]))


@dataclass(frozen=True)
class AveragePoolTransposed:
    pool: AveragePool
    shape: tuple[int, ...]

    def apply(self, y: torch.Tensor) -> torch.Tensor:
        p = self.pool
        layout = torch.channels_last if y.is_contiguous(memory_format=torch.channels_last) else torch.contiguous_format
        x = torch.empty(y.shape[0], *self.shape, dtype=y.dtype, device=y.device, memory_format=layout)
        return torch.ops.aten.avg_pool2d_backward(y, x, p.kernel, p.stride, p.padding, p.ceil_mode, p.count_include_pad, p.divisor)


@dataclass(frozen=True)
class Spread:
    """Each value, divided, at every place of its window of 2 x 2: the transpose of average pooling whose windows tile the image."""

    divisor: int

    def apply(self, y: torch.Tensor) -> torch.Tensor:
        samples, channels, height, width = y.shape
        if y.is_contiguous(memory_format=torch.channels_last):
            out = y.new_empty(samples, 2 * height, 2 * width, channels).permute(0, 3, 1, 2)
        else:
            out = y.new_empty(samples, channels, 2 * height, 2 * width)
        return self.apply_to(out, y)

    def apply_to(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return spread_tiles_to(out, y, self.divisor)


@dataclass(frozen=True)
class Factor:
    scale: float

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale

    def apply_to(self, out: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return torch.mul(x, self.scale, out=out)


@dataclass(frozen=True)
class Enlargement:
    """Each value at every place of its window. Scaled, the transpose of average pooling by other tiles."""

    kernel: Pair

    def apply(self, y: torch.Tensor) -> torch.Tensor:
        return F.interpolate(y, self._size(y), mode="nearest")

    def apply_to(self, out: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten.upsample_nearest2d.out(y, self._size(y), out=out)

    def _size(self, y: torch.Tensor) -> list[int]:
        return [n * k for n, k in zip(y.shape[2:], self.kernel)]


@dataclass(frozen=True)
class Reshape:
    shape: tuple[int, ...]

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(x.shape[0], *self.shape)

    def transposed(self, input_shape: torch.Size, output_shape: torch.Size) -> Reshape:
        return Reshape(tuple(input_shape[1:]))


@dataclass(frozen=True)
class ChannelsLastRows:
    """Images in channels-last order as rows (B, H W C), without a copy; ``inverse``: the way back."""

    shape: tuple[int, ...]  # (C, H, W)
    inverse: bool = False

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        if not self.inverse:
            return x.permute(0, 2, 3, 1).flatten(1)
        channels, height, width = self.shape
        return x.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def transposed(self, input_shape: torch.Size, output_shape: torch.Size) -> ChannelsLastRows:
        return replace(self, inverse=not self.inverse)


@dataclass(frozen=True)
class Opaque:
    """Any other module, called as it is, but with the running statistics of the batch-norms inside."""

    module: nn.Module
    batch_norms: tuple[nn.Module, ...]

    can_be_captured = False

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        with switched(self.batch_norms, training=False):
            return self.module(x.clone())  # it may work in place

    def transposed(self, input_shape: torch.Size, output_shape: torch.Size) -> OpaqueTransposed:
        return OpaqueTransposed(self, tuple(input_shape[1:]))


@dataclass(frozen=True)
class OpaqueTransposed:
    opaque: Opaque
    shape: tuple[int, ...]

    can_be_captured = False

    def apply(self, y: torch.Tensor) -> torch.Tensor:
        with torch.enable_grad():
            x = torch.zeros(y.shape[0], *self.shape, dtype=y.dtype, device=y.device, requires_grad=True)
            (x_grad,) = torch.autograd.grad(self.opaque.apply(x), x, y)
        return x_grad


@contextmanager
def switched(modules: tuple[nn.Module, ...], **flags: bool) -> Iterator[None]:
    """With other values of these attributes for a while."""
    before = [{name: getattr(module, name) for name in flags} for module in modules]
    try:
        for module in modules:
            vars(module).update(flags)
        yield
    finally:
        for module, values in zip(modules, before):
            vars(module).update(values)


@dataclass(frozen=True)
class Operator:
    """Stages applied one after the other."""

    stages: tuple

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        for stage in self.stages:
            x = stage.apply(x)
        return x

    def apply_with(self, memory: Memory, x: torch.Tensor) -> torch.Tensor:
        """``apply``, writing over the results of earlier calls where stages can."""
        for index, stage in enumerate(self.stages):
            if not hasattr(stage, "apply_to"):
                x = stage.apply(x)
            elif (out := memory.get((index, x.shape))) is not None:
                x = stage.apply_to(out, x)
            else:
                key = index, x.shape
                x = memory[key] = stage.apply(x)
        return x

    def for_channels_last(self, input_shape: torch.Size) -> Operator:
        """The same operator, faster for images in channels-last order of that shape: a Linear that takes them flattened gets its
        weights in their order."""
        if len(input_shape) != 4 or [type(stage) for stage in self.stages[:2]] != [Reshape, Linear]:
            return self
        _, linear, *rest = self.stages
        shape = tuple(input_shape[1:])
        weight = linear.weight.unflatten(1, shape).permute(0, 2, 3, 1).flatten(1)
        return Operator((ChannelsLastRows(shape), replace(linear, weight=weight), *rest))

    def transposed(self, x: torch.Tensor) -> Operator:
        """The transpose of the linear part, for inputs like x (their number does not matter)."""
        x = torch.zeros_like(x[:1])
        stages = ()
        for stage in self.stages:
            y = stage.apply(x)
            transposed = stage.transposed(x.shape, y.shape)
            stages = (*(transposed.stages if isinstance(transposed, Operator) else (transposed,)), *stages)
            x = y
        return Operator(stages)

    def silent(self, x: torch.Tensor) -> torch.Tensor | None:
        """What comes out (1, ...) when no neuron of an input like x fires; None where that is zero."""
        if not any(isinstance(s, Opaque) or getattr(s, "bias", None) is not None for s in self.stages):
            return None
        return self.apply(torch.zeros_like(x[:1]))


def loop_order(x: torch.Tensor) -> torch.Tensor:
    """In the memory order of the time loops: images (B, C, H, W) channels-last, anything else contiguous."""
    return x.contiguous(memory_format=torch.channels_last if x.dim() == 4 else torch.contiguous_format)


def pair(value) -> Pair:
    return tuple(value) if isinstance(value, (tuple, list)) else (value, value)
