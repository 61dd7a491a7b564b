"""The typed configuration of a run, and how it is put together.

A configuration comes from a preset, then a YAML file (``--config``), then the command line; later ones win. Every field has a type
that is checked, and an unknown field is an error. This room knows no training method: `parser` is given the options class of the
one that is configured. `spiketrain.methods.load_config` finds that class by name.
"""

import importlib

from spiketrain.config.fields import Config, DataConfig, NetworkConfig, OptimizerConfig, Published, TrainerConfig
from spiketrain.config.names import find_name
from spiketrain.config.raw import merge, method_name, read_yaml

__all__ = [
    "Config",
    "DataConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "Published",
    "TrainerConfig",
    "find_name",
    "merge",
    "method_name",
    "read_yaml",
]


def __getattr__(name: str):
    """`load_config` lay here before the methods had a room of their own, and scripts go on taking it from here."""
    if name == "load_config":
        return importlib.import_module("spiketrain.methods").load_config
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
