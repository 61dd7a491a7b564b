"""The typed configuration of a run, and how it is put together.

A configuration comes from a preset, then a YAML file (``--config``), then the command line; later ones win. Every field has a type
that is checked, and an unknown field is an error. This room knows no training method: `parser` is given the options class of the
one that is configured. `spiketrain.methods.load_config` finds that class by name.
"""

from spiketrain.config.fields import Config, DataConfig, NetworkConfig, OptimizerConfig, Published, TrainerConfig
from spiketrain.config.raw import merge, method_name, read_yaml

__all__ = [
    "Config",
    "DataConfig",
    "NetworkConfig",
    "OptimizerConfig",
    "Published",
    "TrainerConfig",
    "merge",
    "method_name",
    "read_yaml",
]
