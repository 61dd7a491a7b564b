"""`spike_conv2d` against PyTorch's dense convolution on the CPU, by the share of neurons that fire.

    python benchmarks/spike_conv.py [--threads N] [--out FILE.md]

Forward, and forward with the gradient of the weights, in turns, medians. Both sides get the same spikes, in channels-last order. For
each layer and share the results are compared before they are timed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

import spikeops.functional as SF

from measuring import beside_dense

# What it is, (samples x time steps, channels, side), (output channels, kernel, padding).
LAYERS = [
    ("bell-mnist-cnn, second layer", (1000, 12, 12), (64, 5, 0)),
    ("tsslbp-mnist-cnn, second layer", (250, 15, 12), (40, 5, 0)),
    ("*-fashion-cnn, second layer", (500, 32, 12), (64, 5, 0)),
    ("vgg8a, second layer", (100, 128, 28), (256, 3, 1)),
    ("AlexNet-F, third layer", (320, 256, 8), (384, 3, 1)),
]
DENSITIES = (0.01, 0.05, 0.1, 0.2, 0.4)


def rows(rounds: int) -> Iterator[str]:
    for name, (samples, channels, side), (out_channels, kernel, padding) in LAYERS:
        for density in DENSITIES:
            yield row(name, samples, channels, side, out_channels, kernel, padding, density, rounds)


def row(name, samples, channels, side, out_channels, kernel, padding, density, rounds) -> str:
    draw = torch.Generator().manual_seed(1)
    x = (torch.rand(samples, channels, side, side, generator=draw) < density).float()
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(out_channels, channels, kernel, kernel, generator=draw).contiguous(memory_format=torch.channels_last)
    upstream = torch.randn_like(F.conv2d(x, weight, padding=padding))
    ours, dense = ((lambda w, conv=conv: conv(x, w, padding=padding)) for conv in (SF.spike_conv2d, F.conv2d))
    cells = beside_dense.cells(name, ours, dense, weight.requires_grad_(), upstream, rounds)
    shape = f"{samples} x {channels} x {side} x {side}"
    return f"| {name} | {shape} | {out_channels} x {channels} x {kernel} x {kernel} | {100 * density:.0f} % | {' | '.join(cells)} |"


if __name__ == "__main__":
    beside_dense.run(__doc__, "spike_conv2d", "layer | x (N, C, H, W) | weight", rows)
