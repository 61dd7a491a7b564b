"""Every op in every mode, by every provider, and the training step, on a CUDA device: ``python benchmarks/gpu_bench.py``.

Times are those of the device, between CUDA events, with the caches flushed before every call. What is compared takes turns.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import report
import torch
import training_step
from gate import Gate, disagreement
from outcomes import Outcome, read_junit
from providers import (
    BACKENDS,
    COMPILED,
    EAGER,
    FUSED,
    PUBLISHED,
    TRITON,
    Bench,
    Call,
    LeftOut,
    providers_of,
    saved_bytes,
    unavailable,
)
from registry import FORWARD_GRAD, OPS, OVERHEAD_SIZE, Case, cases
from results import LEFT_OUT, Table

import spikeops

DEVICE = "cuda"
SECONDS_PER_CALL = 0.05  # of measuring, per provider and mode
MAX_ROUNDS = 20
HOST_CALLS = 200
# The plain loop keeps several tensors of the input's size per time step.
TENSORS_AT_ONCE = 16


class Timer:
    """Times calls by CUDA events, each after a flush of the caches."""

    def __init__(self):
        cache_bytes = getattr(torch.cuda.get_device_properties(DEVICE), "L2_cache_size", 64 << 20)
        self._flush = torch.empty(max(2 * cache_bytes, 32 << 20), dtype=torch.uint8, device=DEVICE)

    def start(self, run: Callable[[], object]) -> tuple[torch.cuda.Event, torch.cuda.Event]:
        """Enqueues one timed call. The flush also keeps the device busy while the host prepares the call."""
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        self._flush.zero_()
        begin.record()
        run()
        end.record()
        return begin, end

    def take_turns(self, calls: dict[str, tuple[Call, float]]) -> dict[str, list[float]]:
        """Seconds of the rounds of each call, by name; every round makes each call once. Values: call and its rough seconds."""
        events = {name: [] for name in calls}
        wanted = {name: min(max(int(SECONDS_PER_CALL / max(seconds, 1e-5)), 3), MAX_ROUNDS) for name, (_, seconds) in calls.items()}
        for number in range(max(wanted.values(), default=0)):
            for name, (call, _) in calls.items():
                if number < wanted[name]:
                    with call.select():
                        events[name].append(self.start(call.run))
            torch.cuda.synchronize()
        return {name: [begin.elapsed_time(end) / 1e3 for begin, end in pairs] for name, pairs in events.items()}


class Run:
    """The measurements and the table they go into."""

    def __init__(self, gate: Gate, ops: list[str]):
        self.gate = gate
        self.ops = [OPS[name] for name in ops]
        self.table = Table(DEVICE)
        self.timer = Timer()
        self._disagreements: dict[tuple, str] = {}

    def measure(self, case: Case) -> None:
        """All modes and providers of one case."""
        need = TENSORS_AT_ONCE * case.T * case.N * case.dtype.itemsize
        if need > torch.cuda.get_device_properties(DEVICE).total_memory:
            return self.leave_out(_everything(case), f"needs {need >> 30} GiB of device memory")
        bench = Bench(case, DEVICE)
        providers = [provider for provider in providers_of(case, DEVICE) if self._may_run(case, provider)]
        for mode in case.op.modes:
            calls = {}
            for provider in providers:
                where = (case.op.name, provider, mode, case.T, case.N, case.dtype_name)
                try:
                    call = bench.call(provider, mode)
                except LeftOut as reason:
                    self.leave_out(where, str(reason))
                    continue
                calls[provider] = call, call.seconds
                if provider == COMPILED:
                    self.table.add(*where, "compile_seconds", max(call.first_seconds - call.seconds, 0.0), "s")
                if mode == FORWARD_GRAD and provider in (FUSED, TRITON, EAGER, PUBLISHED):
                    self.table.add(*where, "saved_bytes", saved_bytes(bench, provider), "B")
                if provider in (FUSED, TRITON, EAGER, PUBLISHED, COMPILED):
                    self.table.add(*where, "peak_bytes", self._peak_bytes(call), "B")
                if (case.T, case.N) == OVERHEAD_SIZE:
                    self.table.add(*where, "host_time", self._host_seconds(call) * 1e3, "ms")
            for provider, seconds in self.timer.take_turns(calls).items():
                where = (case.op.name, provider, mode, case.T, case.N, case.dtype_name)
                self.table.add_times(*where, seconds=seconds, minimum_bytes=calls[provider][0].minimum_bytes)

    def measure_training_steps(self) -> None:
        """Whole steps by every provider."""
        for name in training_step.settings():
            try:
                self._measure_training_step(training_step.make(name, DEVICE))
            except ImportError as error:
                self.leave_out((training_step.PREFIX + name, "all", "full", 0, 0, "float32"), f"cannot be imported: {error}")

    def _measure_training_step(self, problem) -> None:
        steps = {}
        for provider in training_step.PROVIDERS:
            if reason := self._why_no_training_step(problem, provider):
                self.leave_out(problem.where(provider), reason)
                continue
            run = _on_backend(training_step.backend(provider), problem.step(provider))
            run()
            torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            torch.cuda.synchronize()
            steps[provider] = Call(provider, "full", run, 0), time.perf_counter() - started
        for provider, seconds in self.timer.take_turns(steps).items():
            self.table.add_times(*problem.where(provider), seconds=seconds)

    def _why_no_training_step(self, problem, provider):
        if reason := unavailable(provider, DEVICE):
            return reason
        for name in problem.proven_by:
            if reason := self.gate.reason(OPS[name], provider, self.ops):
                return reason
        return training_step.disagreement(problem.name, DEVICE) if provider == PUBLISHED else ""

    def _may_run(self, case, provider):
        """Notes the reason if not."""
        key = case.op.name, provider, case.dtype
        if key not in self._disagreements:
            reason = unavailable(provider, DEVICE) or self.gate.reason(case.op, provider, self.ops)
            # In 16 bits only our kernels keep the state in 32: the plain loop gives other spikes.
            if not reason and (provider in BACKENDS or case.dtype == torch.float32):
                reason = disagreement(case, provider, DEVICE)
            self._disagreements[key] = reason
            if reason:
                self.leave_out((case.op.name, provider, "all", case.T, case.N, case.dtype_name), reason)
        return not self._disagreements[key]

    def leave_out(self, where, reason):
        print(f"  left out: {where[0]} by {where[1]}: {reason}", flush=True)
        self.table.add(*where, LEFT_OUT, reason, "")

    @staticmethod
    def _peak_bytes(call):
        """Device memory that a call takes beyond what is there before it."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        with call.select():
            call.run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    @staticmethod
    def _host_seconds(call):
        """Seconds that the host needs for one of many calls in a row."""
        with call.select():
            call.run()
            torch.cuda.synchronize()
            started = time.perf_counter()
            for _ in range(HOST_CALLS):
                call.run()
            seconds = time.perf_counter() - started
        torch.cuda.synchronize()
        return seconds / HOST_CALLS


