"""Layers that add up weights of the neurons that fired, beside PyTorch's dense ones, by the share of neurons that fire."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

import spikeops

from measuring import freed_memory
from measuring.results import commit, device_name


def run(doc: str, op: str, columns: str, rows: Callable[[int], Iterable[str]]) -> None:
    """The command line of a benchmark.

    Args:
        doc: what it says of itself
        op: its name
        columns: of the table, before those of `cells`
        rows: for a number of rounds, the rows of the table
    """
    parser = argparse.ArgumentParser(description=doc.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    freed_memory.add_option(parser.add_argument)
    parser.add_argument("--out", type=Path, help="file for the table (Markdown)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory = freed_memory.settle(options.freed_memory)
    lines = [
        f"# `{op}` on {device_name('cpu')}{memory}, {options.threads} threads",
        "",
        f"torch {torch.__version__}, spikeops {spikeops.__version__}, commit {commit()}. Milliseconds; x: the dense layer's time over ours.",
        "",
        f"| {columns} | firing | forward | dense | x | with weight gradient | dense | x |",
        "| --- " * (columns.count("|") + 8) + "|",
    ]
    print("\n".join(lines))
    for row in rows(options.rounds):
        lines.append(row)
        print(row, flush=True)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def cells(name: str, ours: Callable, dense: Callable, weight: torch.Tensor, upstream: torch.Tensor, rounds: int) -> list[str]:
    """Forward, and forward with the gradient of the weights, in turns, medians. Both sides' results are compared before.

    Args:
        name: of the layer
        ours, dense: functions of the weight
        weight: which requires a gradient
        upstream: gradient of the output
        rounds: how often each is timed
    """

    def forward(layer):
        with torch.no_grad():
            return layer(weight)

    def both(layer):
        return torch.autograd.grad(layer(weight), weight, upstream)[0]

    found = []
    for step in (forward, both):
        actual, expected = step(ours), step(dense)
        assert (actual - expected).abs().max() <= 1e-4 * expected.abs().max(), f"{name}: the results differ"
        times = {ours: [], dense: []}
        for _ in range(rounds):
            for layer, measured in times.items():
                started = time.perf_counter()
                step(layer)
                measured.append(1e3 * (time.perf_counter() - started))
        mine, theirs = (statistics.median(measured) for measured in times.values())
        found += [f"{mine:.2f}", f"{theirs:.2f}", f"{theirs / mine:.2f}"]
    return found
