"""BELL: each layer learns once per batch, by backpropagation through time inside the layer and its classifier (Ma et al. 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from spiketrain.methods.base.local_classifiers import LocalClassifierMethod, LocalClassifierOptions


@dataclass
class Options(LocalClassifierOptions):
    """Options of BELL.

    Args:
        name: bell
    """

    name: str = "bell"


class BELL(LocalClassifierMethod):
    Options = Options
    rule = "bell"


METHOD = BELL
