"""The small table (TCPStore) in which the processes of a group find each other. It lies where ``MASTER_ADDR`` says: under torchrun in
torchrun itself on the first host, which outlives its processes."""

from __future__ import annotations

import os
import time
import uuid
from datetime import timedelta

import torch.distributed as dist

PATIENCE = 300.0  # seconds; torchrun starts all processes at once, and the slowest has to import torch
_SHORT = 0.02  # seconds between two looks


def address() -> str | None:
    """Where it is, None where nobody said."""
    host, port = os.environ.get("MASTER_ADDR"), os.environ.get("MASTER_PORT")
    return f"{host}:{port}" if host and port else None


def connect(seconds: float) -> dist.TCPStore:
    """A connection of one's own, so that nothing waits for what the group does with its.

    Raises:
        RuntimeError: nobody answers within so many seconds (torch.distributed's errors are such).
    """
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(host, port, is_master=False, timeout=timedelta(seconds=seconds), wait_for_workers=False)


def is_kept() -> bool:
    """Whether torchrun keeps it, from one start of the processes to the next."""
    return os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" and address() is not None


def key(*parts: object) -> str:
    """The name of an entry."""
    return "/".join(map(str, ("spiketrain", *parts)))


def meet(rank: int, processes: int) -> dist.Store:
    """A part of the store for the processes that have been started together, and nothing that others before them left there.

    In a store that is kept, gloo would take the addresses of dead processes for those of living ones; how often torchrun has started processes
    is another number on each machine. So each says hello by a name of its own, and the first one goes on when all
    have answered it by theirs.

    Raises:
        RuntimeError: they do not meet. torchrun may have sent them to different places, after a restart that made another machine the first one.
    """
    known = connect(PATIENCE)
    until = time.monotonic() + PATIENCE
    mine = uuid.uuid4().hex
    known.set(key("hello", rank), mine)
    if rank == 0:
        names: list[str] = []
        while not names or not known.check([key("answer", mine, name) for name in names[1:]]):
            names = [mine, *(known.get(key("hello", other)).decode() for other in range(1, processes))]
            known.set(key("names"), " ".join(names))
            _wait(until)
    else:
        while mine not in (names := known.get(key("names")).decode().split()):
            _wait(until)
        known.set(key("answer", names[0], mine), "")
    return dist.PrefixStore(key("together", names[0]), known)


def _wait(until: float) -> None:
    if time.monotonic() > until:
        raise RuntimeError(f"not all of them have come within {PATIENCE:g} s")
    time.sleep(_SHORT)
