"""spikeops against SpikingJelly, snnTorch, Norse and sinabs: their neurons, and a small convolutional net with them.

    python benchmarks/peers.py [--device cpu|cuda] [--libraries spikingjelly,norse] [--seconds 75] [--out DIR]

Each library's neuron is compared with the spikeops neuron of the same equations and surrogate, forward (no gradient) and full (forward
and backward), in turns. Spikes and gradients of both are compared with the reference on the very input that is timed; by how
much they differ is in the table. What fails or takes too long is listed with the reason. The table is written after every step.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import signal
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import peer_report
import torch
from peer_libraries import CLASSES, LIBRARIES, Library, NetSize, Spikeops
from peer_timer import make_timer
from results import FOLDER, LEFT_OUT, Table
from torch import Tensor, nn

import spikeops
import spikeops.functional as SF

LAYERS = {"cuda": [(16, 1_000_000), (4, 1_000_000), (32, 4_000_000)], "cpu": [(10, 100_000)]}
HALF_LAYER = {"cuda": (16, 1_000_000), "cpu": (10, 100_000)}
# A compiled loop is unrolled: long ones take minutes to compile.
COMPILED_LAYERS = {"cuda": [(4, 1_000_000), (16, 1_000_000)], "cpu": [(10, 100_000)]}
SECONDS_PER_CALL = {"cuda": 0.06, "cpu": 0.3}  # of measuring, per provider and mode
ROUNDS = (5, 15)
IMPORT_LIMIT = 25  # seconds
LAST_CALL = 5  # seconds that an implementation gets to get ready after the end of the time
GRACE = 40  # seconds after the end of the time at which the process is ended, whatever it does
FULL, FORWARD = "full", "forward"
NET_GAIN = 3.0  # on the weights as PyTorch draws them, so that both layers fire


class TimeUp(BaseException):
    """Something took too long. No Exception, so that no library catches it."""


@contextlib.contextmanager
def within(seconds: float):
    """Raises TimeUp in this block after so many seconds, as soon as the interpreter gets to it. Main thread only."""

    def stop(*_):
        raise TimeUp(f"took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


class Contestant:
    """One implementation in one comparison: what to call, and what its row is called."""

    def __init__(self, library: Library, variant: str, compile: bool):
        self.library, self.variant, self.compile = library, variant, compile
        self.provider = variant + ("+compile" if compile else "")
        self.run = {}  # by mode

    def call(self, mode: str):
        self.library.select(self.variant)
        with torch.set_grad_enabled(mode == FULL):
            return self.run[mode]()


class Run:
    """The measurements and the table they go into.

    Args:
        limit, compile_limit: seconds that one implementation may take before it is measured, plain and compiled
    """

    def __init__(self, device: str, path: Path, seconds: float, limit: float, compile_limit: float):
        self.device, self.path = device, path
        self.limit, self.compile_limit = limit, compile_limit
        self.end = time.monotonic() + seconds
        self.table = Table(device)
        self.timer = make_timer(device)
        self._libraries = {name: [make() for make in makers] for name, makers in LIBRARIES.items()}
        self._unusable: dict[str, str] = {}  # the reason by library, empty if there is none

    # --- what is compared

    def layer(self, name: str, T: int, N: int, dtype: torch.dtype = torch.float32, compile: bool = False) -> None:
        """One layer of neurons of a library."""
        op = f"lif:{name}" + (":compiled" if compile else "")
        where = (T, N, str(dtype).removeprefix("torch."))
        contestants = self._contestants(name, op, where, compile)
        if not contestants:
            return
        ours = contestants[0].library.neuron()
        draw = torch.Generator(self.device).manual_seed(1)
        # Below 2 thresholds even after what is left of the step before: there all these libraries fire once.
        x = torch.rand(T, N, generator=draw, device=self.device).div_(ours.get("input_scale", 1.0)).to(dtype).requires_grad_()
        upstream = torch.randn(T, N, generator=draw, device=self.device).to(dtype)
        with spikeops.backend("reference"):
            wanted_spikes = SF.lif(x, **ours)[0]
            (wanted_gradient,) = torch.autograd.grad(wanted_spikes, x, upstream)
        wanted_spikes = wanted_spikes.detach()

        def build(contestant):
            layer = contestant.library.layer(contestant.variant, self.device, dtype, contestant.compile)

            def full():
                spikes = layer(x)
                return spikes, torch.autograd.grad(spikes, x, upstream.to(spikes.dtype))[0]

            contestant.run = {FULL: full, FORWARD: lambda: layer(x)}

        def check(result):
            spikes, gradient = result
            differ = (spikes != wanted_spikes).float().mean().item()
            return {"spikes_differ": differ, "gradient_error": _error(gradient, wanted_gradient)}

        self._compare(op, where, contestants, build, check)

    def net(self, name: str, size: NetSize, compile: bool = False) -> None:
        """Loss and gradients of a convolutional net with neurons of a library. All have the same weights."""
        op = f"net:{name}" + (":compiled" if compile else "")
        where = (size.T, size.batch, "float32")
        contestants = self._contestants(name, op, where, compile)
        if not contestants:
            return
        ours = contestants[0].library
        draw = torch.Generator(self.device).manual_seed(2)
        x = torch.rand(size.T, size.batch, 3, size.side, size.side, generator=draw, device=self.device)
        labels = torch.randint(CLASSES, (size.batch,), generator=draw, device=self.device)
        torch.manual_seed(3)
        source = ours.net(contestants[0].variant, size, False).to(self.device)
        with torch.no_grad():
            for weight in _weights(source):
                weight.mul_(NET_GAIN / ours.neuron().get("input_scale", 1.0))

        def step(net, x):
            loss = nn.functional.cross_entropy(net(x).mean(0), labels)
            return loss, torch.autograd.grad(loss, _weights(net))

        with spikeops.backend("reference"), _exact_convolutions():
            wanted_loss, wanted = step(source, x)

        def build(contestant):
            net = contestant.library.net(contestant.variant, size, contestant.compile).to(self.device)
            with torch.no_grad():
                for weight, of_source in zip(_weights(net), _weights(source), strict=True):
                    weight.copy_(of_source)
            own_x = net.prepare(x) if hasattr(net, "prepare") else x
            contestant.run = {FULL: lambda: step(net, own_x)}

        def check(result):
            loss, gradients = result
            errors = [_error(gradient, other) for gradient, other in zip(gradients, wanted, strict=True)]
            return {"loss_error": _error(loss, wanted_loss), "gradient_error": max(errors)}

        self._compare(op, where, contestants, build, check, _exact_convolutions)

    # --- how

    def _contestants(self, name, op, where, compile):
        """Ours first. Empty if nobody else can take part or there is no time; the reasons are noted."""
        theirs = []
        for library in self._libraries[name]:
            variants = library.compiled_variants(self.device) if compile else library.variants(self.device)
            if not variants:
                continue
            if time.monotonic() > self.end:
                reason = "no time left"
            else:
                reason = self._why_unusable(library)
            if reason:
                self.leave_out(op, library.name, where, reason)
                continue
            theirs += [Contestant(library, variant, compile) for variant in variants]
        if not theirs:
            return []
        print(f"{op} {where}, {self.end - time.monotonic():.0f} s left", flush=True)
        ours = Spikeops(theirs[0].library.neuron())
        return [Contestant(ours, variant, False) for variant in ours.variants(self.device)] + theirs

    def _why_unusable(self, library):
        if library.name not in self._unusable:
            try:
                with within(IMPORT_LIMIT):
                    library.load()
                self._unusable[library.name] = ""
            except (Exception, TimeUp) as error:
                self._unusable[library.name] = _reason(error)
        return self._unusable[library.name]

    def _compare(self, op, where, contestants, build, check, while_checking=contextlib.nullcontext):
        """Builds and checks each, then lets them take turns."""
        if any(contestant.compile for contestant in contestants):
            torch._dynamo.reset()
        ready = []
        for contestant in contestants:
            limit = self.compile_limit if contestant.compile else self.limit
            try:
                with within(min(limit, max(self.end - time.monotonic(), 0) + LAST_CALL)):
                    self._prepare(op, where, contestant, build, check, while_checking)
                ready.append(contestant)
            except (Exception, TimeUp) as error:
                self.leave_out(op, contestant.provider, where, _reason(error))
            self._clean()
        for mode in (FULL, FORWARD):
            self._take_turns(op, where, [contestant for contestant in ready if mode in contestant.run], mode)
            self.table.save(self.path)
        for contestant in contestants:
            contestant.run = {}
        self._clean()

    def _prepare(self, op, where, contestant, build, check, while_checking):
        with while_checking():
            contestant.library.select(contestant.variant)
            build(contestant)
            started = time.perf_counter()
            result = contestant.call(FULL)
            self.timer.synchronize()
            seconds = time.perf_counter() - started
        for metric, value in check(result).items():
            self._add(op, contestant.provider, FULL, where, metric, value, "1")
        del result
        self._add(op, contestant.provider, FULL, where, "first_call_seconds", seconds, "s")
        for mode in contestant.run:
            contestant.call(mode)  # compiles, where there is a graph of its own without gradients

    def _take_turns(self, op, where, contestants, mode):
        seconds = {contestant: [] for contestant in contestants}
        late = dict.fromkeys(contestants, 0)
        wanted = {}
        for number in range(ROUNDS[1]):
            for contestant in list(seconds):
                if number >= wanted.get(contestant, ROUNDS[0]):
                    continue
                try:
                    with within(self.limit):
                        if number == 0:
                            wanted[contestant] = self._weigh(op, where, contestant, mode)
                        contestant.library.select(contestant.variant)
                        with torch.set_grad_enabled(mode == FULL):
                            timed = self.timer.time(f"{op} {where} {mode} {contestant.provider}", contestant.run[mode])
                except (Exception, TimeUp) as error:
                    self.leave_out(op, contestant.provider, where, _reason(error), mode)
                    del seconds[contestant]
                    continue
                seconds[contestant].append(timed.seconds)
                late[contestant] += not timed.on_time
        for contestant, measured in seconds.items():
            self.table.add_times(op, contestant.provider, mode, *where, seconds=measured)
            if self.device == "cuda":
                self._add(op, contestant.provider, mode, where, "waited_for_host", late[contestant] / len(measured), "1")

    def _weigh(self, op, where, contestant, mode) -> int:
        """Warms up; notes memory and the host's time. Returns how many rounds there is time for."""
        contestant.library.select(contestant.variant)
        run = contestant.run[mode]
        with torch.set_grad_enabled(mode == FULL):
            peak = self.timer.peak_bytes(run)
            host = self.timer.host_seconds(run)
            started = time.perf_counter()
            run()
            self.timer.synchronize()
            seconds = time.perf_counter() - started
        if peak is not None:
            self._add(op, contestant.provider, mode, where, "peak_bytes", peak, "B")
        if host is not None:
            self._add(op, contestant.provider, mode, where, "host_time", host * 1e3, "ms")
        return min(max(int(SECONDS_PER_CALL[self.device] / max(seconds, 1e-4)), ROUNDS[0]), ROUNDS[1])

    def leave_out(self, op, provider, where, reason, mode="all"):
        print(f"  left out: {op} by {provider}: {reason}", flush=True)
        self._add(op, provider, mode, where, LEFT_OUT, reason, "")
        self.table.save(self.path)

    def _add(self, op, provider, mode, where, metric, value, unit):
        self.table.add(op, provider, mode, *where, metric, value, unit)

    def _clean(self):
        gc.collect()
        if self.device == "cuda":
            torch.cuda.empty_cache()


