"""A network of one's own: convolution, batch norm and spiking neurons, twice, and a linear readout."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from spikeops import nn as snn
from spiketrain.config import Config

CHANNELS = (16, 32)


def network(config: Config, input_shape: tuple[int, ...], classes: int, neuron: Callable[..., nn.Module]) -> nn.Module:
    """A module from input (T, N, C, H, W) to outputs (T, N, classes).

    Args:
        config: the run; here are ``config.network.time_steps`` and the method's options, ``config.method``
        input_shape: (C, H, W) of a sample
        classes: how many there are
        neuron: makes neurons as the method's options say, for samples of a shape; neurons of one's own will do as well
    """
    below, *sides = input_shape
    stages: list[nn.Module] = []
    for channels in CHANNELS:
        weights = snn.SpikeConv2d(below, channels, kernel_size=3, padding=1, bias=False)
        # Time is folded into the batch, so a channel is normalised over all samples, places and time steps.
        stages.append(snn.TimeDistributed(nn.Sequential(weights, nn.BatchNorm2d(channels))))
        stages.append(neuron((channels, *sides)))
        stages.append(snn.TimeDistributed(snn.AvgPool2d(2)))
        below, sides = channels, [side // 2 for side in sides]
    readout = nn.Linear(below * sides[0] * sides[1], classes)
    stages.append(snn.TimeDistributed(nn.Sequential(nn.Flatten(), readout)))
    return nn.Sequential(*stages)
