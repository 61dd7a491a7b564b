"""The training methods: each a file of its own, named like the method, with a class `METHOD`.

To add one, write ``methods/<name>.py`` with a subclass of `spiketrain.method.Method` and ``METHOD = <the class>``; its
options class has the field ``name: str = "<name>"``. Nothing else needs to know of it. A file whose name begins with an
underscore holds what several methods share.
"""

from __future__ import annotations

import importlib
import pkgutil

from spiketrain.errors import unknown_name
from spiketrain.method import Method


def names() -> list[str]:
    """Names of all methods, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def get(name: str) -> type[Method]:
    """The class of the method `name`.

    Raises:
        UserError: there is no such method; the message names the nearest.
    """
    if name not in names():
        raise unknown_name("method", name, names())
    return importlib.import_module(f"{__name__}.{name}").METHOD
