"""What local_ce, local_corr and local_ce_corr share: networks trained by a loss per layer on the layer's firing rate.

Our own variant of Nokland & Eidnes, "Training neural networks with local error signals" (ICML 2019), with leaky
integrate-and-fire neurons for the ReLU. As in their code: weights -> batch norm -> neurons; the loss comes before pooling;
pooling takes the maximum; a linear readout of the last layer's output, here its firing rate, which starts at zero, is trained by
cross-entropy and tells the classes. Layers exchange spikes. Unlike there, weights before a batch norm have no bias, which could
not change anything.

It is not the published spiking network with these losses (L_ce, L_corr, L_ce_corr; worden1/ICTAI_snn on GitHub), whose neurons
have learned thresholds, stop at the threshold and pass the gradient on as it is, whose losses see the membrane potential, and
whose layers exchange spike counts.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeops import nn as snn
from spikeops import surrogate
from spiketrain import distributed
from spiketrain.config import Config
from spiketrain.errors import UserError
from spiketrain.layerwise import LayerwiseMethod
from spiketrain.method import LayerResult
from spiketrain.models.network import output_shape
from spiketrain.models.notation import Conv, Linear, Pool, parse


@dataclass
class Options:
    """Options of local losses.

    Args:
        name: the method
        decay: factor by which the membrane potential decays in one time step
        threshold: firing threshold
        reset: what a spike does to the membrane potential: subtract the threshold, or set it to zero
        surrogate: shape of the surrogate derivative
        surrogate_parameter: its one parameter (alpha, slope, width or sigma, see spikeops.surrogate)
        batch_norm: normalise the currents of each unit or channel over the batch and all time steps
        decoder_size: most features that the local classifier of a convolution sees; at least its channels
    """

    name: str
    decay: float = 0.5
    threshold: float = 1.0
    reset: Literal["subtract", "to"] = "subtract"
    surrogate: Literal["ATan", "Sigmoid", "Exponential", "FastSigmoid", "Triangle", "Rectangle", "Gaussian"] = "ATan"
    surrogate_parameter: float = 2.0
    batch_norm: bool = True
    decoder_size: int = 4096


class LocalLossMethod(LayerwiseMethod):
    """A network of `LocalLossBlock`s and a readout. A subclass names the loss."""

    loss: ClassVar[str]  # of LocalLossBlock

    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None:
        if distributed.world_size() > 1:
            raise UserError(f"{config.method.name} compares all samples of a batch, so it must not be started in several processes")
        # Convolutions and pooling over many small images run faster with channels last, on the CPU and on the GPU.
        self.network = self.build(config, input_shape, classes).to(device, memory_format=torch.channels_last)
        self.set_layers(dict(self.network.items()), config)

    def build(self, config: Config, input_shape: tuple[int, int, int], classes: int) -> nn.ModuleDict:
        """The layers by name: `SpikingLayer`s and at last a `Readout`."""
        notation, options = config.network.layers, config.method
        layers = parse(notation, config.network.padding)
        outputs = layers[-1].units
        if outputs < classes:
            raise UserError(f"network.layers: {notation} has {outputs} outputs, the data set has {classes} classes")
        for name in ("feedback", "dropout"):
            if value := getattr(config.network, name):
                raise UserError(f"network.{name}: networks with local losses have none, got {value}")
        beta = getattr(options, "beta", 0.0)
        bump = getattr(surrogate, options.surrogate)(options.surrogate_parameter)
        built = nn.ModuleDict()
        names = Counter()
        shape = tuple(input_shape)
        pools: list[nn.Module] = []
        for layer in layers[:-1]:
            below, shape = shape, output_shape(layer, shape, notation)
            if isinstance(layer, Pool):
                pools.append(nn.MaxPool2d(layer.size))
                continue
            block = snn.LocalLossBlock(
                _weights(layer, below, config),
                shape,
                outputs,
                self.loss,
                beta=beta,
                neuron=snn.LIF(options.decay, options.threshold, reset=options.reset, surrogate=bump),
                batch_norm=options.batch_norm,
                decoder_size=options.decoder_size,
                time_steps=config.network.time_steps,
            )
            kind = "conv" if isinstance(layer, Conv) else "linear"
            names[kind] += 1
            built[f"{kind}_{names[kind]}"] = SpikingLayer(pools, block)
            pools = []
        if not built:
            raise UserError(f"network.layers: {notation} has no layer of neurons before its outputs")
        built["output"] = Readout(pools, nn.Linear(math.prod(shape), outputs), weight=1 - beta)
        return built

    def train_layer(self, name: str, inputs: Tensor, labels: Tensor, batch_size: int) -> tuple[Tensor, LayerResult]:
        layer = self.layers[name]
        with self._precision(inputs):
            outputs = layer(inputs)
            loss, logits = layer.loss(outputs, labels)
        self.optimizers[name].minimize(loss)
        correct = None if logits is None else (logits.argmax(1) == labels).sum()
        return outputs.detach(), LayerResult(loss.detach(), correct)

    @torch.inference_mode()
    def scores(self, inputs: Tensor) -> Tensor:
        self.network.eval()
        with self._precision(inputs):
            for layer in self.layers.values():
                inputs = layer(inputs)
        return inputs

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        self.network.eval()
        trains = {}
        with self._precision(inputs):
            for name, layer in self.layers.items():
                trains[name] = inputs = layer(inputs)
        return {name: train for name, train in trains.items() if name != "output"}

    def _precision(self, inputs: Tensor):
        bfloat16 = self.config.trainer.precision == "bfloat16"
        return torch.autocast(inputs.device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()


class SpikingLayer(nn.Module):
    """A layer of neurons with a local loss, and the pooling before it.

    Images (N, C, H, W), or spikes or events (T, N, ...), to spikes (T, N, ...).
    """

    def __init__(self, pools: list[nn.Module], block: snn.LocalLossBlock) -> None:
        super().__init__()
        self.pools, self.block = nn.ModuleList(pools), block

    def forward(self, inputs: Tensor) -> Tensor:
        pooled = _pool(self.pools, inputs)
        is_linear = len(self.block.shape) == 1
        return self.block(pooled.flatten(-3) if is_linear and pooled.dim() > 3 else pooled)

    def loss(self, spikes: Tensor, labels: Tensor) -> tuple[Tensor, Tensor | None]:
        """The loss, and the logits of the local classifier if there is one."""
        losses = self.block.local_losses(spikes, labels)
        return losses.total, losses.logits


class Readout(nn.Module):
    """Logits (N, outputs) from the firing rate of the spikes (T, N, ...) of the last layer, after pooling."""

    def __init__(self, pools: list[nn.Module], linear: nn.Linear, weight: float) -> None:
        super().__init__()
        self.pools, self.linear, self.weight = nn.ModuleList(pools), linear, weight
        nn.init.zeros_(linear.weight)

    def forward(self, spikes: Tensor) -> Tensor:
        rate = _pool(self.pools, spikes).mean(0)
        return self.linear(rate.flatten(1)).float()

    def loss(self, logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self.weight * F.cross_entropy(logits, labels), logits


def _pool(pools: nn.ModuleList, x: Tensor) -> Tensor:
    """Pools images (N, C, H, W) or each time step of (T, N, C, H, W); (T, N, units) are never pooled."""
    for pool in pools:
        x = pool(x) if x.dim() == 4 else pool(x.flatten(0, 1)).unflatten(0, x.shape[:2])
    return x


def _weights(layer: Conv | Linear, below: tuple[int, ...], config: Config) -> nn.Module:
    """The weights of a layer, with PyTorch's initial values times the scale of the options."""
    bias = not config.method.batch_norm
    if isinstance(layer, Conv):
        module = snn.SpikeConv2d(below[0], layer.channels, layer.kernel, layer.stride, layer.padding, bias=bias)
        scale = config.network.conv_weight_scale
    else:
        module = nn.Linear(math.prod(below), layer.units, bias=bias)
        scale = config.network.linear_weight_scale
    with torch.no_grad():
        module.weight.mul_(scale)
    return module
