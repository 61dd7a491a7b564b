"""Whether the C library keeps freed memory for the tensors to come, which decides about large tensors on the CPU: measured both ways."""

from __future__ import annotations

import spikeops

RETURNED = " (freed memory returned)"

_returned = False


def add_option(add) -> None:
    """Adds ``--freed-memory``, with a parser's ``add_argument`` or pytest's ``addoption``."""
    add(
        "--freed-memory", choices=["kept", "returned"], default="kept",
        help="on the CPU: kept for the next tensors, as spikeops.keep_freed_memory has it and spiketrain runs (the default), or returned to "
        "the operating system, as programs do by themselves",
    )  # fmt: skip


def settle(choice: str) -> str:
    """Does as the option says, for the whole process and all who take part, before anything is measured. Returns `note()`."""
    global _returned
    _returned = choice == "returned" or not spikeops.keep_freed_memory()
    return note()


def note() -> str:
    """What tables add to the name of the CPU."""
    return RETURNED if _returned else ""
