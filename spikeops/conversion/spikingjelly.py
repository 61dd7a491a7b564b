"""Counterparts of SpikingJelly's neurons. Imported where a model holds some of them, since it imports SpikingJelly."""

from __future__ import annotations

import math
from typing import Any

import torch
from spikingjelly.activation_based import neuron, surrogate
from torch import nn

import spikeops.functional as SF
from spikeops.conversion._exact import Counterpart, NotExact, full_precision, kept, number, owned, require, tensors_like
from spikeops.surrogate import (
    ATan,
    Exponential,
    FastSigmoid,
    Gaussian,
    Rectangle,
    Sigmoid,
    Step,
    StraightThrough,
    SuperSpike,
    Surrogate,
    Triangle,
    Window,
)


def _open_rectangle(alpha: float) -> Rectangle:
    """Theirs is 0 at its edges, ours is not: ours ends at the last float32 number before them."""
    edge = torch.tensor(0.5 / alpha, dtype=torch.float32)
    width = 2 * torch.nextafter(edge, torch.zeros_like(edge)).item()
    return Rectangle(width, height=alpha * width)


_SURROGATES = {
    surrogate.DeterministicPass: lambda f: StraightThrough(),
    surrogate.LeakyKReLU: lambda f: Step(f.leak, f.k),
    surrogate.PiecewiseExp: lambda f: Exponential(f.alpha, height=f.alpha / 2),
    surrogate.Rect: lambda f: _open_rectangle(f.alpha),
    surrogate.SoftSign: lambda f: FastSigmoid(f.alpha, height=f.alpha / 2),
    surrogate.SuperSpike: lambda f: SuperSpike(f.alpha),
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


def _fired(node: Any) -> dict:
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


def ilif_options(node: Any) -> dict:
    tau, counted = number("tau", node.tau), node.surrogate_function
    require(type(counted) is surrogate.MultiLevelSpikeCount and counted.spiking, "its surrogate is no MultiLevelSpikeCount that fires")
    return dict(
        decay=1 - 1 / tau, threshold=number("v_threshold", node.v_threshold), detach_reset=bool(node.detach_reset),
        max_spikes=counted.max_spike_count, rounding="nearest", surrogate=Window(counted.grad_min, counted.grad_max),
    )  # fmt: skip


def cuba_options(node: Any) -> dict:
    """The options of cuba_lif where it has the surrogate, else of lif, whose x is then what a synapse has made of it."""
    options = dict(decay=number("v_decay", node.v_decay), **_fired(node))
    current_decay = number("c_decay", node.c_decay)
    if not options["surrogate"].suits_every_op:
        return options
    return options | dict(current_decay=current_decay, order="decay_input_membrane")


def leak_options(node: Any) -> dict:
    tau = number("tau", node.tau)
    require(tau >= 1, f"tau is {tau}; it has to be 1 at least")
    return dict(decay=1 - 1 / tau, input_scale=1 / tau, reset="none")


def sum_options(node: Any) -> dict:
    return dict(decay=1.0, reset="none")


def plif_options(node: Any) -> dict:
    require(node.w.numel() == 1, f"w has {node.w.numel()} values")
    rate = node.w.sigmoid()
    options = dict(decay=1 - rate, input_scale=rate if node.decay_input else 1.0, **_fired(node))
    return options | dict(v_rest=options.get("v_reset", 0.0))


class _Node(Counterpart):
    """The steps of SpikingJelly's production neurons, whose states go in and out: a step is a sequence of one."""

    def multi_step_functional_forward(self, inputs: tuple, states: tuple, **kwargs: object) -> tuple[tuple, tuple]:
        spikes, states, _ = self._steps(inputs[0], states)
        return (spikes,), states

    def single_step_functional_forward(self, inputs: tuple, states: tuple, **kwargs: object) -> tuple[tuple, tuple]:
        spikes, states, _ = self._steps(inputs[0].unsqueeze(0), states)
        return (spikes.squeeze(0),), states

    def multi_step_forward(self, x_seq: torch.Tensor) -> torch.Tensor:
        states = self.materialize_states((x_seq,), tuple(self._memories.values()), "m")
        spikes, states, trace = self._steps(x_seq, states, self.store_v_seq)
        self._memories.update(zip(self._memories, states, strict=True))
        self.v_seq = trace[0] if trace else None
        return spikes

    def _steps(self, x: torch.Tensor, states: tuple, trace: bool = False) -> tuple[torch.Tensor, tuple, tuple]:
        full_precision("SpikingJelly", x)
        require(self._neuron_precision is None, "spikeops.convert: a node with a precision of its own has no counterpart")
        options = tensors_like(x, self.options())
        return self._run(x, kept(*states), options | dict(return_trace=True) if trace else options)

    def _run(self, x: torch.Tensor, states: tuple, options: dict) -> tuple[torch.Tensor, tuple, tuple]:
        spikes, v, *trace = SF.lif(x, v_init=states[0], **options)
        return spikes, owned(v), tuple(trace)


class IFNode(_Node, neuron.IFNode):
    options = if_options


class LIFNode(_Node, neuron.LIFNode):
    options = lif_options


class HalfThresholdIFNode(_Node, neuron.HalfThresholdIFNode):
    options = if_options


class ParametricLIFNode(_Node, neuron.ParametricLIFNode):
    options = plif_options


class ILIFNode(_Node, neuron.ILIFNode):
    options = ilif_options


class CUBALIFNode(_Node, neuron.CUBALIFNode):
    options = cuba_options

    def _run(self, x: torch.Tensor, states: tuple, options: dict) -> tuple[torch.Tensor, tuple, tuple]:
        if "current_decay" in options and "return_trace" not in options:
            spikes, v, current = SF.cuba_lif(x, v_init=states[0], i_init=states[1], **options)
            return spikes, owned(v, current), ()
        of_lif = {name: value for name, value in options.items() if name not in ("current_decay", "order")}
        currents, current = SF.leaky_readout(x, number("c_decay", self.c_decay), v_init=states[1])
        spikes, v, *trace = SF.lif(currents, v_init=states[0], **of_lif)
        return spikes, owned(v, current), tuple(trace)


class _SimpleNode(Counterpart):
    """The steps of SpikingJelly's neurons for teaching, whose state is a number until the first call."""

    def single_step_forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.multi_step_forward(x.unsqueeze(0)).squeeze(0)

    def multi_step_forward(self, x_seq: torch.Tensor) -> torch.Tensor:
        full_precision("SpikingJelly", x_seq)
        v = self.v if isinstance(self.v, torch.Tensor) else torch.full_like(x_seq[0], self.v, requires_grad=False)
        spikes, v = SF.lif(x_seq, v_init=kept(v)[0], **self.options())
        (self.v,) = owned(v)
        return spikes


class SimpleIFNode(_SimpleNode, neuron.SimpleIFNode):
    options = if_options


class SimpleLIFNode(_SimpleNode, neuron.SimpleLIFNode):
    options = lif_options


class _NonSpikingNode(Counterpart):
    """Integrators without a threshold, which begin at 0 in each call."""

    def forward(self, x_seq: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        full_precision("SpikingJelly", x_seq)
        *_, self.v, v_seq = SF.lif(x_seq, return_trace=True, **self.options())
        if self.decode == "max-mem":
            return v_seq.max(0).values
        if self.decode == "max-abs-mem":
            high, low = v_seq.max(0).values, v_seq.min(0).values
            return high * (high.abs() > low.abs()) + low * (high.abs() <= low.abs())
        if self.decode == "mean-mem":
            return v_seq.mean(0)
        return v_seq[-1] if self.decode == "last_mem" else list(v_seq.unbind())


class NonSpikingIFNode(_NonSpikingNode, neuron.NonSpikingIFNode):
    options = sum_options


class NonSpikingLIFNode(_NonSpikingNode, neuron.NonSpikingLIFNode):
    options = leak_options


COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    neuron.IFNode: IFNode,
    neuron.LIFNode: LIFNode,
    neuron.ParametricLIFNode: ParametricLIFNode,
    neuron.HalfThresholdIFNode: HalfThresholdIFNode,
    neuron.SimpleIFNode: SimpleIFNode,
    neuron.SimpleLIFNode: SimpleLIFNode,
    neuron.ILIFNode: ILIFNode,
    neuron.CUBALIFNode: CUBALIFNode,
    neuron.NonSpikingIFNode: NonSpikingIFNode,
    neuron.NonSpikingLIFNode: NonSpikingLIFNode,
}


def is_neuron(module: nn.Module) -> bool:
    """Whether a module of SpikingJelly, or a subclass, is a neuron: all that its package of neurons defines."""
    return any(kind.__module__.startswith("spikingjelly.activation_based.neuron.") for kind in type(module).__mro__)


def adopt(module: nn.Module) -> None:
    """What a copy of a module needs to be known to the library."""
