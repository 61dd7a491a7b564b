"""Forward and backward passes of `lif` with one thread and with all, on a machine at rest and on one that other programs keep busy.

The other programs are processes of this benchmark that count (`--load`, two for each core by default); they end with it. The goal: on the
busy machine all threads take at most twice as long as one does there.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

import spikeops
import spikeops.functional as SF

from measuring import freed_memory
from measuring.results import commit, device_name

SIZES = ((4, 4096), (4, 16384), (8, 32768), (5, 40_000), (10, 100_000), (30, 200_000))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--load", type=int, default=2 * (os.cpu_count() or 1), help="other processes that compute")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--out", type=Path, help="file for the table (Markdown)")
    freed_memory.add_option(parser.add_argument)
    options = parser.parse_args()
    memory = freed_memory.settle(options.freed_memory)
    at_rest = measure(options.threads, options.seconds)
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(options.load)]
    try:
        time.sleep(1)
        busy = measure(options.threads, options.seconds)
    finally:
        for other in others:
            other.kill()
            other.wait()
    lines = [
        f"# Threads on a busy machine: {device_name('cpu')}{memory}, {options.threads} threads beside {options.load} other processes",
        "",
        f"torch {torch.__version__}, spikeops {spikeops.__version__}, commit {commit()}. `lif`, forward and backward, milliseconds: median "
        "(90 % quantile).",
        "",
        "| T x N | 1 thread | all | busy, 1 thread | busy, all | busy, all over 1 |",
        "| --- " * 6 + "|",
    ]
    for size in SIZES:
        of_rest, of_busy = at_rest[size], busy[size]
        cells = [_text(times) for found in (of_rest, of_busy) for times in found]
        ratio = statistics.mean(of_busy[1]) / statistics.mean(of_busy[0])
        lines.append(f"| {size[0]} x {size[1]} | " + " | ".join(cells) + f" | {ratio:.2f} |")
    print("\n".join(lines))
    if options.out:
        options.out.write_text("\n".join(lines) + "\n")


def measure(threads: int, seconds: float) -> dict[tuple[int, int], tuple[list[float], list[float]]]:
    """Milliseconds of each call, for each size, with one thread and with all, in turns of a tenth of the time."""
    found = {}
    for T, N in SIZES:
        x = torch.rand(T, N, requires_grad=True)
        upstream = torch.rand(T, N)
        times: dict[int, list[float]] = {1: [], threads: []}
        for _ in range(10):
            for count, measured in times.items():
                torch.set_num_threads(count)
                end = time.perf_counter() + seconds / 10
                while (started := time.perf_counter()) < end:
                    torch.autograd.grad(SF.lif(x, 0.9)[0], x, upstream)
                    measured.append(1e3 * (time.perf_counter() - started))
        found[T, N] = (times[1], times[threads])
    return found


def _text(times: list[float]) -> str:
    return f"{statistics.median(times):.3f} ({statistics.quantiles(times, n=10)[-1]:.3f})"


if __name__ == "__main__":
    main()
