"""Average pooling on the CPU: ours, PyTorch's own, and a copy of the maps beside them.

    python benchmarks/pooling.py [--threads N] [--rounds N] [--out FILE.md]

Windows of 2 x 2, forward (no gradient) and backward by itself, in both orders of memory. In turns, medians; the results are compared before
they are timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F

import spikeops
import spikeops.functional as SF

from measuring import freed_memory, markdown
from measuring.results import commit, device_name

# Time steps x samples, channels, side: behind both convolutions of the published MNIST networks, of one SPIDE step, and of a CIFAR-10 network.
SIZES = [(250, 15, 24), (250, 40, 8), (1000, 12, 24), (1000, 64, 8), (32, 15, 28), (128, 64, 32)]
ORDERS = {"N, C, H, W": torch.contiguous_format, "channels last": torch.channels_last}
HEADER = ("maps", "order", "copy", "forward", "PyTorch", "x", "backward", "PyTorch", "x")


def row(images: int, channels: int, side: int, order: str, rounds: int) -> list[str]:
    draw = torch.Generator().manual_seed(1)
    maps = (torch.rand(images, channels, side, side, generator=draw) < 0.1).float().contiguous(memory_format=ORDERS[order])
    leaf, target = maps.clone().requires_grad_(), torch.empty_like(maps)
    outputs = [function(leaf, 2) for function in (SF.avg_pool2d, F.avg_pool2d)]
    upstream = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad(out, leaf, upstream, retain_graph=True)[0] for out in outputs]
    assert torch.equal(*outputs) and torch.equal(*gradients), f"{images} x {channels} x {side} x {side}: the results differ"
    runs = [lambda: target.copy_(maps)]
    runs += [partial(function, maps, 2) for function in (SF.avg_pool2d, F.avg_pool2d)]
    runs += [partial(torch.autograd.grad, out, leaf, upstream, retain_graph=True) for out in outputs]
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, measured in zip(runs, times):
            run()  # what the one before left in the caches is of no account
            started = time.perf_counter()
            run()
            measured.append(1e3 * (time.perf_counter() - started))
    copy, forward, their_forward, backward, their_backward = (statistics.median(measured) for measured in times)
    cells = [f"{images} x {channels} x {side} x {side}", order, f"{copy:.3f}"]
    for ours, theirs in ((forward, their_forward), (backward, their_backward)):
        cells += [f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.1f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory = freed_memory.settle("kept")
    lines = [row(*sizes, order, options.rounds) for sizes in SIZES for order in ORDERS]
    text = "\n".join([
        f"# Average pooling on {device_name('cpu')}{memory}, {options.threads} threads", "",
        f"torch {torch.__version__}, spikeops {spikeops.__version__}, commit {commit()}, float32, 2 x 2. Milliseconds; x: PyTorch's time over ours.",
        "", markdown.table(HEADER, lines), "",
    ])  # fmt: skip
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
