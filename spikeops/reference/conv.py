"""Convolution of spikes."""

import torch.nn.functional as F

__all__ = ["spike_conv2d"]


def spike_conv2d(spikes, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """See :func:`spikeops.functional.spike_conv2d`."""
    return F.conv2d(spikes, weight, bias, stride, padding, dilation, groups)
