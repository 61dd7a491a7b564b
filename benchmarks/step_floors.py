"""The least that training steps of presets can take on this machine, beside what they take and what is asked of them.

    python benchmarks/step_floors.py [PRESET...] [--threads N] [--out FILE.md]

Each op of a step must read its inputs and write its results once, at the speed of a copy in the cache, and a product does its operations at
the speed of large matrix products, whichever takes longer; both speeds are measured in this process. Products of events count with what is
left to do, convolutions of events with their bytes alone. The sum over all ops is below what any implementation of these ops can reach: where
its ratio is below the goal, the goal asks for fewer ops; elsewhere it says how far the ops are from the machine's best.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path

import torch

import spikeops

from measuring import freed_memory, markdown
from measuring.results import commit, device_name
from measuring.timers import CPUTimer
from measuring.work import KINDS, Call, calls_of
from ops.providers import FUSED, PUBLISHED
from steps import catalogue, training_step

GOALS = {
    "tsslbp-mnist-cnn": 12, "ide-mnist-lif": 9, "ide-cifar10-alexnetf-small": 5, "spide-mnist-lenet": 7, "spide-cifar10-alexnetf-small": 8,
    "ell-mnist-dnn": 3, "fell-mnist-dnn": 6, "bell-mnist-dnn": 9, "ell-mnist-cnn": 3.5, "bell-mnist-cnn": 5,
}  # fmt: skip


def median_seconds(rounds: int, **runs: Callable[[], object]) -> dict[str, float]:
    """Of each, in turns, after a first round."""
    timer = CPUTimer()
    seconds = [{name: timer.time(name, run).seconds for name, run in runs.items()} for _ in range(rounds + 1)][1:]
    return {name: statistics.median(of_round[name] for of_round in seconds) for name in runs}


def copy_bandwidth(elements: int = 1 << 20) -> float:
    """Bytes read and written in a second by a copy between tensors of 4 MB, about what a layer has, that are there already."""
    source, target = torch.randn(elements), torch.empty(elements)
    return 8 * elements / median_seconds(200, copy=lambda: target.copy_(source))["copy"]


def product_peak(n: int = 1024) -> float:
    """Multiplications and additions in a second of a product of two square matrices."""
    a, b, c = torch.randn(n, n), torch.randn(n, n), torch.empty(n, n)
    return 2 * n**3 / median_seconds(50, product=lambda: torch.mm(a, b, out=c))["product"]


def measure(name: str, rounds: int) -> tuple[dict[str, float], list[Call]]:
    """Seconds of a step by provider, in turns; and the ops of ours."""
    problem = catalogue.make(name, "cpu")

    def on_its_backend(provider: str) -> Callable[[], object]:
        step = problem.step(provider)

        def run() -> None:
            with spikeops.backend(training_step.backend(provider)):
                step()

        return run

    steps = {provider: on_its_backend(provider) for provider in (FUSED, PUBLISHED)}
    return median_seconds(rounds, **steps), calls_of(steps[FUSED])


def row(name: str, seconds: dict[str, float], calls: list[Call], bandwidth: float, peak: float) -> list[str]:
    floors = dict.fromkeys(KINDS, 0.0)
    for call in calls:
        floors[call.kind] += call.seconds(bandwidth, peak)
    floor, ours, published = sum(floors.values()), seconds[FUSED], seconds[PUBLISHED]
    shown = [f"{1e3 * value:.3g}" for value in (ours, floor, *floors.values())]
    return [name, *shown, len(calls), f"{published / ours:.1f}", f"{published / floor:.1f}", GOALS.get(name, "")]


HEADER = ("preset", "ms", "floor, ms", *KINDS, "ops", "x published", "x published at the floor", "goal")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("presets", nargs="*", metavar="PRESET", help=f"of {', '.join(catalogue.settings())}; default: all")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--out", type=Path, metavar="FILE.md")
    options = parser.parse_args()
    if unknown := [name for name in options.presets if name not in catalogue.settings()]:
        parser.error(f"there is no step of {unknown[0]}: expected {', '.join(catalogue.settings())}")
    torch.set_num_threads(options.threads)
    memory = freed_memory.settle("kept")
    bandwidth, peak = copy_bandwidth(), product_peak()
    lines = [row(name, *measure(name, options.rounds), bandwidth, peak) for name in options.presets or catalogue.settings()]
    text = "\n".join([
        "# Training steps and the least they can take", "", __doc__.split("\n\n", 2)[2].strip(), "",
        f"{device_name('cpu')}{memory}, {options.threads} threads, torch {torch.__version__}, commit {commit()}: a copy moves "
        f"{bandwidth / 1e9:.1f} GB/s, a product of 1024 x 1024 does {peak / 1e9:.0f} GFLOP/s.", "", markdown.table(HEADER, lines), "",
    ])  # fmt: skip
    print(text)
    if options.out is not None:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
