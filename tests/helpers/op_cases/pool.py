"""Pooling: a kernel for tiles of 2 x 2 on the CPU, PyTorch's own elsewhere, with the same bits."""

import torch
from op_tests import transformed
from op_tests.transformed import WORKS, of_module

import spikeops.functional as SF
import spikeops.nn as snn

TESTED_ELSEWHERE = {"pool_": "test_pool.py", "pool_backward_": "test_pool.py", "avg_pool2d": "test_pool.py"}

_IMAGES = torch.rand(2, 3, 40, 40, generator=torch.Generator().manual_seed(0))
NUMBERS = {
    SF.avg_pool2d: (
        lambda **o: [SF.avg_pool2d(_IMAGES, **o)], dict(kernel_size=2, stride=2, padding=0, divisor_override=3),
    ),
}  # fmt: skip

_OF_IMAGES = dict(forward=WORKS, steps_are_fixed=True)
TRANSFORMED = {
    "avg_pool2d": transformed.Call(lambda x: SF.avg_pool2d(x, 2), (("B", 2, 6, 6),), (0,), **_OF_IMAGES),
    "AvgPool2d": of_module(lambda: snn.AvgPool2d(2), (("B", 2, 6, 6),), (0,), **_OF_IMAGES),
    "ClassifierPool2d": of_module(lambda: snn.ClassifierPool2d((2, 6, 6), 8), (("B", 2, 6, 6),), (0,), **_OF_IMAGES),
}
