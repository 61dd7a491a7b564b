"""Plain backpropagation through time with a surrogate gradient (Neftci, Mostafa & Zenke 2019), the yardstick of the others.

The same networks as for TSSL-BP, with leaky integrate-and-fire neurons that exchange spikes and average pooling, and networks with
recurrent layers (``128R``). Neurons may be current-based and adapt; recurrent ones that adapt are those of LSNNs (Bellec et al. 2018).
The last layer does not spike: the logits of a cross-entropy loss are its input current, or what leaky membranes integrate of it, averaged
over time or taken together otherwise. Deep networks with batch norm are taken from `models.build` by name.

What the backward pass needs of all time steps may be kept as bits, or computed again (docs/memory.md): the gradients stay the same.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

import spikeops
from spikeops import nn as snn
from spikeops import surrogate
from spiketrain.config import Config
from spiketrain.config.fields import Count, NotNegative, Positive, UpToOne
from spiketrain.errors import UserError, shortened, shown
from spiketrain.methods.base.gradient import GradientMethod
from spiketrain.methods.base.losses import OVER_TIME, OverTime, cross_entropy, scores_over_time
from spiketrain.models.build import MODELS, build_network
from spiketrain.models.layers import SumPool2d
from spiketrain.models.network import Shape, SpikingNetwork
from spiketrain.models.notation import Recurrent
from spiketrain.models.outside import build_outside
from spiketrain.models.residual import ResidualNetwork


@dataclass
class Options:
    """Options of BPTT.

    Args:
        name: bptt
        decay: factor by which the membrane potential decays in one time step
        threshold: firing threshold
        reset: what a spike does to the membrane potential: subtract the threshold, or set it to zero
        strict: neurons fire only above the threshold, not at it
        detach_reset: no gradient through the reset
        surrogate: shape of the surrogate derivative
        surrogate_parameter: its one parameter (alpha, slope, width or sigma, see spikeops.surrogate)
        current_decay: factor by which the current of a synapse before the membrane decays in one time step; 0: no synapse
        beta: how much a spike raises the threshold of its neuron; 0: not at all
        adaptation_decay: factor by which the rise of the threshold decays in one time step; null where there is none
        learn_decays: learn the decays, one for each neuron or channel, of the readout one for each class
        normalize_input: multiply what membranes integrate by 1 - decay (by that of the initial one), so that a lasting input of 1 takes
            the potential to 1
        readout_decay: factor by which the potential of leaky membranes that integrate the outputs decays in one time step; null: the
            outputs are the input currents of the last layer themselves
        readout_current_decay: of a synapse before these membranes; 0: no synapse
        loss: cross-entropy of the outputs' mean over time, their max over time, those of the last step, or the sum over time of their softmax
        memory: what is kept for the backward pass, with the same gradients: plain, all of it; packed, spikes as bits; checkpoint, that and
            of the blocks of a network.model nothing but spikes, from which they are computed again, for about a third more time
        recomputed_blocks: how many blocks memory checkpoint computes again, from the first on, whose maps are the largest; null for all
        neurons_keep: of themselves for the backward pass: their input current; bits, with surrogate Rectangle and the same gradients; or
            bfloat16, with any other surrogate: distances from the threshold, rounded, half of a float32 current, with derivatives off by
            up to a 256th of their peak
    """

    name: str = "bptt"
    decay: UpToOne = 0.5
    threshold: Positive = 1.0
    reset: Literal["subtract", "to"] = "subtract"
    strict: bool = False
    detach_reset: bool = False
    surrogate: Literal["ATan", "Sigmoid", "Exponential", "FastSigmoid", "Triangle", "Rectangle", "Gaussian"] = "ATan"
    surrogate_parameter: Positive = 2.0
    current_decay: UpToOne = 0.0
    beta: NotNegative = 0.0
    adaptation_decay: UpToOne | None = None
    learn_decays: bool = False
    normalize_input: bool = False
    readout_decay: UpToOne | None = None
    readout_current_decay: UpToOne = 0.0
    loss: OverTime = "mean"
    memory: Literal["plain", "packed", "checkpoint"] = "plain"
    recomputed_blocks: Count | None = None
    neurons_keep: Literal["input", "bits", "bfloat16"] = "input"


# Options of the readout, which networks by a name have of their own; options of neurons, which they may make themselves.
_OF_READOUT = ("readout_decay", "readout_current_decay")
_OF_NEURONS = (
    "decay", "threshold", "reset", "strict", "detach_reset", "surrogate", "surrogate_parameter", "current_decay", "beta", "adaptation_decay",
    "learn_decays", "normalize_input", "neurons_keep",
)  # fmt: skip


class BPTT(GradientMethod):
    Options = Options
    changeable = ("memory", "recomputed_blocks", "neurons_keep")
    network_fields = ("model", "bias")

    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        options: Options = config.method
        _check(options)
        readout = None if options.readout_decay is None else lambda outputs: _readout(options, outputs)
        model = config.network.model
        if model in MODELS:
            network = build_network(
                config.network, input_shape, self.classes, lambda shape, factor: _neurons(options, shape, factor), readout
            )
            _set_recomputed_blocks(network, options)
            return network
        if options.memory == "checkpoint":
            raise UserError(
                f"field method.memory: expected plain or packed with {'networks from outside' if model else 'network.layers'}, got checkpoint, "
                f"which is for the blocks of network.model {' and '.join(MODELS)}"
            )
        if model:
            for name in _OF_READOUT:
                if value := getattr(options, name):
                    named = f"network.model {shortened(model, 80)}"
                    raise UserError(f"method.{name}: has no effect on {named}, whose outputs are its own, got {value:g}")
            return build_outside(config, input_shape, self.classes, lambda shape: _neurons(options, shape), _OF_NEURONS, self.device)
        return SpikingNetwork(
            config.network,
            input_shape,
            neuron=lambda i, shape: _neurons(options, shape),
            pool=lambda size: SumPool2d(size, 1 / size**2),
            neurons_at_output=False,
            input_filter=nn.Identity(),
            static_gain=None,
            conv=snn.SpikeConv2d,
            recurrent=lambda layer: _recurrent_neurons(options, layer),
            readout=readout,
        )

    def forward(self, inputs: Tensor) -> Tensor:
        with contextlib.nullcontext() if self.config.method.memory == "plain" else spikeops.pack_saved_spikes():
            return super().forward(inputs)

    def logits(self, outputs: Tensor) -> Tensor:
        return scores_over_time(outputs, self.config.method.loss)

    def logits_source(self) -> str:
        return OVER_TIME[self.config.method.loss]

    def loss(self, outputs: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        return cross_entropy(self.logits(outputs), labels, batch_size)

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        trains = self.record_neurons(inputs, lambda neuron, current, spikes: spikes[0] if isinstance(spikes, tuple) else spikes)
        samples = inputs.shape[-len(self.input_shape) - 1]
        for name, spikes in trains.items():
            if spikes.dim() < 3 or spikes.shape[1] != samples:
                raise UserError(f"neurons {shortened(name, 60)}: expected spikes (T, N, ...) of {samples} samples, got {tuple(spikes.shape)}")
        return trains


def _check(options: Options) -> None:
    """Refuse options that do not go together: none is without effect, and a decay that is learned begins between 0 and 1."""
    if (options.beta > 0) != (options.adaptation_decay is not None):
        raise UserError(
            f"fields method.beta, method.adaptation_decay: expected both for thresholds that adapt, 0 and null for others, got "
            f"{options.beta:g} and {'null' if options.adaptation_decay is None else f'{options.adaptation_decay:g}'}"
        )
    if options.readout_current_decay > 0 and options.readout_decay is None:
        raise UserError(
            f"field method.readout_current_decay: expected 0 where there is no method.readout_decay, got {options.readout_current_decay:g}"
        )
    if options.normalize_input:
        for name in ("decay", "readout_decay"):
            if getattr(options, name) == 1:
                raise UserError(f"field method.{name}: expected a number below 1 with method.normalize_input, which takes 1 - decay, got 1")
    if options.learn_decays:
        for name, is_used in (
            ("decay", True),
            ("current_decay", options.current_decay > 0),
            ("adaptation_decay", options.adaptation_decay is not None),
            ("readout_decay", options.readout_decay is not None),
            ("readout_current_decay", options.readout_current_decay > 0),
        ):
            decay = getattr(options, name)
            if is_used and not 0 < decay < 1:
                raise UserError(f"field method.{name}: expected a number between 0 and 1 to learn from, got {decay:g}")
    if options.recomputed_blocks is not None and options.memory != "checkpoint":
        raise UserError(
            f"field method.recomputed_blocks: expected null with method.memory {options.memory}, which computes nothing again, got "
            f"{options.recomputed_blocks}"
        )
    if options.neurons_keep != "input":
        _check_kept(options)


def _check_kept(options: Options) -> None:
    """Refuse what bits or distances do not suffice for, by its field."""
    bits, of_two_values = options.neurons_keep == "bits", options.surrogate == "Rectangle"
    surrogates = "Rectangle, which has two values" if bits else "another than Rectangle, for which there is method.neurons_keep bits"
    for name, suits, expected in (
        ("surrogate", of_two_values == bits, surrogates),
        ("detach_reset", not bits or options.detach_reset or options.reset != "to", "true with method.reset to"),
        ("learn_decays", not options.learn_decays, "false"),
        ("current_decay", options.current_decay == 0, "0"),
        ("beta", options.beta == 0, "0"),
    ):
        if not suits:
            raise UserError(
                f"field method.{name}: expected {expected}, for method.neurons_keep {options.neurons_keep}, got {shown(getattr(options, name))}"
            )


def _set_recomputed_blocks(network: ResidualNetwork, options: Options) -> None:
    blocks = len(network.blocks)
    if options.recomputed_blocks is not None and options.recomputed_blocks > blocks:
        raise UserError(f"field method.recomputed_blocks: expected at most the {blocks} blocks that there are, got {options.recomputed_blocks}")
    network.recomputed_blocks = (options.recomputed_blocks or blocks) if options.memory == "checkpoint" else 0


def _of_all(options: Options, factor: float = 1.0) -> dict[str, Any]:
    """Arguments that all kinds of neurons take, with the threshold times a factor."""
    bump = getattr(surrogate, options.surrogate)(options.surrogate_parameter)
    scale = 1 - options.decay if options.normalize_input else 1.0
    return dict(
        decay=options.decay, threshold=factor * options.threshold, reset=options.reset, strict=options.strict,
        detach_reset=options.detach_reset, surrogate=bump, input_scale=scale,
    )  # fmt: skip


def _neurons(options: Options, shape: Shape, factor: float = 1.0) -> nn.Module:
    """Neurons that do not hear each other, for a sample of this shape: (C, H, W) or (units,). `factor`: on the threshold."""
    arguments = _of_all(options, factor)
    learned = dict(shape=(shape[0], *[1] * (len(shape) - 1))) if options.learn_decays else {}
    if options.beta > 0 and options.current_decay > 0:
        raise UserError(
            "field method.current_decay: expected 0 with method.beta, but in recurrent layers, such as 128R: others are either current-based "
            f"or adaptive, got {options.current_decay:g}"
        )
    if options.beta > 0:
        return snn.ALIF(
            **arguments, beta=options.beta, adaptation_decay=options.adaptation_decay, learn_decays=options.learn_decays, **learned
        )
    if options.current_decay > 0:
        return snn.CubaLIF(**arguments, current_decay=options.current_decay, learn_decays=options.learn_decays, **learned)
    return snn.ParametricLIF(**arguments, **learned) if options.learn_decays else snn.LIF(**arguments, save=options.neurons_keep)


def _recurrent_neurons(options: Options, layer: Recurrent) -> nn.Module:
    if options.neurons_keep != "input":
        raise UserError(
            "field method.neurons_keep: expected input with recurrent layers, whose gradients need their potentials, got "
            f"{options.neurons_keep}"
        )
    adaptive = {} if options.adaptation_decay is None else dict(beta=options.beta, adaptation_decay=options.adaptation_decay)
    return snn.RecurrentLIF(
        layer.units, all_to_all=layer.all_to_all, current_decay=options.current_decay, learn_decays=options.learn_decays,
        **_of_all(options), **adaptive,
    )  # fmt: skip


def _readout(options: Options, outputs: int) -> nn.Module:
    """Membranes that do not fire, behind synapses where they have some."""
    learned = dict(learn_decay=True, shape=(outputs,)) if options.learn_decays else {}
    scale = 1 - options.readout_decay if options.normalize_input else 1.0
    membranes = snn.LeakyReadout(options.readout_decay, input_scale=scale, **learned)
    if not options.readout_current_decay:
        return membranes
    return nn.Sequential(snn.LeakyReadout(options.readout_current_decay, **learned), membranes)


METHOD = BPTT
