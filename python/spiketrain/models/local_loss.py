"""Networks whose layers each learn from a loss on what their own neurons do."""

from __future__ import annotations

import abc
import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeops import nn as snn
from spiketrain.config import NetworkConfig
from spiketrain.errors import UserError
from spiketrain.models.network import output_shape
from spiketrain.models.notation import Conv, Layer, Linear, Pool, parse

Shape = tuple[int, ...]  # (C, H, W), or (units,) after a fully connected layer


class LocalLayer(nn.Module, abc.ABC):
    """What learns on its own, with the maximum pooling before it."""

    def __init__(self, pools: list[nn.Module]) -> None:
        super().__init__()
        self.pools = nn.ModuleList(pools)

    @abc.abstractmethod
    def loss(self, output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The loss, and the logits of a classifier if there is one, from what `forward` returned."""

    def handed_on(self, output: Tensor) -> Tensor:
        """What the next layer gets of it."""
        return output

    def pooled(self, x: Tensor) -> Tensor:
        """Pools images (N, C, H, W) or each time step of (T, N, C, H, W); (..., units) are never pooled."""
        for pool in self.pools:
            x = pool(x) if x.dim() == 4 else pool(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        return x


class Block(LocalLayer):
    """A `LocalLossBlock`: images (N, C, H, W), what the block below hands on, or events (T, N, ...)."""

    def __init__(self, pools: list[nn.Module], block: snn.LocalLossBlock) -> None:
        super().__init__(pools)
        self.block = block

    def forward(self, inputs: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        return self.block(self.seen(inputs))

    def seen(self, inputs: Tensor) -> Tensor:
        """What the block gets: pooled, and flattened for a fully connected layer."""
        x = self.pooled(inputs)
        is_linear = len(self.block.shape) == 1
        return x.flatten(-3) if is_linear and x.dim() > 3 else x

    def loss(self, output: Tensor | tuple[Tensor, Tensor], labels: Tensor) -> tuple[Tensor, Tensor | None]:
        losses = self.block.local_losses(output, labels)
        return losses.total, losses.logits

    def handed_on(self, output: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        """Spikes, or of clamped neurons their counts."""
        return output[0] if self.block.kind == "clamped" else output

    def spike_train(self, inputs: Tensor, output: Tensor | tuple[Tensor, Tensor]) -> Tensor | None:
        """Spikes (T, N, ...); None of a layer without any."""
        if self.block.kind == "clamped":
            return self.block.neuron.spike_train(self.block.currents(self.seen(inputs)))
        return output if self.block.kind == "lif" else None


class Readout(LocalLayer):
    """Logits (N, outputs) from what the last layer hands on, of spike trains (T, N, ...) their firing rate, after pooling."""

    def __init__(self, pools: list[nn.Module], linear: nn.Linear, weight: float, knows_time: bool) -> None:
        super().__init__(pools)
        self.linear, self.weight, self.knows_time = linear, weight, knows_time

    def forward(self, inputs: Tensor) -> Tensor:
        x = self.pooled(inputs)
        logits = self.linear((x.mean(0) if self.knows_time else x).flatten(1))
        return logits.float() if logits.dtype is torch.bfloat16 else logits

    def loss(self, output: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight * F.cross_entropy(output, labels), output


def build(
    config: NetworkConfig,
    input_shape: Shape,
    block: Callable[[nn.Module, Shape, int, str], snn.LocalLossBlock],
    *,
    neuron: str,
    batch_norm: bool,
    readout_weight: float,
) -> nn.ModuleDict:
    """The layers by name, `Block`s and at last the `Readout`, whose weights are zero at first.

    With "lif" neurons all layers spike, and weights before a batch norm have no bias. With "clamped" neurons as published: a fully
    connected layer behind convolutions is one of ReLUs, whose weights have a bias, spiking ones have none; a readout of
    convolutions keeps its initial weights.

    Args:
        config: layers, padding, weight scales
        input_shape: (C, H, W)
        block: makes one from its weights, the shape of a sample behind them, the number of outputs, and the kind of its neurons
        neuron: "lif" or "clamped"
        batch_norm: whether the blocks have one
        readout_weight: factor on the loss of the readout
    """
    layers = parse(config.layers, config.padding)
    outputs = layers[-1].units
    has_convolutions = any(isinstance(layer, Conv) for layer in layers)
    built, names, pools, shape = nn.ModuleDict(), Counter(), [], tuple(input_shape)
    for layer in layers[:-1]:
        below, shape = shape, output_shape(layer, shape, config.layers)
        if isinstance(layer, Pool):
            pools.append(nn.MaxPool2d(layer.size))
            continue
        kind = "relu" if neuron == "clamped" and has_convolutions and isinstance(layer, Linear) else neuron
        has_bias = {"lif": not batch_norm, "clamped": False, "relu": True}[kind]
        weights = "conv" if isinstance(layer, Conv) else "linear"
        names[weights] += 1
        made = block(_weights(layer, below, config, has_bias), shape, outputs, kind)
        built[f"{weights}_{names[weights]}"] = Block(pools, made)
        pools = []
    if not built:
        raise UserError(f"network.layers: {config.layers} has no layer of neurons before its outputs")
    linear = nn.Linear(math.prod(shape), outputs)
    if neuron == "lif" or len(shape) == 1:
        nn.init.zeros_(linear.weight)
    built["output"] = Readout(pools, linear, readout_weight, knows_time=neuron == "lif")
    return built


def _weights(layer: Layer, below: Shape, config: NetworkConfig, bias: bool) -> nn.Module:
    """The weights of a layer, with PyTorch's initial values times the scale of the options."""
    if isinstance(layer, Conv):
        module = snn.SpikeConv2d(below[0], layer.channels, layer.kernel, layer.stride, layer.padding, bias=bias)
        scale = config.conv_weight_scale
    else:
        module = snn.SpikeLinear(math.prod(below), layer.units, bias=bias)
        scale = config.linear_weight_scale
    with torch.no_grad():
        module.weight.mul_(scale)
    return module
