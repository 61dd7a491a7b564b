"""FELL: like ELL, with the gradient through the membrane potentials of the past, forwards in time (Ma et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from spiketrain.methods.base.local_classifiers import LocalClassifierMethod, LocalClassifierOptions


@dataclass
class Options(LocalClassifierOptions):
    """Options of FELL.

    Args:
        name: fell
    """

    name: str = "fell"


class FELL(LocalClassifierMethod):
    Options = Options
    rule = "fell"


METHOD = FELL
