"""What a training method is to the trainer. A new method is one file in `methods/` and its presets."""

from __future__ import annotations

import abc
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from spiketrain.config import Config
from spiketrain.errors import UserError
from spiketrain.methods.base.activity import Activity, LayerActivity, image_or_event_rate
from spiketrain.methods.base.published import PublishedWeights
from spiketrain.models.source import NetworkSource


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
    # Options that say how weights are learned, not what they mean: a run may go on with others.
    changeable: ClassVar[tuple[str, ...]] = ()
    # Fields of the section `network` that not all methods have an answer to: "model", "bias".
    network_fields: ClassVar[tuple[str, ...]] = ()
    network: nn.Module

    @abc.abstractmethod
    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None: ...

    @abc.abstractmethod
    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        """Learn from one batch: inputs (N, C, H, W) or (T, N, C, H, W), labels (N,).

        `batch_size` is the size of the whole batch where several processes share it, else N.
        """

    def graph_key(self) -> tuple | None:
        """What the host gives the next training step beside tensors, such as the learning rate: a CUDA graph of one step stands for all
        that have the same. None where a step does what no graph can. Who returns one counts training steps in ``steps``, and does nothing
        else on the host that differs from step to step."""
        return None

    @abc.abstractmethod
    def scores(self, inputs: Tensor) -> Tensor:
        """(N, classes): the class with the largest score is the prediction."""

    def inference(self, inputs: Tensor) -> Tensor:
        """What `scores` computes, for a network that is in evaluation mode already, with gradients where they are on: what
        `spiketrain.load` runs, and what is exported. `scores` calls it in all of our methods, so that they cannot differ."""
        return self.scores(inputs)

    def source(self) -> NetworkSource | None:
        """The network, with the way from inputs to scores, as Python that needs torch and spikeops alone; None where nobody wrote that
        down. Whoever uses it compares its scores with those of `scores`."""
        return None

    @property
    def is_random(self) -> bool:
        """Whether `scores` draws random numbers."""
        return False

    @abc.abstractmethod
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        """Spikes (T, N, ...) of each layer of neurons, for pictures and statistics."""

    def activity(self, inputs: Tensor, labels: Tensor) -> Activity:
        """How active the network is on a batch, without learning."""
        trains = self.spike_trains(inputs)
        if not trains:
            raise UserError("the network has no layer of neurons that spike: there is no activity to measure")
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

    def epoch_state(self) -> dict[str, Any]:
        """What this process has measured in the epoch so far, beside what training steps returned; for `load_epoch_state`."""
        return {}

    def load_epoch_state(self, state: dict[str, Any]) -> None:
        """Go on in the middle of an epoch. Called after `start_epoch` and `load_state_dict`."""
        if state:
            raise ValueError(f"{type(self).__name__} measures nothing of its own in an epoch")

    def published_weights(self) -> PublishedWeights | None:
        """Where the checkpoints of the method's authors keep this network; None where no such checkpoints are known."""
        return None

    @abc.abstractmethod
    def state_dict(self) -> dict[str, Any]: ...

    @abc.abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None: ...
