"""Methods that get the gradients of all weights from one backward pass."""

from __future__ import annotations

import abc
import contextlib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spiketrain.config import Config
from spiketrain.errors import UserError
from spiketrain.methods.base.activity import Activity
from spiketrain.methods.base.method import Method, StepResult
from spiketrain.methods.base.optimizers import load_optimizer, make_optimizer, update_weights
from spiketrain.methods.base.schedules import learning_rate, warm_up
from spiketrain.models import source
from spiketrain.models.network import SpikingNetwork
from spiketrain.models.source import NetworkSource


class GradientMethod(Method):
    """A method that gets its gradients from one backward pass over a batch and updates all weights with one optimiser.

    A subclass builds its network in `build` and defines `loss`. With a `loss_scale` other than 1, the gradient is that of
    the scaled loss and the learning rate is divided by the scale.
    """

    loss_scale = 1.0

    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None:
        self.config = config
        self.input_shape = input_shape
        self.classes = classes
        self.device = device
        self.network = self.build(config, input_shape).to(device)
        if self.network.outputs < classes:
            raise UserError(
                f"network.layers: {config.network.layers} has {self.network.outputs} outputs, the data set has {classes} classes"
            )
        self.optimizer = make_optimizer(self.network, config.optimizer)
        self.rate = config.optimizer.lr  # learning rate of this epoch
        self.steps = 0  # training steps since the run began

    @abc.abstractmethod
    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        """The network, which maps a batch of inputs to outputs: (T, N, classes) if `logits` is not overridden. Its attribute `outputs`
        says for how many classes."""

    @abc.abstractmethod
    def loss(self, outputs: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        """The loss to minimise, 0-d. Parts of a batch in several processes must add up to the loss of the whole batch."""

    def forward(self, inputs: Tensor) -> Tensor:
        """The network's outputs in float32 or float64."""
        bfloat16 = self.config.trainer.precision == "bfloat16"
        with torch.autocast(self.device.type, torch.bfloat16) if bfloat16 else contextlib.nullcontext():
            outputs = self.network(inputs)
        return outputs.float() if outputs.dtype is torch.bfloat16 else outputs

    def logits(self, outputs: Tensor) -> Tensor:
        """Scores of the classes (N, classes) from the network's outputs."""
        return outputs.sum(0)

    def logits_source(self) -> str:
        """`logits` as an expression of ``outputs``."""
        return "outputs.sum(0)"

    def source(self) -> NetworkSource | None:
        if type(self.network) is not SpikingNetwork:
            return None
        return source.spiking(self.network, self.logits_source())

    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        self.network.train()
        outputs = self.forward(inputs)
        loss = self.loss(outputs, labels, batch_size)
        self.optimizer.zero_grad()
        (loss * self.loss_scale).backward()
        self.update_weights()
        with torch.no_grad():
            correct = (self.logits(outputs).argmax(1) == labels).sum()
        return StepResult(loss.detach(), correct)

    def update_weights(self) -> None:
        """Clip the gradient, step the optimiser, keep the weights in bounds."""
        self.steps += 1
        rate = self.rate * warm_up(self.config.optimizer, self.steps) / self.loss_scale
        update_weights(self.optimizer, list(self.network.parameters()), rate, self.config.optimizer)

    @torch.inference_mode()
    def scores(self, inputs: Tensor) -> Tensor:
        self.network.eval()
        return self.inference(inputs)

    def inference(self, inputs: Tensor) -> Tensor:
        return self.logits(self.forward(inputs))

    def activity(self, inputs: Tensor, labels: Tensor) -> Activity:
        activity = super().activity(inputs, labels)
        if isinstance(self.network, SpikingNetwork):
            first, *others = self.network.synapses(tuple(inputs.shape[-3:]))
            activity.input_synapses = first
            for layer, count in zip(activity.layers, others):
                layer.synapses = count
        return activity

    def record_neurons(self, inputs: Tensor, what: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
        """``what(module, input, output)`` of each layer of neurons in one forward pass without learning, by name."""
        recorded = {}

        def hook(name: str):
            return lambda module, arguments, output: recorded.__setitem__(name, what(module, arguments[0], output))

        hooks = [stage.register_forward_hook(hook(name)) for name, stage in self.network.neurons().items()]
        try:
            self.scores(inputs)
        finally:
            for handle in hooks:
                handle.remove()
        return recorded

    def start_epoch(self, epoch: int) -> float:
        self.rate = learning_rate(self.config.optimizer, epoch, self.config.trainer.epochs)
        return self.rate

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.steps = state["steps"]
