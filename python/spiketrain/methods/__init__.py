"""The training methods: each a file of its own, named like the method, with a class `METHOD`.

To add one, write ``methods/<name>.py`` with a subclass of `spiketrain.methods.base.method.Method` and ``METHOD = <the class>``; its
options class has the field ``name: str = "<name>"``. Nothing else needs to know of it. What several methods share lies in `base`.
"""

from __future__ import annotations

import importlib
import pkgutil

from spiketrain.config import Config, find_name, method_name
from spiketrain.config.parser import parse
from spiketrain.errors import UserError, shown
from spiketrain.methods.base.method import Method
from spiketrain.models.build import find_builder


def names() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def get(name: str) -> type[Method]:
    """The class of the method `name`, which may also be written as presets begin: ``tsslbp`` for ``tssl_bp``.

    Raises:
        UserError: there is no such method; the message names the nearest.
    """
    return importlib.import_module(f"{__name__}.{find_name('method', name, names())}").METHOD


def load_config(raw: dict, overrides: list[str] = ()) -> Config:
    """A checked `Config` from nested dictionaries and command line options such as ``["--trainer.epochs", "3"]``.

    Raises:
        UserError: no or an unknown method, an unknown field, a value of the wrong type or out of range, a model for a method that trains none.
    """
    options = options_class(raw, overrides)
    config = parse(raw, overrides, options)
    config.method.name = options.name
    _check_model(config)
    return config


def _check_model(config: Config) -> None:
    network = config.network
    if network.model is None:
        for name in network.of_models:
            if (value := getattr(network, name)) is not None:
                raise UserError(f"field network.{name}: an option of networks that network.model names, got {shown(value)} without one")
    elif not get(config.method.name).trains_models:
        raise UserError(
            f"field network.model: the networks of {config.method.name} are given by network.layers, models are for bptt; got "
            f"{shown(network.model)}"
        )
    else:
        find_builder(network.model)


def options_class(raw: dict, overrides: list[str] = ()) -> type:
    """The class of the section `method` of the method that these name."""
    return get(method_name(raw, overrides)).Options
