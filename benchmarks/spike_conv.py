"""`spike_conv2d` against PyTorch's dense convolution on the CPU, by the share of neurons that fire.

    python benchmarks/spike_conv.py [--threads N] [--out FILE.md]

Forward, and forward with the gradient of the weights, in turns, medians. Both sides get the same spikes, in channels-last order. For
each layer and share the results are compared before they are timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import spikeops
import spikeops.functional as SF
from spiketrain.memory import keep_freed_memory

from measuring.results import commit, device_name

# What it is, (samples x time steps, channels, side), (output channels, kernel, padding).
LAYERS = [
    ("bell-mnist-cnn, second layer", (1000, 12, 12), (64, 5, 0)),
    ("tsslbp-mnist-cnn, second layer", (250, 15, 12), (40, 5, 0)),
    ("*-fashion-cnn, second layer", (500, 32, 12), (64, 5, 0)),
    ("vgg8a, second layer", (100, 128, 28), (256, 3, 1)),
    ("AlexNet-F, third layer", (320, 256, 8), (384, 3, 1)),
]
DENSITIES = (0.01, 0.05, 0.1, 0.2, 0.4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, help="file for the table (Markdown)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    lines = [
        f"# `spike_conv2d` on {device_name('cpu')}, {options.threads} threads",
        "",
        f"torch {torch.__version__}, spikeops {spikeops.__version__}, commit {commit()}. Milliseconds; x: the dense convolution's time over ours.",
        "",
        "| layer | x (N, C, H, W) | weight | firing | forward | dense | x | with weight gradient | dense | x |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    print("\n".join(lines))
    for name, (samples, channels, side), (out_channels, kernel, padding) in LAYERS:
        for density in DENSITIES:
            lines.append(row(name, samples, channels, side, out_channels, kernel, padding, density, options.rounds))
            print(lines[-1], flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def row(name, samples, channels, side, out_channels, kernel, padding, density, rounds) -> str:
    draw = torch.Generator().manual_seed(1)
    x = (torch.rand(samples, channels, side, side, generator=draw) < density).float()
    x = x.contiguous(memory_format=torch.channels_last)
    weight = torch.randn(out_channels, channels, kernel, kernel, generator=draw).contiguous(memory_format=torch.channels_last)
    weight.requires_grad_()
    upstream = torch.randn_like(F.conv2d(x, weight, padding=padding))

    def forward(conv):
        with torch.no_grad():
            return conv(x, weight, padding=padding)

    def both(conv):
        return torch.autograd.grad(conv(x, weight, padding=padding), weight, upstream)[0]

    cells = []
    for step in (forward, both):
        ours, dense = step(SF.spike_conv2d), step(F.conv2d)
        assert (ours - dense).abs().max() <= 1e-4 * dense.abs().max(), f"{name}: the results differ"
        times = {SF.spike_conv2d: [], F.conv2d: []}
        for _ in range(rounds):
            for conv, measured in times.items():
                started = time.perf_counter()
                step(conv)
                measured.append(1e3 * (time.perf_counter() - started))
        mine, theirs = (statistics.median(measured) for measured in times.values())
        cells += [f"{mine:.1f}", f"{theirs:.1f}", f"{theirs / mine:.2f}"]
    shape = f"{samples} x {channels} x {side} x {side}"
    return f"| {name} | {shape} | {out_channels} x {channels} x {kernel} x {kernel} | {100 * density:.0f} % | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