def _weights(net: nn.Module) -> list[Tensor]:
    """Weights and biases of convolutions and linear layers, in order."""
    layers = [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    return [parameter for layer in layers for parameter in (layer.weight, layer.bias)]


def _error(got: Tensor, wanted: Tensor) -> float:
    """Largest difference over the largest value."""
    return ((got.double() - wanted.double()).abs().max() / wanted.double().abs().max()).item()


@contextlib.contextmanager
def _exact_convolutions():
    """Without TF32, in which convolutions of another batch size may round differently. Time is taken with PyTorch's default."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


def _reason(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    text = lines[0] if lines else ""
    return text if isinstance(error, TimeUp) else f"{type(error).__name__}: {text}"[:300]


def jobs(run: Run, libraries: list[str], layers, half, compiled, net: NetSize):
    """What is measured, the most telling first."""
    for T, N in layers:
        for name in libraries:
            yield partial(run.layer, name, T, N)
    for name in libraries:
        yield partial(run.net, name, net)
    for name in libraries:
        yield partial(run.layer, name, *half, torch.float16)
    for T, N in compiled:
        for name in libraries:
            yield partial(run.layer, name, T, N, compile=True)
    for name in libraries if compiled else ():
        yield partial(run.net, name, net, compile=True)


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
    parser.add_argument("--threads", type=int, help="CPU threads")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder for the table and the report")
    return parser.parse_args(arguments)


def main(arguments=None) -> int:
    options = _parse(arguments)
    if options.device == "cuda" and not torch.cuda.is_available():
        print("peers: torch finds no CUDA device", file=sys.stderr)
        return 2
    if options.threads:
        torch.set_num_threads(options.threads)
    libraries = options.libraries.split(",")
    if unknown := set(libraries) - set(LIBRARIES):
        print(f"peers: no such library: {', '.join(sorted(unknown))}; there are {', '.join(LIBRARIES)}", file=sys.stderr)
        return 2
    layers = [tuple(map(int, size.split("x"))) for size in options.layers or ()] or LAYERS[options.device]
    half = layers[0] if options.layers else HALF_LAYER[options.device]
    compiled = [] if options.no_compile else layers[:1] if options.layers else COMPILED_LAYERS[options.device]
    net = NetSize(*map(int, options.net.split("x")))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        # A compilation that finds its result of another day would not show what it costs.
        for variable in ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUPY_CACHE_DIR"):
            os.environ[variable] = os.path.join(cache, variable)
        name = Table(options.device).path.name.replace(".csv", "-peers.csv")
        run = Run(options.device, options.out / name, options.seconds, options.limit, options.compile_limit)
        watchdog = threading.Timer(options.seconds + GRACE, _give_up, [run])
        watchdog.daemon = True
        watchdog.start()
        for job in jobs(run, libraries, layers, half, compiled, net):
            job()
        watchdog.cancel()
        if options.device == "cuda":
            torch.cuda.synchronize()
    spikeops.set_backend("auto")
    _finish(run)
    return 0


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
