"""Counterparts of snnTorch's neurons. Imported where a model holds some of them, since it imports snnTorch."""

from __future__ import annotations

from typing import Any

import snntorch
import torch
from snntorch._neurons.neurons import SpikingNeuron
from torch import nn

import spikeops.functional as SF
from spikeops.conversion._exact import (
    Counterpart,
    NotExact,
    full_precision,
    number_or_tensor,
    owned,
    require,
    tensors_like,
)
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Sigmoid, Step, StraightThrough, Surrogate

# By the function of snntorch.surrogate that made it, from what it was given.
_SURROGATES = {
    "atan": lambda alpha: ATan(alpha),
    "fast_sigmoid": lambda slope: FastSigmoid(slope),
    "sigmoid": lambda slope: Sigmoid(slope),
    "spike_rate_escape": lambda beta, slope: Exponential(beta, height=slope, center=1.0),
    "straight_through_estimator": lambda: StraightThrough(),
    "triangular": lambda threshold: Step(threshold, -threshold),
}
_MECHANISMS = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}


def spike_function(function: Any) -> Surrogate | None:
    """Our surrogate for theirs, which are closures; None if no gradient passes."""
    if function is SpikingNeuron._surrogate_bypass:
        return None
    maker = getattr(function, "__qualname__", type(function).__name__).partition(".")[0]
    if getattr(function, "__module__", "") != "snntorch.surrogate" or maker not in _SURROGATES:
        raise NotExact(f"its surrogate {maker} has no counterpart")
    given = {name: cell.cell_contents for name, cell in zip(function.__code__.co_freevars, function.__closure__ or ())}
    try:
        return _SURROGATES[maker](**given)
    except (TypeError, ValueError) as error:
        raise NotExact(f"its surrogate {maker}: {error}") from error


def _fired(node: Any) -> dict:
    """The options of firing, but for the reset."""
    require(not node.state_quant, "its state_quant rounds its states")
    require(not node.inhibition, "inhibition=True has no counterpart")
    surrogate = spike_function(node.spike_grad)
    if surrogate is None:
        return dict(threshold=number_or_tensor("threshold", node.threshold), strict=True, detach_reset=True)
    return dict(threshold=number_or_tensor("threshold", node.threshold), strict=True, surrogate=surrogate)


def _mechanism(node: Any) -> str:
    """The reset that it does: chosen when it was made, whatever its reset_mechanism was set to since."""
    function = node.state_function
    name = _MECHANISMS.get(getattr(function, "__name__", ""))
    require(name is not None and function.__self__ is node, "its state_function is not its own")
    # To read the number on a GPU would wait for it in each call. A state dict may hold another one.
    on_host = node.reset_mechanism_val.device.type == "cpu"
    same = node.reset_mechanism == name and (not on_host or node.reset_mechanism_val.item() == SpikingNeuron.reset_dict[name])
    require(same, f"its reset_mechanism was set after it was made to reset by {name!r}")
    return name


def _clamped(name: str, value: torch.Tensor) -> float | torch.Tensor:
    value = number_or_tensor(name, value)
    return value.clamp(0, 1) if isinstance(value, torch.Tensor) else min(max(value, 0.0), 1.0)


def leaky_options(node: Any) -> dict:
    options, mechanism, late = dict(decay=_clamped("beta", node.beta), **_fired(node)), _mechanism(node), bool(node.reset_delay)
    if mechanism == "subtract":
        return options | dict(reset_timing="late" if late else "guarded")
    if mechanism == "none":
        return options | dict(reset="none")
    if late:
        return options | dict(reset="to", reset_timing="late")
    _require_silence_at_zero(options["threshold"])
    return options | dict(reset="to")


def rleaky_options(node: Any) -> dict:
    options = leaky_options(node)
    # Where Leaky's reset to zero comes before the input, its comes after it.
    zeroed = options.get("reset") == "to" and "reset_timing" in options
    return options | dict(reset_timing="late_with_input") if zeroed else options


def lapicque_options(node: Any) -> dict:
    require(not isinstance(node.beta, nn.Parameter), "learn_beta=True has no effect on it but an error in its second backward pass")
    mechanism = _mechanism(node)
    leak = 1 - node.time_step / (node.R * node.C)
    options = dict(decay=number_or_tensor("1 - time_step / (R * C)", leak), **_fired(node))
    if not isinstance(options["decay"], torch.Tensor):
        require(0 <= options["decay"] <= 1, f"its decay 1 - time_step / (R * C) is {options['decay']}, not between 0 and 1")
    if mechanism == "subtract":
        return options | dict(reset_timing="late")
    if mechanism == "none":
        return options | dict(reset="none")
    return options | dict(reset="to", reset_timing="late_with_input")


