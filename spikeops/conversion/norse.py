"""Counterparts of Norse's neurons. Imported where a model holds some of them, since it imports Norse."""

from __future__ import annotations

from typing import Any

import norse.torch
import torch
from norse.torch.functional.leaky_integrator import LIState
from norse.torch.functional.leaky_integrator_box import LIBoxState
from norse.torch.functional.lif import LIFFeedForwardState, LIFState
from norse.torch.functional.lsnn import LSNNFeedForwardState, LSNNState
from norse.torch.module.leaky_integrator_box import LIBoxCell as TheirLIBoxCell
from norse.torch.module.snn import SNN, SNNCell
from torch import nn

import spikeops.functional as SF
from spikeops.conversion._exact import Counterpart, NotExact, added_up, full_precision, number, tensors_like
from spikeops.conversion._norse_options import (
    iaf_options,
    li_box_options,
    li_options,
    lif_box_options,
    lif_options,
    lsnn_options,
    recurrent_lsnn_options,
    recurrent_options,
    synapse,
)
from spikeops.conversion._norse_options import (
    spike_function as spike_function,  # each library's file has one
)


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
        currents = added_up(x, state.i, tensors_like(x, dict(decay=synapse(self)))["decay"])
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


class _Adaptive(_Layer):
    """The threshold is ours, v_th, and what spikes have added to it."""

    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        recorded = getattr(self, "record_states", False)
        spikes, states = [], []
        for piece in x.split(1) if recorded else (x,):
            out, state = self._piece(piece, state, options)
            spikes.append(out)
            states.append(state)
        if not recorded:
            return spikes[0], state
        return torch.cat(spikes), LSNNFeedForwardState(*map(torch.stack, zip(*states)))

    def _piece(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        threshold, beta = options["threshold"], number("beta", self.p.beta)
        step = x[0]
        spikes, v, i, a = SF.recurrent_lif(
            x.flatten(1) if x.dim() > 1 else x.unsqueeze(1), x.new_zeros(step.numel()),  # no spike comes back
            v_init=_flat(state.v, step), i_init=_flat(state.i, step), a_init=_flat((state.b - threshold) / beta, step),
            **{name: _flat(value, step) if isinstance(value, torch.Tensor) else value for name, value in options.items()},
        )  # fmt: skip
        v, i, a = (value.reshape(step.shape) for value in (v, i, a))
        return spikes.reshape(x.shape), LSNNFeedForwardState(v, i, threshold + beta * a)


def _flat(value: torch.Tensor, step: torch.Tensor) -> torch.Tensor:
    return value.expand(step.shape).reshape(-1)


class LSNN(_Adaptive, norse.torch.LSNN):
    options = lsnn_options
    _cell = False


class LSNNCell(_Cell, _Adaptive, norse.torch.LSNNCell):
    options = lsnn_options


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


class _RecurrentAdaptive(_Synapses):
    """Likewise. No gradient passes from a spike to the threshold that it raises."""

    def _run(self, x: torch.Tensor, state: Any, options: dict) -> tuple[torch.Tensor, Any]:
        rate, v_th = self.dt * self.p.tau_adapt_inv, options.pop("threshold")
        states = []
        for x_t in x.unbind():
            z, v, i, b = state
            threshold = b + rate * (v_th - b)
            spikes, v = SF.lif(i.unsqueeze(0), v_init=v, threshold=threshold.expand(i.shape), **options)
            current = self._decayed(i) + nn.functional.linear(x_t, self.input_weights) + nn.functional.linear(z, self.recurrent_weights)
            z = _passed(spikes, options).squeeze(0)
            state = LSNNState(z, v, current, threshold + z.detach() * self.p.beta)
            states.append(state)
        everything = LSNNState(*map(torch.stack, zip(*states)))
        return everything.z, everything if getattr(self, "record_states", False) else state


class LSNNRecurrent(_RecurrentAdaptive, norse.torch.LSNNRecurrent):
    options = recurrent_lsnn_options
    _cell = False


class LSNNRecurrentCell(_Cell, _RecurrentAdaptive, norse.torch.LSNNRecurrentCell):
    options = recurrent_lsnn_options


COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    norse.torch.IAF: IAF,
    norse.torch.IAFCell: IAFCell,
    norse.torch.LIF: LIF,
    norse.torch.LIFCell: LIFCell,
    norse.torch.LIFBoxCell: LIFBoxCell,
    norse.torch.LIFRecurrent: LIFRecurrent,
    norse.torch.LIFRecurrentCell: LIFRecurrentCell,
    norse.torch.LSNN: LSNN,
    norse.torch.LSNNCell: LSNNCell,
    norse.torch.LSNNRecurrent: LSNNRecurrent,
    norse.torch.LSNNRecurrentCell: LSNNRecurrentCell,
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
