"""From raw fields and command line options to a checked `Config`.

The dataclasses of `fields`, and the options class of the method, are the schema: names, types, bounds, defaults and, in their
docstrings, what each field means. A value is read by its field's type alone. Nothing that a file names is imported here, which is
why this is no parser that also builds objects of classes.
"""

from __future__ import annotations

import dataclasses
import functools
import inspect
import re
import typing
from dataclasses import dataclass
from typing import Any

from spiketrain.config.fields import Config
from spiketrain.config.raw import split_options
from spiketrain.config.values import WrongValue, convert, describe
from spiketrain.errors import UserError, shortened, shown, unknown_name

# Fields of older run directories: their names then and now.
_RENAMED = {"published.departures": "departs"}


@dataclass(frozen=True)
class Field:
    """A field as messages call it: ``trainer.epochs``."""

    name: str
    kind: Any
    default: Any
    text: str


def schema(options: type | None) -> dict[str, Field]:
    """Every field of a configuration by its name, with these options of the method (None: without any)."""
    found = {}
    for name, (kind, default, text) in _fields(Config).items():
        section = options if name == "method" else kind
        if dataclasses.is_dataclass(section):
            parts = _fields(section).items()
            found |= {f"{name}.{key}": Field(f"{name}.{key}", *part) for key, part in parts}
        elif section is not None:
            found[name] = Field(name, kind, default, text)
    return found


def unreadable_fields(cls: type) -> str:
    """What keeps a configuration from setting a field of a dataclass that somebody else has written; "" if nothing does."""
    try:
        fields = _fields(cls)
    except Exception as error:  # of annotations that are text
        return f"__annotations__: {type(error).__name__}: {shortened(error, 100)}"
    for field in dataclasses.fields(cls):
        if not field.init:
            return f"{field.name}: expected a field that is given when it is made, not init=False"
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            return f"{field.name}: expected a default"
        try:
            describe(fields[field.name][0])
        except (KeyError, TypeError, IndexError):
            return (
                f"{field.name}: expected int, float, bool, str, Literal of text, a list or tuple of one of these, or None beside it, got "
                f"{shortened(fields[field.name][0], 60)}"
            )
    return ""


def parse(raw: dict, overrides: list[str], options: type | None) -> Config:
    """A checked `Config` from nested dictionaries and command line options such as ``["--trainer.epochs", "3"]``.

    Args:
        options: the class of the section `method`; None for a configuration without it

    Raises:
        UserError: an unknown field, a value of the wrong type or out of range. One line of at most 300 characters.
    """
    known = schema(options)
    given = {**_flat(raw, known), **dict(split_options(list(overrides)))}
    values: dict[str, Any] = {}
    for name, value in given.items():
        name = _RENAMED.get(name, name)
        values[name] = _read(name, value, known)
    sections = {name.partition(".")[0] for name in known if "." in name}
    built: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for section in sections:
        cls = options if section == "method" else _fields(Config)[section][0]
        built[section] = _made(cls, section, {name.partition(".")[2]: value for name, value in values.items() if name.startswith(f"{section}.")})
    return Config(**built)


def _made(cls: type, section: str, values: dict[str, Any]) -> Any:
    """A section, which may look at its fields together when it is made."""
    try:
        return cls(**values)
    except UserError:
        raise
    except Exception as error:
        said = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise UserError(shortened(f"section {section}: {' '.join(said.split())}")) from error


def _read(name: str, value: Any, known: dict[str, Field]) -> Any:
    if name not in known:
        if (parts := [field for field in known if field.startswith(f"{name}.")]) and name:
            raise UserError(f"section {name}: expected fields such as {parts[0]} or {parts[-1]}, got {shown(value)}")
        raise unknown_name("field", name, known)
    try:
        return convert(known[name].kind, value)
    except WrongValue as expected:
        raise UserError(shortened(f"field {name}: expected {expected}, got {shown(value)}")) from None


def _flat(raw: dict, known: dict[str, Field]) -> dict[str, Any]:
    """The fields of nested dictionaries by their dotted names."""
    if not isinstance(raw, dict):
        raise UserError(f"the configuration holds no fields: it is {shown(raw)}")
    sections = {name.partition(".")[0] for name in known if "." in name}
    flat = {}
    for key, value in raw.items():
        if not isinstance(key, str) or (key not in known and key not in sections) or "." in key:
            if isinstance(key, str) and key in known:
                raise UserError(f"field {key}: belongs into the section '{key.partition('.')[0]}:', on a line of its own")
            raise unknown_name("field", key if isinstance(key, str) else shown(key), [*known, *sections])
        if key not in sections:
            flat[key] = value
        elif not isinstance(value, dict):
            flat[key] = value  # which is then refused by the section's name
        else:
            flat |= {f"{key}.{part if isinstance(part, str) else shown(part)}": item for part, item in value.items()}
    return flat


@functools.cache
def _fields(cls: type) -> dict[str, tuple[Any, Any, str]]:
    """name -> (type, default, description) of a dataclass."""
    kinds = typing.get_type_hints(cls, include_extras=True)
    texts: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        texts |= _descriptions(base.__dict__.get("__doc__") or "")
    found = {}
    for field in dataclasses.fields(cls):
        default = field.default if field.default is not dataclasses.MISSING else None
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found[field.name] = (kinds[field.name], default, texts.get(field.name, ""))
    return found


def _descriptions(docstring: str) -> dict[str, str]:
    """Name and text of each entry below ``Args:``."""
    _, _, entries = inspect.cleandoc(docstring).partition("Args:\n")
    texts, name = {}, ""
    for line in entries.splitlines():
        if not line.startswith("    "):
            break
        if match := re.match(r" {4}(\w+): (.*)", line):
            name = match[1]
            texts[name] = match[2]
        elif name:
            texts[name] += " " + line.strip()
    return texts
