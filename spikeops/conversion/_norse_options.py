"""What the numbers of Norse's neurons mean as arguments of spikeops' functions."""

from __future__ import annotations

import math
from typing import Any

import norse.torch
import torch
from norse.torch.functional.iaf import iaf_feed_forward_step
from norse.torch.functional.leaky_integrator import li_feed_forward_step
from norse.torch.functional.leaky_integrator_box import li_box_feed_forward_step
from norse.torch.functional.lif import lif_feed_forward_step, lif_step
from norse.torch.functional.lif_box import lif_box_feed_forward_step
from norse.torch.functional.lsnn import lsnn_feed_forward_step, lsnn_step
from norse.torch.functional.reset import reset_subtract, reset_value
from torch import nn

from spikeops.conversion._exact import NotExact, number, number_or_tensor, require
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
    return options | dict(current_decay=synapse(layer), order="input_membrane_decay")


def recurrent_options(layer: Any) -> dict:
    """Of the membrane, whose current comes from weights and a synapse."""
    require(layer.activation is lif_step, "its activation is not its own, or the method is 'adjoint'")
    synapse(layer)
    return _membrane(layer) | _fired(layer.p) | dict(detach_reset=True)


def lsnn_options(layer: Any) -> dict:
    require(layer.activation is lsnn_feed_forward_step, "its activation is not its own, or the method is 'adjoint'")
    # Their threshold decays before it is compared.
    adaptation_decay, beta = _adaptation(layer)
    require(beta != 0, "its beta is 0: its threshold does not adapt")
    options = _membrane(layer) | _fired(layer.p)
    require("surrogate" in options, "its threshold function 'heaviside' has no counterpart where the threshold adapts")
    options["current_scale"] = options.pop("input_scale")
    return options | dict(
        current_decay=synapse(layer), order="membrane_decay_input", adaptation_decay=adaptation_decay, beta=beta * adaptation_decay
    )


def recurrent_lsnn_options(layer: Any) -> dict:
    """Of the membrane, whose current comes from weights and a synapse, and whose threshold adapts."""
    require(layer.activation is lsnn_step, "its activation is not its own, or the method is 'adjoint'")
    synapse(layer), _adaptation(layer)
    return _membrane(layer) | _fired(layer.p) | dict(detach_reset=True)


def _adaptation(layer: Any) -> tuple[float, float]:
    """The decay of the threshold in a time step, and by how much a spike raises it."""
    rate = number("dt * tau_adapt_inv", layer.dt * layer.p.tau_adapt_inv)
    return _leak("dt * tau_adapt_inv", rate)[0], number("beta", layer.p.beta)


def li_options(layer: Any) -> dict:
    """Of the membrane, whose current comes from a synapse."""
    own = isinstance(layer, norse.torch.LILinearCell) or layer.activation is li_feed_forward_step
    require(own, "its activation is not its own")
    synapse(layer)
    decay, rate = _leak("dt * tau_mem_inv", layer.dt * layer.p.tau_mem_inv)
    return dict(decay=decay, input_scale=rate, v_rest=number("v_leak", layer.p.v_leak), reset="none")


def _membrane(layer: Any) -> dict:
    p = layer.p
    decay, rate = _leak("dt * tau_mem_inv", layer.dt * p.tau_mem_inv)
    v_leak, v_reset = number("v_leak", p.v_leak), number("v_reset", p.v_reset)
    return dict(decay=decay, input_scale=rate, v_rest=v_leak, reset="to", v_reset=v_reset)


def synapse(layer: Any) -> float | torch.Tensor:
    """The decay of the current in a time step."""
    return _leak("dt * tau_syn_inv", layer.dt * layer.p.tau_syn_inv)[0]
