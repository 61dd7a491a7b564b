"""Every op in every mode, by every provider, and training steps, on a CUDA device: ``python benchmarks/gpu_bench.py``.

Times of ops are those of the device, between CUDA events, with the caches flushed before every call; what the host needs is a
column of its own. What is compared takes turns. The most telling sizes come first, then training steps, then the other sizes, and
last what torch.compile makes of the plain loops. Each case has a clock, and the table is saved after each.
"""

from __future__ import annotations

import argparse
import gc
import os
import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import torch

import spikeops

from measuring.outcomes import Outcome, read_outcomes
from measuring.results import ALTHOUGH_RED, LEFT_OUT, Table, first_line
from measuring.timers import DeviceTimer, TimeUp, wall_clock, within
from ops.gate import Gate, disagreement
from ops.providers import (
    BACKENDS,
    COMPILED,
    EAGER,
    FUSED,
    PUBLISHED,
    TRITON,
    Bench,
    LeftOut,
    providers_of,
    saved_bytes,
    unavailable,
)
from ops.registry import FORWARD_GRAD, OPS, Case, cases
from reports import report
from steps import catalogue, training_step

DEVICE = "cuda"
SECONDS_PER_CALL = 0.05  # of measuring, per provider and mode
MAX_ROUNDS = 20
CASE_SECONDS = 25  # the clock of a case: all providers and modes
COMPILE_SECONDS = 60  # of a case of torch.compile's
STEP_ROUNDS = 10
STEP_WARM_UP = 6  # libraries choose their algorithms, optimisers make their moments, a graph is captured
# The plain loop keeps several tensors of the input's size per time step.
TENSORS_AT_ONCE = 16
PARTS = ("bench", "train")


class Run:
    """The measurements and the table they go into.

    Args:
        although_red: measure also what the gate refuses, and note why it should not have been
    """

    def __init__(self, gate: Gate, ops: list[str], although_red: bool = False):
        self.gate, self.although_red = gate, although_red
        self.ops = [OPS[name] for name in ops]
        self.table = Table(DEVICE)
        self.timer = DeviceTimer(DEVICE)
        self._disagreements: dict[tuple, str] = {}

    def measure(self, case: Case, compiled: bool = False) -> None:
        """All modes of one case, by all providers but torch.compile, or by that one alone."""
        # Trials keep no trace of their neurons but one step's spikes.
        need = TENSORS_AT_ONCE * (1 if case.op.is_trial else case.T) * case.N * case.dtype.itemsize
        if need > torch.cuda.get_device_properties(DEVICE).total_memory:
            return self.leave_out(_everything(case), f"needs {need >> 30} GiB of device memory")
        listed = [provider for provider in providers_of(case, DEVICE) if (provider == COMPILED) == compiled]
        providers = [provider for provider in listed if self._may_run(case, provider)]
        if not providers:
            return None
        bench = Bench(case, DEVICE)
        for mode in case.op.modes:
            self._measure_mode(bench, mode, providers)

    def _measure_mode(self, bench, mode, providers):
        case, calls = bench.case, {}
        for provider in providers:
            where = _where(case, provider, mode)
            try:
                call = bench.call(provider, mode)
            except LeftOut as reason:
                self.leave_out(where, str(reason))
                continue
            calls[provider] = call
            if provider == COMPILED:
                self.table.add(*where, "compile_seconds", max(call.first_seconds - call.seconds, 0.0), "s")
            if mode == FORWARD_GRAD and provider in (FUSED, TRITON, EAGER, PUBLISHED):
                self.table.add(*where, "saved_bytes", saved_bytes(bench, provider), "B")
            if provider in (FUSED, TRITON, EAGER, PUBLISHED, COMPILED):
                self.table.add(*where, "peak_bytes", self.timer.peak_bytes(_selecting(call)), "B")
        for provider, rounds in self._take_turns(bench, calls).items():
            where = _where(case, provider, mode)
            seconds = [timed.seconds for timed in rounds]
            self.table.add_times(*where, seconds=seconds, minimum_bytes=calls[provider].minimum_bytes)
            self.table.add(*where, "host_time", 1e3 * statistics.median(timed.host_seconds for timed in rounds), "ms")
            self.table.add(*where, "waited_for_host", statistics.mean(not timed.on_time for timed in rounds), "1")

    def _take_turns(self, bench, calls):
        """Rounds of the calls of one mode, by provider."""
        rounds = {provider: [] for provider in calls}
        wanted = {provider: int(SECONDS_PER_CALL / max(call.seconds, 1e-5)) for provider, call in calls.items()}
        for number in range(MAX_ROUNDS):
            for provider, call in calls.items():
                if number < min(max(wanted[provider], 3), MAX_ROUNDS):
                    rounds[provider].append(self.timer.time(f"{bench.case.label} {call.mode} {provider}", _selecting(call)))
        return rounds

    def measure_training_step(self, name: str) -> None:
        """Whole steps by every provider, by the clock on the wall: also what the host does counts."""
        try:
            problem = catalogue.make(name, DEVICE)
        except ImportError as error:
            return self.leave_out(_step(name), f"cannot be imported: {error}")
        steps = {}
        for provider in training_step.providers(DEVICE):
            if reason := self._why_no_training_step(problem, provider):
                self.leave_out(problem.where(provider), reason)
                continue
            steps[provider] = _on_backend(training_step.backend(provider), problem.step(provider))
            for _ in range(STEP_WARM_UP):
                wall_clock(steps[provider])
        seconds = {provider: [] for provider in steps}
        for _ in range(STEP_ROUNDS):
            for provider, step in steps.items():
                seconds[provider].append(wall_clock(step))
        for provider, rounds in seconds.items():
            self.table.add_times(*problem.where(provider), seconds=rounds)

    def _why_no_training_step(self, problem, provider):
        if reason := unavailable(provider, DEVICE):
            return reason
        for name in problem.proven_by:
            if reason := self._refused(OPS[name], provider, problem.where(provider)):
                return reason
        return catalogue.disagreement(problem.name, DEVICE) if provider == PUBLISHED else ""

    def _may_run(self, case, provider):
        """Notes the reason if not."""
        key = case.op.name, provider, case.dtype
        if key not in self._disagreements:
            reason = unavailable(provider, DEVICE) or self._refused(case.op, provider, _where(case, provider, "all"))
            # In 16 bits only our kernels keep the state in 32: the plain loop gives other spikes.
            if not reason and (provider in BACKENDS or case.dtype == torch.float32):
                reason = disagreement(case, provider, DEVICE)
            self._disagreements[key] = reason
            if reason:
                self.leave_out((case.op.name, provider, "all", case.T, case.N, case.dtype_name), reason)
        return not self._disagreements[key]

    def _refused(self, op, provider, where):
        reason = self.gate.reason(op, provider, self.ops)
        if reason and self.although_red:
            self.table.add(*where, ALTHOUGH_RED, reason, "")
            return ""
        return reason

    def leave_out(self, where, reason):
        print(f"  left out: {where[0]} by {where[1]}: {reason}", flush=True)
        self.table.add(*where, LEFT_OUT, reason, "")


