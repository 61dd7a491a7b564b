"""Convolutions, and linear layers of time loops, on mostly silent spikes: the weights of the neurons that fired are added up.

For the CPU: while less than a tenth or a quarter of the neurons fire it beats the dense convolution. GPUs are faster with that.
:func:`spikeops.functional.spike_conv2d` and the time loops of :class:`spikeops.nn.FeedbackRing` run on it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from spikeops.functional._events import VECTOR_BYTES

# A model of the costs, in rough CPU cycles per output pixel and tap. It decides by the share of neurons that fire alone, so that the
# same data takes the same path, and rounds the same way, on every run.
_CYCLES_PER_VISIT = 25  # of a run of pixels where any neuron fired, per group of output channels
_CYCLES_PER_INPUT = 3  # to look whether it fired
_CYCLES_PER_EVENT = 1.6  # and vector of output channels
_CYCLES_PER_GRADIENT = 2, 4  # the same for the gradient of the weights: those of a row of taps fit the L1 cache, or do not
_CYCLES_DENSE = 0.58  # per input and vector of output channels
# Per vector of the weights, once for all pixels.
_CYCLES_TO_REORDER = 60  # to lay them in the order in which they are added up, and their gradient back
_CYCLES_PER_PART = 5, 17  # to clear the gradient of a part of the samples and add it to the others: all fit the L2 cache, or do not
_MARGIN = 0.85  # what is uncertain of all this
_L1_BYTES, _L2_BYTES = 48 << 10, 1 << 20
_GROUP = 4  # vectors of output channels that are summed up at a time, at most
# Parts of the samples, for the gradient of the weights, each with one of its own: the same for any number of threads.
_PARTS, _FEWEST_PARTS, _BYTES_OF_PARTS = 16, 4, 64 << 20


@dataclass(frozen=True)
class EventConv2d:
    """A convolution, or transposed convolution, with its weights in the order in which they are added up.

    Attributes:
        weight: (KH, KW, C, O rounded up to whole vectors); on the meta device while all that is wanted is whether it pays.
        bias: (O,) or None.
    """

    weight: torch.Tensor
    bias: torch.Tensor | None
    out_channels: int
    stride: tuple[int, int]
    padding: tuple[int, int]
    output_padding: tuple[int, int]
    dilation: tuple[int, int]
    transposed: bool

    @classmethod
    def pack(cls, weight, bias=None, stride=(1, 1), padding=(0, 0), output_padding=(0, 0), dilation=(1, 1), transposed=False):
        """From a weight (O, C, KH, KW), or (C, O, KH, KW) of a transposed convolution."""
        out_channels = weight.shape[1 if transposed else 0]
        order = (2, 3, 0, 1) if transposed else (2, 3, 1, 0)
        padded = F.pad(weight.permute(order), (0, _padded(out_channels, weight) - out_channels))
        return cls(padded.contiguous(), bias, out_channels, stride, padding, output_padding, dilation, transposed)

    @classmethod
    def planned(cls, weight, stride, padding, dilation):
        """What there is to know of :meth:`pack` without the weights: whether it pays, and what the gradients need."""
        out_channels, channels, *kernel = weight.shape
        shape = torch.empty(*kernel, channels, _padded(out_channels, weight), dtype=weight.dtype, device="meta")
        return cls(shape, None, out_channels, stride, padding, (0, 0), dilation, False)

    def with_weights(self, weight, bias) -> EventConv2d:
        """As it was planned."""
        return self.pack(weight, bias, self.stride, self.padding, dilation=self.dilation)

    def output_size(self, height: int, width: int) -> list[int]:
        sizes = zip((height, width), self.weight.shape[:2], self.stride, self.padding, self.output_padding, self.dilation)
        if self.transposed:
            return [(n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, extra, d in sizes]
        return [(n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, _, d in sizes]

    def pays(self, density: float, pixels: float = math.inf) -> bool:
        """Whether it is likely to beat the dense convolution if that share of the inputs is not 0. `pixels`: of the outputs of all
        samples for which the weights are laid in order."""
        return self._pays(density, _CYCLES_PER_EVENT, _CYCLES_TO_REORDER / pixels)

    def gradient_pays(self, density: float, samples: int, pixels: float) -> bool:
        """The same for :meth:`weight_gradient`."""
        _, kernel_w, channels, padded = self.weight.shape
        row_of_taps = kernel_w * channels * min(padded * self.weight.element_size(), _GROUP * VECTOR_BYTES)
        parts = self._parts(samples)
        are_large = parts * self._weight_bytes() > _L2_BYTES
        of_weights = _CYCLES_TO_REORDER + _CYCLES_PER_PART[are_large] * parts
        return self._pays(density, _CYCLES_PER_GRADIENT[row_of_taps > _L1_BYTES], of_weights / pixels)

    def _pays(self, density: float, cycles_per_event: float, cycles_per_weight: float) -> bool:
        kernel_h, kernel_w, channels, padded = self.weight.shape
        vectors = padded * self.weight.element_size() // VECTOR_BYTES
        # Of 4, 2 and 1 vectors; a vector that is not full is copied in and out.
        groups = vectors // _GROUP + (0, 1, 1, 2)[vectors % _GROUP] + (padded != self.out_channels)
        # Taps whose pixels are looked at together.
        run = 1 if self.transposed or self.dilation[1] != 1 else kernel_w
        any_fired = 1 - (1 - density) ** (channels * run)
        find = _CYCLES_PER_INPUT * channels * self.stride[0] * self.stride[1] / (kernel_h * kernel_w)
        visit = _CYCLES_PER_VISIT * groups * any_fired / run
        events = find + visit + (cycles_per_event * density + cycles_per_weight) * channels * vectors
        return events < _MARGIN * _CYCLES_DENSE * channels * vectors

    def __call__(self, x: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
        """x (B, C, H, W) float32 or float64 -> (B, O, H', W') in channels-last order; ``out``: where to write it."""
        if out is None:
            shape = (x.shape[0], self.out_channels, *self.output_size(*x.shape[2:]))
            out = torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=torch.channels_last)
        torch.ops.spikeops.event_conv_(out, x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.transposed)
        return out

    def weight_gradient(self, x: torch.Tensor, grad_out: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Gradient of the weight (O, C, KH, KW) from that of the output (B, O, H', W'), in the memory order of `weight`, which fused
        optimizers rely on. Not for transposed convolutions."""
        geometry = self.weight.shape[:2], self.stride, self.padding, self.dilation
        grad_out = grad_out.contiguous(memory_format=torch.channels_last)
        parts = torch.ops.spikeops.event_conv_weight(x, grad_out, *geometry, self._parts(len(x)))
        return torch.empty_like(weight).copy_(parts.sum(0)[..., : self.out_channels].permute(3, 2, 0, 1))

    def _parts(self, samples: int) -> int:
        return min(_PARTS, samples, max(_FEWEST_PARTS, _BYTES_OF_PARTS // self._weight_bytes()))

    def _weight_bytes(self) -> int:
        return self.weight.numel() * self.weight.element_size()


def _padded(channels: int, like: torch.Tensor) -> int:
    """Channels rounded up to whole vectors."""
    vector = VECTOR_BYTES // like.element_size()
    return -(-channels // vector) * vector


@torch.library.register_fake("spikeops::event_conv_weight")
def _fake_weight(x, grad_out, kernel_size, stride, padding, dilation, parts):
    return x.new_empty(parts, *kernel_size, x.shape[1], _padded(grad_out.shape[1], x))


@torch.library.register_fake("spikeops::event_conv_")
def _fake(out, x, weight, bias, stride, padding, dilation, transposed):
    return None
