"""The training methods: each a file of its own, named like the method, with a class `METHOD`.

To add one, write ``methods/<name>.py`` with a subclass of `spiketrain.methods.base.method.Method` and ``METHOD = <the class>``; its
options class has the field ``name: str = "<name>"``. Nothing else needs to know of it. What several methods share lies in `base`.
"""

from __future__ import annotations

import importlib
import pkgutil

from spiketrain.config import Config, method_name
from spiketrain.config.parser import make_parser, parse
from spiketrain.errors import unknown_name
from spiketrain.methods.base.method import Method


def names() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.ispkg)


def get(name: str) -> type[Method]:
    """The class of the method `name`.

    Raises:
        UserError: there is no such method; the message names the nearest.
    """
    if name not in names():
        raise unknown_name("method", name, names())
    return importlib.import_module(f"{__name__}.{name}").METHOD


def load_config(raw: dict, overrides: list[str] = (), prog: str = "spiketrain train") -> Config:
    """A checked `Config` from nested dictionaries and command line options such as ``["--trainer.epochs", "3"]``.

    Raises:
        UserError: no or an unknown method, an unknown field, a value of the wrong type or out of range.
    """
    return parse(raw, overrides, get(method_name(raw, overrides)).Options, prog)


def config_parser(raw: dict, overrides: list[str] = (), prog: str = "spiketrain train"):
    """The jsonargparse parser that knows every field of a configuration with the method that these name."""
    return make_parser(get(method_name(raw, overrides)).Options, prog)
