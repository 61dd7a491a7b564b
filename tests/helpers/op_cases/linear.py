"""Matrix products with spikes: sums over events, or kernels for few outputs, on the CPU, PyTorch's own product elsewhere. Equal to it up to rounding alone, so that
the tests of what all ops have in common do not apply."""

import torch
from op_tests import transformed
from op_tests.transformed import WIDTH, WORKS, of_module

import spikeops.functional as SF
import spikeops.nn as snn

TESTED_ELSEWHERE = {
    "find_events": "test_event_matmul.py",
    "event_matmul_": "test_event_matmul.py",
    "narrow_matmul": "test_narrow_matmul.py",
    "narrow_matmul_weight": "test_narrow_matmul.py",
    "narrow_matmul_input": "test_narrow_matmul.py",
    "spike_linear": "test_linear.py",
}

TRANSFORMED = {
    "spike_linear": transformed.Call(
        lambda x, w: SF.spike_linear(x, w, torch.arange(4).to(x.dtype)), (("T", "B", "N"), (4, "N")), (1, None), forward=WORKS
    ),
    "SpikeLinear": of_module(lambda: snn.SpikeLinear(WIDTH, 4), forward=WORKS),
}
