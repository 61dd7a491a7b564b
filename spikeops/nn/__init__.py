"""Modules over :mod:`spikeops.functional`. They hold parameters and options, never a hidden state: the membrane potential goes
in and out as an argument.

A module shows itself as the call that makes one like it: the arguments without a default, and those that differ from it. Modules inside
it are listed below, as in all of PyTorch; tensors are left to the state dict."""

from spikeops.nn import batch_norm, current_based, neurons, readout, recurrent
from spikeops.nn.batch_norm import *  # noqa: F403
from spikeops.nn.checkpointing import checkpoint
from spikeops.nn.classifier_pool import ClassifierPool2d
from spikeops.nn.conv import SpikeConv2d
from spikeops.nn.convex import ConvexSNN
from spikeops.nn.current_based import *  # noqa: F403
from spikeops.nn.feedback import FeedbackRing, WSConv2d, init_unit_norm_, restrict_frobenius_norm, restrict_spectral_norm
from spikeops.nn.linear import SpikeLinear
from spikeops.nn.local import LocalBlock, LocalClassifier
from spikeops.nn.local_loss import LocalLossBlock, similarity_matching_loss, similarity_matrix
from spikeops.nn.neurons import *  # noqa: F403
from spikeops.nn.pool import AvgPool2d
from spikeops.nn.readout import *  # noqa: F403
from spikeops.nn.recurrent import *  # noqa: F403
from spikeops.nn.time import TimeDistributed

__all__ = [
    "AvgPool2d", "ClassifierPool2d", "ConvexSNN", "FeedbackRing", "LocalBlock", "LocalClassifier", "LocalLossBlock", "SpikeConv2d", "SpikeLinear",
    "TimeDistributed", "WSConv2d", "checkpoint", "init_unit_norm_", "restrict_frobenius_norm", "restrict_spectral_norm",
    "similarity_matching_loss", "similarity_matrix",
]  # fmt: skip
for _module in (neurons, batch_norm, current_based, readout, recurrent):
    __all__ += _module.__all__
