"""What a launcher of several processes, such as torchrun, says in the environment."""

from __future__ import annotations

import os

from spiketrain.errors import UserError, shown


def processes() -> int:
    """How many train together: WORLD_SIZE, 1 without one."""
    return _whole("WORLD_SIZE", 1)


def local_rank() -> int:
    """Which of the processes on this machine this one is."""
    return _whole("LOCAL_RANK", 0)


def rank() -> int:
    """Which of all processes this one is."""
    return _whole("RANK", 0)


def is_main() -> bool:
    """Whether this process is, or will be, the main one."""
    return processes() == 1 or rank() == 0


def check() -> None:
    """Refuse what no launcher says, before anything is begun.

    Raises:
        UserError: a variable that is no number.
    """
    for number in (processes, local_rank, rank):
        number()


def _whole(name: str, default: int) -> int:
    text = os.environ.get(name, str(default))
    if not (text.isascii() and text.isdigit()) or (number := int(text[:20])) < default:
        raise UserError(f"environment variable {name}: expected a whole number from {default} on, as torchrun sets it, got {shown(text)}")
    return number
