"""TSSL-BP: temporal spike sequence learning via backpropagation (Zhang & Li, NeurIPS 2020, arXiv:2002.10085).

Layers exchange post-synaptic currents, the error flows back from current to current through the times of the spikes, and
the loss compares the output currents with a wanted one. Details of the published script, as this follows it:
the input passes the synapse too; layers have no bias; pooling is 1.1 times the window's sum and no neurons follow it;
AdamW with weight decay 0.01; gradients are clipped to norm 1 and weights kept in [-4, 4]; dropout drops whole rows of a map
(`network.dropout_kind: rows`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

import spikeops.functional as SF
from spikeops import nn as snn
from spiketrain.config import Config
from spiketrain.config.fields import NotNegative, Positive
from spiketrain.errors import UserError
from spiketrain.methods.base.gradient import GradientMethod
from spiketrain.methods.base.losses import count_loss, kernel_loss, kernel_target, softmax_loss
from spiketrain.methods.base.published import PublishedWeights, Source, turned_kernels, turned_maps
from spiketrain.models.layers import SumPool2d
from spiketrain.models.network import SpikingNetwork
from spiketrain.models.notation import Pool, parse
from spiketrain.models.synapses import shape_after


@dataclass
class Options:
    """Options of TSSL-BP.

    Args:
        name: tssl_bp
        tau_m: membrane time constant, in time steps
        tau_s: synaptic time constant, in time steps
        threshold: firing threshold, one for all layers or a list with one for each layer of neurons
        pool_gain: factor on the sum over a pooling window
        loss: kernel (output current against a wanted one), count (summed current against a count) or softmax
        desired_count: wanted sum of the output current of the right class (loss count)
        undesired_count: wanted sum of the output currents of the other classes (loss count)
    """

    name: str = "tssl_bp"
    tau_m: Positive = 5.0
    tau_s: Positive = 3.0
    threshold: Positive | list[Positive] = 1.0
    pool_gain: Positive = 1.1
    loss: Literal["kernel", "count", "softmax"] = "kernel"
    desired_count: NotNegative = 4.0
    undesired_count: NotNegative = 1.0


def _kernels(weight: Tensor) -> Tensor:
    return weight.squeeze(-1)


def _kernels_turned(weight: Tensor) -> Tensor:
    return turned_kernels(weight.squeeze(-1))


class TSSLBP(GradientMethod):
    Options = Options

    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        options: Options = config.method
        thresholds = options.threshold
        count = sum(not isinstance(layer, Pool) for layer in parse(config.network.layers, config.network.padding))
        if isinstance(thresholds, list) and len(thresholds) != count:
            raise UserError(
                f"field method.threshold: expected one number, or {count} for the layers of neurons of {config.network.layers}, got {len(thresholds)}"
            )

        def neuron(i: int, _) -> nn.Module:
            return snn.TSSLBP(options.tau_m, options.tau_s, thresholds[i] if isinstance(thresholds, list) else thresholds)

        constant_input = torch.ones(config.network.time_steps, dtype=torch.float64)
        return SpikingNetwork(
            config.network,
            input_shape,
            neuron=neuron,
            pool=lambda size: SumPool2d(size, options.pool_gain),
            neurons_at_output=True,
            input_filter=snn.SynapticFilter(options.tau_s),
            static_gain=SF.synaptic_filter(constant_input, options.tau_s),
        )

    def loss(self, outputs: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        options: Options = self.config.method
        if options.loss == "kernel":
            return kernel_loss(outputs, labels, kernel_target(len(outputs), options.tau_s, like=outputs))
        if options.loss == "count":
            return count_loss(outputs, labels, options.desired_count, options.undesired_count)
        return softmax_loss(outputs, labels, batch_size)

    def published_weights(self) -> PublishedWeights:
        """The layers' weights are numbered, and kernels have an axis of time. Events of N-MNIST come as (polarity, x, y) there."""
        is_turned = self.config.data.name == "nmnist"
        sources, shape = {}, self.input_shape
        for name, stage in self.network.stages.items():
            module = getattr(stage, "module", None)
            if isinstance(module, nn.Conv2d):
                read = _kernels_turned if is_turned else _kernels
                source = Source(f"my_parameters.{len(sources)}", (*module.weight.shape, 1), read)
            elif isinstance(module, nn.Linear):
                maps = {"read": turned_maps(shape)} if is_turned else {}
                source = Source(f"my_parameters.{len(sources)}", tuple(module.weight.shape), **maps)
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                sources[f"stages.{name}.module.weight"] = source
            shape = shape_after([stage], shape)
        return PublishedWeights(sources)

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        def spikes(neuron: snn.TSSLBP, current: Tensor, _) -> Tensor:
            return SF.tssl_bp(current, neuron.tau_m, neuron.tau_s, neuron.threshold, return_spikes=True)[1]

        return self.record_neurons(inputs, spikes)


METHOD = TSSLBP
