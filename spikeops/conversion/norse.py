"""Counterparts of Norse's neurons. Imported where a model holds some of them, since it imports Norse."""

from __future__ import annotations

import math
from typing import Any

import norse.torch
import torch
from norse.torch.functional.iaf import iaf_feed_forward_step
from norse.torch.functional.leaky_integrator import LIState, li_feed_forward_step
from norse.torch.functional.leaky_integrator_box import LIBoxState, li_box_feed_forward_step
from norse.torch.functional.lif import LIFFeedForwardState, LIFState, lif_feed_forward_step, lif_step
from norse.torch.functional.lif_box import lif_box_feed_forward_step
from norse.torch.functional.reset import reset_subtract, reset_value
from norse.torch.module.leaky_integrator_box import LIBoxCell as TheirLIBoxCell
from norse.torch.module.snn import SNN, SNNCell
from torch import nn

import spikeops.functional as SF
from spikeops.conversion._exact import (
    Counterpart,
    NotExact,
    added_up,
    full_precision,
    number,
    number_or_tensor,
    require,
    tensors_like,
)
from spikeops.surrogate import FastSigmoid, Gaussian, Sigmoid, Surrogate, Triangle

_SURROGATES = {
    "super": lambda alpha: FastSigmoid(1.0),  # Norse 1.1 leaves its alpha out
    "triangle": lambda alpha: Triangle(1.0, height=alpha),
    "tanh": lambda alpha: Sigmoid(2 * alpha, height=2 / alpha),
    "heavi_erfc": lambda alpha: Gaussian(1 / (alpha * math.sqrt(2)), height=2 / alpha),
}


def spike_function(method: str, alpha: object) -> Surrogate | None:
    """Our surrogate for theirs; None if no gradient passes."""
    if method == "heaviside":
        return None
    require(method in _SURROGATES, f"its threshold function {method!r} has no counterpart")
    try:
        return _SURROGATES[method](number("alpha", alpha))
    except (TypeError, ValueError, ZeroDivisionError) as error:
        raise NotExact(f"its threshold function {method!r}: {error}") from error


def _fired(p: Any) -> dict:
    """The options of firing."""
    surrogate = spike_function(p.method, p.alpha)
    options = dict(threshold=number_or_tensor("v_th", p.v_th), strict=True)
    return options | (dict(detach_reset=True) if surrogate is None else dict(surrogate=surrogate))


def _leak(name: str, rate: torch.Tensor) -> tuple[float | torch.Tensor, float | torch.Tensor]:
    """The decay that a rate per time step leaves, and the rate."""
    rate = number_or_tensor(name, rate)
    if not isinstance(rate, torch.Tensor):
        require(0 <= rate <= 1, f"{name} is {rate}, not between 0 and 1")
    return 1 - rate, rate


def iaf_options(layer: Any) -> dict:
    require(layer.activation is iaf_feed_forward_step, "its activation is not its own")
    v_reset = layer.p.v_reset
    if isinstance(v_reset, torch.Tensor) and not isinstance(v_reset, nn.Parameter):
        v_reset = v_reset.detach()  # Norse asks a gradient for it, since it is the initial state, too
    return dict(decay=1.0, reset="to", v_reset=number("v_reset", v_reset), **_fired(layer.p))


def lif_box_options(layer: Any) -> dict:
    require(layer.activation is lif_box_feed_forward_step, "its activation is not its own")
    p = layer.p
    decay, rate = _leak("dt * tau_mem_inv", layer.dt * p.tau_mem_inv)
    options = dict(decay=decay, input_scale=rate, v_rest=number("v_leak", p.v_leak), **_fired(p))
    if p.reset_method is reset_subtract:
        return options | dict(reset="subtract")
    require(p.reset_method is reset_value, "its reset_method has no counterpart")
    return options | dict(reset="to", v_reset=number("v_reset", p.v_reset))


def li_box_options(layer: Any) -> dict:
    require(layer.activation is li_box_feed_forward_step, "its activation is not its own")
    decay, rate = _leak("dt * tau_mem_inv", layer.dt * layer.p.tau_mem_inv)
    return dict(decay=decay, input_scale=rate, v_rest=number("v_leak", layer.p.v_leak), reset="none")


