"""How much memory a run has taken."""

from __future__ import annotations

import re
import resource
import sys
from pathlib import Path

import torch

from spiketrain import distributed


def peak_megabytes(device: torch.device) -> float:
    """The most that any of the processes has held at once so far, in 10^6 bytes: on a GPU of what PyTorch has allocated there, else of the
    machine's memory (the resident set). All processes have to ask."""
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _resident_bytes()
    return round(max(distributed.gather(peak)) / 1e6, 1)


def _resident_bytes() -> int:
    try:
        # Of this program alone; what getrusage says may be that of a process which started this one.
        if found := re.search(r"^VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE):
            return 1024 * int(found[1])
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
