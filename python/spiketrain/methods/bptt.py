"""Plain backpropagation through time with a surrogate gradient (Neftci, Mostafa & Zenke 2019), the yardstick of the others.

The same networks as for TSSL-BP, with leaky integrate-and-fire neurons that exchange spikes and average pooling, and networks with
recurrent layers (``128R``). Neurons may be current-based and adapt; recurrent ones that adapt are those of LSNNs (Bellec et al. 2018).
The last layer does not spike: the logits of a cross-entropy loss are its input current, or what leaky membranes integrate of it, averaged
over time or taken together otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops import surrogate
from spiketrain.config import Config
from spiketrain.config.fields import NotNegative, Positive, UpToOne
from spiketrain.errors import UserError
from spiketrain.methods.base.gradient import GradientMethod
from spiketrain.methods.base.losses import OVER_TIME, OverTime, cross_entropy, scores_over_time
from spiketrain.models.layers import SumPool2d
from spiketrain.models.network import Shape, SpikingNetwork
from spiketrain.models.notation import Recurrent


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


class BPTT(GradientMethod):
    Options = Options

    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        options: Options = config.method
        _check(options)
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
            readout=None if options.readout_decay is None else lambda outputs: _readout(options, outputs),
        )

    def logits(self, outputs: Tensor) -> Tensor:
        return scores_over_time(outputs, self.config.method.loss)

    def logits_source(self) -> str:
        return OVER_TIME[self.config.method.loss]

    def loss(self, outputs: Tensor, labels: Tensor, batch_size: int) -> Tensor:
        return cross_entropy(self.logits(outputs), labels, batch_size)

    @torch.inference_mode()
    def spike_trains(self, inputs: Tensor) -> dict[str, Tensor]:
        return self.record_neurons(inputs, lambda neuron, current, spikes: spikes)


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


def _of_all(options: Options) -> dict[str, Any]:
    """Arguments that all kinds of neurons take."""
    bump = getattr(surrogate, options.surrogate)(options.surrogate_parameter)
    scale = 1 - options.decay if options.normalize_input else 1.0
    return dict(
        decay=options.decay, threshold=options.threshold, reset=options.reset, strict=options.strict, detach_reset=options.detach_reset,
        surrogate=bump, input_scale=scale,
    )  # fmt: skip


def _neurons(options: Options, shape: Shape) -> nn.Module:
    """Neurons that do not hear each other, for a sample of this shape: (C, H, W) or (units,)."""
    arguments = _of_all(options)
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
    return snn.ParametricLIF(**arguments, **learned) if options.learn_decays else snn.LIF(**arguments)


def _recurrent_neurons(options: Options, layer: Recurrent) -> nn.Module:
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
