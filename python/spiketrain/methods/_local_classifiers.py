"""What ELL, FELL and BELL share: layers that each learn from a classifier of their own, with an optimiser of their own.

Ma, Yan, Yu & Yu, "Deep Spike Learning With Local Classifiers", IEEE Transactions on Cybernetics 2022. Details of the published
script, as this follows it: pixels go into the first layer as currents, the same at all time steps; no layer has a bias; blocks of
convolutions are pooled by averaging their spikes; one Adam per layer; the last layer's classifier predicts.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

import spikeops.functional as SF
from spikeops import nn as snn
from spiketrain.config import Config
from spiketrain.errors import UserError
from spiketrain.method import LayerResult, Method, StepResult, learning_rate, make_optimizer, update_weights, warm_up
from spiketrain.models.local import LocalNetwork


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

    tau: float = 1.0
    threshold: float = 1.0
    decoder_size: int = 1024
    feedback: Literal["transpose", "alignment"] = "transpose"
    frozen_classifiers: bool = False
    encoding: Literal["real", "latency"] = "real"
    update: Literal["step", "window"] = "step"


class LocalClassifierMethod(Method):
    """A method whose layers learn by `rule`, each on its own."""

    rule: ClassVar[str]

    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None:
        if config.method.encoding == "latency" and config.data.normalize:
            raise UserError("method.encoding: latency needs pixels from 0 to 1; set data.normalize to false")
        self.config = config
        self.device = device
        self.network = self.build(config, input_shape, classes).to(device)
        self.optimizers = {name: LayerOptimizer(block, config) for name, block in self.network.blocks().items()}
        self.rate = config.optimizer.lr  # learning rate of this epoch
        self.steps = 0  # training steps since the run began

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

    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        self.steps += 1
        rate = self.rate * warm_up(self.config.optimizer, self.steps)
        layers: dict[str, LayerResult] = {}

        def learn(name: str, block: snn.LocalBlock, x: Tensor) -> Tensor:
            optimizer = self.optimizers[name]
            optimizer.rate = rate
            step = block.learn(x, labels, optimizer, batch_size)
            layers[name] = LayerResult(step.loss, (step.count.argmax(1) == labels).sum())
            return step.spikes

        with self._precision(), torch.no_grad():
            self.network.run(self._encode(inputs), learn)
        *_, last = layers.values()
        return StepResult(sum(layer.loss for layer in layers.values()), last.correct, layers)

    @torch.inference_mode()
    def scores(self, inputs: Tensor) -> Tensor:
        with self._precision():
            return self.network(self._encode(inputs)).float()

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        with self._precision():
            return self.network.spikes(self._encode(inputs))

    def start_epoch(self, epoch: int) -> float:
        self.rate = learning_rate(self.config.optimizer, epoch, self.config.trainer.epochs)
        return self.rate

    def state_dict(self) -> dict[str, Any]:
        optimizers = {name: optimizer.optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        return {"network": self.network.state_dict(), "optimizers": optimizers, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        for name, optimizer in self.optimizers.items():
            optimizer.optimizer.load_state_dict(state["optimizers"][name])
        self.steps = state["steps"]

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


class LayerOptimizer:
    """The optimiser of one block, as `LocalBlock.learn` wants it.

    Attributes:
        rate: learning rate
    """

    def __init__(self, block: snn.LocalBlock, config: Config) -> None:
        self.parameters = block.trainable()
        self.options = config.optimizer
        self.rate = config.optimizer.lr
        self.optimizer = make_optimizer(block, config.optimizer)

    def step(self) -> None:
        update_weights(self.optimizer, self.parameters, self.rate, self.options)
