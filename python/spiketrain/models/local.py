"""Networks of layers that each learn from a classifier of their own."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spiketrain.config import NetworkConfig
from spiketrain.errors import UserError
from spiketrain.models.layers import SumPool2d
from spiketrain.models.network import output_shape
from spiketrain.models.notation import Conv, Pool, parse

Shape = tuple[int, ...]  # (C, H, W), or (units,) after a fully connected layer


class LocalNetwork(nn.Module):
    """Local blocks one after the other, with average pooling of the spikes between them. There is no layer of outputs: the classes
    come from the last block's classifier.

    Input: images (N, C, H, W), the same at all time steps, or events (T, N, C, H, W).

    Args:
        config: layers, padding and weight scales
        input_shape: (C, H, W)
        block: makes a block from the weights of its layer and the shape of the layer's spikes for one sample

    The layers are in `stages`, in the order of the forward pass, named conv_1, pool_1, ..., linear_1.
    """

    def __init__(
        self, config: NetworkConfig, input_shape: Shape, block: Callable[[nn.Linear | nn.Conv2d, Shape], snn.LocalBlock]
    ) -> None:
        super().__init__()
        for name in ("feedback", "dropout"):
            if value := getattr(config, name):
                raise UserError(f"network.{name}: networks with local classifiers have none, got {value}")
        self.stages = nn.ModuleDict()
        names = Counter()
        shape = tuple(input_shape)
        for layer in parse(config.layers, config.padding, has_outputs=False):
            after = output_shape(layer, shape, config.layers)
            if isinstance(layer, Pool):
                kind, stage = "pool", snn.TimeDistributed(SumPool2d(layer.size, 1 / layer.size**2))
            elif isinstance(layer, Conv):
                kind = "conv"
                encoder = snn.SpikeConv2d(shape[0], layer.channels, layer.kernel, layer.stride, layer.padding, bias=False)
                stage = block(_scaled(encoder, config.conv_weight_scale), after)
            else:
                kind = "linear"
                encoder = snn.SpikeLinear(math.prod(shape), layer.units, bias=False)
                stage = block(_scaled(encoder, config.linear_weight_scale), after)
            names[kind] += 1
            self.stages[f"{kind}_{names[kind]}"] = stage
            shape = after
        # Convolutions and pooling over many small images run faster with channels last, on the CPU and on the GPU.
        self.to(memory_format=torch.channels_last)

    def blocks(self) -> dict[str, snn.LocalBlock]:
        """The layers that learn, by name."""
        return {name: stage for name, stage in self.stages.items() if isinstance(stage, snn.LocalBlock)}

    def before(self, name: str, x: Tensor) -> Tensor:
        """What the block `name` gets for the input of the network, if it is the first, else for the spikes of the block below it."""
        names = list(self.stages)
        pools = []
        while (place := names.index(name) - len(pools)) > 0 and not isinstance(self.stages[names[place - 1]], snn.LocalBlock):
            pools.insert(0, self.stages[names[place - 1]])
        for pool in pools:
            x = pool(x) if x.dim() == 5 else pool.module(x)
        is_linear = isinstance(self.stages[name].encoder, nn.Linear)
        return x.flatten(-3) if is_linear and x.dim() > 3 else x

    def spikes(self, x: Tensor) -> dict[str, Tensor]:
        """The spikes (T, N, ...) of every layer, without learning."""
        trains = {}
        for name, block in self.blocks().items():
            trains[name] = x = block(self.before(name, x))
        return trains

    def forward(self, x: Tensor) -> Tensor:
        """How often each neuron of the last classifier fires (N, classes), without learning."""
        *_, (name, spikes) = self.spikes(x).items()
        return self.stages[name].classify(spikes)


def _scaled(layer: nn.Module, scale: float) -> nn.Module:
    """PyTorch's initial weights, times `scale`."""
    with torch.no_grad():
        layer.weight.mul_(scale)
    return layer
