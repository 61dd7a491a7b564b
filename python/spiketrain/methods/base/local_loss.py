"""What local_ce, local_corr and local_ce_corr share: networks trained by a loss per layer on what the layer's neurons do.

With `neuron: clamped` it is the published spiking network with these losses (L_ce, L_corr, L_ce_corr; worden1/ICTAI_snn on GitHub):
neurons that stop at a threshold which they learn, losses on the membrane potential, spike counts between the layers, every layer
done with its time steps before the next one begins; behind convolutions, fully connected layers of ReLUs. Of the published code
are left out: the 3 x 3 convolutions that it makes for the similarity of maps and never uses, and NaN as the gradient of a sample
whose features are all equal, which is 0 here.

With `neuron: lif` it is our own variant of Nokland & Eidnes, "Training neural networks with local error signals" (ICML 2019),
with leaky integrate-and-fire neurons for the ReLU, losses on the firing rate and spikes between the layers. Unlike there, weights
before a batch norm have no bias, which could not change anything.

In both the order is weights -> batch norm -> neurons; the loss comes before pooling; pooling takes the maximum; a linear readout of
what the last layer hands on, of spikes their rate, is trained by cross-entropy and tells the classes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops import surrogate
from spiketrain import distributed
from spiketrain.config import Config
from spiketrain.config.fields import Count, NotNegative, Positive, UpToOne
from spiketrain.errors import UserError
from spiketrain.methods.base.layerwise import LayerwiseMethod
from spiketrain.methods.base.method import LayerResult
from spiketrain.models import local_loss, source
from spiketrain.models.notation import parse
from spiketrain.models.source import NetworkSource


@dataclass
class Options:
    """Options of local losses.

    Args:
        name: the method
        neuron: clamped (published: stops at a threshold that it learns) or lif (our own: fixed threshold, surrogate gradient)
        dt: of clamped neurons, width of a time step, in seconds
        leak: of clamped neurons, leak rate, in 1/s
        threshold_gain: of clamped neurons, factor on the gradient of the thresholds
        threshold_drift: of clamped neurons, added to the gradient of the thresholds in each step
        decay: of lif neurons, factor by which the membrane potential decays in one time step
        threshold: of lif neurons, firing threshold
        reset: of lif neurons, what a spike does to the membrane potential: subtract the threshold, or set it to zero
        surrogate: of lif neurons, shape of the surrogate derivative
        surrogate_parameter: its one parameter (alpha, slope, width or sigma, see spikeops.surrogate)
        batch_norm: normalise the currents of each unit or channel over the batch and all time steps
        decoder_size: most features that the local classifier of a convolution sees; at least its channels
        similarity_std: compare maps by the standard deviation of each channel, not pixel by pixel
    """

    name: str
    neuron: Literal["clamped", "lif"] = "clamped"
    dt: Positive = 3e-5
    leak: NotNegative = 2.0
    threshold_gain: NotNegative = 1e7
    threshold_drift: float = 0.1
    decay: UpToOne = 0.5
    threshold: Positive = 1.0
    reset: Literal["subtract", "to"] = "subtract"
    surrogate: Literal["ATan", "Sigmoid", "Exponential", "FastSigmoid", "Triangle", "Rectangle", "Gaussian"] = "ATan"
    surrogate_parameter: Positive = 2.0
    batch_norm: bool = True
    decoder_size: Count = 4096
    similarity_std: bool = True


_OF_NEURON = {
    "clamped": ("dt", "leak", "threshold_gain", "threshold_drift"),
    "lif": ("decay", "threshold", "reset", "surrogate", "surrogate_parameter"),
}


class LocalLossMethod(LayerwiseMethod):
    """A network of `LocalLossBlock`s and a readout. A subclass names the loss."""

    loss: ClassVar[str]  # of LocalLossBlock
    changeable = ("threshold_gain", "threshold_drift")

    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None:
        if distributed.world_size() > 1:
            raise UserError(f"{config.method.name} compares all samples of a batch, so it must not be started in several processes")
        # Convolutions and pooling over many small images run faster with channels last, on the CPU and on the GPU.
        self.network = self.build(config, input_shape, classes).to(device, memory_format=torch.channels_last)
        self.set_layers(dict(self.network.items()), config)

    def build(self, config: Config, input_shape: tuple[int, int, int], classes: int) -> nn.ModuleDict:
        """The layers by name: `Block`s and at last a `Readout`."""
        options = config.method
        _check(config)
        outputs = parse(config.network.layers, config.network.padding)[-1].units
        if outputs < classes:
            raise UserError(f"network.layers: {config.network.layers} has {outputs} outputs, the data set has {classes} classes")
        beta = getattr(options, "beta", 0.0)

        def block(encoder: nn.Module, shape: tuple[int, ...], outputs: int, kind: str) -> snn.LocalLossBlock:
            return snn.LocalLossBlock(
                encoder,
                shape,
                outputs,
                self.loss,
                beta=beta,
                neuron=_neuron(kind, shape[0], config),
                batch_norm=options.batch_norm,
                decoder_size=options.decoder_size,
                time_steps=config.network.time_steps if kind == "lif" else None,
                similarity_std=options.similarity_std,
            )

        return local_loss.build(
            config.network,
            input_shape,
            block,
            neuron=options.neuron,
            batch_norm=options.batch_norm,
            readout_weight=1 - beta,
        )

    def train_layer(self, name: str, inputs: Tensor, labels: Tensor, batch_size: int) -> tuple[Tensor, LayerResult]:
        layer = self.layers[name]
        with self._precision(inputs):
            output = layer(inputs)
            loss, logits = layer.loss(output, labels)
        self.optimizers[name].minimize(loss)
        correct = None if logits is None else (logits.argmax(1) == labels).sum()
        return layer.handed_on(output).detach(), LayerResult(loss.detach(), correct)

    @torch.inference_mode()
    def scores(self, inputs: Tensor) -> Tensor:
        self.network.eval()
        return self.inference(inputs)

    def inference(self, inputs: Tensor) -> Tensor:
        with self._precision(inputs):
            for layer in self.layers.values():
                inputs = layer.handed_on(layer(inputs))
        return inputs

    def source(self) -> NetworkSource | None:
        return source.local_losses(self.network) if type(self.network) is nn.ModuleDict else None

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        self.network.eval()
        trains = {}
        with self._precision(inputs):
            for name, layer in self.layers.items():
                if name == "output":
                    break
                output = layer(inputs)
                if (train := layer.spike_train(inputs, output)) is not None:
                    trains[name] = train
                inputs = layer.handed_on(output)
        return trains

    def _precision(self, inputs: Tensor):
        bfloat16 = self.config.trainer.precision == "bfloat16"
        return torch.autocast(inputs.device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()


def _neuron(kind: str, units: int, config: Config) -> nn.Module | str:
    """The `neuron` of a `LocalLossBlock`."""
    options = config.method
    if kind == "clamped":
        own = {name: getattr(options, name) for name in _OF_NEURON[kind]}
        return snn.ClampedLIF(units, time_steps=config.network.time_steps, **own)
    if kind == "relu":
        return kind
    bump = getattr(surrogate, options.surrogate)(options.surrogate_parameter)
    return snn.LIF(options.decay, options.threshold, reset=options.reset, surrogate=bump)


def _check(config: Config) -> None:
    for name in ("feedback", "dropout"):
        if value := getattr(config.network, name):
            raise UserError(f"network.{name}: networks with local losses have none, got {value}")
    options = config.method
    defaults = {field.name: field.default for field in dataclasses.fields(options)}
    for neuron, names in _OF_NEURON.items():
        for name in names if neuron != options.neuron else ():
            if getattr(options, name) != defaults[name]:
                raise UserError(f"method.{name}: belongs to method.neuron {neuron}, this network's are {options.neuron}")
    if options.dt * options.leak > 1:
        raise UserError(
            f"field method.leak: expected at most 1 / method.dt = {1 / options.dt:g}, beyond which Euler's steps overshoot, got {options.leak}"
        )
