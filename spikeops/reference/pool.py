"""Pooling."""

import torch.nn.functional as F

__all__ = ["avg_pool2d"]


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    """See :func:`spikeops.functional.avg_pool2d`."""
    return F.avg_pool2d(x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
