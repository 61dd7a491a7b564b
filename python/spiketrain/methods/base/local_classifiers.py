"""What ELL, FELL and BELL share: layers that each learn from a classifier of their own, with an optimiser of their own.

Ma, Yan, Yu & Yu, "Deep Spike Learning With Local Classifiers", IEEE Transactions on Cybernetics 2022. Details of the published
script, as this follows it: pixels go into the first layer as currents, the same at all time steps; no layer has a bias; blocks of
convolutions are pooled by averaging their spikes; one Adam per layer; the last layer's classifier predicts.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

import spikeops.functional as SF
from spikeops import nn as snn
from spiketrain.config import Config
from spiketrain.config.fields import Count, Positive
from spiketrain.errors import UserError
from spiketrain.methods.base.layerwise import LayerwiseMethod
from spiketrain.methods.base.method import LayerResult
from spiketrain.methods.base.published import PublishedWeights, Source
from spiketrain.models import source
from spiketrain.models.local import LocalNetwork
from spiketrain.models.source import NetworkSource

# Of a block, as the published code calls them.
_PUBLISHED_TENSORS = {
    "encoder.weight": "encoder.weight",
    "classifier.weight": "decoder_y.weight",
    "classifier.feedback_weight": "decoder_y.weight_fa",
}


@dataclass
class LocalClassifierOptions:
    """Options of the rules with local classifiers.

    Args:
        tau: membrane time constant, in time steps
        threshold: firing threshold
        decoder_size: largest number of inputs of a local classifier; feature maps are pooled down to it
        feedback: how a local classifier's error comes back: transpose of its weights, or alignment (through a matrix of its own)
        frozen_classifiers: keep the random initial weights of the local classifiers
        encoding: what the first layer gets: real (pixels as currents, at all time steps) or latency (one spike per pixel, the
            earlier the brighter; needs data.normalize false)
        update: ell and fell change the weights after every time step, or once per window with the sum of the gradients
    """

    tau: Positive = 1.0
    threshold: Positive = 1.0
    decoder_size: Count = 1024
    feedback: Literal["transpose", "alignment"] = "transpose"
    frozen_classifiers: bool = False
    encoding: Literal["real", "latency"] = "real"
    update: Literal["step", "window"] = "step"


class LocalClassifierMethod(LayerwiseMethod):
    """A method whose layers learn by `rule`, each on its own."""

    rule: ClassVar[str]

    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None:
        if config.method.encoding == "latency" and config.data.normalize:
            raise UserError("method.encoding: latency needs pixels from 0 to 1; set data.normalize to false")
        self.device = device
        self.network = self.build(config, input_shape, classes).to(device)
        # The other two rules change weights after every time step, unless they are told to wait for the window's end.
        self.set_layers(self.network.blocks(), config, learn_once=self.rule == "bell" or config.method.update == "window")

    def build(self, config: Config, input_shape: tuple[int, int, int], classes: int) -> LocalNetwork:
        options: LocalClassifierOptions = config.method

        def block(encoder: nn.Linear | nn.Conv2d, shape: tuple[int, ...]) -> snn.LocalBlock:
            classifier = snn.LocalClassifier(
                shape,
                classes,
                decoder_size=options.decoder_size,
                feedback=options.feedback,
                frozen=options.frozen_classifiers,
            )
            return snn.LocalBlock(
                encoder,
                classifier,
                self.rule,
                time_steps=config.network.time_steps,
                tau=options.tau,
                threshold=options.threshold,
                update=options.update,
            )

        return LocalNetwork(config.network, input_shape, block)

    def train_layer(self, name: str, inputs: Tensor, labels: Tensor, batch_size: int) -> tuple[Tensor, LayerResult]:
        with self._precision(), torch.no_grad():
            if name == next(iter(self.layers)):
                inputs = self._encode(inputs)
            step = self.layers[name].learn(self.network.before(name, inputs), labels, self.optimizers[name], batch_size)
        return step.spikes, LayerResult(step.loss, (step.count.argmax(1) == labels).sum())

    def published_weights(self) -> PublishedWeights:
        """Blocks are called conv1, conv2, ..., fc1, ...; local classifiers decoder_y."""
        sources = {}
        for own, tensor in self.network.state_dict().items():
            _, block, key = own.split(".", 2)
            name = f"{block.replace('conv_', 'conv').replace('linear_', 'fc')}.{_PUBLISHED_TENSORS[key]}"
            sources[own] = Source(name, tuple(tensor.shape))
        return PublishedWeights(sources)

    @torch.inference_mode()
    def scores(self, inputs: Tensor) -> Tensor:
        return self.inference(inputs)

    def inference(self, inputs: Tensor) -> Tensor:
        with self._precision():
            return self.network(self._encode(inputs)).float()

    def source(self) -> NetworkSource | None:
        if type(self.network) is not LocalNetwork:
            return None
        steps = self.config.network.time_steps
        is_real = self.config.method.encoding == "real"
        return source.local_classifiers(self.network, "inputs" if is_real else f"SF.latency_encode(inputs.clamp_min(1e-6), {steps})")

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        with self._precision():
            return self.network.spikes(self._encode(inputs))

    def _encode(self, inputs: Tensor) -> Tensor:
        """What the first layer gets."""
        if self.config.method.encoding == "real":
            return inputs
        if inputs.dim() == 5:
            raise UserError("method.encoding: latency is for images, the data set holds events")
        # As published, black pixels fire too, at the last step; latency_encode leaves out those of exactly 0.
        return SF.latency_encode(inputs.clamp_min(1e-6), self.config.network.time_steps)

    def _precision(self):
        bfloat16 = self.config.trainer.precision == "bfloat16"
        return torch.autocast(self.device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext()
