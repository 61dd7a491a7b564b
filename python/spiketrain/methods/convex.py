"""Spiking networks that solve convex optimisation problems (Mancoo, Keemink & Machens, NeurIPS 2020), learning by the
projection loss.

Each neuron learns by itself, in the moment in which it fires, from the distance of its own boundary to the wanted output; trials
follow one another, so the batch size only says how many are handed over at once. Layers can be stacked: each learns the same
targets by itself. What drives a deeper layer, `between` says: what the layer below reads out, together with the input where `skip`
says so (ours), or its firing rates (as in the published surface fit of two layers).

Neuron and learning rule are those of the code of Mancoo et al., with the forgetting term of the published experiments with L_proj
(worden1/ICTAI_snn on GitHub). `initial: published` also draws weights and thresholds as those do. Their two layers are here with a
repair: the published line for the weights of the second layer takes the input where the rates of the first layer belong, and so
reads memory beyond the input; that of their MNIST variant takes the rates, as here.

Of classes, the wanted output is 1 for the right one and 0 for the others, and the score is the readout averaged over the
trial. `network.layers` names the neurons of each layer and the number of outputs: 300-10. `network.time_steps` is the number of
Euler steps of a trial, one less than its time bins. The optimizer section is not used.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeops import nn as snn
from spiketrain import distributed
from spiketrain.config import Config
from spiketrain.config.fields import Count, CountOrNone, NotNegative, Positive, Share, UpToOneNotZero
from spiketrain.data import tasks
from spiketrain.errors import UserError
from spiketrain.methods.base.method import Method, StepResult
from spiketrain.models import source
from spiketrain.models.notation import Linear, parse
from spiketrain.models.source import NetworkSource


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
        threshold_spread: initial thresholds are drawn uniformly, so far to either side of that
        initial: torch, from PyTorch's generator as the other options say; published, from NumPy's with the seed of the run: encoder
            uniform with rows of length 1, feed-forward weights standard normal, thresholds uniform in -1 to 1
        feedforward_rate: learning rate of the feed-forward weights
        threshold_rate: learning rate of the thresholds
        threshold_drift: how fast all thresholds drift down while learning, in 1/s
        rate_decay: factor on both learning rates and the drift after each epoch
        forgetting: share of its own boundary that a neuron's error leaves out
        onset: time bin in which the input comes on
        buffer_steps: steps of each trial before learning begins
        readout_steps: the readout is averaged over so many steps at the end of a trial
        between: what drives a deeper layer: the readout of the layer below, or its firing rates
        skip: whether the input drives later layers too; not with rates
        float64: compute in float64
    """

    name: str = "convex"
    dt: Positive = 1e-3
    leak: NotNegative = 2.0
    spike_cost: NotNegative = 0.0
    sigma_v: NotNegative = 0.0
    input_scale: Positive = 1.0
    encoder: Literal["one_hot", "random"] = "one_hot"
    decoder_scale: Positive = 0.02
    feedforward_scale: Positive = 2.0
    feedforward_mean: float = 0.0
    threshold: float = 0.0
    threshold_spread: NotNegative = 0.0
    initial: Literal["torch", "published"] = "torch"
    feedforward_rate: NotNegative = 0.1
    threshold_rate: NotNegative = 0.1
    threshold_drift: NotNegative = 0.0
    rate_decay: UpToOneNotZero = 1.0
    forgetting: Share = 0.0
    onset: CountOrNone = 1
    buffer_steps: CountOrNone = 0
    readout_steps: Count = 1
    between: Literal["readout", "rates"] = "readout"
    skip: bool = True
    float64: bool = False


