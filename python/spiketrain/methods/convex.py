"""Spiking networks that solve convex optimisation problems (Mancoo, Keemink & Machens, NeurIPS 2020), learning by the
projection loss.

Each neuron learns by itself, in the moment in which it fires, from the distance of its own boundary to the wanted output; trials
follow one another, so the batch size only says how many are handed over at once. Layers can be stacked: each learns the same
targets by itself, and what it reads out drives the next one, together with the input where `skip` says so.

Neuron and learning rule are those of the code of Mancoo et al.; stacking, initial weights and experiments are ours. The published
experiments named L_proj (worden1/ICTAI_snn on GitHub) differ: the error has a forgetting term, initial thresholds are random, the
input comes on later, and a second layer is driven by the firing rates of the first.

Of classes, the wanted output is 1 for the right one and 0 for the others, and the score is the readout averaged over the
trial. `network.layers` names the neurons of each layer and the number of outputs: 300-10. `network.time_steps` is the number of
Euler steps of a trial, one less than its time bins. The optimizer section is not used.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeops import nn as snn
from spiketrain import distributed
from spiketrain.config import Config
from spiketrain.data import tasks
from spiketrain.errors import UserError
from spiketrain.methods.base.method import Method, StepResult
from spiketrain.models.notation import Linear, parse


@dataclass
class Options:
    """Options of the convex-optimisation network.

    Args:
        name: convex
        dt: width of a time bin, in seconds
        leak: leak rate of membranes and rates, in 1/s
        spike_cost: what a spike takes from its own membrane besides the recurrent weight (mu)
        sigma_v: standard deviation of the membranes due to noise
        input_scale: factor on the inputs
        encoder: one_hot (every neuron belongs to one output, in turn) or random (uniform, rows of length 1)
        decoder_scale: what one spike adds to the readout
        feedforward_scale: length of the initial feed-forward weights of a neuron, for inputs before their scale
        feedforward_mean: mean of its elements, in units of their standard deviation
        threshold: initial threshold
        feedforward_rate: learning rate of the feed-forward weights
        threshold_rate: learning rate of the thresholds
        threshold_drift: how fast all thresholds drift down while learning, in 1/s
        rate_decay: factor on both learning rates and the drift after each epoch
        buffer_steps: steps of each trial before learning begins
        readout_steps: the readout is averaged over so many steps at the end of a trial
        skip: whether the input drives later layers too
    """

    name: str = "convex"
    dt: float = 1e-3
    leak: float = 2.0
    spike_cost: float = 0.0
    sigma_v: float = 0.0
    input_scale: float = 1.0
    encoder: Literal["one_hot", "random"] = "one_hot"
    decoder_scale: float = 0.02
    feedforward_scale: float = 2.0
    feedforward_mean: float = 0.0
    threshold: float = 0.0
    feedforward_rate: float = 0.1
    threshold_rate: float = 0.1
    threshold_drift: float = 0.0
    rate_decay: float = 1.0
    buffer_steps: int = 0
    readout_steps: int = 1
    skip: bool = True


class Convex(Method):
    Options = Options
    changeable = ("feedforward_rate", "threshold_rate", "threshold_drift", "rate_decay")

    def __init__(self, config: Config, input_shape: tuple[int, ...], classes: int, device: torch.device) -> None:
        self.config = config
        self.options: Options = config.method
        _check(self.options, config.network.time_steps)
        if distributed.world_size() > 1:
            raise UserError("method convex learns from one trial after the other: it cannot be shared among processes")
        self.outputs = classes
        self.network = self.build(config, input_shape).to(device)
        outputs = len(self.network[0].decoder)
        if outputs != classes:
            raise UserError(f"network.layers: {config.network.layers} has {outputs} outputs, the data set has {classes}")
        self.decay = 1.0  # of the learning rates in this epoch

    def build(self, config: Config, input_shape: tuple[int, ...]) -> nn.ModuleList:
        """The layers, each a `ConvexSNN`."""
        options: Options = config.method
        parsed = parse(config.network.layers)
        if len(parsed) < 2 or not all(isinstance(layer, Linear) for layer in parsed):
            raise UserError(f"network.layers: expected neurons and outputs such as 300-10, got {config.network.layers}")
        *neurons, outputs = (layer.units for layer in parsed)
        inputs = math.prod(input_shape)
        layers = nn.ModuleList()
        for i, count in enumerate(neurons):
            is_first = i == 0
            # The weights meet inputs that are scaled already.
            scale = options.feedforward_scale / (options.input_scale if is_first else 1.0)
            layers.append(snn.ConvexSNN(
                inputs if is_first else outputs + (inputs if options.skip else 0), count, outputs,
                dt=options.dt, leak=options.leak, spike_cost=options.spike_cost, sigma_v=options.sigma_v,
                encoder=_one_hot(count, outputs) if options.encoder == "one_hot" else None, decoder_scale=options.decoder_scale,
                feedforward_scale=scale, feedforward_mean=options.feedforward_mean, threshold=options.threshold,
            ))  # fmt: skip
        return layers

    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        options, decay = self.options, self.decay
        task = tasks.REGRESSION if labels.is_floating_point() else tasks.CLASSIFICATION
        wanted = labels if task is tasks.REGRESSION else F.one_hot(labels, self.outputs).to(inputs)
        learning = dict(
            feedforward_rate=decay * options.feedforward_rate, threshold_rate=decay * options.threshold_rate,
            threshold_drift=decay * options.threshold_drift, buffer_steps=options.buffer_steps,
        )  # fmt: skip
        scores = self._average(self._run(inputs, lambda layer, x: layer.fit(x, wanted, **learning).readout))
        return StepResult(F.mse_loss(scores, wanted), task.tally(scores, labels))

    @torch.inference_mode()
    def scores(self, inputs: Tensor) -> Tensor:
        return self._average(self._run(inputs, lambda layer, x: layer(x)))

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        trains = {}

        def run(layer: snn.ConvexSNN, x: Tensor) -> Tensor:
            trials = layer.trials(x)
            # The neuron that fires, or -1: one more column, for none, comes first.
            trains[f"layer_{len(trains) + 1}"] = F.one_hot(trials.spikes.long() + 1, len(layer.thresholds) + 1)[..., 1:].to(x)
            return trials.readout

        self._run(inputs, run)
        return trains

    def _run(self, inputs: Tensor, run: Callable[[snn.ConvexSNN, Tensor], Tensor]) -> Tensor:
        """The last readout (bins, N, outputs), where ``run(layer, x)`` gives that of each layer."""
        points = inputs.flatten(1)
        shown = snn.ConvexSNN.present(self.options.input_scale * points, self.config.network.time_steps + 1)
        drive = shown
        for layer in self.network:
            readout = run(layer, drive)
            drive = torch.cat([readout, shown], dim=2) if self.options.skip else readout
        return readout

    def _average(self, readout: Tensor) -> Tensor:
        return readout[-self.options.readout_steps :].mean(0)

    def start_epoch(self, epoch: int) -> float:
        self.decay = self.options.rate_decay ** (epoch - 1)
        return self.decay * self.options.feedforward_rate

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])


def _one_hot(neurons: int, outputs: int) -> Tensor:
    """(neurons, outputs): the neurons belong to the outputs in turn."""
    return F.one_hot(torch.arange(neurons) % outputs, outputs).float()


def _check(options: Options, time_steps: int) -> None:
    for name in ("dt", "input_scale", "decoder_scale", "feedforward_scale", "rate_decay"):
        if not getattr(options, name) > 0:
            raise UserError(f"field method.{name}: expected a number above 0, got {getattr(options, name)}")
    for name in ("leak", "sigma_v", "buffer_steps"):
        if not getattr(options, name) >= 0:
            raise UserError(f"field method.{name}: expected 0 or more, got {getattr(options, name)}")
    if not 1 <= options.readout_steps <= time_steps:
        raise UserError(f"field method.readout_steps: expected 1 to network.time_steps = {time_steps}, got {options.readout_steps}")


METHOD = Convex
