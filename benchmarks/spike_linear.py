"""`spike_linear` against PyTorch's dense matrix product on the CPU, by the share of neurons that fire.

    python benchmarks/spike_linear.py [--threads N] [--out FILE.md]

Forward, and forward with the gradient of the weights, in turns, medians. Both sides get the same spikes. For each layer and share the
results are compared before they are timed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F

import spikeops.functional as SF

from measuring import beside_dense

# What it is, (samples x time steps, inputs), outputs.
LAYERS = [
    ("ell-mnist-dnn, a time step", (100, 784), 800),
    ("800-800, T 10", (1000, 800), 800),
    ("*-mnist-cnn, fully connected", (250, 640), 300),
    ("AlexNet-F, fully connected", (320, 4096), 1024),
    ("SHD, first layer, T 100", (12800, 700), 128),
    ("readout, T 10", (1000, 800), 10),
]
DENSITIES = (0.01, 0.03, 0.05, 0.1, 0.2, 0.3)


def rows(rounds: int) -> Iterator[str]:
    for name, (samples, inputs), outputs in LAYERS:
        for density in DENSITIES:
            yield row(name, samples, inputs, outputs, density, rounds)


def row(name, samples, inputs, outputs, density, rounds) -> str:
    draw = torch.Generator().manual_seed(1)
    x = (torch.rand(samples, inputs, generator=draw) < density).float()
    weight = torch.randn(outputs, inputs, generator=draw)
    upstream = torch.randn(samples, outputs, generator=draw)
    ours, dense = ((lambda w, linear=linear: linear(x, w)) for linear in (SF.spike_linear, F.linear))
    cells = beside_dense.cells(name, ours, dense, weight.requires_grad_(), upstream, rounds)
    return f"| {name} | {samples} x {inputs} | {outputs} x {inputs} | {100 * density:.0f} % | {' | '.join(cells)} |"


if __name__ == "__main__":
    beside_dense.run(__doc__, "spike_linear", "layer | x (N, C) | weight", rows)
