"""Ctrl-C and a polite kill, taken between two training steps, never in the middle of an update or of writing a file."""

from __future__ import annotations

import signal
from types import TracebackType


class StopRequests:
    """While active, SIGINT and SIGTERM are only noted, and `check` raises KeyboardInterrupt. A second one stops at once.

    >>> with StopRequests() as stop:
    ...     stop.check()
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self) -> None:
        self.requested = False

    def __enter__(self) -> StopRequests:
        self._before = {number: signal.signal(number, self._note) for number in self.SIGNALS}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        if self.requested:
            raise KeyboardInterrupt

    def _note(self, number: int, frame: object) -> None:
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True
