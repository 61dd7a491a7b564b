"""The spiking network that the methods train: weight layers, pooling and dropout between spiking neurons, which may be recurrent."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops.nn.time import at_all_steps
from spiketrain.config import NetworkConfig
from spiketrain.errors import UserError
from spiketrain.models import notation
from spiketrain.models.layers import FullyConnected, TimeSharedDropout, batch_norm_of
from spiketrain.models.notation import Conv, Layer, Linear, Pool, Recurrent, Residual, parse
from spiketrain.models.residual_block import ResidualBlock
from spiketrain.models.synapses import count_macs, count_synapses, shape_after

POOLS = {"average": snn.AvgPool2d, "maximum": nn.MaxPool2d}
Shape = tuple[int, ...]  # (C, H, W), or (units,) after a fully connected layer


class SpikingNetwork(nn.Module):
    """Convolutions and fully connected layers, each followed by spiking neurons, perhaps after a batch norm, and residual blocks of them.

    Input: images (N, C, H, W), shown at all time steps, or events (T, N, C, H, W). Output: (T, N, classes).
    No layer loops over time: neurons take all time steps at once, the other layers fold time into the batch, over which batch norms average
    as well. For images, all that comes before the first neurons is computed once and then, where it is linear, scaled by `static_gain` per
    step.

    Args:
        config: layers, padding, weight scales, dropout and the number of time steps
        input_shape: (C, H, W)
        neuron: makes the i-th layer of spiking neurons, which maps (T, N, ...) to the same shape, for one sample of this shape
        pool: makes a pooling layer from the side of its window
        neurons_at_output: whether the last layer spikes too, or is read out as it is
        input_filter: acts on events (T, N, C, H, W) before the first layer
        static_gain: (T,), the answer of `input_filter` to a constant input of 1; None where that is 1 at all steps
        conv: class of the convolutions
        recurrent: makes the neurons of a recurrent layer, with their weights for each other; None where there may be no such layers, nor
            anything else that only some networks have
        readout: makes what follows a last layer that does not spike, which maps (T, N, outputs) to the same shape, from the number
            of outputs; None for nothing

    The layers are in `stages`, in the order of the forward pass, named conv_1, norm_1, neuron_1, pool_1, block_1, ..., readout_1.
    `outputs`: the number of outputs.
    """

    def __init__(
        self,
        config: NetworkConfig,
        input_shape: Shape,
        neuron: Callable[[int, Shape], nn.Module],
        pool: Callable[[int], nn.Module],
        neurons_at_output: bool,
        input_filter: nn.Module,
        static_gain: Tensor | None,
        conv: type[nn.Conv2d] = nn.Conv2d,
        recurrent: Callable[[Recurrent], nn.Module] | None = None,
        readout: Callable[[int], nn.Module] | None = None,
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
            knows_time = kind in ("neuron", "block", "dropout", "readout")
            self.stages[f"{kind}_{names[kind]}"] = stage if knows_time else snn.TimeDistributed(stage)

        layers = parse(config.layers, config.padding, allows=notation.ALL if recurrent is not None else frozenset())
        self.outputs = layers[-1].units
        shape = tuple(input_shape)
        for layer, following in zip(layers, [*layers[1:], None]):
            below, shape = shape, output_shape(layer, shape, config.layers)
            if isinstance(layer, Pool):
                add("pool", pool(layer.size) if layer.kind == "own" else POOLS[layer.kind](layer.size))
            elif isinstance(layer, Residual):
                add("block", _block(layer, below, config, conv, lambda shape: neuron(names["block"], shape)))
            else:
                add("conv" if isinstance(layer, Conv) else "linear", _weights(layer, below, config, conv))
                if layer.batch_norm:
                    add("norm", batch_norm_of(shape))
                if isinstance(layer, Recurrent):
                    add("neuron", _scaled(recurrent(layer), config.recurrent_weight_scale))
                elif following is not None or neurons_at_output:
                    add("neuron", neuron(names["neuron"], shape))
            if config.dropout and following is not None and not isinstance(following, Pool):
                add("dropout", TimeSharedDropout(config.dropout, config.dropout_kind))
        if readout is not None:
            add("readout", readout(self.outputs))
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
        found, weights = {}, ""
        for name, stage in self.stages.items():
            if name.startswith(("conv", "linear")):
                weights = name
            elif name.startswith("neuron"):
                found[weights] = stage
            elif isinstance(stage, ResidualBlock):
                found |= {f"{name}.{inner}": neurons for inner, neurons in stage.neurons().items()}
        return found

    def synapses(self, input_shape: Shape) -> list[int] | None:
        """How many lead from the input to the first layer of neurons, and from each layer on; 0 from a last layer that spikes. Those
        within a recurrent layer are among the ones that lead from it. None for a network with residual blocks, past which spikes go."""
        if any(isinstance(stage, ResidualBlock) for stage in self.stages.values()):
            return None
        return self._counts(input_shape, count_synapses)

    def macs(self, input_shape: Shape) -> list[int]:
        """How many multiply-accumulates the same layers take without spikes, in the order of `synapses`: what is pooled is multiplied after that."""
        return self._counts(input_shape, count_macs)

    def _counts(self, input_shape: Shape, count: Callable[[list[nn.Module], Shape], int]) -> list[int]:
        counts, chain, shape, within = [], [], input_shape, 0
        for name, stage in self.stages.items():
            if name.startswith("neuron"):
                counts.append(within + count(chain, shape))
                shape, chain = shape_after(chain, shape), []
                within = stage.weight.numel() if isinstance(stage, snn.RecurrentLIF) else 0
            else:
                chain.append(stage)
        return [*counts, within + (count(chain, shape) if chain else 0)]


def _weights(layer: Conv | Linear | Recurrent, input_shape: Shape, config: NetworkConfig, conv: type[nn.Conv2d]) -> nn.Module:
    """PyTorch's initial weights for convolutions, He's for fully connected layers, both scaled. What a batch norm follows has no bias, which
    could not change anything."""
    bias = config.bias and not layer.batch_norm
    if isinstance(layer, Conv):
        module = conv(input_shape[0], layer.channels, layer.kernel, layer.stride, layer.padding, bias=bias)
        scale = config.conv_weight_scale
    else:
        module = FullyConnected(math.prod(input_shape), layer.units, bias=bias)
        nn.init.kaiming_normal_(module.weight)
        scale = config.linear_weight_scale
    return _scaled(module, scale)


def _block(
    block: Residual, input_shape: Shape, config: NetworkConfig, conv: type[nn.Conv2d], neuron: Callable[[Shape], nn.Module]
) -> ResidualBlock:
    """The block with all its neurons. Where its result has another shape than its input, a convolution of 1x1, or units, fit the input to it,
    with batch norm if the last layer has one."""
    shapes = [input_shape]
    for layer in block.layers:
        shapes.append(output_shape(layer, shapes[-1], config.layers))
    last, shape = block.layers[-1], shapes[-1]
    shortcut = None
    if shape != input_shape:
        stride = math.prod(layer.stride for layer in block.layers) if isinstance(last, Conv) else 1
        fitting = dataclasses.replace(last, kernel=1, stride=stride, padding=0) if isinstance(last, Conv) else last
        if (reached := output_shape(fitting, input_shape, config.layers)) != shape:
            raise UserError(
                f"network.layers: a residual block of {config.layers} makes {_sides(shape)} of {_sides(input_shape)}, and its shortcut "
                f"{_sides(reached)}: choose network.padding so that its convolutions keep the sides, such as 1 for 3x3"
            )
        shortcut = [_weights(fitting, input_shape, config, conv), *([batch_norm_of(shape)] if last.batch_norm else [])]
    layers = []
    for layer, below, above in zip(block.layers, shapes, shapes[1:]):
        kind, weights = "conv" if isinstance(layer, Conv) else "linear", _weights(layer, below, config, conv)
        layers.append((kind, weights, batch_norm_of(above) if layer.batch_norm else None, neuron(above)))
    return ResidualBlock(layers, shortcut, neuron(shape) if shortcut and block.adds == "spikes" else None, block.adds)


def _sides(shape: Shape) -> str:
    return "x".join(map(str, shape))


def _scaled(module: nn.Module, scale: float) -> nn.Module:
    with torch.no_grad():
        module.weight.mul_(scale)
    return module


def output_shape(layer: Layer, shape: Shape, layers: str) -> Shape:
    """What `layer` of the network `layers` makes of a sample of `shape`.

    Raises:
        UserError: nothing is left of it.
    """
    if isinstance(layer, Residual):
        for inner in layer.layers:
            shape = output_shape(inner, shape, layers)
        return shape
    if isinstance(layer, (Linear, Recurrent)):
        return (layer.units,)
    if isinstance(layer, Conv):
        height, width = ((side + 2 * layer.padding - layer.kernel) // layer.stride + 1 for side in shape[1:])
        shape = (layer.channels, height, width)
    else:
        shape = (shape[0], *(side // layer.size for side in shape[1:]))
    if min(shape) < 1:
        raise UserError(f"network.layers: {layers} shrinks its input to nothing; use fewer or smaller layers, or more padding")
    return shape
