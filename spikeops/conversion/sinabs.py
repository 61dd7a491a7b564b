"""Counterparts of the neurons of sinabs. Imported where a model holds some of them, since it imports sinabs."""

from __future__ import annotations

from typing import Any

import torch
from sinabs import activation, layers
from sinabs.layers.stateful_layer import StatefulLayer
from torch import nn

import spikeops.functional as SF
from spikeops.conversion._exact import (
    Counterpart,
    NotExact,
    added_up,
    full_precision,
    number,
    number_or_tensor,
    owned,
    require,
    tensors_like,
)
from spikeops.surrogate import Exponential, Gaussian, Heaviside, MultiGaussian, PeriodicExponential, SingleExponential, Surrogate

_SURROGATES = {
    activation.SingleExponential: lambda f: SingleExponential(f.grad_width, height=f.grad_scale),
    activation.PeriodicExponential: lambda f: PeriodicExponential(f.grad_width, height=f.grad_scale),
    activation.Gaussian: lambda f: Gaussian(f.sigma, height=f.grad_scale, center=f.mu),
    activation.MultiGaussian: lambda f: MultiGaussian(f.sigma, f.h, f.s, height=f.grad_scale),
    activation.Heaviside: lambda f: Heaviside(f.window),
}


def spike_function(function: object) -> Surrogate:
    """Our surrogate for theirs."""
    make = _SURROGATES.get(type(function))
    require(make is not None, f"its surrogate {type(function).__name__} has no counterpart")
    require(type(function) is not activation.MultiGaussian or function.mu == 0, "its surrogate MultiGaussian has a mu other than 0")
    try:
        return make(function)
    except (TypeError, ValueError) as error:
        raise NotExact(f"its surrogate {type(function).__name__}: {error}") from error


def _spikes(spike_fn: Any) -> dict:
    """How many spikes a step may have."""
    if spike_fn is activation.SingleSpike:
        return {}
    if spike_fn is activation.MultiSpike:
        return dict(max_spikes=None)
    require(type(spike_fn) is activation.MaxSpike, f"its spike_fn {getattr(spike_fn, '__name__', spike_fn)!r} has no counterpart")
    most = spike_fn.max_num_spikes_per_bin
    require(most is None or (isinstance(most, int) and most >= 1), f"its spike_fn has at most {most!r} spikes")
    return dict(max_spikes=most)


def _reset(layer: Any) -> dict:
    if type(layer.reset_fn) is activation.MembraneSubtract:
        amount = layer.reset_fn.subtract_value
        return dict(reset="subtract") | ({} if amount is None else dict(reset_amount=number("subtract_value", amount)))
    require(type(layer.reset_fn) is activation.MembraneReset, f"its reset_fn {layer.reset_fn!r} has no counterpart")
    require(layer.reset_fn.reset_value == 0, f"{layer.reset_fn!r} adds to the potentials of neurons that did not fire, too")
    return dict(reset="to", detach_reset=True)


def lif_options(layer: Any) -> dict:
    """The options of cuba_lif where there is a synapse and it has the rest, else of lif, of whose x `_currents` makes what a synapse does."""
    require(layer.spike_threshold is not None and not layer.spike_threshold.requires_grad, "its spike_threshold is learned, or none")
    options = dict(
        threshold=number_or_tensor("spike_threshold", layer.spike_threshold), surrogate=spike_function(layer.surrogate_grad_fn),
        **_reset(layer), **_spikes(layer.spike_fn), **_leaks(layer),
    )  # fmt: skip
    if layer.alpha_syn_calculated is None or layer.record_states or "max_spikes" in options or "v_min" in options:
        return options
    surrogate = options["surrogate"]
    if isinstance(surrogate, SingleExponential) and isinstance(options["threshold"], float):
        width = surrogate.width * options["threshold"]
        surrogate = Exponential(1 / width, height=surrogate.height / width)
    if not surrogate.suits_every_op:
        return options
    current_decay = number_or_tensor("alpha_syn", layer.alpha_syn_calculated)
    current_scale = options.pop("input_scale", 1.0)
    return options | dict(
        surrogate=surrogate, current_decay=current_decay, current_scale=current_scale, order="input_decay_membrane"
    )


def recurrent_options(layer: Any) -> dict:
    require(not layer.record_states, "record_states=True has no counterpart with recurrent connections")
    require(not any(True for _ in layer.rec_connect.buffers()), "rec_connect has buffers, which it takes for states of its own")
    return lif_options(layer)


def leak_options(layer: Any) -> dict:
    return dict(reset="none", **_leaks(layer))


def _leaks(layer: Any) -> dict:
    decay = number_or_tensor("alpha_mem", layer.alpha_mem_calculated)
    if not isinstance(decay, torch.Tensor):
        require(0 <= decay <= 1, f"its alpha_mem is {decay}, not between 0 and 1")
    options: dict = dict(decay=decay)
    if layer.norm_input:
        options["input_scale"] = number_or_tensor("1 - alpha_mem", 1 - layer.alpha_mem_calculated)  # rounded as theirs
    return options if layer.min_v_mem is None else options | dict(v_min=number("min_v_mem", layer.min_v_mem))


