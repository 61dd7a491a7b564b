"""Methods whose layers learn one by one, each from a loss of its own: no gradient passes from layer to layer."""

from __future__ import annotations

import abc
from collections.abc import Iterable
from typing import Any, Protocol

from torch import Tensor, nn

from spiketrain import distributed
from spiketrain.config import Config
from spiketrain.distributed.gradients import GradientSums
from spiketrain.methods.base import operations
from spiketrain.methods.base.activity import Activity
from spiketrain.methods.base.method import LayerResult, Method, StepResult
from spiketrain.methods.base.optimizers import load_optimizer, make_optimizer, update_weights
from spiketrain.methods.base.schedules import learning_rate, warm_up


class LayerPipeline(Protocol):
    """Whatever trains the layers of a method in several processes, in the place of its own training step."""

    def start_epoch(self, epoch: int) -> None: ...

    def step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult: ...

    def drain(self) -> StepResult:
        """What all processes have still to report of the epoch; afterwards the method holds what they learned."""
        ...


class LayerOptimizer:
    """The optimiser of one layer: gradients added up over the processes, clipped, applied; weights kept in bounds.

    Args:
        learns_once: its weights are not used any more in a training step in which they have changed. While its gradients are on their way, the
            layers above it then compute, and the weights change in `finish`.

    Attributes:
        rate: learning rate
    """

    def __init__(self, layer: nn.Module, config: Config, learns_once: bool = False) -> None:
        self.gradients = GradientSums(p for p in layer.parameters() if p.requires_grad)
        self.options = config.optimizer
        self.rate = config.optimizer.lr
        self.optimizer = make_optimizer(layer, config.optimizer)
        self._learns_once = learns_once
        self._is_on_the_way = False

    def minimize(self, loss: Tensor) -> None:
        """One step down a loss of the layer."""
        self.optimizer.zero_grad()
        with self.gradients.sending():
            loss.backward()
        self.step()

    def step(self) -> None:
        """Let the gradients be added up, and the weights change: by the end of the training step, where that is soon enough."""
        self._is_on_the_way = self._learns_once and distributed.world_size() > 1
        if self._is_on_the_way:
            self.gradients.send()
        else:
            update_weights(self.optimizer, self.gradients, self.rate, self.options)

    def finish(self) -> None:
        """Change the weights whose gradients are still on their way."""
        if self._is_on_the_way:
            update_weights(self.optimizer, self.gradients, self.rate, self.options)
            self._is_on_the_way = False


class LayerwiseMethod(Method):
    """A stack of layers that learn on their own, each with an optimiser of its own. The last one tells the classes.

    A subclass calls `set_layers` when it is built, and defines how one of them learns.

    Attributes:
        layers: the layers that learn by name, in the order of the forward pass; `network` holds them too
        pipeline: shares the layers out to several processes while a run with `trainer.pipeline` trains
    """

    layers: dict[str, nn.Module]
    pipeline: LayerPipeline | None = None

    def set_layers(self, layers: dict[str, nn.Module], config: Config, learn_once: bool = False) -> None:
        """Give each layer its optimiser; `learn_once` if each calls its ``step`` once in `train_layer`, and uses its weights no more behind it."""
        self.config = config
        self.layers = layers
        self.optimizers = {name: LayerOptimizer(layer, config, learn_once) for name, layer in layers.items()}
        self.rate = config.optimizer.lr  # learning rate of this epoch
        self.steps = 0  # training steps since the run began

    @abc.abstractmethod
    def train_layer(self, name: str, inputs: Tensor, labels: Tensor, batch_size: int) -> tuple[Tensor, LayerResult]:
        """Let one layer learn from one batch.

        `inputs` are what the layer below returned, of the first layer those of `training_step`. Returns what the layer above gets:
        computed while learning, without a graph.
        """

    def train_layers(
        self, names: Iterable[str], inputs: Tensor, labels: Tensor, batch_size: int
    ) -> tuple[Tensor, dict[str, LayerResult]]:
        """Let consecutive layers learn from one batch. Returns what the last of them hands on, and what each reports."""
        self.steps += 1
        rate = self._rate_of(self.steps)
        self.network.train()
        results = {}
        for name in names:
            self.optimizers[name].rate = rate
            inputs, results[name] = self.train_layer(name, inputs, labels, batch_size)
        for name in results:
            self.optimizers[name].finish()
        return inputs, results

    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        if self.pipeline:
            return self.pipeline.step(inputs, labels, batch_size)
        _, results = self.train_layers(self.layers, inputs, labels, batch_size)
        *_, last = results.values()
        return StepResult(sum(result.loss for result in results.values()), last.correct, results)

    def graph_key(self) -> tuple | None:
        return None if self.pipeline else (self._rate_of(self.steps + 1),)

    def _rate_of(self, step: int) -> float:
        """Learning rate of a training step."""
        return self.rate * warm_up(self.config.optimizer, step)

    def activity(self, inputs: Tensor, labels: Tensor) -> Activity:
        activity = super().activity(inputs, labels)
        operations.note(activity, self.network, [], inputs, self.config.network.time_steps, lambda: self.scores(inputs), is_image=inputs.dim() == 4)
        return activity

    def start_epoch(self, epoch: int) -> float:
        self.rate = learning_rate(self.config.optimizer, epoch, self.config.trainer.epochs)
        if self.pipeline:
            self.pipeline.start_epoch(epoch)
        return self.rate

    def drain(self) -> StepResult | None:
        return self.pipeline.drain() if self.pipeline else None

    def layers_state(self, names: Iterable[str]) -> dict[str, Any]:
        """All that changes while some of the layers train."""
        return {
            "layers": {name: self.layers[name].state_dict() for name in names},
            "optimizers": {name: self.optimizers[name].optimizer.state_dict() for name in names},
            "steps": self.steps,
        }

    def load_layers_state(self, state: dict[str, Any]) -> None:
        """The inverse of `layers_state`; other layers stay as they are."""
        for name, layer in state["layers"].items():
            self.layers[name].load_state_dict(layer)
            load_optimizer(self.optimizers[name].optimizer, state["optimizers"][name])
        self.steps = state["steps"]

    def state_dict(self) -> dict[str, Any]:
        optimizers = {name: optimizer.optimizer.state_dict() for name, optimizer in self.optimizers.items()}
        return {"network": self.network.state_dict(), "optimizers": optimizers, "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        for name, optimizer in self.optimizers.items():
            load_optimizer(optimizer.optimizer, state["optimizers"][name])
        self.steps = state["steps"]
