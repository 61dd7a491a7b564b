"""Plain backpropagation through time with a surrogate gradient (Neftci, Mostafa & Zenke 2019), the yardstick of the others.

The same networks as for TSSL-BP, with leaky integrate-and-fire neurons that exchange spikes and average pooling. The last
layer does not spike: its input current, averaged over time, is the logit of a cross-entropy loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops import surrogate
from spiketrain.config import Config
from spiketrain.config.fields import Positive, UpToOne
from spiketrain.methods.base.gradient import GradientMethod
from spiketrain.methods.base.losses import softmax_loss
from spiketrain.models.layers import SumPool2d
from spiketrain.models.network import SpikingNetwork


@dataclass
class Options:
    """Options of BPTT.

    Args:
        name: bptt
        decay: factor by which the membrane potential decays in one time step
        threshold: firing threshold
        reset: what a spike does to the membrane potential: subtract the threshold, or set it to zero
        surrogate: shape of the surrogate derivative
        surrogate_parameter: its one parameter (alpha, slope, width or sigma, see spikeops.surrogate)
    """

    name: str = "bptt"
    decay: UpToOne = 0.5
    threshold: Positive = 1.0
    reset: Literal["subtract", "to"] = "subtract"
    surrogate: Literal["ATan", "Sigmoid", "Exponential", "FastSigmoid", "Triangle", "Rectangle", "Gaussian"] = "ATan"
    surrogate_parameter: Positive = 2.0


class BPTT(GradientMethod):
    Options = Options

    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        options: Options = config.method
        bump = getattr(surrogate, options.surrogate)(options.surrogate_parameter)
        return SpikingNetwork(
            config.network,
            input_shape,
            neuron=lambda i: snn.LIF(options.decay, options.threshold, reset=options.reset, surrogate=bump),
            pool=lambda size: SumPool2d(size, 1 / size**2),
            neurons_at_output=False,
            input_filter=nn.Identity(),
            static_gain=None,
            conv=snn.SpikeConv2d,
        )

    def loss(self, outputs: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        return softmax_loss(outputs / len(outputs), labels, batch_size)

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        return self.record_neurons(inputs, lambda neuron, current, spikes: spikes)


METHOD = BPTT
