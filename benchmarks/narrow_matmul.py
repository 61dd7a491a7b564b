"""Matrix products of layers with few outputs on the CPU: ours, PyTorch's own, and a copy of the large matrix beside them.

    python benchmarks/narrow_matmul.py [--threads N] [--rounds N] [--out FILE.md]

The three products of a training step: x times the weight's transpose, and the gradients of weight and x. In turns, medians; the results are
compared before they are timed.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import spikeops
from spikeops.functional import _narrow_matmul

from measuring import freed_memory, markdown
from measuring.results import commit, device_name

# Rows (time steps x samples), inputs, outputs: local classifiers of BELL, in all time steps, and of ELL, in one; a hidden layer's.
SIZES = [(1000, 6912, 10), (100, 6912, 10), (1000, 800, 10), (100, 800, 10), (1000, 6912, 20), (1000, 800, 20), (1000, 800, 1)]
HEADER = ("x (R, C)", "outputs", "copy of x", "forward", "PyTorch", "x", "gradient of the weight", "PyTorch", "x", "gradient of x", "PyTorch", "x")


def row(rows: int, inner: int, outputs: int, rounds: int) -> list[str]:
    draw = torch.Generator().manual_seed(1)
    x = (torch.rand(rows, inner, generator=draw) < 0.05).float()
    weight, grad_out = torch.randn(outputs, inner, generator=draw), torch.randn(rows, outputs, generator=draw)
    target = torch.empty_like(x)
    pairs = [
        (lambda: _narrow_matmul.linear(x, weight), lambda: F.linear(x, weight)),
        (lambda: _narrow_matmul.weight_gradient(x, grad_out), lambda: grad_out.t() @ x),
        (lambda: _narrow_matmul.input_gradient(grad_out, weight), lambda: grad_out @ weight),
    ]
    for ours, theirs in pairs:
        assert (ours() - theirs()).abs().max() <= 1e-5 * theirs().abs().max(), f"{rows} x {inner} x {outputs}: the results differ"
    runs = [lambda: target.copy_(x), *(run for pair in pairs for run in pair)]
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, measured in zip(runs, times):
            run()  # what the one before left in the caches is of no account
            started = time.perf_counter()
            run()
            measured.append(1e3 * (time.perf_counter() - started))
    copy, *products = (statistics.median(measured) for measured in times)
    cells = [f"{rows} x {inner}", str(outputs), f"{copy:.3f}"]
    for ours, theirs in zip(products[::2], products[1::2]):
        cells += [f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.1f}"]
    return cells


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory = freed_memory.settle("kept")
    lines = [row(*sizes, options.rounds) for sizes in SIZES]
    text = "\n".join([
        f"# Products of few outputs on {device_name('cpu')}{memory}, {options.threads} threads", "",
        f"torch {torch.__version__}, spikeops {spikeops.__version__}, commit {commit()}, float32. Milliseconds; x: PyTorch's time over ours.", "",
        markdown.table(HEADER, lines), "",
    ])  # fmt: skip
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
