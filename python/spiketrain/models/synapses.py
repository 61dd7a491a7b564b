"""How many synapses a network has: what a spike sets in motion, and what a non-spiking network multiplies with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeops import nn as snn
from spiketrain.models.layers import SumPool2d


def count_synapses(modules: Iterable[nn.Module], input_shape: tuple[int, ...]) -> int:
    """Ways from a unit of the input to a unit of the output of a chain of modules, each way through pooling counted once.

    For a single convolution or fully connected layer: its synapses, without those that would lead to the zero padding.
    Divided by the units of the input it is their mean fan-out. Biases, batch-norm and dropout are none.

    Args:
        modules: the chain: convolutions, transposed ones, linear layers, pooling, Flatten, Sequential and TimeDistributed
            of these, batch-norm and dropout
        input_shape: (C, H, W) or (units,) of a sample

    >>> count_synapses([nn.Conv2d(2, 5, 3, padding=1)], (2, 4, 4))  # 2 * 5 channels, (2 + 3 + 3 + 2)^2 places
    1000
    """
    ways, channels = _ways(modules, input_shape)
    return round(ways.sum().item() * channels)


def count_macs(modules: Iterable[nn.Module], input_shape: tuple[int, ...]) -> int:
    """How many multiply-accumulates such a chain takes: the synapses of each layer of weights, whose input may be pooled before.

    >>> count_macs([nn.AvgPool2d(2), nn.Flatten(), nn.Linear(2 * 2 * 2, 10)], (2, 4, 4))  # of which count_synapses are 320 ways
    80
    """
    count, shape = 0, input_shape
    for module in _flat(modules):
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
            count += count_synapses([module], shape)
        shape = shape_after([module], shape)
    return count


def _flat(modules: Iterable[nn.Module]) -> Iterator[nn.Module]:
    for module in modules:
        if isinstance(module, snn.TimeDistributed):
            yield from _flat([module.module])
        elif isinstance(module, nn.Sequential):
            yield from _flat(module)
        else:
            yield module


def shape_after(modules: Iterable[nn.Module], input_shape: tuple[int, ...]) -> tuple[int, int, int]:
    """(C, H, W) of what comes out of such a chain; units of a linear layer are (units, 1, 1)."""
    ways, channels = _ways(modules, input_shape)
    return (channels, *ways.shape[2:])


def _ways(modules: Iterable[nn.Module], input_shape: tuple[int, ...]) -> tuple[Tensor, int]:
    """All channels are alike, so one stands for them: the number of ways to each of its units, and how many channels there are."""
    channels, *sides = input_shape if len(input_shape) == 3 else (*input_shape, 1, 1)
    ways = torch.ones(1, 1, *sides, dtype=torch.float64)  # exact up to 2^53
    for module in modules:
        ways, channels = _through(module, ways, channels)
    return ways, channels


def _through(module: nn.Module, ways: Tensor, channels: int) -> tuple[Tensor, int]:
    if isinstance(module, snn.TimeDistributed):
        return _through(module.module, ways, channels)
    if isinstance(module, nn.Sequential):
        for part in module:
            ways, channels = _through(part, ways, channels)
        return ways, channels
    if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
        kernel = torch.full((1, 1, *module.kernel_size), channels / module.groups, dtype=ways.dtype)
        if isinstance(module, nn.ConvTranspose2d):
            options = (module.stride, module.padding, module.output_padding, 1, module.dilation)
            return F.conv_transpose2d(ways, kernel, None, *options), module.out_channels
        return F.conv2d(ways, kernel, None, module.stride, module.padding, module.dilation), module.out_channels
    if isinstance(module, nn.Linear):
        return ways.sum().view(1, 1, 1, 1) * channels, module.out_features
    if isinstance(module, nn.MaxPool2d):  # every unit of a window may be the one that counts
        return F.avg_pool2d(ways, module.kernel_size, module.stride, module.padding, divisor_override=1), channels
    if isinstance(module, nn.AvgPool2d):
        return F.avg_pool2d(ways, module.kernel_size, module.stride, module.padding, divisor_override=1), channels
    if isinstance(module, SumPool2d):
        return F.avg_pool2d(ways, module.size, divisor_override=1), channels
    return ways, channels
