"""What a training method is to the trainer. A new method is one file in `methods/` and its presets."""

from __future__ import annotations

import abc
import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spiketrain import distributed
from spiketrain.activity import Activity, LayerActivity, image_or_event_rate
from spiketrain.config import Config, OptimizerConfig
from spiketrain.errors import UserError
from spiketrain.models.network import SpikingNetwork


@dataclass
class LayerResult:
    """What a layer that learns from a loss of its own reports of one step (0-d, detached): the loss, and how many samples its
    own classifier got right, where it has one."""

    loss: Tensor
    correct: Tensor | None = None


@dataclass
class StepResult:
    """What one training step reports: the loss it minimised, and how many samples it got right (both 0-d, detached), or what
    else the data set's task adds up.

    Methods with local losses also report every layer, by name.
    """

    loss: Tensor
    correct: Tensor
    layers: dict[str, LayerResult] = field(default_factory=dict)


class Method(abc.ABC):
    """A network together with the way it learns.

    A subclass names its options class, builds `network`, and owns everything that changes while training, so that
    `state_dict` is all there is to save.

    Args:
        config: the run; ``config.method`` is an `Options`
        input_shape: (C, H, W) of a sample
        classes: number of outputs the labels need
        device: where to train
    """

    Options: ClassVar[type]
    network: nn.Module

    @abc.abstractmethod
    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None: ...

    @abc.abstractmethod
    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        """Learn from one batch: inputs (N, C, H, W) or (T, N, C, H, W), labels (N,).

        `batch_size` is the size of the whole batch where several processes share it, else N.
        """

    @abc.abstractmethod
    def scores(self, inputs: Tensor) -> Tensor:
        """(N, classes): the class with the largest score is the prediction."""

    @abc.abstractmethod
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        """Spikes (T, N, ...) of each layer of neurons, for pictures and statistics."""

    def activity(self, inputs: Tensor, labels: Tensor) -> Activity:
        """How active the network is on a batch, without learning."""
        trains = self.spike_trains(inputs)
        layers = [LayerActivity(name, spikes[0, 0].numel(), spikes.double().mean().item()) for name, spikes in trains.items()]
        return Activity(layers, time_steps=len(next(iter(trains.values()))), input_rate=image_or_event_rate(inputs))

    @abc.abstractmethod
    def start_epoch(self, epoch: int) -> float:
        """Prepare epoch `epoch` (from 1 on) and return its learning rate."""

    def drain(self) -> StepResult | None:
        """What the training steps of the epoch have left to report, summed over them, when their results come late."""
        return None

    def finish_epoch(self) -> dict[str, float]:
        """What the method measured in the training steps of the epoch: more columns of metrics.csv. Called before testing."""
        return {}

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


class GradientMethod(Method):
    """A method that gets its gradients from one backward pass over a batch and updates all weights with one optimiser.

    A subclass builds its network in `build` and defines `loss`. With a `loss_scale` other than 1, the gradient is that of
    the scaled loss and the learning rate is divided by the scale.
    """

    loss_scale = 1.0

    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None:
        self.config = config
        self.classes = classes
        self.device = device
        self.network = self.build(config, input_shape).to(device)
        outputs = list(self.network.parameters())[-1].shape[0]
        if outputs < classes:
            raise UserError(f"network.layers: {config.network.layers} has {outputs} outputs, the data set has {classes} classes")
        self.optimizer = make_optimizer(self.network, config.optimizer)
        self.rate = config.optimizer.lr  # learning rate of this epoch
        self.steps = 0  # training steps since the run began

    @abc.abstractmethod
    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        """The network, which maps a batch of inputs to outputs: (T, N, classes) if `logits` is not overridden."""

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
        self.optimizer.load_state_dict(state["optimizer"])
        self.steps = state["steps"]


def make_optimizer(network: nn.Module, options: OptimizerConfig) -> torch.optim.Optimizer:
    """The update rule that the options name, over all parameters of the network."""
    if options.name == "sgd":
        return torch.optim.SGD(network.parameters(), options.lr, momentum=options.momentum, weight_decay=options.weight_decay)
    rule = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.name]
    return rule(
        network.parameters(), options.lr, betas=tuple(options.betas), eps=options.eps, weight_decay=options.weight_decay, fused=True
    )


def update_weights(optimizer: torch.optim.Optimizer, parameters: list[nn.Parameter], rate: float, options: OptimizerConfig) -> None:
    """One step of an optimiser with gradients that are added up over the processes and clipped, and weights kept in bounds."""
    distributed.add_up(p.grad for p in parameters)
    if options.clip_norm:
        nn.utils.clip_grad_norm_(parameters, options.clip_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    if options.weight_clamp:
        with torch.no_grad():
            for parameter in parameters:
                parameter.clamp_(-options.weight_clamp, options.weight_clamp)


def learning_rate(options: OptimizerConfig, epoch: int, epochs: int) -> float:
    """Learning rate of an epoch (from 1 on). A function of the epoch alone, so that a resumed run cannot lose its place."""
    if options.schedule == "multistep":
        return options.lr * options.gamma ** sum(epoch > milestone for milestone in options.milestones)
    if options.schedule == "cosine":
        return options.lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
    return options.lr


def warm_up(options: OptimizerConfig, step: int) -> float:
    """Factor on the learning rate in a training step (from 1 on): a linear rise to 1 over the first `warmup_steps`."""
    return min(1.0, step / options.warmup_steps) if options.warmup_steps else 1.0
