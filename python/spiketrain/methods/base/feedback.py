"""What IDE and SPIDE share: a ring of spiking layers, cross-entropy on a classifier of its rates, and what they report."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from spiketrain import data, distributed
from spiketrain.config import Config
from spiketrain.errors import UserError, shortened
from spiketrain.methods.base.activity import Activity, LayerActivity, image_or_event_rate
from spiketrain.methods.base.gradient import GradientMethod
from spiketrain.methods.base.method import StepResult
from spiketrain.methods.base.published import PublishedWeights
from spiketrain.methods.base.published_rings import ring_weights
from spiketrain.models import source
from spiketrain.models.feedback import FeedbackNetwork
from spiketrain.models.source import NetworkSource


class FeedbackMethod(GradientMethod):
    """A `FeedbackNetwork`, trained through its `FeedbackRing`. With several processes each works on its part of a batch as on
    a batch of its own: batch-norm and IDE's implicit solution see no other part, as usual in data-parallel training."""

    network: FeedbackNetwork
    backward_time_steps = 0

    def __init__(self, config: Config, input_shape: tuple[int, int, int], classes: int, device: torch.device) -> None:
        if config.trainer.sync_batch_norm and distributed.world_size() > 1:
            raise UserError(
                f"trainer.sync_batch_norm: {config.method.name} solves for its gradient, through its batch norms, in each process by itself. "
                "Leave the option out, or train in one process"
            )
        super().__init__(config, input_shape, classes, device)
        self.measured: dict[str, Tensor] = {}

    def loss(self, outputs: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        return F.cross_entropy(outputs, labels, reduction="sum") / batch_size

    def forward(self, inputs: Tensor) -> Tensor:
        if inputs.dim() == 5 and self.network.ring.input == "constant":
            raise UserError(
                f"{self.config.method.name}: the data set {shortened(self.config.data.name, 100)} holds events; of data sets from outside "
                "spiketrain it takes images only"
            )
        return super().forward(inputs)

    def logits(self, outputs: Tensor) -> Tensor:
        return outputs

    @torch.no_grad()  # not inference mode: the ring keeps buffers that training goes on with
    def scores(self, inputs: Tensor) -> Tensor:
        self.network.eval()
        return self.inference(inputs)

    def source(self) -> NetworkSource | None:
        return source.feedback(self.network) if type(self.network) is FeedbackNetwork else None

    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        result = super().training_step(inputs, labels, batch_size)
        if len(labels) == 0:
            return result
        for name, value in self.step_measures().items():
            self.measured[name] = self.measured.get(name, 0) + value * len(labels)
        self.measured["samples"] = self.measured.get("samples", 0) + torch.tensor(float(len(labels)), device=self.device)
        return result

    def graph_key(self) -> None:
        """The ring has graphs of its own for its time loops; between them the host looks at how the solver fared."""
        return None

    def step_measures(self) -> dict[str, Tensor]:
        """Figures of the latest training step, 0-d, on the device."""
        return self.named_rates("forward", self.network.ring.last_forward_rates)

    def named_rates(self, kind: str, rates: Tensor) -> dict[str, Tensor]:
        return {f"{kind}_rate_{name}": rate for name, rate in zip(self.network.names, rates.unbind())}

    def start_epoch(self, epoch: int) -> float:
        self.measured = {}
        return super().start_epoch(epoch)

    def epoch_state(self) -> dict[str, Any]:
        return {"measured": self.measured}

    def load_epoch_state(self, state: dict[str, Any]) -> None:
        if any(not isinstance(value, Tensor) or value.dim() > 0 for value in state["measured"].values()):
            raise ValueError("what was measured in the epoch is no number")
        self.measured = {name: value.to(self.device) for name, value in state["measured"].items()}

    def finish_epoch(self) -> dict[str, float]:
        """Mean over the training samples of the firing rates and whatever else a step measures."""
        distributed.add_up(self.measured.values())
        measured = {name: value.item() for name, value in self.measured.items()}
        samples = measured.pop("samples")
        return {name: value / samples for name, value in measured.items()}

    def published_weights(self) -> PublishedWeights:
        return ring_weights(self.network, is_turned=self.config.data.name == "nmnist")

    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        return dict(zip(self.network.names, self.network.ring.spike_trains(inputs)))

    def activity(self, inputs: Tensor, labels: Tensor) -> Activity:
        ring, network = self.network.ring, self.network
        forward, backward = self.firing_rates(inputs, labels)
        to_first, synapses, to_classifier = network.synapses()
        # Backward spikes of a layer run to where its drive comes from: the layer before, or through the feedback the last.
        reached = [synapses[-1], *synapses[:-1]] if backward else [0] * len(synapses)
        layers = [
            LayerActivity(name, shape.numel(), rate, back, count, reverse)
            for name, shape, rate, back, count, reverse in zip(
                network.names, map(torch.Size, network.shapes), forward, backward or [None] * len(forward), synapses, reached
            )
        ]
        steps = self.backward_time_steps
        return Activity(layers, ring.time_steps, steps, to_first, image_or_event_rate(inputs), to_classifier)

    def firing_rates(self, inputs: Tensor, labels: Tensor) -> tuple[list[float], list[float]]:
        """Forward and, where the backward pass spikes, backward rate of each layer, without learning."""
        self.scores(inputs)
        return self.network.ring.last_forward_rates.tolist(), []


def input_kind(config: Config) -> str:
    """What a ring on this data set is fed with."""
    return "spikes" if config.data.name in data.EVENT_DATA else "constant"
