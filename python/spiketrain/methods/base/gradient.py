"""Methods that get the gradients of all weights from one backward pass."""

from __future__ import annotations

import abc
import contextlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from spiketrain.config import Config
from spiketrain.distributed import batch_norm
from spiketrain.distributed.gradients import GradientSums
from spiketrain.errors import UserError, shortened
from spiketrain.methods.base import operations
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
        outputs = self._count_outputs()
        if outputs < classes:
            model = config.network.model
            name = f"network.model: {shortened(model, 80)}" if model else f"network.layers: {config.network.layers}"
            raise UserError(f"{name} has {outputs} outputs, the data set has {classes} classes")
        self.is_synchronized = batch_norm.synchronize(self.network, everywhere=config.trainer.sync_batch_norm)
        self.optimizer = make_optimizer(self.network, config.optimizer)
        self.rate = config.optimizer.lr  # learning rate of this epoch
        self.steps = 0  # training steps since the run began
        self.gradients = GradientSums([])
        self._follow_what_learns()

    def _follow_what_learns(self) -> None:
        """Let `gradients` be those of all parameters that learn by now."""
        learned = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        known = self.gradients.parameters
        if len(learned) != len(known) or any(one is not other for one, other in zip(learned, known)):
            self.gradients = GradientSums(learned, overlaps=not self.is_synchronized)

    def _count_outputs(self) -> int:
        """How many the network has: as its attribute `outputs` says, else counted on two samples of zeros."""
        if isinstance(count := getattr(self.network, "outputs", None), int):
            return count
        self.network.eval()
        with torch.no_grad():
            return self.logits(self.forward(torch.zeros(2, *self.input_shape, device=self.device))).shape[1]

    @abc.abstractmethod
    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        """The network, which maps a batch of inputs to outputs: (T, N, classes) if `logits` is not overridden. It may have an attribute
        `outputs` that says for how many classes; `self.classes` is how many there have to be."""

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
        self._follow_what_learns()
        if len(labels) == 0:  # other processes have the rest of a short last batch
            return self._step_of_others(inputs)
        try:
            outputs = self.forward(inputs)
        except ValueError as error:
            if "value per channel when training" not in str(error):  # torch's batch norms and ours
                raise
            raise UserError(
                f"training step {self.steps + 1}: a batch norm got one value of each channel, from a batch of one sample. Choose another "
                f"trainer.batch_size than {self.config.trainer.batch_size}, which leaves one for the end of an epoch. The checkpoints are intact"
            ) from None
        loss = self.loss(outputs, labels, batch_size)
        self.optimizer.zero_grad()
        with self.gradients.sending():
            (loss * self.loss_scale).backward()
        self.update_weights()
        with torch.no_grad():
            correct = (self.logits(outputs).argmax(1) == labels).sum()
        return StepResult(loss.detach(), correct)

    def _step_of_others(self, inputs: Tensor) -> StepResult:
        """Take part in a training step in which this process has no sample."""
        self.optimizer.zero_grad()
        if self.is_synchronized:  # the others wait for what its batch norms have to say
            self.forward(inputs).sum().backward()
        self.update_weights()
        return StepResult(torch.zeros((), device=self.device), torch.zeros((), device=self.device))

    def graph_key(self) -> tuple | None:
        return (self._rate_of(self.steps + 1),)

    def _rate_of(self, step: int) -> float:
        """Learning rate of a training step."""
        return self.rate * warm_up(self.config.optimizer, step) / self.loss_scale

    def update_weights(self) -> None:
        """Clip the gradient, step the optimiser, keep the weights in bounds."""
        self.steps += 1
        rate = self._rate_of(self.steps)
        update_weights(self.optimizer, self.gradients, rate, self.config.optimizer)

    @torch.inference_mode()
    def scores(self, inputs: Tensor) -> Tensor:
        self.network.eval()
        return self.inference(inputs)

    def inference(self, inputs: Tensor) -> Tensor:
        return self.logits(self.forward(inputs))

    def activity(self, inputs: Tensor, labels: Tensor) -> Activity:
        activity = super().activity(inputs, labels)
        counts = self.network.synapses(tuple(inputs.shape[-3:])) if isinstance(self.network, SpikingNetwork) else None
        if counts is not None:
            first, *others = counts
            activity.input_synapses = first
            activity.input_macs, *macs = self.network.macs(tuple(inputs.shape[-3:]))
            for layer, count, multiplied in zip(activity.layers, others, macs):
                layer.synapses, layer.macs = count, multiplied
            return activity
        neurons = list(self.network.neurons().values()) if hasattr(self.network, "neurons") else []
        is_image = inputs.dim() == len(self.input_shape) + 1
        operations.note(activity, self.network, neurons, inputs, self.config.network.time_steps, lambda: self.scores(inputs), is_image=is_image)
        return activity

    def record_neurons(self, inputs: Tensor, what: Callable[[nn.Module, Tensor, Tensor], Tensor]) -> dict[str, Tensor]:
        """``what(module, input, output)`` of each layer of neurons in one forward pass without learning, by name. What is called several times
        is there for each call."""
        recorded: dict[str, Tensor] = {}
        calls: Counter[str] = Counter()

        def hook(name: str):
            def record(module: nn.Module, arguments: tuple, output: Tensor) -> None:
                calls[name] += 1
                recorded[name if calls[name] == 1 else f"{name}, call {calls[name]}"] = what(module, arguments[0], output)

            return record

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
