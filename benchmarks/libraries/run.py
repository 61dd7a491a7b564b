"""One comparison after another: everyone's neuron built, checked against the reference, and timed in turns; within limits of time."""

from __future__ import annotations

import contextlib
import gc
import importlib
import math
import statistics
import time
from functools import partial
from pathlib import Path

import torch
from torch import nn

import spikeops

from libraries import agreement
from libraries.agreement import Different
from libraries.catalogue import LIBRARIES
from libraries.library import CHANNELS_LAST, READOUT, RECURRENT, Library, compile_apart
from libraries.networks import NetSize, Wiring, on_grid
from libraries.ours import CONVERTED, OURS, Converted, Spikeops
from measuring.results import LEFT_OUT, UNLIKE, VERSION, Table, first_line
from measuring.timers import TimeUp, make_timer, within

SECONDS_PER_CALL = {"cuda": 0.06, "cpu": 0.3}  # of measuring, per provider and mode
ROUNDS = (5, 15)
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

    def __init__(self, library: Library, variant: str, compile: bool, channels_last: bool = False):
        self.library, self.variant, self.compile, self.channels_last = library, variant, compile, channels_last
        by_its_option = channels_last and variant not in OURS
        self.provider = variant + (CHANNELS_LAST if by_its_option else "") + ("+compile" if compile else "")
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

    def layer(
        self, name: str, kind: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32, compile: bool = False
    ) -> None:
        """One layer of neurons of a library. shape: (T, N), of recurrent ones (T, batch, N)."""
        op = f"{kind}:{name}" + (":compiled" if compile else "")
        where = (shape[0], math.prod(shape[1:]), str(dtype).removeprefix("torch."))
        contestants = self._contestants(name, kind, op, where, compile)
        if not contestants:
            return
        neuron = contestants[0].library.neurons()[kind]
        wiring = Wiring.drawn(shape[-1], self.device) if kind in RECURRENT else Wiring(shape[-1])
        draw = torch.Generator(self.device).manual_seed(1)
        low, high = neuron.currents
        x = torch.rand(shape, generator=draw, device=self.device).mul_(high - low).add_(low)
        x = (on_grid(x) if kind in RECURRENT else x).to(dtype).requires_grad_()
        upstream = torch.randn(shape, generator=draw, device=self.device).to(dtype)
        upstreams = {dtype: upstream, torch.float32: upstream.float()}  # some give float32 spikes for 16-bit currents

        def both(layer):
            output = layer(x)
            return output, torch.autograd.grad(output, [x, *layer.learned], upstreams[output.dtype])

        with spikeops.backend("reference"):
            wanted, wanted_gradients = both(contestants[0].library.layer(kind, OURS[0], wiring, self.device, dtype, False))
        wanted = wanted.detach()

        def build(contestant):
            layer = contestant.library.layer(kind, contestant.variant, wiring, self.device, dtype, contestant.compile)
            contestant.run = {FULL: lambda: both(layer), FORWARD: lambda: layer(x)}

        def check(contestant, result):
            output, (gradient, *learned) = result
            is_ours = contestant.variant in OURS
            learned = [value if is_ours else value * neuron.learned_sign for value in learned]
            same = is_ours or not neuron.unlike
            return agreement.of_layer(output, [gradient, *learned], wanted, wanted_gradients, kind != READOUT, same)

        ready = self._compare(op, where, contestants, build, check)
        for provider in [contestant.provider for contestant in ready if neuron.unlike and contestant.variant not in OURS]:
            self._add(op, provider, FULL, where, UNLIKE, neuron.unlike, "")

    def net(self, name: str, size: NetSize, compile: bool = False) -> None:
        """Loss and gradients of a network with neurons of a library. All have the same weights."""
        op = f"{size.kind}-net:{name}" + (":compiled" if compile else "")
        where = (size.T, size.batch, "float32")
        contestants = self._contestants(name, size.kind_of_neurons, op, where, compile, converts=not compile)
        if not contestants:
            return
        if size.kind == "conv" and self.device == "cpu":
            contestants = self._in_channels_last(contestants)
        ours = contestants[0].library
        draw = torch.Generator(self.device).manual_seed(2)
        x = size.draw(draw, self.device)
        labels = torch.randint(size.classes, (size.batch,), generator=draw, device=self.device)
        torch.manual_seed(3)
        source = ours.net(OURS[0], size, False).to(self.device)
        gain = NET_GAIN * ours.neurons()[size.kind_of_neurons].currents[1]
        with torch.no_grad():
            for layer in source.modules():
                if isinstance(layer, (nn.Conv2d, nn.Linear)):
                    for parameter in layer.parameters():
                        parameter.copy_(on_grid(parameter * gain))

        def forward(net, x):
            return nn.functional.cross_entropy(net(x).mean(0), labels)

        def both(net, x):
            loss = forward(net, x)
            return loss, torch.autograd.grad(loss, net.learned)

        with spikeops.backend("reference"), _exact_convolutions():
            wanted_loss, wanted = both(source, x)

        def build(contestant):
            net = contestant.library.net(contestant.variant, size, contestant.compile).to(self.device)
            if contestant.channels_last:
                net = net.to(memory_format=torch.channels_last)
            with torch.no_grad():
                for weight, of_source in zip(net.learned, source.learned, strict=True):
                    weight.copy_(of_source)
            own_x = net.prepare(x)
            contestant.run = {FULL: lambda: both(net, own_x), FORWARD: lambda: forward(net, own_x)}

        def check(contestant, result):
            return agreement.of_net(*result, wanted_loss, wanted)

        self._compare(op, where, contestants, build, check, _exact_convolutions)

    # --- how

    def _contestants(self, name, kind, op, where, compile, converts=False):
        """Ours first. Empty if nobody else can take part or there is no time; the reasons are noted."""
        theirs = []
        for library in self._libraries[name]:
            variants = library.compiled_variants(self.device, kind) if compile else library.variants(self.device, kind)
            if compile and library.not_compiled and library.variants(self.device, kind):
                self.leave_out(op, library.name, where, library.not_compiled)
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
        if compile and self._compiler_is_cold:
            self._start_compiler()
        print(f"{op} {where}, {self.end - time.monotonic():.0f} s left", flush=True)
        ours = Spikeops(theirs[0].library.neurons())
        contestants = [Contestant(ours, variant, False) for variant in ours.variants(self.device, kind)] + theirs
        if converts:
            contestants.append(Contestant(Converted(theirs[0].library), CONVERTED, False))
        for contestant in contestants:
            if contestant.variant in self.without:
                self.leave_out(op, contestant.provider, where, "it has made the device fail")
        return [contestant for contestant in contestants if contestant.variant not in self.without]

    def _in_channels_last(self, contestants):
        """Ours with the channels last, as our documentation advises; theirs, eager, both ways. The compiler chooses for itself."""
        ours, theirs = [], []
        for contestant in contestants:
            library, variant = contestant.library, contestant.variant
            if variant in OURS:
                ours.append(Contestant(library, variant, False, channels_last=True))
            else:
                theirs.append(contestant)
                if not contestant.compile and variant != CONVERTED:
                    theirs.append(Contestant(library, variant, False, channels_last=True))
        return ours + theirs

    def _start_compiler(self):
        """Pays what torch.compile costs once per process, lest the first one be charged with it."""
        self._compiler_is_cold = False
        for module in ("torch._dynamo", "torch._inductor.compile_fx"):  # without a limit, too
            importlib.import_module(module)
        with contextlib.suppress(Exception, TimeUp), within(self.compile_limit):
            compile_apart(lambda x: x + 1)(torch.zeros(8, device=self.device))

    def _why_unusable(self, library):
        if library.name not in self._unusable:
            try:
                library.load()  # without a limit: half an import cannot be made good, and others may need what it imports
                self._unusable[library.name] = ""
                gc.collect()
                gc.freeze()  # what has been imported stays, and need not be looked through after every comparison
                if version := library.version():
                    self._add("versions", library.name, "all", (0, 0, "float32"), VERSION, version, "")
            except Exception as error:
                self._unusable[library.name] = _reason(error)
        return self._unusable[library.name]

    def _compare(self, op, where, contestants, build, check, while_checking=contextlib.nullcontext):
        """Builds and checks each, then lets them take turns. Returns who was ready."""
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
        return ready

    def _prepare(self, op, where, contestant, build, check, while_checking):
        with while_checking():
            contestant.library.select(contestant.variant)
            build(contestant)
            started = time.perf_counter()
            result = contestant.call(FULL)
            self.timer.synchronize()
            seconds = time.perf_counter() - started
        for metric, value in check(contestant, result).items():
            self._add(op, contestant.provider, FULL, where, metric, value, "1")
        del result
        self._add(op, contestant.provider, FULL, where, "first_call_seconds", seconds, "s")
        contestant.call(FORWARD)  # compiles, where there is a graph of its own without gradients

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
            self._add(op, contestant.provider, mode, where, "peak_bytes", self.timer.peak_bytes(run), "B")
            started = time.perf_counter()
            run()
            self.timer.synchronize()
            seconds = time.perf_counter() - started
        if mode == FULL:
            kept = self.timer.kept_bytes(contestant.run[FORWARD])
            self._add(op, contestant.provider, mode, where, "kept_bytes", kept, "B")
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
            op = ":".join([job.func.__name__, *map(str, job.args[:2])])
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
    return text if isinstance(error, (TimeUp, Different)) else f"{type(error).__name__}: {text}"[:300]
