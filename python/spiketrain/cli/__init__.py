"""The command line ``spiketrain``."""

from spiketrain.cli.program import main

__all__ = ["main"]
