"""Modules over :mod:`spikeops.functional`. They hold parameters and options, never a hidden state: the membrane potential goes
in and out as an argument."""

from spikeops.nn.classifier_pool import ClassifierPool2d
from spikeops.nn.local import LocalBlock, LocalClassifier
from spikeops.nn.local_loss import LocalLossBlock, similarity_matching_loss, similarity_matrix
from spikeops.nn.neurons import IF, LIF, TSSLBP, ParametricLIF, SynapticFilter
from spikeops.nn.time import TimeDistributed

__all__ = [
    "IF", "LIF", "TSSLBP", "ClassifierPool2d", "LocalBlock", "LocalClassifier", "LocalLossBlock", "ParametricLIF",
    "SynapticFilter", "TimeDistributed", "similarity_matching_loss", "similarity_matrix",
]  # fmt: skip
