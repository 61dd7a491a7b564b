"""Feedback spiking networks: rings of spiking layers trained by IDE and SPIDE."""

from spikeops.nn.feedback.restrictions import WSConv2d, init_unit_norm_, restrict_frobenius_norm, restrict_spectral_norm
from spikeops.nn.feedback.ring import FeedbackRing

__all__ = ["FeedbackRing", "WSConv2d", "init_unit_norm_", "restrict_frobenius_norm", "restrict_spectral_norm"]
