"""The presets, a YAML file each: the published experiments of TSSL-BP, IDE, SPIDE, ELL, FELL and BELL, with local losses (local*) and
of the surface fit by L_proj (convex-surface-*); the BPTT twins of those of TSSL-BP; our own variants with LIF neurons (local*-lif-*)
and our own experiments with L_proj (other convex-*); and small ones on the digits data set.

A preset differs from the published experiment that it is named after in what its field ``departs`` names, and in nothing else that is
known."""

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
