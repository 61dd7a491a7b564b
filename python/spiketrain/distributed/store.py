"""The small table (TCPStore) in which the processes of a group find each other. It lies where ``MASTER_ADDR`` says: under torchrun in
torchrun itself on the first host, which outlives its processes."""

from __future__ import annotations

import os
from datetime import timedelta

import torch.distributed as dist


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


def key(*parts: object) -> str:
    """The name of an entry, of this run of torchrun alone."""
    return "/".join(map(str, ("spiketrain", os.environ.get("TORCHELASTIC_RUN_ID", ""), *parts)))


def attempt() -> int:
    """How often torchrun has started the processes again."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))
