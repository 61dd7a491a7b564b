"""How long calls take on a CUDA device, and how long they keep the host busy: two numbers, never mixed."""

from __future__ import annotations

import contextlib
import signal
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

FIRST_SLEEP = 500_000  # cycles: some 0.3 ms
LONGEST_SLEEP = 1 << 26  # some 40 ms
ROUGHLY_A_GIGAHERTZ = 1e9


class TookTooLong(Exception):
    """A clock has run out."""


@contextlib.contextmanager
def clock(seconds: float, what: str):
    """Raises TookTooLong in this thread if its body takes longer. In the main thread only: it is an alarm of the process."""

    def ring(*_):
        raise TookTooLong(f"{what} took longer than {seconds:.0f} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@dataclass
class Rounds:
    """Seconds of the rounds of one call.

    Attributes:
        device: between the first kernel's begin and the last one's end
        host: from the call to its return, while the device was still busy with something else
        host_bound: whether the device had to wait for the host in at least half of the rounds: a loop of so many launches that
            the queue was full
    """

    device: list[float] = field(default_factory=list)
    host: list[float] = field(default_factory=list)
    waited: int = 0

    @property
    def host_bound(self) -> bool:
        return 2 * self.waited >= max(len(self.device), 1)

    @property
    def host_median(self) -> float:
        return statistics.median(self.host)


class DeviceTimer:
    """Times calls by CUDA events.

    Before each call the caches are flushed and the device is put to sleep, so that the host has handed over the whole call before
    the first event passes: what lies between the events is the device's time alone. Whether that was so is asked afterwards; if
    not, the sleep is doubled and the round made again.
    """

    def __init__(self, device: str = "cuda"):
        cache_bytes = getattr(torch.cuda.get_device_properties(device), "L2_cache_size", 64 << 20)
        self._flush = torch.empty(max(2 * cache_bytes, 32 << 20), dtype=torch.uint8, device=device)
        self._sleeps: dict[str, int] = {}

    def take_turns(self, calls: dict[str, Callable[[], object]], rounds: dict[str, int]) -> dict[str, Rounds]:
        """All calls in turns, each as often as `rounds` says."""
        results = {name: Rounds() for name in calls}
        self._sleeps = dict.fromkeys(calls, FIRST_SLEEP)
        for number in range(max(rounds.values(), default=0)):
            for name, call in calls.items():
                if number < rounds[name]:
                    self._round(name, call, results[name])
        return results

    def _round(self, name, call, result):
        while True:
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            self._flush.zero_()
            torch.cuda._sleep(self._sleeps[name])
            begin.record()
            started = time.perf_counter()
            call()
            host = time.perf_counter() - started
            end.record()
            device_waited = begin.query()
            torch.cuda.synchronize()
            longer = max(2 * self._sleeps[name], int(2 * host * ROUGHLY_A_GIGAHERTZ))
            if not device_waited or longer > LONGEST_SLEEP:
                break
            self._sleeps[name] = longer
        result.device.append(begin.elapsed_time(end) / 1e3)
        result.host.append(host)
        result.waited += device_waited


def wall_clock(call: Callable[[], object]) -> float:
    """Seconds from a device at rest to a device at rest: what a user waits for."""
    torch.cuda.synchronize()
    started = time.perf_counter()
    call()
    torch.cuda.synchronize()
    return time.perf_counter() - started