def _everything(case: Case, provider: str = "all") -> tuple:
    return _where(case, provider, "all")


def _where(case: Case, provider: str, mode: str) -> tuple:
    return case.op.name, provider, mode, case.T, case.N, case.dtype_name


def _selecting(call):
    def run():
        with call.select():
            call.run()

    return run


def _on_backend(backend, step):
    def run():
        with spikeops.backend(backend):
            step()

    return run


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--table", type=Path, help="CSV file for the numbers (default: in benchmarks/results)")
    parser.add_argument("--parts", default=",".join(PARTS), help="bench: ops, train: training steps; both by default")
    parser.add_argument("--ops", default=",".join(OPS), help="measure only these, by name, separated by commas")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no new case after that many seconds")
    parser.add_argument("--although-red", action="store_true", help="measure also ops whose tests are red, and say so")
    for provider in BACKENDS:
        parser.add_argument(
            f"--outcomes-{provider}", type=Path, help=f"outcomes of the op tests of {provider} on this device, if they have been run"
        )
    return parser.parse_args(arguments)


def agenda(run: Run, parts: list[str]) -> list[tuple[str, float, object, tuple]]:
    """What to measure, in order: (label, seconds of its clock, function, what is left out where that fails)."""
    listed = [case for case in cases(DEVICE) if case.op in run.ops] if "bench" in parts else []
    sizes = {}
    for case in listed:
        sizes.setdefault(case.op, (case.T, case.N))
    first = [case for case in listed if sizes[case.op] == (case.T, case.N)]
    steps = list(catalogue.settings()) if "train" in parts else []

    def ops(cases):
        return [(case.label, CASE_SECONDS, partial(run.measure, case), _everything(case)) for case in cases]

    return [
        *ops(first),
        *((name, CASE_SECONDS, partial(run.measure_training_step, name), _step(name)) for name in steps),
        *ops(case for case in listed if case not in first),
        *(
            (f"{case.label} compiled", COMPILE_SECONDS, partial(run.measure, case, compiled=True), _everything(case, COMPILED))
            for case in listed
            if COMPILED in providers_of(case, DEVICE)
        ),
    ]


def _step(name: str) -> tuple:
    return training_step.PREFIX + name, "all", "full", 0, 0, "float32"


def main(arguments=None) -> int:
    options = _parse(arguments)
    if not torch.cuda.is_available():
        print("gpu_bench: torch finds no CUDA device", file=sys.stderr)
        return 2
    outcomes: dict[str, dict[str, Outcome]] = {}
    for provider in BACKENDS:
        log = getattr(options, f"outcomes_{provider}")
        if log is not None:
            outcomes[provider] = read_outcomes(log) if log.exists() else {}
    run = Run(Gate(DEVICE, outcomes), options.ops.split(","), options.although_red)
    path = options.table or run.table.path
    with tempfile.TemporaryDirectory() as cache:
        # A compilation that finds its result of another day would not show what it costs.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        failures = follow(run, agenda(run, options.parts.split(",")), options.seconds, path)
    print(report.summary(run.table.rows))
    if options.table is None:
        for written in (path, *report.write(path)):
            print(f"wrote {written}")
    return int(failures > 0)


def follow(run: Run, listed: list, seconds: float, path: Path) -> int:
    """Measures what is listed within a time, and returns how many cases have failed. However it ends, the table is saved."""
    started, failures = time.monotonic(), 0
    try:
        for number, (label, limit, measure, where) in enumerate(listed, 1):
            elapsed = time.monotonic() - started
            if elapsed > seconds:
                run.leave_out(where, "no time left")
                continue
            print(f"[{number}/{len(listed)}, {elapsed:.0f} s] {label}", flush=True)
            try:
                with within(min(limit, max(seconds - elapsed, 1))):
                    measure()
            except TimeUp as reason:
                run.leave_out(where, str(reason))
            except Exception as error:  # the other cases are worth having
                failures += 1
                run.leave_out(where, f"failed: {type(error).__name__}: {first_line(error)}")
            run.table.save(path)  # what is measured stays, even if this process is killed
            gc.collect()
            torch.cuda.empty_cache()
    finally:
        run.table.save(path)
    if failures:
        print(f"{failures} of {len(listed)} cases failed", file=sys.stderr)
    return failures


if __name__ == "__main__":
    sys.exit(main())
