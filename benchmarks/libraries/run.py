"""One comparison after another: everyone's neuron built, checked against the reference, and timed in turns; within limits of time."""

from __future__ import annotations

import contextlib
import gc
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

import spikeops
import spikeops.functional as SF

from libraries.catalogue import LIBRARIES
from libraries.library import CLASSES, OURS, Library, NetSize, Spikeops, compile_apart
from measuring.results import LEFT_OUT, Table, first_line
from measuring.timers import TimeUp, make_timer, within

SECONDS_PER_CALL = {"cuda": 0.06, "cpu": 0.3}  # of measuring, per provider and mode
ROUNDS = (5, 15)
IMPORT_LIMIT = 25  # seconds
LAST_CALL = 5  # seconds that an implementation gets to get ready after the end of the time
FULL, FORWARD = "full", "forward"
NET_GAIN = 3.0  # on the weights as PyTorch draws them, so that both layers fire


class DeviceLost(Exception):
    """A provider's kernel has made the device unusable for this process: an access outside of its memory, say."""

    def __init__(self, provider: str):
        super().__init__(provider)
        self.provider = provider


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
        without: implementations that must not take part, as they have made the device fail

    Raises:
        DeviceLost: of the methods that measure
    """

    def __init__(self, device: str, path: Path, seconds: float, limit: float, compile_limit: float, without: tuple[str, ...] = ()):
        self.device, self.path = device, path
        self.limit, self.compile_limit = limit, compile_limit
        self.without = without
        self.end = time.monotonic() + seconds
        self.table = Table(device)
        self.timer = make_timer(device)
        self._libraries = {name: [make() for make in makers] for name, makers in LIBRARIES.items()}
        self._compiler_is_cold = True
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
        upstreams = {dtype: upstream, torch.float32: upstream.float()}  # some give float32 spikes for 16-bit currents
        with spikeops.backend("reference"):
            wanted_spikes = SF.lif(x, **ours)[0]
            (wanted_gradient,) = torch.autograd.grad(wanted_spikes, x, upstream)
        wanted_spikes = wanted_spikes.detach()

        def build(contestant):
            layer = contestant.library.layer(contestant.variant, self.device, dtype, contestant.compile)

            def full():
                spikes = layer(x)
                return spikes, torch.autograd.grad(spikes, x, upstreams[spikes.dtype])[0]

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
        ours = Spikeops(contestants[0].library.neuron())
        draw = torch.Generator(self.device).manual_seed(2)
        x = torch.rand(size.T, size.batch, 3, size.side, size.side, generator=draw, device=self.device)
        labels = torch.randint(CLASSES, (size.batch,), generator=draw, device=self.device)
        torch.manual_seed(3)
        source = ours.net(OURS[0], size, False).to(self.device)
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
        if compile and self._compiler_is_cold and time.monotonic() < self.end:
            self._start_compiler()
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
        contestants = [Contestant(ours, variant, False) for variant in ours.variants(self.device)] + theirs
        for contestant in contestants:
            if contestant.variant in self.without:
                self.leave_out(op, contestant.provider, where, "it has made the device fail")
        return [contestant for contestant in contestants if contestant.variant not in self.without]

    def _start_compiler(self):
        """Pays what torch.compile costs once per process, lest the first one be charged with it."""
        self._compiler_is_cold = False
        with contextlib.suppress(Exception, TimeUp), within(self.compile_limit):
            compile_apart(lambda x: x + 1)(torch.zeros(8, device=self.device))

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
                self._check_device(contestant)
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
        rounds = {contestant: [] for contestant in contestants}
        wanted = {}
        for number in range(ROUNDS[1]):
            for contestant in list(rounds):
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
                    self._check_device(contestant)
                    del rounds[contestant]
                    continue
                rounds[contestant].append(timed)
        for contestant, measured in rounds.items():
            self.table.add_times(op, contestant.provider, mode, *where, seconds=[timed.seconds for timed in measured])
            if self.timer.watches_the_host:
                host, late = [timed.host_seconds for timed in measured], [not timed.on_time for timed in measured]
                self._add(op, contestant.provider, mode, where, "host_time", 1e3 * statistics.median(host), "ms")
                self._add(op, contestant.provider, mode, where, "waited_for_host", statistics.mean(late), "1")

    def _weigh(self, op, where, contestant, mode) -> int:
        """Warms up; notes memory. Returns how many rounds there is time for."""
        contestant.library.select(contestant.variant)
        run = contestant.run[mode]
        with torch.set_grad_enabled(mode == FULL):
            peak = self.timer.peak_bytes(run)
            started = time.perf_counter()
            run()
            self.timer.synchronize()
            seconds = time.perf_counter() - started
        if peak is not None:
            self._add(op, contestant.provider, mode, where, "peak_bytes", peak, "B")
        return min(max(int(SECONDS_PER_CALL[self.device] / max(seconds, 1e-4)), ROUNDS[0]), ROUNDS[1])

    def leave_out(self, op, provider, where, reason, mode="all"):
        print(f"  left out: {op} by {provider}: {reason}", flush=True)
        self._add(op, provider, mode, where, LEFT_OUT, reason, "")
        self.table.save(self.path)

    def _add(self, op, provider, mode, where, metric, value, unit):
        self.table.add(op, provider, mode, *where, metric, value, unit)

    def attempt(self, job: partial) -> None:
        """A call of `layer` or `net`. What fails in it, other than a contestant, is noted too."""
        try:
            job()
        except DeviceLost:
            raise
        except (Exception, TimeUp) as error:
            op = f"{job.func.__name__}:{job.args[0]}"
            self.leave_out(op, "all", (0, 0, "float32"), _reason(error))
            self._check_device(Contestant(Spikeops({}), OURS[0], False))

    def _check_device(self, contestant):
        """After a failure."""
        try:
            self.timer.synchronize()
        except Exception:
            raise DeviceLost(contestant.variant) from None

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
    text = first_line(error)
    return text if isinstance(error, TimeUp) else f"{type(error).__name__}: {text}"[:300]
