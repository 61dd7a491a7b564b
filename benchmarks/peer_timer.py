"""Times calls: on a CUDA device its own time between events, on the CPU the wall clock; the host's time per call apart from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

CYCLES_PER_SECOND = 2e9  # of a GPU, about: only how long the device sleeps depends on it
FIRST_SLEEP = 2e-3  # seconds
LONGEST_SLEEP = 0.25


@dataclass
class Timed:
    """Seconds of one call. `on_time` is False where the device had to wait for the host, so that its time has gaps in it."""

    seconds: float
    on_time: bool = True


class CPUTimer:
    """Wall-clock time."""

    watches_the_host = False

    def time(self, name: str, run: Callable[[], object]) -> Timed:
        started = time.perf_counter()
        run()
        return Timed(time.perf_counter() - started)

    def host_seconds(self, run: Callable[[], object]) -> float | None:
        """None: on the CPU all the time is the host's."""
        return None

    def synchronize(self) -> None:
        pass

    def peak_bytes(self, run: Callable[[], object]) -> int | None:
        """None: the allocator of the CPU keeps no count."""
        return None


class DeviceTimer:
    """CUDA events around a call that the host has enqueued before the device gets to it.

    Before the first event the caches are flushed and the device sleeps. If it has reached the first event by the time the host is
    through with the call, it has been waiting for the host, and events would measure Python: then it sleeps twice as long, and the
    call is made again. What enqueues more than a launch queue holds, or itself waits for the device, never succeeds in this; it is
    measured all the same and marked.
    """

    watches_the_host = True

    def __init__(self):
        cache_bytes = getattr(torch.cuda.get_device_properties("cuda"), "L2_cache_size", 64 << 20)
        self._flush = torch.empty(max(2 * cache_bytes, 32 << 20), dtype=torch.uint8, device="cuda")
        self._sleep: dict[str, float] = {}  # seconds that were enough, by the name of the call
        self._hopeless: set[str] = set()

    def time(self, name: str, run: Callable[[], object]) -> Timed:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        sleep = self._sleep.get(name, FIRST_SLEEP)
        while True:
            self._flush.zero_()
            torch.cuda._sleep(int(sleep * CYCLES_PER_SECOND))
            begin.record()
            run()
            end.record()
            on_time = not begin.query()
            end.synchronize()
            if on_time or name in self._hopeless:
                break
            if 2 * sleep > LONGEST_SLEEP:
                self._hopeless.add(name)
                sleep = FIRST_SLEEP
                break
            sleep *= 2
        self._sleep[name] = sleep
        return Timed(begin.elapsed_time(end) / 1e3, on_time)

    def host_seconds(self, run: Callable[[], object]) -> float:
        """Least seconds of some calls to an idle device, as the host sees them: until all is enqueued."""
        seconds = []
        for _ in range(3):
            torch.cuda.synchronize()
            started = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - started)
        torch.cuda.synchronize()
        return min(seconds)

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


def make_timer(device: str) -> CPUTimer | DeviceTimer:
    return DeviceTimer() if device == "cuda" else CPUTimer()
