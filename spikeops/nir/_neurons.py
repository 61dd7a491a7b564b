"""Neurons of NIR as modules, and modules as neurons of NIR."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import torch
from torch import nn

from spikeops import nn as snn
from spikeops.nir._dialects import SPIKING, Dialect, Neuron, is_uniform, shown
from spikeops.nir._modules import Scale
from spikeops.surrogate import Surrogate

# One unit in the last place of float32: what a number may lose on its way through a time constant.
_ULP = 2.0**-23


# --- a module's neuron ----------------------------------------------------------------------------------------------------------


def neuron_of(module: Any, dialect: Dialect) -> tuple[Neuron | None, list[str]]:
    """The neuron that a module has, and why the dialect has none such."""
    kind = type(module)
    found: list[str] = []
    if getattr(module, "return_state", False):
        found.append("return_state must be False: NIR's nodes have one output")
    if kind is snn.LeakyReadout:
        decay = _array(module.decay)
        name = "I" if np.all(decay == 1) and module.v_rest == 0 else "LI"
        return _numbers(name, decay, _array(module.input_scale), _array(module.v_rest)), found
    if kind in (snn.LIF, snn.IF, snn.ParametricLIF):
        options, general = module._options(), module.general
        if module.return_trace:
            found.append("return_trace must be False: NIR's nodes have one output")
        if (general.reset_timing, general.rounding) != ("now", "down"):
            found.append("reset_timing must be 'now', and rounding 'down'")
        decay, threshold = _array(module.decay), _array(module.threshold)
        name = "IF" if np.all(decay == 1) and options.v_rest == 0 else "LIF"
        bound = general.v_min
        if name == "IF" and dialect.if_bounded:
            if bound is None or np.any(-threshold != bound):
                found.append(f"v_min must be -threshold, which is the lower bound that the reader gives to an IF, and is {bound}")
        elif bound is not None:
            found.append(f"v_min must be None, and is {bound}")
        most = general.max_spikes
        if (most is None) != dialect.subtracts or (most not in (1, None)):
            found.append(f"max_spikes must be {None if dialect.subtracts else 1}, and is {most}")
        neuron = _numbers(name, decay, _array(options.input_scale), _array(options.v_rest), threshold, _array(options.v_reset))
    else:  # CubaLIF, RecurrentLIF
        options, current_decay = module.options, _array(module.current_decay)
        if getattr(module, "beta", 0) != 0:
            found.append(f"beta must be 0, since NIR has no adaptive threshold, and is {module.beta}")
        if module.reset_timing != "now":
            found.append(f"reset_timing must be 'now', and is {module.reset_timing!r}")
        scale, current_scale = _array(options.input_scale), _array(module.current_scale)
        decay, threshold, v_reset, v_rest = _array(module.decay), _array(module.threshold), _array(options.v_reset), _array(options.v_rest)
        if kind is snn.RecurrentLIF and np.all(current_decay == 0) and module.order != "membrane_decay_input":
            if module.order == "input_decay_membrane":
                scale = scale * 0
            neuron = _numbers("LIF", decay, scale * current_scale, v_rest, threshold, v_reset)
        else:
            # input_membrane_decay reads the same current, and keeps it before its decay in the place of after it.
            if module.order not in ("decay_input_membrane", "input_membrane_decay"):
                found.append(f"order must be 'decay_input_membrane', as CubaLIF has it, and is {module.order!r}")
            neuron = _numbers("CubaLIF", decay, scale, v_rest, threshold, v_reset, current_decay, current_scale)
        if dialect.subtracts:
            found.append("the reader has no recurrent neurons and none with a synapse")
    reset = "subtract" if dialect.subtracts else "to"
    if options.reset != reset:
        found.append(f"reset must be {reset!r}, and is {options.reset!r}")
    elif reset == "subtract" and options.reset_amount is not None and np.any(_array(options.reset_amount) != neuron.threshold):
        found.append("reset_amount must be the threshold")
    if options.strict != dialect.strict:
        where = "only above the threshold, not at it" if dialect.strict else "at the threshold, too"
        found.append(f"strict must be {dialect.strict}, since the reader fires {where}")
    if reset == "subtract":
        neuron.v_reset = np.zeros(())
    return neuron, found


def nodes_numbers(neuron: Neuron, shape: tuple[int, ...], dialect: Dialect, dt: float) -> tuple[dict[str, np.ndarray], list[str]]:
    """The numbers of the node for the neuron, of this shape each, and why there are none that the dialect reads as the neuron's."""
    found = dialect.problems(neuron)
    given = dialect.write(neuron, dt)
    if not all(np.isfinite(value).all() for value in given.values()):
        return given, [*found, f"decays must be below 1{' and above 0' if dialect.in_steps else ''}: others have no time constant"]
    again = dialect.read(neuron.kind, given, dt).numbers()
    for name, value in neuron.numbers().items():
        read = again[name]
        if np.any(np.abs(read - value) > _ULP * np.maximum(np.abs(read), np.abs(value))):
            found.append(f"{name}={shown(value)} cannot be: the reader would take {shown(read)} for it")
    return {name: np.broadcast_to(value, shape).copy() for name, value in given.items()}, found