class Convex(Method):
    Options = Options
    changeable = ("feedforward_rate", "threshold_rate", "threshold_drift", "rate_decay", "forgetting")

    def __init__(self, config: Config, input_shape: tuple[int, ...], classes: int, device: torch.device) -> None:
        self.config = config
        self.options: Options = config.method
        _check(self.options, config.network.time_steps)
        if distributed.world_size() > 1:
            raise UserError("method convex learns from one trial after the other: it cannot be shared among processes")
        self.outputs = classes
        self.network = self.build(config, input_shape).to(device)
        self.untrained = copy.deepcopy(self.network)  # for pictures of what learning did
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
        by_rates = options.between == "rates"
        for i, count in enumerate(neurons):
            is_first = i == 0
            below = neurons[i - 1] if by_rates else outputs + (inputs if options.skip else 0)
            # The weights meet inputs that are scaled already.
            scale = options.feedforward_scale / (options.input_scale if is_first else 1.0)
            layers.append(snn.ConvexSNN(
                inputs if is_first else below, count, outputs,
                dt=options.dt, leak=options.leak, spike_cost=options.spike_cost, sigma_v=options.sigma_v,
                encoder=_one_hot(count, outputs) if options.encoder == "one_hot" else None, decoder_scale=options.decoder_scale,
                feedforward_scale=scale, feedforward_mean=options.feedforward_mean, threshold=options.threshold,
                threshold_spread=options.threshold_spread, command="track" if is_first or not by_rates else "input",
            ))  # fmt: skip
        layers = layers.double() if options.float64 else layers
        if options.initial == "published":
            _draw_as_published(layers, config.seed)
        return layers

    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        options, decay = self.options, self.decay
        task = tasks.REGRESSION if labels.is_floating_point() else tasks.CLASSIFICATION
        wanted = (labels if task is tasks.REGRESSION else F.one_hot(labels, self.outputs)).to(self.network[0].feedforward)
        learning = dict(
            feedforward_rate=decay * options.feedforward_rate, threshold_rate=decay * options.threshold_rate,
            threshold_drift=decay * options.threshold_drift, buffer_steps=options.buffer_steps, forgetting=options.forgetting,
        )  # fmt: skip
        scores = self._average(self._run(inputs, lambda layer, x, rates: layer.fit(x, wanted, read_rates=rates, **learning).readout))
        return StepResult(F.mse_loss(scores, wanted), task.tally(scores, labels))

    @torch.inference_mode()
    def scores(self, inputs: Tensor) -> Tensor:
        return self.inference(inputs)

    def inference(self, inputs: Tensor) -> Tensor:
        return self._average(self._run(inputs, _read))

    def source(self) -> NetworkSource:
        options, bins = self.options, self.config.network.time_steps + 1
        return source.convex(self.network, f"""
def forward(self, inputs: Tensor) -> Tensor:
    points = {options.input_scale!r} * inputs.flatten(1).to(self[0].feedforward)
    shown = snn.ConvexSNN.present(points, {bins}, {options.onset})
    drive = shown
    for layer in self:
        is_last = layer is self[-1]
        readout = layer.rates(drive) if {options.between == "rates"} and not is_last else layer(drive)
        drive = readout if is_last or not {options.skip} else torch.cat([readout, shown], dim=2)
    return drive[-{options.readout_steps}:].mean(0)
""")

    @property
    def is_random(self) -> bool:
        return self.options.sigma_v > 0

    @torch.inference_mode()
    def untrained_scores(self, inputs: Tensor) -> Tensor:
        """`scores` of the network as it was before training."""
        return self._average(self._run(inputs, _read, self.untrained))

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        trains = {}

        def run(layer: snn.ConvexSNN, x: Tensor, rates: bool) -> Tensor:
            trials = layer.trials(x, read_rates=rates)
            # The neuron that fires, or -1: one more column, for none, comes first.
            trains[f"layer_{len(trains) + 1}"] = F.one_hot(trials.spikes.long() + 1, len(layer.thresholds) + 1)[..., 1:].to(x)
            return trials.readout

        self._run(inputs, run)
        return trains

    def _run(
        self, inputs: Tensor, run: Callable[[snn.ConvexSNN, Tensor, bool], Tensor], network: nn.ModuleList | None = None
    ) -> Tensor:
        """The last readout (bins, N, outputs), where ``run(layer, x, rates)`` gives that of each layer, or its firing rates."""
        network = self.network if network is None else network
        options = self.options
        points = options.input_scale * inputs.flatten(1).to(network[0].feedforward)
        shown = snn.ConvexSNN.present(points, self.config.network.time_steps + 1, options.onset)
        drive = shown
        for layer in network:
            is_last = layer is network[-1]
            readout = run(layer, drive, options.between == "rates" and not is_last)
            drive = readout if is_last or not options.skip else torch.cat([readout, shown], dim=2)
        return drive

    def _average(self, readout: Tensor) -> Tensor:
        return readout[-self.options.readout_steps :].mean(0)

    def start_epoch(self, epoch: int) -> float:
        self.decay = self.options.rate_decay ** (epoch - 1)
        return self.decay * self.options.feedforward_rate

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.network.load_state_dict(state["network"])


def _read(layer: snn.ConvexSNN, x: Tensor, rates: bool) -> Tensor:
    return layer.rates(x) if rates else layer(x)


@torch.no_grad()
def _draw_as_published(layers: nn.ModuleList, seed: int) -> None:
    """Weights and thresholds as in the published notebook: one generator of NumPy for all, in this order."""
    generator = np.random.RandomState(seed)
    first = layers[0]
    outputs, neurons = first.decoder.shape
    decoder = generator.rand(outputs, neurons)
    decoder /= np.linalg.norm(decoder, axis=0)
    for layer in layers:
        count, inputs = layer.feedforward.shape
        if count != neurons:
            raise UserError("method.initial: published takes layers of as many neurons each, as in 50-50-1")
        layer.feedforward.copy_(torch.from_numpy(generator.randn(inputs, count).T))
        layer.thresholds.copy_(torch.from_numpy(2 * generator.rand(count) - 1))
        layer.encoder.copy_(torch.from_numpy(decoder.T))
        layer.decoder.copy_(torch.from_numpy(decoder))


def _one_hot(neurons: int, outputs: int) -> Tensor:
    """(neurons, outputs): the neurons belong to the outputs in turn."""
    return F.one_hot(torch.arange(neurons) % outputs, outputs).float()


def _check(options: Options, time_steps: int) -> None:
    if options.onset > time_steps:
        raise UserError(f"field method.onset: expected 0 to network.time_steps = {time_steps}, got {options.onset}")
    if options.between == "rates" and options.skip:
        raise UserError("field method.skip: expected false where method.between is rates, which are all that drives a deeper layer")
    if options.readout_steps > time_steps:
        raise UserError(f"field method.readout_steps: expected 1 to network.time_steps = {time_steps}, got {options.readout_steps}")
    if options.buffer_steps >= time_steps:
        raise UserError(
            f"field method.buffer_steps: expected 0 to {time_steps - 1}, below network.time_steps, or nothing is learned, got {options.buffer_steps}"
        )
    if options.dt * options.leak > 1:
        raise UserError(
            f"field method.leak: expected at most 1 / method.dt = {1 / options.dt:g}, beyond which Euler's steps overshoot, got {options.leak}"
        )


METHOD = Convex
