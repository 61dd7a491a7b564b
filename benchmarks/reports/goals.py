"""How far ahead of other libraries spikeops is meant to be: times of theirs over ours, on a CPU, by the wall clock."""

from __future__ import annotations

from libraries.library import CHANNELS_LAST, KINDS
from libraries.ours import CONVERTED, OURS
from reports.figures import Size

FULL = "full"
AHEAD = 1.0  # in every row
LAYER = (10, 100_000)  # T, N of the layers that more is asked of
LAYER_GOALS = {"spikingjelly": 2.0}, 4.0  # by library, and of the others
COMPILED_LAYER_GOAL = 1.3
NET_GOALS = {"spikingjelly": 2.0}, 2.5
NET_STEPS = (5, 20)


def goal(op: str, provider: str, size: Size, mode: str, device: str) -> float | None:
    """By what factor spikeops is meant to be faster than this provider in this row; None where nothing is asked, as on a GPU."""
    if provider in (*OURS, CONVERTED) or "(driver" in device:
        return None
    kind, library = op.split(":")[:2]
    is_compiled = provider.endswith("+compile")
    if mode == FULL and kind in KINDS and (size.T, size.N) == LAYER and size.dtype == "float32":
        return COMPILED_LAYER_GOAL if is_compiled else LAYER_GOALS[0].get(library, LAYER_GOALS[1])
    if mode == FULL and kind == "conv-net" and size.T in NET_STEPS and not is_compiled and CHANNELS_LAST not in provider:
        return NET_GOALS[0].get(library, NET_GOALS[1])
    return AHEAD