class _Layer(Counterpart):
    """The steps of layers whose inputs have the batch first, then time, and whose states are buffers."""

    def forward(self, input_data: torch.Tensor) -> torch.Tensor:
        full_precision("sinabs", input_data)
        self._fit_states((input_data.shape[0], *input_data.shape[2:]))
        options = tensors_like(input_data, self.options())
        outputs, states, recordings = self._run(input_data.transpose(0, 1), options)
        for name, state in zip(states, owned(*states.values())):
            setattr(self, name, state)
        if not hasattr(self, "i_syn"):
            self.i_syn = None
        self.recordings = {name: recorded.transpose(0, 1) for name, recorded in recordings.items()}
        outputs = outputs.transpose(0, 1)
        self.firing_rate = outputs.mean()
        return outputs

    def _fit_states(self, shape: tuple) -> None:
        """As theirs: states of another batch size are drawn from those that there are."""
        if not self.is_state_initialised():
            self.init_state_with_shape(shape)
        if not self.state_has_shape(shape):
            if self.has_trailing_dimension(shape[1:]):
                self.handle_state_batch_size_mismatch(shape[0])
            else:
                self.init_state_with_shape(shape)

    def _run(self, x: torch.Tensor, options: dict) -> tuple[torch.Tensor, dict, dict]:
        if "current_decay" in options:
            spikes, v, i = SF.cuba_lif(x, v_init=self.v_mem.to(x.dtype), i_init=self.i_syn.to(x.dtype), **options)
            return spikes, dict(v_mem=v, i_syn=i), {}
        if options["reset"] == "none":  # puts out the potentials, before the bound
            _, v, outputs = SF.lif(x, v_init=self.v_mem.to(x.dtype), return_trace="before", **options)
            recorded = outputs if "v_min" not in options else torch.relu(outputs - options["v_min"]) + options["v_min"]
            return outputs, dict(v_mem=v), dict(v_mem=recorded) if self.record_states else {}
        currents = None if self.alpha_syn_calculated is None else self._currents(x)
        read = x if currents is None else currents
        spikes, v, *trace = SF.lif(read, v_init=self.v_mem.to(x.dtype), return_trace=self.record_states, **options)
        states, recordings = dict(v_mem=v), dict(v_mem=trace[0]) if trace else {}
        if currents is not None:
            states["i_syn"] = currents[-1]
            if recordings:
                recordings["i_syn"] = currents
        return spikes, states, recordings

    def _currents(self, x: torch.Tensor) -> torch.Tensor:
        """What the membranes read in all steps, in the order of operations of theirs: decay * (current + x)."""
        decay = tensors_like(x, dict(decay=number_or_tensor("alpha_syn", self.alpha_syn_calculated)))["decay"]
        return decay * added_up(x, self.i_syn.to(x.dtype), decay)


class LIF(_Layer, layers.LIF):
    options = lif_options


class IAF(_Layer, layers.IAF):
    options = lif_options


class ExpLeak(_Layer, layers.ExpLeak):
    options = leak_options


class _RecurrentLayer(_Layer):
    """A kernel call per step: what comes back from the spikes of the step before is its module's doing."""

    def _fit_states(self, shape: tuple) -> None:
        if not self.is_state_initialised() or not self.state_has_shape(shape):
            self.init_state_with_shape(shape)

    def _run(self, x: torch.Tensor, options: dict) -> tuple[torch.Tensor, dict, dict]:
        outputs, back = [], torch.zeros(x.shape[1:], device=x.device)
        for x_t in x.unbind():
            spikes, states, _ = super()._run((x_t + back).unsqueeze(0), options)
            for name, state in states.items():
                setattr(self, name, state)
            outputs.append(spikes.squeeze(0))
            back = self.rec_connect(outputs[-1]).reshape(x.shape[1:])
        return torch.stack(outputs), states, {}


class LIFRecurrent(_RecurrentLayer, layers.LIFRecurrent):
    options = recurrent_options


class IAFRecurrent(_RecurrentLayer, layers.IAFRecurrent):
    options = recurrent_options


# Their forward() reshapes and calls the one after it in the order of classes.
class LIFSqueeze(layers.LIFSqueeze, LIF):
    options = lif_options


class IAFSqueeze(layers.IAFSqueeze, IAF):
    options = lif_options


class ExpLeakSqueeze(layers.ExpLeakSqueeze, ExpLeak):
    options = leak_options


COUNTERPARTS: dict[type[nn.Module], type[nn.Module]] = {
    layers.LIF: LIF,
    layers.IAF: IAF,
    layers.ExpLeak: ExpLeak,
    layers.LIFSqueeze: LIFSqueeze,
    layers.IAFSqueeze: IAFSqueeze,
    layers.ExpLeakSqueeze: ExpLeakSqueeze,
    layers.LIFRecurrent: LIFRecurrent,
    layers.IAFRecurrent: IAFRecurrent,
}


def is_neuron(module: nn.Module) -> bool:
    """Whether a module of sinabs, or a subclass, is a neuron: what has a state."""
    return isinstance(module, StatefulLayer)


def adopt(module: nn.Module) -> None:
    """What a copy of a module needs to be known to the library."""
