"""The built-in networks by the names that `network.model` gives them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable

from torch import nn

from spiketrain.config import NetworkConfig
from spiketrain.errors import UserError, shown, unknown_name
from spiketrain.models.residual import MakeNeurons, ResidualNetwork, Shape
from spiketrain.models.sew_resnet import sew_resnet18
from spiketrain.models.spikformer import spikformer

# Each takes (time_steps, input_shape, outputs, neurons, readout), and the fields of `network` that are its own by keyword.
MODELS: dict[str, Callable[..., ResidualNetwork]] = {"sew_resnet18": sew_resnet18, "spikformer": spikformer}


def find_builder(model: str) -> Callable[..., ResidualNetwork]:
    """What builds the network of this name.

    Raises:
        UserError: there is no such model; the message names the nearest.
    """
    if model not in MODELS:
        raise unknown_name("network.model", model, MODELS)
    return MODELS[model]


def build_network(
    config: NetworkConfig, input_shape: Shape, outputs: int, neurons: MakeNeurons, readout: Callable[[int], nn.Module] | None = None
) -> ResidualNetwork:
    """The network that `config.model` names.

    Args:
        config: model, time_steps, and options of the model; fields without effect on it are left at their defaults
        input_shape: (C, H, W)
        outputs: number of classes
        neurons: makes the neurons for one sample's shape, here (channels, 1, 1), with the method's threshold times a factor
        readout: makes what follows the outputs (T, N, outputs), from their number; None for nothing

    Raises:
        UserError: no such model, or a field that has no effect on it.
    """
    builder = find_builder(config.model)
    options = {name for name, parameter in inspect.signature(builder).parameters.items() if parameter.kind is parameter.KEYWORD_ONLY}
    given = {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if field.name in ("model", "time_steps") or value == field.default:
            continue
        if field.name not in options:
            raise UserError(
                f"field network.{field.name}: expected it to be left out, since it has no effect on network.model {config.model}, whose "
                f"options are {', '.join(sorted(options))} and time_steps; got {shown(value)}"
            )
        given[field.name] = value
    return builder(config.time_steps, input_shape, outputs, neurons, readout, **given)
