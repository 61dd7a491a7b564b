"""What is asked of a method that lies outside the package, before anything is built or written."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from spiketrain.config.parser import unreadable_fields
from spiketrain.errors import UserError, shown
from spiketrain.methods.base.method import Method


def checked(found: Any, name: str) -> type[Method]:
    """`found` as a method that can be configured and trained.

    Raises:
        UserError: it is no method, has methods to define, or options that no configuration can set.
    """
    where = f"method {name}"
    if not (inspect.isclass(found) and issubclass(found, Method)):
        given = found.__name__ if inspect.isclass(found) else shown(found)
        raise UserError(f"{where}: expected a subclass of spiketrain.methods.base.method.Method, got {given}")
    if missing := sorted(found.__abstractmethods__):
        raise UserError(f"{where}: {found.__name__} does not define {', '.join(missing)}")
    options = getattr(found, "Options", None)
    if not (inspect.isclass(options) and dataclasses.is_dataclass(options)):
        raise UserError(f"{where}: {found.__name__}.Options is {shown(options)}, expected the dataclass of its options")
    if options.__dataclass_params__.frozen:
        raise UserError(f"{where}: {options.__name__} is frozen, but its name is set when it was found; make it a plain @dataclass")
    names = [field.name for field in dataclasses.fields(options)]
    if "name" not in names:
        raise UserError(f"{where}: {options.__name__} has no field 'name'; give it the line name: str = \"...\"")
    if problem := unreadable_fields(options):
        raise UserError(f"{where}: {options.__name__}.{problem}")
    return found
