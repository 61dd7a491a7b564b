"""How long calls take, and clocks for what might not end: on a CUDA device its own time between events, on the CPU the wall clock."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from measuring import memory

CYCLES_PER_SECOND = 2e9  # of a GPU, about: only how long the device sleeps depends on it
FIRST_SLEEP = 0.3e-3  # seconds
LONGEST_SLEEP = 0.1


class TimeUp(BaseException):
    """Something took too long. No Exception, so that no library catches it."""


@contextlib.contextmanager
def within(seconds: float):
    """Raises TimeUp in this block after so many seconds, as soon as the interpreter gets to it. Main thread only."""

    def stop(*_):
        raise TimeUp(f"took longer than {seconds:.3g} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 0.01))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Timed:
    """One call.

    Attributes:
        seconds: on a CUDA device between the first kernel's begin and the last one's end, else by the clock
        host_seconds: how long the call kept the host, which on a CUDA device only hands work over
        on_time: False where the device had to wait for the host, so that its time has gaps in it
    """

    seconds: float
    host_seconds: float
    on_time: bool = True


class CPUTimer:
    """Wall-clock time."""

    watches_the_host = False

    def time(self, name: str, run: Callable[[], object]) -> Timed:
        started = time.perf_counter()
        run()
        seconds = time.perf_counter() - started
        return Timed(seconds, seconds)

    def synchronize(self) -> None:
        pass

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """Memory that a call takes beyond what is there before it."""
        return memory.peak_bytes(run)

    def kept_bytes(self, forward: Callable[[], Tensor]) -> int:
        """Memory that is taken between the forward pass and the backward pass."""
        return memory.kept_bytes(forward)


class DeviceTimer:
    """CUDA events around a call that the host has enqueued before the device gets to it.

    Before the first event the caches are flushed and the device sleeps. If it has reached the first event by the time the host is
    through with the call, it has been waiting for the host, and events would measure Python: then it sleeps twice as long, and the
    call is made again. What enqueues more than a launch queue holds, or itself waits for the device, never succeeds in this; it is
    measured all the same and marked.
    """

    watches_the_host = True

    def __init__(self, device: str = "cuda"):
        cache_bytes = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 64 << 20)
        self._flush = torch.empty(max(2 * cache_bytes, 32 << 20), dtype=torch.uint8, device=device)
        self._sleep: dict[str, float] = {}  # seconds that were enough, by the name of the call
        self._hopeless: set[str] = set()

    def time(self, name: str, run: Callable[[], object]) -> Timed:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        sleep = self._sleep.get(name, FIRST_SLEEP)
        while True:
            self._flush.zero_()
            torch.cuda._sleep(int(sleep * CYCLES_PER_SECOND))
            begin.record()
            started = time.perf_counter()
            run()
            host_seconds = time.perf_counter() - started
            end.record()
            on_time = not begin.query()
            end.synchronize()
            if on_time or name in self._hopeless:
                break
            longer = 2 * max(sleep, host_seconds)
            if longer > LONGEST_SLEEP:
                self._hopeless.add(name)
                sleep = FIRST_SLEEP
                break
            sleep = longer
        self._sleep[name] = sleep
        return Timed(begin.elapsed_time(end) / 1e3, host_seconds, on_time)

    def synchronize(self) -> None:
        torch.cuda.synchronize()

    def peak_bytes(self, run: Callable[[], object]) -> int:
        """Device memory that a call takes beyond what is there before it."""
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before

    def kept_bytes(self, forward: Callable[[], Tensor]) -> int:
        """Device memory that is taken between the forward pass and the backward pass."""
        before = torch.cuda.memory_allocated()
        output = forward()
        kept = torch.cuda.memory_allocated() - before
        del output
        return kept


def make_timer(device: str) -> CPUTimer | DeviceTimer:
    return DeviceTimer() if device == "cuda" else CPUTimer()


def wall_clock(call: Callable[[], object]) -> float:
    """Seconds from a device at rest to a device at rest: what a user waits for."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - started
