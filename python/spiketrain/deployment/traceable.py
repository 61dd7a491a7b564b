"""Networks as `torch.export` can follow them: the same function, without what depends on the spikes on its way."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeops import nn as snn
from spiketrain.deployment.model import Model
from spiketrain.errors import UserError, shortened
from spiketrain.models.layers import SumPool2d


class RingSteps(nn.Module):
    """The simulation of a `spikeops.nn.FeedbackRing` in evaluation, step by step: the last layer's rate (N, ...). No gradients.

    The ring itself adds up only the weights of neurons that fired, so that sums may be rounded otherwise.
    """

    def __init__(self, ring: snn.FeedbackRing) -> None:
        super().__init__()
        self.layers, self.feedback, self.input_layer = ring.layers, ring.feedback, ring.input_layer
        self.input = ring.input  # "spikes" or "constant", as the ring says it
        self.time_steps, self.leak = ring.time_steps, ring.leak
        self.threshold, self.reset_amount = ring.threshold, ring.reset_amount

    def forward(self, x: Tensor) -> Tensor:
        current = self.input_layer(x.flatten(0, 1)).unflatten(0, x.shape[:2]) if self.input == "spikes" else self.input_layer(x)
        states: list[Tensor | float] = [0.0] * (1 + len(self.layers))
        last, rate = None, 0.0
        for t in range(self.time_steps):
            drive = current[t] if self.input == "spikes" else current
            spikes, states[0] = self._step(states[0] if last is None or self.feedback is None else states[0] + self.feedback(last), drive)
            for i, layer in enumerate(self.layers, 1):
                spikes, states[i] = self._step(states[i], layer(spikes))
            last, rate = spikes, self.leak * rate + spikes
        return rate / sum(self.leak**t for t in range(self.time_steps))

    def _step(self, state: Tensor | float, drive: Tensor) -> tuple[Tensor, Tensor]:
        potential = state + drive
        spikes = (potential >= self.threshold).to(potential.dtype)
        return spikes, self.leak * (potential - self.reset_amount * spikes)


class Sum(nn.Module):
    """A `SumPool2d` that does not look at the size of the batch for a faster way."""

    def __init__(self, pool: SumPool2d) -> None:
        super().__init__()
        self.size, self.gain = pool.size, pool.gain

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.size, divisor_override=1) * self.gain


class ScaledMean(nn.Module):
    """A `SumPool2d` as a mean over its windows, times their size: torch.onnx writes every average pooling as a mean."""

    def __init__(self, pool: SumPool2d) -> None:
        super().__init__()
        self.size, self.factor = pool.size, pool.gain * pool.size**2

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(x, self.size) * self.factor


def traceable(model: Model, replaced: dict[type[nn.Module], Callable[[Any], nn.Module]]) -> Model:
    """A copy of a model, with modules of some types replaced by what these functions make of them."""
    copied = copy.deepcopy(model)
    for parent in list(copied.network.modules()):
        for name, child in list(parent.named_children()):
            if type(child) in replaced:
                setattr(parent, name, replaced[type(child)](child))
    return copied.eval()


def other_formats(model: Model, kind: str) -> str:
    """Which formats may express what one of them, `kind`, does not, as a sentence."""
    formats = [name for name in ("pt2", "state_dict") if name != kind and (name != "state_dict" or model.method.source() is not None)]
    if formats:
        return f"Export it as {' or '.join(formats)}"
    return "No other format can: build the network by its own code, and load the weights of best.ckpt into it"


def exported_program(model: Model, kind: str, sums_as_means: bool = False) -> Any:
    """The `torch.export.ExportedProgram` of a model, for batches of any size.

    Args:
        kind: what it is for, in an error
        sums_as_means: whether pooling that sums is written as one that averages

    Raises:
        UserError: the network cannot be followed.
    """
    example = model.examples(2).to(model.device)
    replaced = {snn.FeedbackRing: RingSteps, SumPool2d: ScaledMean if sums_as_means else Sum}
    shapes: dict[int, Any] = {model.batch_axis: torch.export.Dim("batch")}
    with torch.no_grad():
        try:
            return torch.export.export(traceable(model, replaced), (example,), dynamic_shapes=(shapes,), strict=False)
        except Exception as error:  # whatever a network may raise on torch.export's stand-ins for tensors
            reason = shortened(str(error).strip().split("\n")[0] or type(error).__name__, 120)
            raise UserError(f"{kind} cannot express the network: torch.export says {reason}. {other_formats(model, kind)}") from None
