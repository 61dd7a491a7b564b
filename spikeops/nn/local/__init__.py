"""Layers that learn on their own, each with a classifier of its own: ELL, FELL and BELL."""

from spikeops.nn.local.block import LocalBlock, LocalStep
from spikeops.nn.local.classifier import LocalClassifier

__all__ = ["LocalBlock", "LocalClassifier", "LocalStep"]
