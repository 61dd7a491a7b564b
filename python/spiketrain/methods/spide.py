"""SPIDE: spikes in the forward and in the backward pass (Xiao et al., Neural Networks 2023, arXiv:2302.00232).

The ring of IDE without batch-norm, whose gradient is the firing rate of a second simulation, of neurons with signed spikes that
run through the transposed weights. What follows the published code, and what is mended, says `spikeops.nn.FeedbackRing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spiketrain.config import Config
from spiketrain.config.fields import Count, Positive, UpToOneNotZero
from spiketrain.methods.base.feedback import FeedbackMethod, input_kind
from spiketrain.models.feedback import FeedbackNetwork

TRANSPOSED_GAIN = 0.1  # as published, transposed convolutions start that much smaller


@dataclass
class Options:
    """Options of SPIDE.

    Args:
        name: spide
        leak: factor by which membrane potentials decay in one time step, in both passes, in (0, 1]; 1 for no leak
        threshold: firing threshold
        u_rest: resting potential: a spike subtracts threshold - u_rest from the membrane potential; default -threshold
        backward_time_steps: time steps of the backward pass
        backward_threshold: threshold of the backward neurons
        backward_u_rest: their resting potential: their spikes have the size of the difference; default -backward_threshold
        scale_factor: factor on the loss, lest its gradient be too small to make backward neurons fire; divides the learning rate
        norm_range: largest Frobenius norm of the feedback weight (estimated from random vectors)
        init: initial weights: unit_norm scales the weights of each output to Euclidean norm 1, kaiming are He's
        weight_standardization: convolutions with weight standardisation
    """

    name: str = "spide"
    leak: UpToOneNotZero = 1.0
    threshold: Positive = 1.0
    u_rest: float | None = None
    backward_time_steps: Count = 100
    backward_threshold: Positive = 0.5
    backward_u_rest: float | None = None
    scale_factor: Positive = 100.0
    norm_range: Positive = 2.0
    init: Literal["unit_norm", "kaiming"] = "unit_norm"
    weight_standardization: bool = False


class SPIDE(FeedbackMethod):
    Options = Options

    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None:
        super().__init__(config, input_shape, classes, device)
        self.loss_scale = config.method.scale_factor
        self.backward_time_steps = config.method.backward_time_steps

    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        options: Options = config.method
        return FeedbackNetwork(
            config.network,
            input_shape,
            batch_norm=False,
            initialise=partial(_initialise, kind=options.init),
            restrict=partial(snn.restrict_frobenius_norm, norm_range=options.norm_range),
            conv=snn.WSConv2d if options.weight_standardization else nn.Conv2d,
            method="spide",
            input=input_kind(config),
            leak=options.leak,
            threshold=options.threshold,
            u_rest=options.u_rest,
            backward_time_steps=options.backward_time_steps,
            backward_threshold=options.backward_threshold,
            backward_u_rest=options.backward_u_rest,
        )

    def step_measures(self) -> dict[str, Tensor]:
        return {**super().step_measures(), **self.named_rates("backward", self.network.ring.last_backward_rates)}

    def firing_rates(self, inputs: Tensor, labels: Tensor) -> tuple[list[float], list[float]]:
        self.network.eval()
        loss = self.loss(self.forward(inputs), labels, len(labels)) * self.loss_scale
        loss.backward()
        self.optimizer.zero_grad()
        ring = self.network.ring
        return ring.last_forward_rates.tolist(), ring.last_backward_rates.tolist()


def _initialise(part: nn.Module, kind: str) -> None:
    for layer in part.modules():
        gain = TRANSPOSED_GAIN if isinstance(layer, nn.ConvTranspose2d) else 1.0
        if kind == "unit_norm":
            snn.init_unit_norm_(layer, gain)
        elif hasattr(layer, "weight"):
            nn.init.kaiming_normal_(layer.weight)
            layer.weight.data.mul_(gain)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


METHOD = SPIDE
