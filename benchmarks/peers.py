"""spikeops against SpikingJelly, snnTorch, Norse and sinabs: their neurons, and whole networks with them.

    python benchmarks/peers.py [--device cpu|cuda] [--libraries spikingjelly,norse] [--seconds 660] [--out DIR] [--readme]

Each library's neurons, by its own defaults, are compared with the spikeops neurons of the same equations and surrogate, forward (no
gradient) and full (forward and backward), eager and under torch.compile, in turns. Spikes and gradients of both, or loss and gradients
of networks, are compared with the reference on the very input that is timed; who computes something else is not timed. What differs,
fails or takes too long is listed with the reason. The table is written after every step, the most telling steps come first.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import threading
import time
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch

import spikeops

from libraries.catalogue import LIBRARIES
from libraries.library import KINDS
from libraries.library import RECURRENT as RECURRENT_KINDS
from libraries.networks import NetSize
from libraries.run import DeviceLost, Run
from measuring import freed_memory
from measuring.results import FOLDER, Table, load
from reports import peer_report, peer_summary

README = Path(__file__).resolve().parents[1] / "README.md"

# T x N, of recurrent layers T x batch x N. The last of these is the one that is compiled: loops are unrolled, long ones take minutes.
LAYERS = {"cuda": [(16, 1_000_000), (4, 1_000_000), (32, 4_000_000)], "cpu": [(10, 100_000), (30, 200_000), (100, 20_000)]}
COMPILED_LAYERS = {"cuda": [(16, 1_000_000), (4, 1_000_000)], "cpu": [(10, 100_000)]}
RECURRENT = {"cuda": [(100, 256, 512), (20, 256, 512)], "cpu": [(100, 64, 256), (20, 64, 256)]}
NETS = {"cuda": ["conv:8x64:32C3p1-64C3s2p1:3x32", "recurrent:100x256"], "cpu": ["conv:5x50", "conv:20x50", "recurrent:100x32"]}
SECONDS = {"cuda": 75.0, "cpu": 660.0}
COMPILE_SECONDS = {"cuda": 20.0, "cpu": 75.0}
GRACE = 40  # seconds after the end of the time at which the process is ended, whatever it does


@dataclass(frozen=True)
class Sizes:
    """Of what is measured."""

    layers: list[tuple[int, ...]]
    compiled: list[tuple[int, ...]]
    recurrent: list[tuple[int, ...]]
    nets: list[NetSize]
    in_16_bits: bool


def jobs(run: Run, libraries: list[str], sizes: Sizes):
    """What is measured, the most telling first: time may run out."""

    def layers(kind, shape, *arguments, among=libraries, **options):
        for name in among:
            if any(kind in make().neurons() for make in LIBRARIES[name]):
                yield partial(run.layer, name, kind, shape, *arguments, **options)

    def nets(kind, among=libraries, **options):
        for size in sizes.nets:
            if size.kind == kind:
                yield from (partial(run.net, name, size, **options) for name in among)

    first, *others = sizes.layers
    yield from layers("lif", first)
    yield from nets("conv")
    for shape in sizes.compiled[:1]:  # of the first library, whose graphs are the shortest as it has kernels of its own
        yield from layers("lif", shape, among=libraries[:1], compile=True)
    for kind in KINDS[1:]:
        for shape in sizes.recurrent if kind in RECURRENT_KINDS else [first]:
            yield from layers(kind, shape)
    yield from nets("recurrent")
    for shape in sizes.compiled[:1]:
        yield from layers("lif", shape, among=libraries[1:], compile=True)
    compiled_nets = [partial(run.net, name, size, compile=True) for size in sizes.nets[:1] if sizes.compiled for name in libraries]
    yield from compiled_nets[:1]
    for shape in others:
        yield from layers("lif", shape)
    if sizes.in_16_bits:
        yield from layers("lif", first, torch.float16)
    for shape in sizes.compiled[:1]:
        for kind in KINDS[1:]:
            yield from layers(kind, sizes.recurrent[-1] if kind in RECURRENT_KINDS else shape, compile=True)
    yield from compiled_nets[1:]
    for shape in sizes.compiled[1:]:
        yield from layers("lif", shape, compile=True)


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="compare with these only, by name, separated by commas")
    parser.add_argument("--kinds", default=",".join(KINDS), help="of the layers, compare these only, by name, separated by commas")
    parser.add_argument(
        "--layers", nargs="+", type=_shape, help="T x N of the layers, such as 16x1000000; the first one also compiled"
    )
    parser.add_argument(
        "--recurrent", nargs="+", type=_shape, help="T x batch x N of the recurrent layers; the last one also compiled"
    )
    parser.add_argument(
        "--nets", nargs="*", type=NetSize.parse, help="networks, such as conv:5x50 (T x batch) or conv:5x50:15C5-P2-300:1x28"
    )
    parser.add_argument("--seconds", type=float, help="start nothing new after that many seconds (CPU: 660, CUDA: 75)")
    parser.add_argument("--limit", type=float, default=10, help="seconds that one implementation may take to get ready")
    parser.add_argument("--compile-limit", type=float, help="the same for a compiled one (CPU: 75, CUDA: 20)")
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile of the others")
    parser.add_argument("--without", default="", help="leave out these implementations, such as spikingjelly-cupy,sinabs-exodus")
    parser.add_argument("--threads", type=int, help="CPU threads")
    freed_memory.add_option(parser.add_argument)
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the table and the report")
    parser.add_argument("--readme", action="store_true", help="put the table into README")
    return parser.parse_args(arguments)


def _shape(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split("x")))


def main(arguments=None) -> int:
    options = _parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("peers: torch finds no CUDA device", file=sys.stderr)
        return 2
    warnings.simplefilter("ignore")  # about what the libraries call, which is theirs to mend
    if options.device == "cpu":
        freed_memory.settle(options.freed_memory)  # for all alike, as in the other benchmarks
    if options.threads:
        torch.set_num_threads(options.threads)
    libraries, kinds = options.libraries.split(","), options.kinds.split(",")
    for given, known, what in ((libraries, LIBRARIES, "library"), (kinds, KINDS, "kind of neurons")):
        if unknown := set(given) - set(known):
            print(f"peers: no such {what}: {', '.join(sorted(unknown))}; there are {', '.join(known)}", file=sys.stderr)
            return 2
    device = options.device
    layers = options.layers or LAYERS[device]
    sizes = Sizes(
        layers, [] if options.no_compile else layers[:1] if options.layers else COMPILED_LAYERS[device],
        options.recurrent or RECURRENT[device], list(map(NetSize.parse, NETS[device])) if options.nets is None else options.nets,
        in_16_bits=device == "cuda",
    )  # fmt: skip
    without = tuple(filter(None, options.without.split(",")))
    seconds = SECONDS[device] if options.seconds is None else options.seconds
    compile_limit = COMPILE_SECONDS[device] if options.compile_limit is None else options.compile_limit
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        # A compilation that finds its result of another day would not show what it costs.
        for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUPY_CACHE_DIR"):
            os.environ[variable] = os.path.join(cache, variable)
        name = Table(options.device).path.name.replace(".csv", "-peers" + "".join(f"-without-{name}" for name in without) + ".csv")
        run = Run(device, options.out / name, seconds, options.limit, compile_limit, without)
        watchdog = threading.Timer(seconds + GRACE, _give_up, [run])
        watchdog.daemon = True
        watchdog.start()
        lost = None
        try:
            for job in jobs(run, libraries, sizes):
                if job.func == run.net or job.args[1] in kinds:
                    run.attempt(job)
        except DeviceLost as error:
            lost = error.provider
        watchdog.cancel()
    spikeops.set_backend("auto")
    _finish(run)
    if lost:
        _start_again(arguments, run, lost)
    elif options.readme:
        peer_summary.update_readme(README, run.path)
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
    text = peer_report.markdown(load(run.path))
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