def synaptic_options(node: Any) -> dict:
    """The options of cuba_lif where it has them all, else of lif, whose x is then what a synapse has made of it."""
    options, mechanism, late = dict(decay=_clamped("beta", node.beta), **_fired(node)), _mechanism(node), bool(node.reset_delay)
    if mechanism == "none":
        options |= dict(reset="none")
    elif mechanism == "subtract":
        options |= dict(reset_timing="late" if late else "guarded")
    elif late:
        options |= dict(reset="to", reset_timing="late_with_input")
    else:
        _require_silence_at_zero(options["threshold"])
        options |= dict(reset="to")
    surrogate = options.get("surrogate")
    if options.get("reset_timing") == "guarded" or (surrogate is not None and not surrogate.suits_every_op):
        return options
    return options | dict(current_decay=_clamped("alpha", node.alpha), order="decay_input_membrane")


def rsynaptic_options(node: Any) -> dict:
    """Of the membrane, whose current comes from weights and a synapse."""
    require(bool(node.reset_delay), "reset_delay=False has no effect on it, but an error where it is given no spk")
    return rleaky_options(node)


def _require_silence_at_zero(threshold: float | torch.Tensor) -> None:
    low = threshold if isinstance(threshold, float) else float(threshold.detach().min())
    require(low >= 0, 'reset_delay=False with reset_mechanism="zero" and a negative threshold has no counterpart')


class _Neuron(Counterpart):
    """The steps of neurons whose states are the buffers of these names, in the order of their arguments and outputs."""

    _states: tuple[str, ...]

    def _call(self, input_: torch.Tensor, given: tuple) -> Any:
        """One time step: a sequence of one."""
        spikes, states = self._sequence(input_.unsqueeze(0), given)
        return self._outputs(spikes.squeeze(0), states)

    def _outputs(self, spikes: torch.Tensor, states: tuple) -> Any:
        return spikes if self.init_hidden and not self.output else (spikes, *states)

    def _sequence(self, x: torch.Tensor, given: tuple, **options: Any) -> tuple[torch.Tensor, tuple]:
        """The spikes, and the states after the last step, which are kept as theirs are."""
        full_precision("snnTorch", x)
        if self.init_hidden and any(state is not None for state in given):
            raise TypeError(f"`{'` or `'.join(self._states)}` should not be passed as an argument while `init_hidden=True`")
        options = tensors_like(x, self.options()) | options
        for name, state in zip(self._states, given):
            if state is not None and state is not getattr(self, name):
                self._check_state(state, options)
                setattr(self, name, state)
            if getattr(self, name).shape != x.shape[1:]:
                setattr(self, name, torch.zeros_like(x[0], device=getattr(self, name).device))
        spikes, *states = self._run(x, options, *(getattr(self, name).to(x.dtype) for name in self._states))
        if "surrogate" not in options:
            spikes = spikes.detach()
        states = owned(*states)
        for name, state in zip(self._states, states):
            setattr(self, name, state)
        spikes = spikes.float()  # as theirs are, whatever the input is
        factor = number_or_tensor("graded_spikes_factor", self.graded_spikes_factor)
        return spikes if isinstance(factor, float) and factor == 1 else spikes * self.graded_spikes_factor, states

    def _check_state(self, state: torch.Tensor, options: dict) -> None:
        """A reset to zero at once: theirs doubles a potential that is above the threshold before the step, but leaves none there."""
        if options.get("reset") == "to" and "reset_timing" not in options and bool((state > options["threshold"]).any()):
            raise NotExact(
                "spikeops.convert: a state above the threshold has no counterpart with reset_delay=False and "
                'reset_mechanism="zero". Hint: begin with potentials below the threshold.'
            )


class _MembraneNeuron(_Neuron):
    _states = ("mem",)

    def forward(self, input_: torch.Tensor, mem: torch.Tensor | None = None) -> Any:
        return self._call(input_, (mem,))

    def multi_step(self, input_: torch.Tensor, mem: torch.Tensor | None = None, *, record: bool = False) -> Any:
        """All time steps in one kernel.

        Args:
            input_: (T, ...). mem: before the first step, as for a call.
            record: return the potentials of all time steps (T, ...), with their gradient, in the place of the last ones.

        Returns:
            What a call returns, with spikes (T, ...).
        """
        if not record:
            return self._outputs(*self._sequence(input_, (mem,)))
        trace: list[torch.Tensor] = []
        spikes, _ = self._sequence(input_, (mem,), trace=trace)
        return self._outputs(spikes, tuple(trace))

    def _run(self, x: torch.Tensor, options: dict, mem: torch.Tensor) -> tuple[torch.Tensor, ...]:
        trace = options.pop("trace", None)
        spikes, mem, *potentials = SF.lif(x, v_init=mem, return_trace=trace is not None, **options)
        if trace is not None:
            trace += potentials
        return spikes, mem


class Leaky(_MembraneNeuron, snntorch.Leaky):
    options = leaky_options


class Lapicque(_MembraneNeuron, snntorch.Lapicque):
    options = lapicque_options

    def _run(self, x: torch.Tensor, options: dict, mem: torch.Tensor) -> tuple[torch.Tensor, ...]:
        # In their order of operations.
        return super()._run(x * self.R * (1 / (self.R * self.C)) * self.time_step, options, mem)


