"""A method of one's own: BPTT with a price on firing rates other than a wanted one."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.config.fields import NotNegative, UpToOne
from spiketrain.methods import bptt


@dataclass
class Options(bptt.Options):
    """Options of BPTT with a price on firing rates.

    Args:
        rate_cost: factor on the mean square distance of the neurons' firing rates from the wanted one
        rate_wanted: that rate, in spikes per neuron and time step
    """

    name: str = "rate-cost"
    rate_cost: NotNegative = 1.0
    rate_wanted: UpToOne = 0.05


class RateCost(bptt.BPTT):
    Options = Options
    changeable = ("rate_cost", "rate_wanted")  # a run may go on with others

    def __init__(self, config: Config, input_shape: tuple[int, ...], classes: int, device: torch.device) -> None:
        super().__init__(config, input_shape, classes, device)
        self.rates: list[Tensor] = []  # of the neurons of each layer, from the latest forward pass
        for neurons in self.network.neurons().values():
            neurons.register_forward_hook(lambda module, inputs, spikes: self.rates.append(spikes.mean((0, 1))))

    def forward(self, inputs: Tensor) -> Tensor:
        self.rates.clear()
        return super().forward(inputs)

    def loss(self, outputs: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        options = self.config.method
        cost = sum((rates - options.rate_wanted).square().mean() for rates in self.rates)
        # The parts of a batch in several processes add up to the loss of the whole.
        return super().loss(outputs, labels, batch_size) + options.rate_cost * cost * len(labels) / batch_size
