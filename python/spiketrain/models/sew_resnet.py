"""SEW-ResNet: residual networks that add spikes (Fang et al., "Deep residual learning in spiking neural networks", NeurIPS 2021,
arXiv:2102.04159), with basic blocks and the connection ADD.

A block is convolution, batch norm, neurons, twice, and its spikes are added to those of its input, or, where a stage halves the sides, to
those of 1x1 convolution, batch norm and neurons.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import nn

from spiketrain.models.residual import Block, MakeNeurons, ResidualNetwork, Shape, Unit, conv

STAGES = 4


def sew_resnet18(
    time_steps: int, input_shape: Shape, outputs: int, neurons: MakeNeurons, readout: Callable[[int], nn.Module] | None = None, *,
    width: int = 64, depth: int = 2, stem: Literal["cifar", "imagenet"] = "cifar",
) -> ResidualNetwork:  # fmt: skip
    """SEW-ResNet-18, or, with another width or depth, its like.

    Args:
        time_steps: for images
        input_shape: (C, H, W)
        outputs: number of classes
        neurons: makes the neurons
        readout: makes what follows the outputs, see `ResidualNetwork`
        width: channels of the first stage; each of the other three has twice as many as the one before
        depth: blocks in each of the four stages
        stem: first layer: "imagenet", as published, 7x7 convolution of stride 2 and max-pooling; "cifar", for small images, 3x3 convolution
            of stride 1 and no pooling
    """

    def unit(inputs: int, channels: int, kernel: int, stride: int = 1, pool: nn.Module | None = None) -> Unit:
        layer = conv(inputs, channels, kernel, stride)
        nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
        return Unit(layer, neurons((channels, 1, 1), 1.0), pool)

    is_small = stem == "cifar"
    first = unit(input_shape[0], width, 3 if is_small else 7, 1 if is_small else 2, None if is_small else nn.MaxPool2d(3, 2, 1))
    blocks: dict[str, Block] = {}
    inputs = width
    for stage in range(STAGES):
        channels = width * 2**stage
        for number in range(depth):
            stride = 2 if stage and not number else 1
            branch = {"conv_1": unit(inputs, channels, 3, stride), "conv_2": unit(channels, channels, 3)}
            shortcut = True if stride == 1 else unit(inputs, channels, 1, stride)
            blocks[f"stage_{stage + 1}_block_{number + 1}"] = Block(branch, shortcut)
            inputs = channels
    return ResidualNetwork(time_steps, first, blocks, inputs, outputs, readout)
