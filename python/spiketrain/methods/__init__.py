"""The training methods: each a file of its own, named like the method, with a class `METHOD`.

To add one, write ``methods/<name>.py`` with a subclass of `spiketrain.methods.base.method.Method` and ``METHOD = <the class>``; its
options class has the field ``name: str = "<name>"``. Nothing else needs to know of it. What several methods share lies in `base`.
Methods of other packages are found by their entry point, or as ``package.module:Class``: docs/extend/method.md.
"""

from __future__ import annotations

import importlib
import pkgutil

from spiketrain import plugins
from spiketrain.config import Config, NetworkConfig, find_name, method_name
from spiketrain.config.fields import Published
from spiketrain.config.parser import parse
from spiketrain.config.raw import split_options, without_other_network
from spiketrain.errors import UserError, shortened, shown
from spiketrain.methods.base import outside
from spiketrain.methods.base.method import Method
from spiketrain.models.outside import check_name

_FIELD = "method.name"
_NOT_FOR_ALL = {
    "model": "trains networks that network.layers spells out; those by a name are for bptt",
    "bias": "has the biases that its paper has; to switch them on is for bptt",
}


def names() -> list[str]:
    """Names of all methods of this package, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def get(name: str) -> type[Method]:
    """The class of the method `name`, which may also be written as presets begin: ``tsslbp`` for ``tssl_bp``.

    Raises:
        UserError: there is no such method; the message names the nearest. Or one from outside that is not to be imported, or is none.
    """
    return _find(name)[1]


def _find(name: str) -> tuple[str, type[Method]]:
    """(the name as run directories keep it, its class)"""
    if plugins.is_reference(name):
        return name, outside.checked(plugins.load(_FIELD, name), name)
    found = find_name("method", name, known_names())
    if found in names():
        return found, importlib.import_module(f"{__name__}.{found}").METHOD
    return found, outside.checked(plugins.load(_FIELD, found), found)


def known_names() -> list[str]:
    """Names of all methods: of this package, then of installed ones."""
    own = names()
    return [*own, *(name for name in plugins.installed(_FIELD) if name not in own)]


def load_config(raw: dict, overrides: list[str] = ()) -> Config:
    """A checked `Config` from nested dictionaries and command line options such as ``["--trainer.epochs", "3"]``.

    Raises:
        UserError: no or an unknown method, an unknown field, a value of the wrong type or out of range, a kind of network that the method
            does not train.
    """
    name, method = _find(method_name(raw, overrides))
    given = [field.removeprefix("network.") for field, text in split_options(list(overrides)) if field.startswith("network.") and text]
    config = parse(without_other_network(raw, given), overrides, method.Options)
    config.method.name = name
    if config.published != Published() and _is_another_experiment(raw, overrides, config, method):
        config.published = Published()
    for field, why in _NOT_FOR_ALL.items():
        if (value := getattr(config.network, field)) and field not in method.network_fields:
            raise UserError(f"network.{field}: {shortened(name, 60)} {why}, got {shown(value)}")
    _check_model(config.network)
    return config


def _is_another_experiment(raw: dict, overrides: list[str], config: Config, method: type[Method]) -> bool:
    """Whether options change the data, how much of it is taken, the network or the method, of which the figures of a published experiment then
    say nothing; unless options name these figures."""
    given = [field for field, _ in split_options(list(overrides))]
    changes = any(field.startswith(("data.", "network.", "method.", "trainer.limit_")) for field in given)
    if not changes or any(field.startswith("published.") for field in given):
        return False
    if _find(method_name(raw))[1] is not method:
        return True
    plain = parse(raw, [], method.Options)
    plain.method.name = config.method.name
    plain.data.root, plain.data.download = config.data.root, config.data.download  # where it lies is no part of it
    own, others = ((of.data, of.trainer.limit_train, of.trainer.limit_test, of.network, of.method) for of in (plain, config))
    return own != others


def _check_model(network: NetworkConfig) -> None:
    if network.model:
        check_name(network.model)
    else:
        for name in network.of_models:
            if (value := getattr(network, name)) is not None:
                raise UserError(f"field network.{name}: an option of networks that network.model names, got {shown(value)} without one")


def options_class(raw: dict, overrides: list[str] = ()) -> type:
    """The class of the section `method` of the method that these name."""
    return get(method_name(raw, overrides)).Options
