"""Ctrl-C and a polite kill: training takes them between two steps, never in the middle of an update or of writing a file."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import TracebackType

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))


class Stopped(KeyboardInterrupt):
    """The process was asked to stop.

    Attributes:
        status: what the process is to exit with: 130 for Ctrl-C, else 143, as shells report them
    """

    def __init__(self, number: int = signal.SIGINT) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = exit_status(number)


def exit_status(number: int) -> int:
    """130 for SIGINT and 143 for SIGTERM; a terminal that hangs up (SIGHUP) counts as the latter."""
    return 128 + (signal.SIGINT if number == signal.SIGINT else signal.SIGTERM)


@contextlib.contextmanager
def stopping_at_once() -> Iterator[None]:
    """Inside, a signal raises `Stopped` wherever the program is."""

    def stop(number: int, frame: object) -> None:
        raise Stopped(number)

    with _handling(stop):
        yield


@contextlib.contextmanager
def _handling(handler: Callable[[int, object], None]) -> Iterator[None]:
    """Inside, the signals have this handler, but for those that this process was started to ignore (nohup, &).

    Python hands signals to the main thread only: in another one nothing changes.
    """
    before = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            # None: a handler that was not set by Python
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.signal(number, handler)
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old)


class StopRequests:
    """While active, a first signal is only noted, and `check` raises `Stopped`. A second one stops at once.

    >>> with StopRequests() as stop:
    ...     stop.check()
    """

    def __init__(self) -> None:
        self.requested: int | None = None

    def __enter__(self) -> StopRequests:
        self._handlers = _handling(self._note)
        self._handlers.__enter__()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._handlers.__exit__(None, None, None)

    def check(self) -> None:
        if self.requested is not None:
            raise Stopped(self.requested)

    def _note(self, number: int, frame: object) -> None:
        if self.requested is not None:
            raise Stopped(number)
        self.requested = number
