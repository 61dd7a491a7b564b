"""Convolutions of spikes: sums over events on the CPU, PyTorch's own convolution elsewhere. Equal to it up to rounding alone, so
that the tests of what all ops have in common do not apply; and layers around them."""

import torch
from op_tests import transformed
from op_tests.transformed import WIDTH, WORKS, of_module

import spikeops.functional as SF
import spikeops.nn as snn

TESTED_ELSEWHERE = {
    "event_conv_": "test_event_conv.py",
    "event_conv_weight": "test_event_conv.py",
    "spike_conv2d": "test_conv.py",
}

_IMAGES = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0)).round()
_KERNEL = torch.rand(4, 3, 3, 3, generator=torch.Generator().manual_seed(1))
NUMBERS = {
    SF.spike_conv2d: (
        lambda **o: [SF.spike_conv2d(_IMAGES, _KERNEL, **o)], dict(stride=2, padding=1, dilation=1, groups=1),
    ),
    snn.ClassifierPool2d: (
        lambda side, max_features: [snn.ClassifierPool2d((2, side, side), max_features)(torch.ones(1, 2, 6, 6))], dict(side=6, max_features=16),
    ),
}  # fmt: skip

_OF_IMAGES = dict(shapes=(("B", 2, 6, 6),), batched=(0,), steps_are_fixed=True, forward=WORKS)
TRANSFORMED = {
    "spike_conv2d": transformed.Call(
        lambda x, w: SF.spike_conv2d(x, w, padding=1), (("B", 2, "N", 6), (4, 2, 3, 3)), (0, None), forward=WORKS, steps_are_fixed=True
    ),
    "SpikeConv2d": of_module(lambda: snn.SpikeConv2d(2, 4, 3), **_OF_IMAGES),
    "WSConv2d": of_module(lambda: snn.WSConv2d(2, 4, 3), **_OF_IMAGES),
    "TimeDistributed": of_module(lambda: snn.TimeDistributed(torch.nn.Linear(WIDTH, 6, bias=False)), forward=WORKS),
}
