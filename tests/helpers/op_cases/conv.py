"""Convolutions of spikes: sums over events on the CPU, PyTorch's own convolution elsewhere. Equal to it up to rounding alone, so
that the tests of what all ops have in common do not apply."""

TESTED_ELSEWHERE = {
    "event_conv_": "test_event_conv.py",
    "event_conv_weight": "test_event_conv.py",
    "spike_conv2d": "test_spike_conv.py",
}