def _numbers(kind, decay, input_scale, v_rest, threshold=0.0, v_reset=0.0, current_decay=0.0, current_scale=1.0) -> Neuron:
    numbers = (decay, input_scale, v_rest, current_decay, current_scale, threshold, v_reset)
    return Neuron(kind, *(np.asarray(number, np.float64) for number in numbers))


def _array(value: float | torch.Tensor) -> np.ndarray:
    return np.asarray(value.detach().cpu().double().numpy() if isinstance(value, torch.Tensor) else value, np.float64)


# --- a neuron's module ----------------------------------------------------------------------------------------------------------


def neuron_problems(neuron: Neuron, dialect: Dialect, dtype: torch.dtype) -> list[str]:
    """Why there is no module, with numbers of this type, for a neuron that a dialect has read."""
    of_kind, found = neuron.numbers(), dialect.problems(neuron)
    for name, value in of_kind.items():
        if not torch.as_tensor(value).to(dtype).isfinite().all():
            found.append(f"{name} is not finite{f' in {dtype}' if np.isfinite(value).all() else ''}")
        elif name.endswith("decay") and (np.any(value < 0) or np.any(value > 1)):
            found.append(f"{name} would be {shown(value)}: time constants must be positive and at least dt, the step of time")
        elif name in ("v_rest", "v_reset") and not is_uniform(value):
            found.append(f"{name} must be the same for all neurons, and is {shown(value)}")
    if dialect.subtracts and neuron.kind in SPIKING:
        if np.any(neuron.threshold <= 0):
            found.append("v_threshold must be above 0 where it is what a spike takes off")
        elif dialect.if_bounded and neuron.kind == "IF" and not is_uniform(neuron.threshold):
            found.append("v_threshold must be the same for all neurons, since the potential's lower bound is its negative")
    return found


def neurons_module(
    neuron: Neuron, dialect: Dialect, surrogate: Surrogate, detach_reset: bool, dtype: torch.dtype, weight: nn.Linear | None = None
) -> nn.Module:
    """The module of a neuron without problems; with recurrent weights from a linear layer."""
    number = partial(_number_or_parameter, dtype=dtype)
    v_rest = _uniform(neuron.v_rest)
    if neuron.kind in ("LI", "I"):
        return _readout(neuron.decay, neuron.input_scale, v_rest, dtype)
    if neuron.kind == "CubaLI":
        synapse = _readout(neuron.current_decay, neuron.input_scale, 0.0, dtype)
        return nn.Sequential(synapse, _readout(neuron.decay, neuron.current_scale, v_rest, dtype))
    options: dict[str, Any] = dict(strict=dialect.strict, surrogate=surrogate, detach_reset=detach_reset)
    options |= dict(reset="subtract") if dialect.subtracts else dict(reset="to", v_reset=_uniform(neuron.v_reset))
    threshold, decay = number(neuron.threshold), number(neuron.decay)
    if weight is None and neuron.kind != "CubaLIF":
        if dialect.subtracts:
            options |= dict(max_spikes=None)
            if dialect.if_bounded and neuron.kind == "IF":
                options |= dict(v_min=-_uniform(neuron.threshold))
        options |= dict(input_scale=number(neuron.input_scale))
        return snn.IF(threshold, **options) if neuron.kind == "IF" else snn.LIF(decay, threshold, v_rest=v_rest, **options)
    # Of two scales in a row one may differ from neuron to neuron.
    scale, current_scale = neuron.input_scale, neuron.current_scale
    if not is_uniform(scale):
        scale, current_scale = np.ones(()), scale * current_scale
    options |= dict(
        v_rest=v_rest, input_scale=_uniform(scale), current_scale=number(current_scale), current_decay=number(neuron.current_decay)
    )
    if weight is None:
        return snn.CubaLIF(decay, threshold, **options)
    features = weight.out_features
    one_to_one = features > 1 and bool((weight.weight == torch.diag(weight.weight.diagonal())).all())
    module = snn.RecurrentLIF(features, decay, threshold, all_to_all=not one_to_one, bias=weight.bias is not None, **options).to(dtype)
    with torch.no_grad():
        module.weight.copy_(weight.weight.diagonal() if one_to_one else weight.weight)
        if weight.bias is not None:
            module.bias.copy_(weight.bias)
    return module


def _readout(decay: np.ndarray, scale: np.ndarray, v_rest: float, dtype: torch.dtype) -> nn.Module:
    decay = _number_or_parameter(decay, dtype)
    if not is_uniform(scale):
        return nn.Sequential(Scale(torch.as_tensor(scale).to(dtype)), snn.LeakyReadout(decay, v_rest=v_rest))
    return snn.LeakyReadout(decay, input_scale=_uniform(scale), v_rest=v_rest)


def _uniform(value: np.ndarray) -> float:
    """The number that all have, in 15 digits: the others are what float64 loses on the way through a time constant and back."""
    return float(f"{value.flat[0]:.15g}")


def _number_or_parameter(value: np.ndarray, dtype: torch.dtype) -> float | nn.Parameter:
    """One number for all neurons, or a parameter, which is in the state dict and goes where the module goes, but is not learned."""
    return _uniform(value) if is_uniform(value) else nn.Parameter(torch.as_tensor(value).to(dtype), requires_grad=False)
