"""The presets: one YAML file per published experiment, its BPTT twin, and the small ones on the digits data set."""

from __future__ import annotations

from importlib import resources

import yaml

from spiketrain.errors import unknown_name


def names() -> list[str]:
    """Names of all presets, sorted."""
    return sorted(file.name.removesuffix(".yaml") for file in resources.files(__name__).iterdir() if file.name.endswith(".yaml"))


def load(name: str) -> dict:
    """The raw configuration of one preset.

    Raises:
        UserError: there is no such preset; the message names the nearest.
    """
    if name not in names():
        raise unknown_name("preset", name, names())
    text = resources.files(__name__).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    return {"preset": name, **yaml.safe_load(text)}
