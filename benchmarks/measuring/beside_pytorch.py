"""Kernels for the CPU that take the place of PyTorch's own, beside these and a copy of the large tensor."""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch

import spikeops

from measuring import freed_memory, markdown
from measuring.results import commit, device_name


def cells(copy: Callable, pairs: Iterable[tuple[Callable, Callable]], rounds: int) -> list[str]:
    """Milliseconds of the copy, then of ours, of PyTorch's, and PyTorch's time over ours, of each pair. In turns, medians."""
    runs = [copy, *(run for pair in pairs for run in pair)]
    times = [[] for _ in runs]
    for _ in range(rounds):
        for run, measured in zip(runs, times):
            run()  # what the one before left in the caches is of no account
            started = time.perf_counter()
            run()
            measured.append(1e3 * (time.perf_counter() - started))
    copied, *others = (statistics.median(measured) for measured in times)
    found = [f"{copied:.3f}"]
    for ours, theirs in zip(others[::2], others[1::2]):
        found += [f"{ours:.3f}", f"{theirs:.3f}", f"{theirs / ours:.1f}"]
    return found


def run(doc: str, title: str, what: str, header: Iterable[str], rows: Callable[[int], Iterable[list[str]]], rounds: int) -> None:
    """The command line of a benchmark.

    Args:
        doc: what it says of itself
        title: of the table
        what: is computed, such as "float32"
        header: of the table
        rows: for a number of rounds, the rows of the table
        rounds: by default
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    memory = freed_memory.settle("kept")
    lines = list(rows(options.rounds))
    text = "\n".join([
        f"# {title} on {device_name('cpu')}{memory}, {options.threads} threads", "",
        f"torch {torch.__version__}, spikeops {spikeops.__version__}, commit {commit()}, {what}. Milliseconds; x: PyTorch's time over ours.", "",
        markdown.table(header, lines), "",
    ])  # fmt: skip
    print(text)
    if options.out is not None:
        options.out.write_text(text)
