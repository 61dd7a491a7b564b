"""Data-parallel training over the processes that ``torchrun`` starts, on one machine or several; with a single process everything here
does nothing.

    torchrun --nproc-per-node 2 -m spiketrain train tsslbp-mnist-cnn

Each process computes its share of every batch, and gradients are added up before the update. That is done on the
gradients themselves, not by wrapping the network: methods that update weights inside a training step use it as well.
"""

from spiketrain.distributed.group import (
    add_up,
    any_of,
    gather,
    is_main,
    rank,
    share,
    start,
    world_size,
)
from spiketrain.distributed.lost import stop, watch, what_happened
from spiketrain.distributed.restarts import note_run, noted_run

__all__ = [
    "add_up", "any_of", "gather", "is_main", "note_run", "noted_run", "rank", "share", "start",
    "stop", "watch", "what_happened", "world_size",
]  # fmt: skip
