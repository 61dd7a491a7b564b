"""What a network is exported to, a module for each format with what `Format` has."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, Protocol

from torch import Tensor

from spiketrain.deployment.model import Model

NAMES = ("state_dict", "pt2", "onnx", "nir")


class Format(Protocol):
    """A module of this package.

    Attributes:
        IS_EXACT: whether its scores are the run's bit for bit, on the same machine; else within rounding (`agreement`)
    """

    IS_EXACT: bool

    def files(self, out: Path) -> list[Path]:
        """All files that `write` makes; `out` comes first."""
        ...

    def write(self, model: Model, out: Path, options: dict[str, Any]) -> list[str]:
        """Write the files. Returns what a user has to know of them, a line each.

        Raises:
            UserError: the format cannot express the network. The message says what of it, and which format can.
        """
        ...

    def scores(self, model: Model, out: Path, inputs: Tensor, options: dict[str, Any]) -> Tensor:
        """What the files, read again, make of inputs."""
        ...


def get(name: str) -> Format:
    """The format of one of the `NAMES`."""
    return importlib.import_module(f"{__name__}.{name}")
