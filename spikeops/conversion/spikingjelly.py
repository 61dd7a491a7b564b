"""Counterparts of SpikingJelly's neurons. Imported where a model holds some of them, since it imports SpikingJelly."""

from __future__ import annotations

import math
from typing import Any

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

import spikeops.functional as SF
from spikeops.conversion._exact import Counterpart, NotExact, full_precision, number, require
from spikeops.surrogate import ATan, Gaussian, Sigmoid, Surrogate, Triangle

_SURROGATES = {
    surrogate.Sigmoid: lambda f: Sigmoid(f.alpha),
    surrogate.ATan: lambda f: ATan(f.alpha),
    surrogate.PiecewiseQuadratic: lambda f: Triangle(1 / f.alpha),
    surrogate.Erf: lambda f: Gaussian(1 / (f.alpha * math.sqrt(2))),
}


def spike_function(function: object) -> Surrogate:
    """Our surrogate for theirs."""
    make = _SURROGATES.get(type(function))
    if make is None:
        raise NotExact(f"its surrogate {type(function).__name__} has no counterpart")
    require(function.spiking, f"its surrogate {type(function).__name__}(spiking=False) does not fire")
    try:
        return make(function)
    except (TypeError, ValueError) as error:
        raise NotExact(f"its surrogate: {error}") from error


def _fired(node: Any, v_rest: float | None = None) -> dict:
    """The options of lif that have to do with firing and resetting."""
    options: dict = dict(
        threshold=number("v_threshold", node.v_threshold), detach_reset=bool(node.detach_reset),
        surrogate=spike_function(node.surrogate_function),
    )  # fmt: skip
    if node.v_reset is not None:
        v_reset = number("v_reset", node.v_reset)
        options |= dict(reset="to", v_reset=v_reset)
    return options


def if_options(node: Any) -> dict:
    return dict(decay=1.0, **_fired(node))


def lif_options(node: Any) -> dict:
    tau = number("tau", node.tau)
    require(tau > 1, f"tau is {tau}; it has to be above 1")
    options = dict(decay=1 - 1 / tau, input_scale=1 / tau if node.decay_input else 1.0, **_fired(node))
    return options | dict(v_rest=options.get("v_reset", 0.0))


def plif_options(node: Any) -> dict:
    require(node.w.numel() == 1, f"w has {node.w.numel()} values")
    options = dict(decay_input=bool(node.decay_input), **_fired(node))
    return options | dict(v_rest=options.get("v_reset", 0.0))


class _Node(Counterpart):
    """The steps of SpikingJelly's production neurons, whose states go in and out: a step is a sequence of one."""

    def multi_step_functional_forward(self, inputs: tuple, states: tuple, **kwargs: object) -> tuple[tuple, tuple]:
        (x,), (v,) = inputs, states
        full_precision("SpikingJelly", x)
        require(self._neuron_precision is None, "spikeops.convert: a node with a precision of its own has no counterpart")
        spikes, v = self._run(x, v, self.options())
        return (spikes,), (v,)

    def single_step_functional_forward(self, inputs: tuple, states: tuple, **kwargs: object) -> tuple[tuple, tuple]:
        (spikes,), states = self.multi_step_functional_forward((inputs[0].unsqueeze(0),), states)
        return (spikes.squeeze(0),), states

    # Those of IFNode, LIFNode and ParametricLIFNode call kernels of their own.
    def multi_step_forward(self, x_seq: torch.Tensor, *args, **kwargs):
        return neuron.BaseNode.multi_step_forward(self, x_seq, *args, **kwargs)

    def _run(self, x: torch.Tensor, v: torch.Tensor, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
        return SF.lif(x, v_init=v, **options)


class IFNode(_Node, neuron.IFNode):
    options = if_options


class LIFNode(_Node, neuron.LIFNode):
    options = lif_options


class HalfThresholdIFNode(_Node, neuron.HalfThresholdIFNode):
    options = if_options


class ParametricLIFNode(_Node, neuron.ParametricLIFNode):
    options = plif_options

    def _run(self, x: torch.Tensor, v: torch.Tensor, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
        rate = self.w.sigmoid()
        return SF.lif(x * rate if options.pop("decay_input") else x, 1 - rate, v_init=v, **options)


class _SimpleNode(Counterpart):
    """The steps of SpikingJelly's neurons for teaching, whose state is a number until the first call."""

    def single_step_forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.multi_step_forward(x.unsqueeze(0)).squeeze(0)

    def multi_step_forward(self, x_seq: torch.Tensor) -> torch.Tensor:
        full_precision("SpikingJelly", x_seq)
        v = self.v if isinstance(self.v, torch.Tensor) else torch.full_like(x_seq[0], self.v, requires_grad=False)
        spikes, self.v = SF.lif(x_seq, v_init=v, **self.options())
        return spikes


class SimpleIFNode(_SimpleNode, neuron.SimpleIFNode):
    options = if_options


class SimpleLIFNode(_SimpleNode, neuron.SimpleLIFNode):
    options = lif_options


COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    neuron.IFNode: IFNode,
    neuron.LIFNode: LIFNode,
    neuron.ParametricLIFNode: ParametricLIFNode,
    neuron.HalfThresholdIFNode: HalfThresholdIFNode,
    neuron.SimpleIFNode: SimpleIFNode,
    neuron.SimpleLIFNode: SimpleLIFNode,
}


def is_neuron(module: nn.Module) -> bool:
    """Whether a module of SpikingJelly, or a subclass, is a neuron: all that its package of neurons defines."""
    return any(kind.__module__.startswith("spikingjelly.activation_based.neuron.") for kind in type(module).__mro__)


def adopt(module: nn.Module) -> None:
    """What a copy of a module needs to be known to the library."""
