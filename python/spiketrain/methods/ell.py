"""ELL: each layer learns in every time step from the error of that step alone, which its own classifier makes (Ma et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from spiketrain.methods.base.local_classifiers import LocalClassifierMethod, LocalClassifierOptions


@dataclass
class Options(LocalClassifierOptions):
    """Options of ELL.

    Args:
        name: ell
    """

    name: str = "ell"


class ELL(LocalClassifierMethod):
    Options = Options
    rule = "ell"


METHOD = ELL
