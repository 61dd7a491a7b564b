"""Layers that learn from a loss of their own, on their firing rate or their membrane potential."""

from spikeops.nn.local_loss.block import LocalLossBlock, LocalLosses
from spikeops.nn.local_loss.similarity import similarity_matching_loss, similarity_matrix

__all__ = ["LocalLossBlock", "LocalLosses", "similarity_matching_loss", "similarity_matrix"]