def _everything(case: Case) -> tuple:
    return case.op.name, "all", "all", case.T, case.N, case.dtype_name


def _on_backend(backend, step):
    def run():
        with spikeops.backend(backend):
            step()

    return run


def _parse(arguments):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="folder for table, report and plots (default: benchmarks/results)")
    parser.add_argument("--ops", default=",".join(OPS), help="measure only these, by name, separated by commas")
    parser.add_argument("--seconds", type=float, default=1e9, help="start no new case after that many seconds")
    for provider in BACKENDS:
        parser.add_argument(
            f"--junit-{provider}", type=Path, help=f"JUnit XML of the op tests of {provider} on this device, if they have been run"
        )
    return parser.parse_args(arguments)


def main(arguments=None) -> int:
    options = _parse(arguments)
    if not torch.cuda.is_available():
        print("gpu_bench: torch finds no CUDA device", file=sys.stderr)
        return 2
    outcomes: dict[str, dict[str, Outcome]] = {}
    for provider in BACKENDS:
        junit = getattr(options, f"junit_{provider}")
        if junit is not None:
            outcomes[provider] = read_junit(junit) if junit.exists() else {}
    run = Run(Gate(DEVICE, outcomes), options.ops.split(","))
    path = run.table.path if options.out is None else options.out / run.table.path.name
    failures = 0
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as cache:
        # A compilation that finds its result of another day would not show what it costs.
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = cache
        run.measure_training_steps()
        listed = [case for case in cases(DEVICE) if case.op in run.ops]
        for number, case in enumerate(listed, 1):
            elapsed = time.monotonic() - started
            if elapsed > options.seconds:
                run.leave_out(_everything(case), "no time left")
                continue
            print(f"[{number}/{len(listed)}, {elapsed:.0f} s] {case.label}", flush=True)
            try:
                run.measure(case)
            except Exception as error:  # the other cases are worth having
                failures += 1
                run.leave_out(_everything(case), f"failed: {type(error).__name__}: {error}")
            run.table.save(path)  # what is measured stays, even if this process is stopped
            gc.collect()
            torch.cuda.empty_cache()
    run.table.save(path)
    print(report.summary(run.table.rows))
    for written in (path, *report.write(path)):
        print(f"wrote {written}")
    if failures:
        print(f"{failures} of {len(listed)} cases failed", file=sys.stderr)
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
