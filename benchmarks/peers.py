"""spikeops against SpikingJelly, snnTorch, Norse and sinabs: their neurons, and a small convolutional net with them.

    python benchmarks/peers.py [--device cpu|cuda] [--libraries spikingjelly,norse] [--seconds 75] [--out DIR]

Each library's neuron is compared with the spikeops neuron of the same equations and surrogate, forward (no gradient) and full (forward
and backward), in turns. Spikes and gradients of both are compared with the reference on the very input that is timed; by how
much they differ is in the table. What fails or takes too long is listed with the reason. The table is written after every step.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
import warnings
from functools import partial
from pathlib import Path

import peer_report
import torch
from peer_libraries import LIBRARIES
from peer_library import NetSize
from peer_run import DeviceLost, Run
from results import FOLDER, Table

import spikeops
from spiketrain.memory import keep_freed_memory

LAYERS = {"cuda": [(16, 1_000_000), (4, 1_000_000), (32, 4_000_000)], "cpu": [(10, 100_000)]}
# A compiled loop is unrolled: long ones take minutes to compile.
COMPILED_LAYERS = {"cuda": [(16, 1_000_000), (4, 1_000_000)], "cpu": [(10, 100_000)]}
GRACE = 40  # seconds after the end of the time at which the process is ended, whatever it does


def jobs(run: Run, libraries: list[str], layers, compiled, net: NetSize):
    """What is measured, the most telling first: time may run out."""

    def each(measure, *arguments, **options):
        return [partial(measure, name, *arguments, **options) for name in libraries]

    first, *others = layers
    yield from each(run.layer, *first)
    yield from each(run.net, net)
    for size in compiled[:1]:  # of the first library, whose graphs are the shortest as it has kernels of its own
        yield each(run.layer, *size, compile=True)[0]
    for size in others:
        yield from each(run.layer, *size)
    yield from each(run.layer, *first, torch.float16)
    for size in sorted(compiled):
        yield from each(run.layer, *size, compile=True)[size == compiled[0] :]
    if compiled:
        yield from each(run.net, net, compile=True)


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="compare with these only, by name, separated by commas")
    parser.add_argument("--layers", nargs="+", help="T x N of the layers, such as 16x1000000; the first one also in 16 bits and compiled")
    parser.add_argument("--net", default="8x64x32", help="T x batch x side of the convolutional net")
    parser.add_argument("--seconds", type=float, default=75, help="start nothing new after that many seconds")
    parser.add_argument("--limit", type=float, default=10, help="seconds that one implementation may take to get ready")
    parser.add_argument("--compile-limit", type=float, default=20, help="the same for a compiled one")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile of the others")
    parser.add_argument("--without", default="", help="leave out these implementations, such as spikingjelly-cupy,sinabs-exodus")
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the table and the report")
    return parser.parse_args(arguments)


def main(arguments=None) -> int:
    options = _parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("peers: torch finds no CUDA device", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")  # about what the libraries call, which is theirs to mend
    if options.device == "cpu":
        keep_freed_memory()  # for all alike, as in the other benchmarks
    if options.threads:
        torch.set_num_threads(options.threads)
    libraries = options.libraries.split(",")
    if unknown := set(libraries) - set(LIBRARIES):
        print(f"peers: no such library: {', '.join(sorted(unknown))}; there are {', '.join(LIBRARIES)}", file=sys.stderr)
        return 2
    layers = [tuple(map(int, size.split("x"))) for size in options.layers or ()] or LAYERS[options.device]
    compiled = [] if options.no_compile else layers[:1] if options.layers else COMPILED_LAYERS[options.device]
    without = tuple(filter(None, options.without.split(",")))
    net = NetSize(*map(int, options.net.split("x")))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        # A compilation that finds its result of another day would not show what it costs.
        for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUPY_CACHE_DIR"):
            os.environ[variable] = os.path.join(cache, variable)
        name = Table(options.device).path.name.replace(".csv", "-peers" + "".join(f"-without-{name}" for name in without) + ".csv")
        run = Run(options.device, options.out / name, options.seconds, options.limit, options.compile_limit, without)
        watchdog = threading.Timer(options.seconds + GRACE, _give_up, [run])
        watchdog.daemon = True
        watchdog.start()
        lost = None
        try:
            for job in jobs(run, libraries, layers, compiled, net):
                run.attempt(job)
        except DeviceLost as error:
            lost = error.provider
        watchdog.cancel()
    spikeops.set_backend("auto")
    _finish(run)
    if lost:
        _start_again(arguments, run, lost)
    return 0


def _start_again(arguments, run, lost):
    """In a new process, the only cure, without who did it and into a table of its own, for what is left of the time."""
    seconds = max(run.end - time.monotonic(), 0.0)
    print(f"peers: {lost} has made the device fail; once more without it", flush=True)
    again = [f"--without={','.join([*run.without, lost])}", f"--seconds={seconds:.0f}"]
    arguments = sys.argv[1:] if arguments is None else arguments
    os.execv(sys.executable, [sys.executable, str(Path(__file__).resolve()), *arguments, *again])


def _finish(run):
    run.table.save(run.path)
    text = peer_report.markdown(run.table.rows)
    run.path.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)
    print(f"wrote {run.path} and {run.path.with_suffix('.md')}", flush=True)


def _give_up(run):
    """What is measured is kept even if a call never comes back."""
    try:
        print("peers: a call does not come back; ending", file=sys.stderr)
        _finish(run)
    finally:
        os._exit(3)


if __name__ == "__main__":
    sys.exit(main())
