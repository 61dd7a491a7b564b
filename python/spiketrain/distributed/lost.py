"""A process that is gone, or a machine that does not answer, ends the run with its name.

A killed process closes its connections, and the next sum of the others fails at once. One whose machine or cable is gone does not, and sums
wait for half an hour. So each process counts up a number in the store and looks at those of the others. Both are counted in looks, not by the
clock: a machine that was suspended has not lost anybody.
"""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
import uuid
from functools import cached_property

import torch.distributed as dist

from spiketrain import launcher
from spiketrain.distributed import group, store
from spiketrain.errors import message_of, shortened

BEAT = 0.5  # seconds between two looks
_AT_ONCE = 10  # looks after a sum has failed
_LEFT = b"left"
_OF_A_CONNECTION = ("gloo", "nccl", "connection closed by peer", "connection reset by peer")

_watch: Watch | None = None


class Watch:
    """Looks after the other processes of the group until it is stopped. All processes have to make one.

    Args:
        seconds: how long a process may give no sign of life before this one ends; 0: for ever
    """

    def __init__(self, seconds: float) -> None:
        own = f"rank {group.rank()} (host {socket.gethostname()}, process {os.getpid()})"
        self.names: list[str] = group.gather(own)
        together = group.share(uuid.uuid4().hex)  # the store may hold what processes before these have said
        self.seconds = seconds
        self._store = store.connect(max(seconds, 60.0))
        self._keys = [store.key("alive", together, rank) for rank in range(len(self.names))]
        self._others = [rank for rank in range(len(self.names)) if rank != group.rank()]
        self._seen = dict.fromkeys(self._others, b"")
        self._silent = dict.fromkeys(self._others, 0)  # looks since a process has been heard of
        self._unanswered = 0  # looks since the store has answered
        self._stopped = threading.Event()
        self._say(b"0")
        group.gather(None)  # all entries are there
        for work in (self._talk, self._look):
            threading.Thread(target=work, name=f"spiketrain{work.__name__}", daemon=True).start()

    def stop(self) -> None:
        """Say goodbye: who leaves is not lost."""
        self._stopped.set()
        # Past a store that does not answer, in a thread that ends with the process.
        goodbye = threading.Thread(target=self._say, args=(_LEFT,), daemon=True)
        goodbye.start()
        goodbye.join(timeout=5)

    def _say(self, word: bytes) -> None:
        with contextlib.suppress(RuntimeError):
            self._store.set(self._keys[group.rank()], word)

    def _talk(self) -> None:
        """The only thread that waits for the store."""
        beats = 0
        with contextlib.suppress(RuntimeError):
            while not self._stopped.wait(BEAT):
                beats += 1
                self._store.set(self._keys[group.rank()], str(beats))
                words = self._store.multi_get([self._keys[rank] for rank in self._others])
                self._unanswered = 0
                for rank, word in zip(self._others, words):
                    if word != self._seen[rank] or word == _LEFT:
                        self._seen[rank], self._silent[rank] = word, 0

    def _look(self) -> None:
        while not self._stopped.wait(BEAT):
            self._unanswered += 1
            for rank in self._others:
                self._silent[rank] += 1
            if self.seconds and (found := self._found(int(self.seconds / BEAT))):
                # The process waits in a sum that nobody can take it out of.
                if self._speaks():
                    print(f"spiketrain: error: {found}", file=sys.stderr, flush=True)
                os._exit(1)

    def _found(self, looks: int) -> str | None:
        """Who has not been heard of at so many looks, in a sentence."""
        seconds = f"{looks * BEAT:g} s"
        if self._unanswered > looks:
            return (
                f"{store.address()}, where the processes meet, has not answered {self.names[group.rank()]} for {seconds}: the machine of "
                f"{self.names[0] if group.rank() else 'torchrun'}, or the way to it, is gone. The checkpoints are intact"
            )
        if lost := [self.names[rank] for rank in self._others if self._silent[rank] > looks]:
            return f"{', '.join(lost)} {'has' if len(lost) == 1 else 'have'} given no sign of life for {seconds}. The checkpoints are intact"
        return None

    def _speaks(self) -> bool:
        """One of those that are left speaks for all."""
        return self._unanswered > 2 or all(rank > group.rank() or self._silent[rank] > 2 for rank in self._others)

    @cached_property
    def after_failure(self) -> str | None:
        """What became of the others, when a sum over all has failed; None if they are all there. It waits for signs of life, once."""
        for _ in range(_AT_ONCE + 4):
            if found := self._found(_AT_ONCE):
                return found
            left = [self.names[rank] for rank in self._others if self._seen[rank] == _LEFT]
            if left and max(self._silent.values()) < 4:  # else one that was killed may be the reason
                return f"{', '.join(left)} stopped before the others, and says why. The checkpoints are intact"
            self._stopped.wait(BEAT)
        return None


def watch(seconds: float) -> None:
    """Let the processes of the group look after each other; see `Watch`. All have to call it, again for another number of seconds."""
    global _watch
    if group.world_size() == 1 or store.address() is None:
        return
    if _watch is None:
        _watch = Watch(seconds)
    _watch.seconds = seconds


def what_happened(error: RuntimeError) -> str | None:
    """After an error in the middle of what all processes do together: who is gone, in a sentence; None if it has another reason. Where nobody
    watches, or all are there by now, the error itself says so: those of torch's backends name them."""
    if _watch is not None and dist.is_initialized() and (found := _watch.after_failure):
        return found
    reason = message_of(error).strip().split("\n")[0].rstrip(".")
    if launcher.processes() > 1 and any(word in message_of(error).lower() for word in _OF_A_CONNECTION):
        return f"another process of this run is gone ({shortened(reason, 120)}). The checkpoints are intact"
    return None


def stop() -> None:
    """Leave the group."""
    global _watch
    if _watch is not None:
        _watch.stop()
        _watch = None
    group.leave()
