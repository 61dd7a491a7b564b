"""Average pooling between the feature maps of a layer and its local classifier."""

from __future__ import annotations

import math

import torch

from spikeops.functional import _checks
from spikeops.nn._repr import call_arguments
from spikeops.nn.pool import AvgPool2d


class ClassifierPool2d(AvgPool2d):
    """Average-pools feature maps until a local classifier gets at most ``max_features`` numbers, and flattens them.

    The rule of Nokland & Eidnes ("Training neural networks with local error signals", ICML 2019), which Ma et al. (IEEE Trans.
    Cybernetics 2022) took over: from windows of 1 x 1 on, double the height, then the width where that does not suffice, and so
    on. Windows do not overlap. Sides that they do not divide are padded with zeros, which count in the mean; as published, half a
    window of padding comes first, and a window that is larger than the maps misses what is left at their end.

    Args:
        shape: (C, H, W) of the maps.
        max_features: most numbers per sample that the classifier is to get.

    Shapes:
        (N, C, H, W) -> (N, out_features), channels first.

    Raises:
        ValueError: max_features below C, which no pooling can reach; an empty shape.

    Example:
        >>> pool = snn.ClassifierPool2d((128, 14, 14), max_features=1024)
        >>> pool.kernel_size, pool.padding, pool.out_features
        ((8, 4), (4, 2), 1024)
    """

    def __init__(self, shape: tuple[int, int, int], max_features: int):
        shape = tuple(_checks.whole("ClassifierPool2d", f"shape[{axis}]", size, 0) for axis, size in enumerate(shape))
        max_features = _checks.whole("ClassifierPool2d", "max_features", max_features, 0)
        channels, height, width = shape
        if min(shape) < 1:
            raise ValueError(f"ClassifierPool2d: expected shape (C, H, W) without zeros, got {shape}.")
        if max_features < channels:
            raise ValueError(
                f"ClassifierPool2d: expected max_features to be at least the number of channels, {channels}, got {max_features}."
            )
        kernel = [1, 1]
        pooled = [height, width]
        axis = 0
        while channels * pooled[0] * pooled[1] > max_features:
            if pooled[axis] > 1:
                kernel[axis] *= 2
                pooled[axis] = math.ceil((height, width)[axis] / kernel[axis])
            axis = 1 - axis
        padding = tuple(k * (p - side // k) // 2 for k, p, side in zip(kernel, pooled, (height, width)))
        super().__init__(tuple(kernel), padding=padding)
        self.shape, self.max_features = shape, max_features
        self.out_features = channels * pooled[0] * pooled[1]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if self.kernel_size != (1, 1):
            x = super().forward(x)
        return x.flatten(1)

    def extra_repr(self) -> str:
        return call_arguments(self, ClassifierPool2d.__init__)
