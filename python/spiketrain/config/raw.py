"""A configuration before it is checked: nested dictionaries, as they come out of YAML."""

from __future__ import annotations

from pathlib import Path

import yaml

from spiketrain.errors import UserError


def read_yaml(path: str | Path) -> dict:
    """A YAML file that holds a mapping, read without running anything in it."""
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UserError(f"cannot read the configuration {path}: {error}") from None
    if not isinstance(content, dict):
        raise UserError(f"the configuration {path} holds no fields: expected lines such as 'seed: 1'")
    return content


def merge(base: dict, update: dict) -> dict:
    """`base` with the fields of `update` put over it, section by section."""
    merged = dict(base)
    for key, value in update.items():
        merged[key] = merge(merged[key], value) if isinstance(value, dict) and isinstance(merged.get(key), dict) else value
    return merged


def method_name(raw: dict, overrides: list[str] = ()) -> str:
    """The training method that a raw configuration and its command line options name."""
    for i, option in enumerate(overrides):
        name, has_value, value = option.partition("=")
        if name == "--method.name" and (has_value or i + 1 < len(overrides)):
            return value if has_value else overrides[i + 1]
    section = raw.get("method")
    if not isinstance(section, dict) or not isinstance(section.get("name"), str):
        raise UserError("the configuration names no training method: expected a section 'method' with a field 'name'")
    return section["name"]