def lif_options(layer: Any) -> dict:
    require(layer.activation is lif_feed_forward_step, "its activation is not its own, or the method is 'adjoint'")
    options = _membrane(layer) | _fired(layer.p)
    options["current_scale"] = options.pop("input_scale")
    return options | dict(current_decay=_synapse(layer), order="input_membrane_decay")


def recurrent_options(layer: Any) -> dict:
    """Of the membrane, whose current comes from weights and a synapse."""
    require(layer.activation is lif_step, "its activation is not its own, or the method is 'adjoint'")
    _synapse(layer)
    return _membrane(layer) | _fired(layer.p) | dict(detach_reset=True)


def li_options(layer: Any) -> dict:
    """Of the membrane, whose current comes from a synapse."""
    own = isinstance(layer, norse.torch.LILinearCell) or layer.activation is li_feed_forward_step
    require(own, "its activation is not its own")
    _synapse(layer)
    decay, rate = _leak("dt * tau_mem_inv", layer.dt * layer.p.tau_mem_inv)
    return dict(decay=decay, input_scale=rate, v_rest=number("v_leak", layer.p.v_leak), reset="none")


def _membrane(layer: Any) -> dict:
    p = layer.p
    decay, rate = _leak("dt * tau_mem_inv", layer.dt * p.tau_mem_inv)
    v_leak, v_reset = number("v_leak", p.v_leak), number("v_reset", p.v_reset)
    return dict(decay=decay, input_scale=rate, v_rest=v_leak, reset="to", v_reset=v_reset)


def _synapse(layer: Any) -> float | torch.Tensor:
    """The decay of the current in a time step."""
    return _leak("dt * tau_syn_inv", layer.dt * layer.p.tau_syn_inv)[0]


