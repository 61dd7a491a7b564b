"""What a run has summed up in an epoch that is not complete: enough to go on in the middle of it."""

from __future__ import annotations

import time
from typing import Any

import torch
from torch import Tensor

from spiketrain.methods.base.method import LayerResult, StepResult


class EpochProgress:
    """Sums over the steps of an epoch, kept on the device so that no step waits for it.

    Args:
        device: of the sums
        shuffling: state of the generator that shuffles the data, before this epoch's order was drawn

    Attributes:
        steps: training steps done
        untrained: figures before training, in the first epoch of some tasks
    """

    def __init__(self, device: torch.device, shuffling: Tensor) -> None:
        self.loss = torch.zeros((), device=device)
        self.correct = torch.zeros((), device=device)
        self.layers: dict[str, LayerResult] = {}
        self.steps = 0
        self.shuffling = shuffling
        self.untrained: dict[str, float] = {}
        self._started = time.perf_counter()

    def add(self, result: StepResult) -> None:
        self.loss += result.loss
        self.correct = self.correct + result.correct
        for name, layer in result.layers.items():
            total = self.layers.setdefault(name, LayerResult(torch.zeros_like(layer.loss)))
            total.loss += layer.loss
            if layer.correct is not None:
                total.correct = layer.correct if total.correct is None else total.correct + layer.correct

    def tensors(self) -> list[Tensor]:
        """Everything that several processes have to add up."""
        of_layers = [t for layer in self.layers.values() for t in (layer.loss, layer.correct) if t is not None]
        return [self.loss, self.correct, *of_layers]

    def of_layers(self, samples: int) -> dict[str, float]:
        """``loss_<layer>`` (mean over the steps) and ``error_<layer>`` (share of the samples), as far as reported."""
        metrics = {}
        for name, layer in self.layers.items():
            metrics[f"loss_{name}"] = layer.loss.item() / self.steps
            if layer.correct is not None:
                metrics[f"error_{name}"] = 1 - layer.correct.item() / samples
        return metrics

    def mean_loss(self) -> float:
        return self.loss.item() / max(self.steps, 1)

    def note(self) -> str:
        return f"loss {self.mean_loss():.4g}"

    def seconds(self) -> float:
        """Time that training took in this epoch, in all processes that ran it one after the other."""
        return time.perf_counter() - self._started

    def sums(self) -> dict[str, Any]:
        """The sums of this process."""
        layers = {name: [layer.loss, layer.correct] for name, layer in self.layers.items()}
        return {"loss": self.loss, "correct": self.correct, "layers": layers}

    def position(self) -> dict[str, Any]:
        """What all processes have in common."""
        return {"steps": self.steps, "untrained": self.untrained, "seconds": self.seconds()}

    def restore(self, position: dict[str, Any], sums: dict[str, Any]) -> None:
        """Go on from a position and the sums of this process."""
        device = self.loss.device
        self.steps, self.untrained = position["steps"], position["untrained"]
        self._started = time.perf_counter() - position["seconds"]
        self.loss, self.correct = sums["loss"].to(device), sums["correct"].to(device)
        self.layers = {
            name: LayerResult(loss.to(device), None if correct is None else correct.to(device))
            for name, (loss, correct) in sums["layers"].items()
        }
