"""What training steps of SEW-ResNet-18 keep for the backward pass, and how long they take, in several ways to keep it.

    python benchmarks/deep_networks.py [--device cpu|cuda] [--threads N] [--times 4 16] [--out FILE.md]

CIFAR's images at random, forward and backward. Loss and gradients of every way are compared with those of the plain one before
anything is measured. Then the bytes between the two passes, the most there are at any time, and the time of a step, in turns, medians.
SpikingJelly's own SEW-ResNet takes part where it is installed, with its memory optimisation too. A second table is of a small network
over T. The picture lies beside the file.
"""

from __future__ import annotations

import argparse
import gc
import statistics
import time
from dataclasses import replace
from pathlib import Path

import torch

import spikeops

from measuring import timers
from measuring.results import commit, device_name
from reports import deep_networks as report
from steps import deep_networks as steps
from steps.deep_networks import PLAIN, WAYS, Different, Size

GROWING_WAYS = (PLAIN, "packed, bits", "all")


def measure(names: list[str], size: Size, device: str, rounds: int, compared: bool = True, clock=time.perf_counter) -> list[report.Measured]:
    """Each way that computes what the plain one does; what the others do is printed. `clock`: seconds, on a CPU."""
    timer, made, found = timers.make_timer(device), {}, {}
    for name in names:
        try:
            words = steps.compare(name, size, device) if compared else ""
            made[name] = step = steps.make(name, size, device)
        except (Different, ValueError) as reason:
            print(f"left out: {name} with T {size.time_steps}: {reason}", flush=True)
            continue
        step.run()  # what is set up once is not counted
        kept = timer.kept_bytes(step.forward)
        step.forget()
        found[name] = kept, timer.peak_bytes(step.run), words
        gc.collect()
    seconds: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(rounds):
        for name, step in made.items():
            seconds[name].append(timers.wall_clock(step.run) if device == "cuda" else _seconds(step.run, clock))
    return [report.Measured(name, size.time_steps, *found[name][:2], statistics.median(seconds[name]), found[name][2]) for name in made]


def _seconds(run, clock) -> float:
    started = clock()
    run()
    return clock() - started


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--times", type=int, nargs="*", default=[4, 16], help="T of the network")
    parser.add_argument("--batch", type=int, help="samples (CPU: 2, CUDA: 64)")
    parser.add_argument("--width", type=int, default=64, help="channels of its first stage")
    parser.add_argument("--depth", type=int, default=2, help="blocks of each stage")
    parser.add_argument("--side", type=int, default=32, help="of the images, in pixels")
    parser.add_argument("--ways", nargs="+", metavar="WAY", help="these only, beside plain")
    parser.add_argument("--growth-times", type=int, nargs="*", default=[4, 8, 16, 32, 64, 128], help="T of the small network")
    parser.add_argument("--growth-width", type=int, help="channels of its first stage (CPU: 8, CUDA: 64); one block in each stage")
    parser.add_argument("--growth-batch", type=int, help="its samples (CPU: 1, CUDA: 16)")
    parser.add_argument("--busy", action="store_true", help="for a busy CPU: the time of a step is what its threads were given of the CPU")
    parser.add_argument("--note", default="", help="a sentence for the head of the report, such as what else the machine did")
    parser.add_argument("--out", type=Path, help="file for the tables (Markdown); the picture lies beside it")
    return parser.parse_args(arguments)


def main(arguments=None) -> int:
    options = _parse(arguments)
    on_cpu = options.device == "cpu"
    if on_cpu:
        spikeops.keep_freed_memory()  # for all alike
    torch.set_num_threads(options.threads)
    names = steps.available()
    if options.ways:
        if unknown := set(options.ways) - set(names):
            print(f"deep_networks: no such way: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
            return 2
        names = [PLAIN, *(name for name in names if name in options.ways and name != PLAIN)]
    size = Size(0, options.batch or (2 if on_cpu else 64), options.width, options.depth, options.side)
    small = Size(0, options.growth_batch or (1 if on_cpu else 16), options.growth_width or (8 if on_cpu else 64), 1, options.side)

    clock = time.process_time if options.busy else time.perf_counter
    rows = [
        row for T in options.times for row in measure(names, replace(size, time_steps=T), options.device, options.rounds, clock=clock)
    ]
    growing_names = [name for name in GROWING_WAYS if name in names]
    growing = [
        row
        for T in options.growth_times
        for row in measure(growing_names, replace(small, time_steps=T), options.device, options.rounds, compared=False, clock=clock)
    ]
    text = _text(options, size, small, rows, growing)
    print(text)
    if options.out:
        picture = options.out.with_suffix(".png")
        report.picture(rows, growing, PLAIN, picture)
        options.out.write_text(f"{text}\n![Bytes and time of each way]({picture.name})\n", encoding="utf-8")
    return 0


def _text(options, size: Size, small: Size, rows, growing) -> str:
    def shape(size):
        return f"{size.width} channels and more, {4 * size.depth} blocks, {size.batch} images of {size.side} x {size.side}"

    lines = [
        f"# SEW-ResNet on {device_name(options.device)}, {options.threads} threads",
        "",
        f"torch {torch.__version__}, spikeops {spikeops.__version__}, commit {commit()}. {options.note}".rstrip(),
        "",
        f"Medians of {options.rounds} rounds. Kept: between the forward and the backward pass; peak: at any time of both. "
        f"Memory of weights and their gradients is not counted. Time is {'that of the CPU, on a busy machine' if options.busy else 'by the clock'}.",
        "",
    ]
    if rows:
        lines += [f"{shape(size)}:", "", report.ways(rows, PLAIN), "", "Goals:", "", *report.goals(rows, PLAIN, WAYS), ""]
    if len({row.time_steps for row in growing}) > 1:
        times = f"T {growing[0].time_steps} to {growing[-1].time_steps}"
        lines += [
            f"## Growth with T: exponents over {times} (goal: at most {report.LARGEST_EXPONENT}), then over the last two", "",
            f"{shape(small)}:", "", report.growth(growing), "",
        ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
