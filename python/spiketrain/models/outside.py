"""Networks by a name that are not built in: those of installed packages, and code of one's own."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import torch
from torch import nn

from spiketrain import plugins
from spiketrain.config import Config, NetworkConfig
from spiketrain.config.raw import NOTATION
from spiketrain.errors import UserError, shortened, shown, unknown_name
from spiketrain.models.build import MODELS
from spiketrain.models.module import ModuleNetwork

Shape = tuple[int, ...]  # (C, H, W) of a sample, or (units,)
# Makes a network from the configuration, the shape of a sample, the number of classes, and what makes the method's neurons for a sample of a
# shape. What it returns takes (T, N, *shape) and returns (T, N, classes) or (N, classes).
Builder = Callable[[Config, Shape, int, Callable[[Shape], nn.Module]], nn.Module]

_FIELD = "network.model"


def build_outside(
    config: Config, input_shape: Shape, classes: int, neuron: Callable[[Shape], nn.Module], of_neurons: tuple[str, ...], device: torch.device
) -> ModuleNetwork:
    """The network that ``config.network.model`` names, on the device, tried out.

    Args:
        neuron: makes a layer of the method's neurons, for samples of a shape
        of_neurons: the method's options that these follow

    Raises:
        UserError: there is no such model or it is not to be imported; it fails, or returns something that is no network; a field of the
            configuration would have no effect.
    """
    name = config.network.model
    where = f"{_FIELD} {shortened(name, 80)}"
    builder = _builder(name)
    for field in (*NOTATION, *NetworkConfig.of_models):
        if getattr(config.network, field) != (default := getattr(NetworkConfig(), field)):
            raise UserError(f"network.{field}: has no effect on {where}; leave it at {shown(default) if default != '' else 'nothing'}")
    calls = []

    def counted(shape: Shape) -> nn.Module:
        calls.append(shape)
        return neuron(shape)

    try:
        module = builder(config, tuple(input_shape), classes, counted)
    except (UserError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:  # foreign code can raise anything
        raise UserError(f"{where}: {plugins.described(error)}") from error
    if not isinstance(module, nn.Module):
        raise UserError(f"{where}: expected an nn.Module, got {shown(module)}")
    if not calls:
        _refuse_options_without_effect(config.method, of_neurons, where)
    network = ModuleNetwork(module, where, tuple(input_shape), config.network.time_steps).to(device)
    network.try_out(device)
    return network


def check_name(name: str) -> None:
    """Refuse a model that can be no network, before anything is built.

    Raises:
        UserError: it is neither built in nor installed, nor written as package.module:function.
    """
    if name not in MODELS and not plugins.is_reference(name) and name not in (installed := plugins.installed(_FIELD)):
        raise unknown_name("network", name, [*MODELS, *installed])


def _builder(name: str) -> Builder:
    check_name(name)
    found = plugins.load(_FIELD, name)
    if not callable(found) or isinstance(found, nn.Module):
        raise UserError(f"{_FIELD} {shortened(name, 80)}: expected a function of (config, input_shape, classes, neuron), got {shown(found)}")
    return found


def _refuse_options_without_effect(options: object, of_neurons: tuple[str, ...], where: str) -> None:
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name in of_neurons and value != field.default:
            raise UserError(
                f"method.{field.name}: has no effect on {where}, which makes its neurons itself, not by the argument neuron; leave it at "
                f"{shown(field.default)}"
            )