class _Layer(Counterpart):
    """The steps of layers (all time steps in a call) and cells (one) that take and return their state as a tuple of tensors."""

    _cell: bool

    def forward(self, input_tensor: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        outputs, state = self._sequence(input_tensor.unsqueeze(0) if self._cell else input_tensor, state, input_tensor)
        return outputs.squeeze(0) if self._cell else outputs, state

    def _sequence(self, x: torch.Tensor, state: Any, input_tensor: torch.Tensor) -> tuple[torch.Tensor, Any]:
        if x.is_sparse:
            raise NotExact("spikeops.convert: sparse inputs of Norse's layers have no counterpart. Hint: give it x.to_dense().")
        full_precision("Norse", x)
        state = self.state_fallback(input_tensor) if state is None else state
        options = tensors_like(x, self.options())
        return self._run(x, type(state)(*(part.to(x.dtype) for part in state)), options)

    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        raise NotImplementedError


class _Cell(_Layer):
    _cell = True

    def multi_step(self, input_tensor: torch.Tensor, state: Any = None) -> tuple[torch.Tensor, Any]:
        """All time steps in one kernel.

        Args:
            input_tensor: (T, ...). state: before the first step, as for a call.

        Returns:
            (outputs (T, ...), the state after the last step).
        """
        return self._sequence(input_tensor, state, input_tensor[0])


class _Membrane(_Layer):
    """Layers whose state is the membrane potential alone."""

    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        if getattr(self, "record_states", False):
            spikes, v, trace = SF.lif(x, v_init=state.v, return_trace=True, **options)
            return _passed(spikes, options), type(state)(v=trace)
        spikes, v = SF.lif(x, v_init=state.v, **options)
        return _passed(spikes, options), type(state)(v=v)


def _passed(spikes: torch.Tensor, options: dict) -> torch.Tensor:
    return spikes if "surrogate" in options else spikes.detach()


class IAF(_Membrane, norse.torch.IAF):
    options = iaf_options
    _cell = False


class IAFCell(_Cell, _Membrane, norse.torch.IAFCell):
    options = iaf_options


class LIFBoxCell(_Cell, _Membrane, norse.torch.LIFBoxCell):
    options = lif_box_options


class LIBoxCell(_Cell, TheirLIBoxCell):
    options = li_box_options

    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        _, v, trace = SF.lif(x, v_init=state.v, return_trace=True, **options)
        return trace, LIBoxState(v)


class _Synapses(_Layer):
    """Layers with a synapse, which decays after the membrane has read it."""

    def _decayed(self, current: torch.Tensor) -> torch.Tensor:
        """The state after steps in which the membrane has read this; in Norse's order of operations."""
        return current + -self.dt * self.p.tau_syn_inv * current


class _CurrentBased(_Synapses):
    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        if getattr(self, "record_states", False):
            del options["order"]
            options["input_scale"] = options.pop("current_scale")
            currents = added_up(x, state.i, options.pop("current_decay"))
            spikes, _, trace = SF.lif(currents, v_init=state.v, return_trace=True, **options)
            return _passed(spikes, options), LIFFeedForwardState(v=trace, i=self._decayed(currents))
        spikes, v, i = SF.cuba_lif(x, v_init=state.v, i_init=state.i, **options)
        return _passed(spikes, options), LIFFeedForwardState(v=v, i=i)


class LIF(_CurrentBased, norse.torch.LIF):
    options = lif_options
    _cell = False


class LIFCell(_Cell, _CurrentBased, norse.torch.LIFCell):
    options = lif_options


class _Integrator(_Synapses):
    """Integrators, which put out their potentials."""

    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        currents = added_up(x, state.i, tensors_like(x, dict(decay=_synapse(self)))["decay"])
        _, v, trace = SF.lif(currents, v_init=state.v, return_trace=True, **options)
        recorded = getattr(self, "record_states", False)
        return trace, LIState(trace, self._decayed(currents)) if recorded else LIState(v, self._decayed(currents[-1]))


class LI(_Integrator, norse.torch.LI):
    options = li_options
    _cell = False


class LICell(_Cell, _Integrator, norse.torch.LICell):
    options = li_options


class LILinearCell(_Cell, _Integrator, norse.torch.LILinearCell):
    options = li_options

    def state_fallback(self, input_tensor: torch.Tensor) -> LIState:
        current = torch.zeros(*input_tensor.shape[:-1], self.hidden_size, device=input_tensor.device, dtype=input_tensor.dtype)
        return LIState(v=self.p.v_leak.detach().clone().requires_grad_(), i=current)

    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        return super()._run(nn.functional.linear(x, self.input_weights), state, options)


class _Recurrent(_Synapses):
    """A kernel call per step: the weights add up the spikes of the step before as Norse's do."""

    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        z, v, i = state
        states = []
        for x_t in x.unbind():
            current = i + nn.functional.linear(x_t, self.input_weights) + nn.functional.linear(z, self.recurrent_weights)
            spikes, v = SF.lif(current.unsqueeze(0), v_init=v, **options)
            z, i = _passed(spikes, options).squeeze(0), self._decayed(current)
            states.append(LIFState(z, v, i))
        spikes = torch.stack([state.z for state in states])
        if not getattr(self, "record_states", False):
            return spikes, states[-1]
        return spikes, LIFState(spikes, torch.stack([state.v for state in states]), torch.stack([state.i for state in states]))


class LIFRecurrent(_Recurrent, norse.torch.LIFRecurrent):
    options = recurrent_options
    _cell = False


class LIFRecurrentCell(_Cell, _Recurrent, norse.torch.LIFRecurrentCell):
    options = recurrent_options


COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    norse.torch.IAF: IAF,
    norse.torch.IAFCell: IAFCell,
    norse.torch.LIF: LIF,
    norse.torch.LIFCell: LIFCell,
    norse.torch.LIFBoxCell: LIFBoxCell,
    norse.torch.LIFRecurrent: LIFRecurrent,
    norse.torch.LIFRecurrentCell: LIFRecurrentCell,
    norse.torch.LI: LI,
    norse.torch.LICell: LICell,
    norse.torch.LILinearCell: LILinearCell,
    TheirLIBoxCell: LIBoxCell,
}
_CONTAINERS = ("norse.torch.module.sequential", "norse.torch.module.lift", "norse.torch.module.regularization")


def is_neuron(module: nn.Module) -> bool:
    """Whether a module of Norse, or a subclass, is a neuron: its cells and layers with a state, recurrent ones, too."""
    return isinstance(module, (SNN, SNNCell)) or any(
        kind.__module__.startswith("norse.torch.module.") and kind.__module__ not in _CONTAINERS and "state" in _arguments(kind)
        for kind in type(module).__mro__
    )


def _arguments(kind: type) -> tuple[str, ...]:
    code = getattr(vars(kind).get("forward"), "__code__", None)
    return code.co_varnames[: code.co_argcount] if code else ()


def adopt(module: nn.Module) -> None:
    """What a copy of a module needs to be known to the library."""
