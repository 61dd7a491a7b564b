"""The feed-forward spiking network that the methods train: weight layers, pooling and dropout between spiking neurons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops.nn.time import at_all_steps
from spiketrain.config import NetworkConfig
from spiketrain.errors import UserError
from spiketrain.models.layers import FullyConnected, TimeSharedDropout
from spiketrain.models.notation import Conv, Layer, Linear, Pool, parse
from spiketrain.models.synapses import count_synapses, shape_after

Shape = tuple[int, ...]  # (C, H, W), or (units,) after a fully connected layer


class SpikingNetwork(nn.Module):
    """Bias-free convolutions and fully connected layers, each followed by spiking neurons.

    Input: images (N, C, H, W), shown at all time steps, or events (T, N, C, H, W). Output: (T, N, classes).
    No layer loops over time: neurons take all time steps at once, the other layers fold time into the batch. For images,
    all that comes before the first neurons is linear, so it is computed once and then scaled by `static_gain` per step.

    Args:
        config: layers, padding, weight scales, dropout and the number of time steps
        input_shape: (C, H, W)
        neuron: makes the i-th layer of spiking neurons, which maps (T, N, ...) to the same shape
        pool: makes a pooling layer from the side of its window
        neurons_at_output: whether the last layer spikes too, or is read out as it is
        input_filter: acts on events (T, N, C, H, W) before the first layer
        static_gain: (T,), the answer of `input_filter` to a constant input of 1; None where that is 1 at all steps

    The layers are in `stages`, in the order of the forward pass, named conv_1, neuron_1, pool_1, ...
    """

    def __init__(
        self,
        config: NetworkConfig,
        input_shape: Shape,
        neuron: Callable[[int], nn.Module],
        pool: Callable[[int], nn.Module],
        neurons_at_output: bool,
        input_filter: nn.Module,
        static_gain: Tensor | None,
        conv: type[nn.Conv2d] = nn.Conv2d,
    ) -> None:
        super().__init__()
        if config.feedback:
            raise UserError(f"network.feedback: only the networks of ide and spide have one, got {config.feedback}")
        if isinstance(config.dropout, list):
            raise UserError(f"network.dropout: expected one number, got {config.dropout}; a list is for ide and spide")
        self.input_filter = input_filter
        self.register_buffer("static_gain", static_gain, persistent=False)
        self.time_steps = config.time_steps
        self.stages = nn.ModuleDict()
        names = Counter()

        def add(kind: str, stage: nn.Module) -> None:
            names[kind] += 1
            knows_time = kind in ("neuron", "dropout")
            self.stages[f"{kind}_{names[kind]}"] = stage if knows_time else snn.TimeDistributed(stage)

        layers = parse(config.layers, config.padding)
        shape = tuple(input_shape)
        for layer, following in zip(layers, [*layers[1:], None]):
            if isinstance(layer, Pool):
                add("pool", pool(layer.size))
            else:
                add("conv" if isinstance(layer, Conv) else "linear", _weights(layer, shape, config, conv))
                if following is not None or neurons_at_output:
                    add("neuron", neuron(names["neuron"]))
            if config.dropout and following is not None and not isinstance(following, Pool):
                add("dropout", TimeSharedDropout(config.dropout, config.dropout_kind))
            shape = output_shape(layer, shape, config.layers)
        # Convolutions and pooling over many small images run faster with channels last, on the CPU and on the GPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        is_static = x.dim() == 4
        if not is_static:
            x = self.input_filter(x)
        for stage in self.stages.values():
            if not is_static:
                x = stage(x)
            elif isinstance(stage, snn.TimeDistributed):
                x = stage.module(x)
            else:
                x, is_static = self._in_time(stage, x), False
        return self._in_time(nn.Identity(), x) if is_static else x

    def _in_time(self, stage: nn.Module, x: Tensor) -> Tensor:
        """What a stage that knows time makes of a static input."""
        return at_all_steps(stage, x, self.time_steps, self.static_gain)

    def neurons(self) -> dict[str, nn.Module]:
        """The layers of neurons in the order of the forward pass, by the name of the weights before them."""
        names = list(self.stages)
        return {names[i - 1]: self.stages[name] for i, name in enumerate(names) if name.startswith("neuron")}

    def synapses(self, input_shape: Shape) -> list[int]:
        """How many lead from the input to the first layer of neurons, and from each layer on; 0 from a last layer that spikes."""
        counts, chain, shape = [], [], input_shape
        for name, stage in self.stages.items():
            if name.startswith("neuron"):
                counts.append(count_synapses(chain, shape))
                shape, chain = shape_after(chain, shape), []
            else:
                chain.append(stage)
        return [*counts, count_synapses(chain, shape) if chain else 0]


def _weights(layer: Conv | Linear, input_shape: Shape, config: NetworkConfig, conv: type[nn.Conv2d]) -> nn.Module:
    """A layer without bias: PyTorch's initial weights for convolutions, He's for fully connected layers, both scaled."""
    if isinstance(layer, Conv):
        module = conv(input_shape[0], layer.channels, layer.kernel, layer.stride, layer.padding, bias=False)
        scale = config.conv_weight_scale
    else:
        module = FullyConnected(math.prod(input_shape), layer.units, bias=False)
        nn.init.kaiming_normal_(module.weight)
        scale = config.linear_weight_scale
    with torch.no_grad():
        module.weight.mul_(scale)
    return module


def output_shape(layer: Layer, shape: Shape, notation: str) -> Shape:
    """What `layer` of the network `notation` makes of a sample of `shape`.

    Raises:
        UserError: nothing is left of it.
    """
    if isinstance(layer, Linear):
        return (layer.units,)
    if isinstance(layer, Conv):
        height, width = ((side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in shape[1:])
        shape = (layer.channels, height, width)
    else:
        shape = (shape[0], *(side // layer.size for side in shape[1:]))
    if min(shape) < 1:
        raise UserError(f"network.layers: {notation} shrinks its input to nothing; use fewer or smaller layers, or more padding")
    return shape