class Synaptic(_Neuron, snntorch.Synaptic):
    options = synaptic_options
    _states = ("syn", "mem")

    def forward(self, input_: torch.Tensor, syn: torch.Tensor | None = None, mem: torch.Tensor | None = None) -> Any:
        return self._call(input_, (syn, mem))

    def multi_step(self, input_: torch.Tensor, syn: torch.Tensor | None = None, mem: torch.Tensor | None = None) -> Any:
        """All time steps in one kernel.

        Args:
            input_: (T, ...). syn, mem: before the first step, as for a call.

        Returns:
            What a call returns, with spikes (T, ...); the states are those after the last step.
        """
        return self._outputs(*self._sequence(input_, (syn, mem)))

    def _run(self, x: torch.Tensor, options: dict, syn: torch.Tensor, mem: torch.Tensor) -> tuple[torch.Tensor, ...]:
        if "current_decay" in options:
            spikes, mem, syn = SF.cuba_lif(x, v_init=mem, i_init=syn, **options)
            return spikes, syn, mem
        alpha = tensors_like(x, dict(decay=_clamped("alpha", self.alpha)))
        currents, syn = SF.leaky_readout(x, v_init=syn, **alpha)
        spikes, mem = SF.lif(currents, v_init=mem, **options)
        return spikes, syn, mem


class _RecurrentNeuron(_Neuron):
    """A kernel call per step: what comes back from the spikes of the step before is its module's doing."""

    def _call(self, input_: torch.Tensor, given: tuple) -> Any:
        _, states = self._sequence(input_.unsqueeze(0), given)
        return states[0] if self.init_hidden and not self.output else states

    def _fire(self, current: torch.Tensor, mem: torch.Tensor, options: dict) -> tuple[torch.Tensor, torch.Tensor]:
        fired, mem = SF.lif(current.unsqueeze(0), v_init=mem, **options)
        return fired.squeeze(0) if "surrogate" in options else fired.squeeze(0).detach(), mem


class RLeaky(_RecurrentNeuron, snntorch.RLeaky):
    options = rleaky_options
    _states = ("spk", "mem")

    def forward(self, input_: torch.Tensor, spk: torch.Tensor | None = None, mem: torch.Tensor | None = None) -> Any:
        return self._call(input_, (spk, mem))

    def multi_step(self, input_: torch.Tensor, spk: torch.Tensor | None = None, mem: torch.Tensor | None = None) -> Any:
        """All time steps.

        Args:
            input_: (T, ...). spk, mem: before the first step, as for a call.

        Returns:
            What a call returns, with spikes (T, ...).
        """
        spikes, (_, mem) = self._sequence(input_, (spk, mem))
        return self._outputs(spikes, (mem,))

    def _run(self, x: torch.Tensor, options: dict, spk: torch.Tensor, mem: torch.Tensor) -> tuple[torch.Tensor, ...]:
        spikes = []
        for x_t in x.unbind():
            spk, mem = self._fire(x_t + self.recurrent(spk), mem, options)
            spikes.append(spk)
        return torch.stack(spikes), spk.float(), mem


class RSynaptic(_RecurrentNeuron, snntorch.RSynaptic):
    options = rsynaptic_options
    _states = ("spk", "syn", "mem")

    def forward(
        self, input_: torch.Tensor, spk: torch.Tensor | None = None, syn: torch.Tensor | None = None, mem: torch.Tensor | None = None
    ) -> Any:
        return self._call(input_, (spk, syn, mem))

    def multi_step(
        self, input_: torch.Tensor, spk: torch.Tensor | None = None, syn: torch.Tensor | None = None, mem: torch.Tensor | None = None
    ) -> Any:
        """All time steps.

        Args:
            input_: (T, ...). spk, syn, mem: before the first step, as for a call.

        Returns:
            What a call returns, with spikes (T, ...).
        """
        spikes, (_, syn, mem) = self._sequence(input_, (spk, syn, mem))
        return self._outputs(spikes, (syn, mem))

    def _run(self, x: torch.Tensor, options: dict, spk: torch.Tensor, syn: torch.Tensor, mem: torch.Tensor) -> tuple[torch.Tensor, ...]:
        spikes = []
        for x_t in x.unbind():
            syn = self.alpha.clamp(0, 1) * syn + x_t + self.recurrent(spk)  # in their order of operations
            spk, mem = self._fire(syn, mem, options)
            spikes.append(spk)
        return torch.stack(spikes), spk.float(), syn, mem


COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    snntorch.Leaky: Leaky,
    snntorch.Lapicque: Lapicque,
    snntorch.Synaptic: Synaptic,
    snntorch.RLeaky: RLeaky,
    snntorch.RSynaptic: RSynaptic,
}


def is_neuron(module: nn.Module) -> bool:
    """Whether a module of snnTorch, or a subclass, is a neuron: all that its package of neurons defines, but for parts of them."""
    return any(kind.__module__.startswith("snntorch._neurons.") and kind.__name__ != "RecurrentOneToOne" for kind in type(module).__mro__)


def adopt(module: nn.Module) -> None:
    """utils.reset() resets the neurons in this list, where each enters itself when it is made; a copy does not."""
    SpikingNeuron.instances.append(module)
