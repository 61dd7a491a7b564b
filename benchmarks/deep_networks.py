"""What training steps of SEW-ResNet-18 keep for the backward pass, and how long they take, in several ways to keep it.

    python benchmarks/deep_networks.py [--device cpu|cuda] [--threads N] [--times 4 16] [--out FILE.csv]

CIFAR's images at random, forward and backward. Loss and gradients of every way are compared with those of the plain one before
anything is measured. Then the bytes between the two passes, the most there are at any time, and the time of a step, in turns, medians.
SpikingJelly's own SEW-ResNet takes part where it is installed, with its memory optimisation too. Blocks of its stages with batch norm and
neurons as one op and apart, and a small network over T, follow. Report and picture lie beside the table; --out with a table that is there adds
to it, so that long measurements can be made in parts.
"""

from __future__ import annotations

import argparse
import functools
import gc
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

import spikeops

from measuring import results, timers
from reports import deep_networks as report
from steps import deep_networks as steps
from steps.deep_networks import APART, AS_ONE, PLAIN, STAGES, Different, Size

GROWING_WAYS = (PLAIN, "packed, bits", "packed, fused", "all")


WALL, CPU = time.perf_counter, time.process_time


def measure(
    table: results.Table, of: str, names: list[str], size: Size, device: str, rounds: int, compared: bool = True, clock=WALL
) -> None:  # fmt: skip
    """Each way that computes what the plain one does; what the others do is a row, too. `clock`: seconds, on a CPU."""
    timer, made = timers.make_timer(device), {}
    shape = f"{size.width} channels and more, {STAGES * size.depth} blocks, images of {size.side} x {size.side}"

    def where(name):
        return of, name, shape, size.time_steps, size.batch, "float32"

    for name in names:
        try:
            words = steps.compare(name, size, device) if compared else ""
            made[name] = step = steps.make(name, size, device)
        except (Different, ValueError) as reason:
            print(f"left out: {name} with T {size.time_steps}: {reason}", flush=True)
            table.add(*where(name), results.LEFT_OUT, str(reason), "")
            continue
        step.run()  # what is set up once is not counted
        table.add(*where(name), "kept_bytes", timer.kept_bytes(step.forward), "B")
        step.forget()
        table.add(*where(name), "peak_bytes", timer.peak_bytes(step.run), "B")
        table.add(*where(name), results.COMPARED, words, "")
        gc.collect()
    for name, seconds in _in_turns({name: step.run for name, step in made.items()}, rounds, device, clock).items():
        _add_times(table, where(name), seconds, clock)


def measure_blocks(table: results.Table, size: Size, rounds: int, clock=WALL) -> None:
    """Of each stage, with and without its convolution, batch norm and neurons apart and as one op. On a CPU."""
    for of in (report.BLOCK, report.CONVOLUTION):
        for stage in range(STAGES):
            make = functools.partial(steps.block, size, stage, has_convolution=of == report.CONVOLUTION)
            runs = {name: make(is_one=name == AS_ONE) for name in (APART, AS_ONE)}
            for run in runs.values():
                run()
            channels, side = size.width * 2**stage, size.side // 2**stage
            for name, seconds in _in_turns(runs, rounds, "cpu", clock).items():
                place = of, name, f"{channels} x {side} x {side}", size.time_steps, size.batch, "float32"
                _add_times(table, place, seconds, clock)


def _add_times(table: results.Table, where: tuple, seconds: list[float], clock) -> None:
    table.add_times(*where, seconds=seconds)
    if clock is CPU:
        table.add(*where, results.CLOCK, "of the CPU", "")


def _in_turns(runs: dict[str, Callable[[], object]], rounds: int, device: str, clock) -> dict[str, list[float]]:
    """Seconds of each round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, run in runs.items():
            if device == "cuda":
                seconds[name].append(timers.wall_clock(run))
            else:
                started = clock()
                run()
                seconds[name].append(clock() - started)
    return seconds


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
    parser.add_argument("--block-times", type=int, nargs="*", default=[4, 16], help="T of the blocks, on a CPU")
    parser.add_argument("--block-rounds", type=int, default=15)
    parser.add_argument("--growth-times", type=int, nargs="*", default=[4, 8, 16, 32, 64, 128], help="T of the small network")
    parser.add_argument("--growth-width", type=int, help="channels of its first stage (CPU: 8, CUDA: 64); one block in each stage")
    parser.add_argument("--growth-batch", type=int, help="its samples (CPU: 1, CUDA: 16)")
    parser.add_argument("--busy", action="store_true", help="for a busy CPU: the time of a step is what its threads were given of the CPU")
    parser.add_argument("--out", type=Path, help="the table (CSV), to which is added; report and picture lie beside it")
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

    table, clock = results.Table(options.device), CPU if options.busy else WALL
    for T in options.times:
        measure(table, report.NETWORK, names, replace(size, time_steps=T), options.device, options.rounds, clock=clock)
    for T in options.block_times if on_cpu else ():
        measure_blocks(table, replace(size, time_steps=T), options.block_rounds, clock)
    growing = [name for name in GROWING_WAYS if name in names]
    for T in options.growth_times:
        measure(table, report.SMALL, growing, replace(small, time_steps=T), options.device, options.rounds, compared=False, clock=clock)
    if options.out:
        if options.out.exists():
            table.rows[:0] = results.load(options.out)
        table.save(options.out)
        report.write(options.out)
    print(report.markdown(table.rows, options.out.with_suffix(".png").name if options.out else ""))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
