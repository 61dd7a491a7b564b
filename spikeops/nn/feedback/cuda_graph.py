"""Time loops, and solvers of the implicit gradient, captured in CUDA graphs.

A pass is some hundreds of small dependent kernels, whose launches take longer than they do. Captured once for given shapes, they
are launched at once.
"""

from __future__ import annotations

import threading
import warnings
from collections import OrderedDict

import torch
from torch.utils._python_dispatch import _get_current_dispatch_mode

from spikeops._graph_site import CaptureError, Site
from spikeops.nn.feedback.captured_loop import CapturedLoop
from spikeops.nn.feedback.captured_solver import CapturedSolver
from spikeops.nn.feedback.nested import describe, map_tensors, parts_of
from spikeops.nn.feedback.settings import current_settings
from spikeops.nn.feedback.solvers import Solution, Solver
from spikeops.nn.feedback.time_loop import Outcome, TimeLoop

# Loops and solvers; a solver's graphs count as one. Enough for a forward and a backward pass of a batch, of the last smaller one,
# and for tests. They share memory, but for their inputs and outcomes.
MAX_GRAPHS = 6
# Kinds of work that are remembered, so that each is captured at most once.
MAX_KNOWN = 256

Work = TimeLoop | Solver
Key = tuple  # of a loop or solver without its tensors' values, and the settings of its kernels


class GraphCache:
    """Runs time loops and solvers, as CUDA graphs where that is possible and wanted.

    There are the graphs of at most 6 of them on a device. The one that was not used for the longest time gives way to a new one,
    and just runs from then on: where more kinds of work take turns, capturing them again and again would cost more than it saves.
    Work of other shapes is of another kind, and so is that under other settings (:func:`current_settings`).

    Threads and streams may share a cache: on a device its graphs are replayed one after the other. Copies in other processes, and
    deep copies, have graphs of their own.

    Args:
        mode: "auto": capture when work of the same kind comes a second time; True: the first time; False: never.
    """

    def __init__(self, mode: str | bool):
        self.mode = mode
        self._lock = threading.Lock()
        self._devices: dict[torch.device, DeviceGraphs] = {}

    def run(self, work: Work, *options) -> Outcome | Solution:
        """What the work comes to.

        Args:
            options: of its ``run``. Only the host knows them, so that they do not matter to a graph.

        Raises:
            RuntimeError: mode True, and the work cannot be captured (``torch.OutOfMemoryError`` if memory is what it lacks). With
                "auto" that is a warning, and it just runs, now and later.
        """
        if self.mode is False or work.device.type != "cuda" or not _can_be_captured(work):
            return work.run(*options)
        outcome = self._on(work.device).replay(work, options, always=self.mode is True)
        return work.run(*options) if outcome is None else outcome

    def _on(self, device: torch.device) -> DeviceGraphs:
        with self._lock:  # replicas of torch.nn.DataParallel share this cache, each in a thread and on a device of its own
            if device not in self._devices:
                self._devices[device] = DeviceGraphs(device)
            return self._devices[device]

    def __deepcopy__(self, memo) -> GraphCache:
        return GraphCache(self.mode)

    def __reduce__(self):
        return GraphCache, (self.mode,)


class DeviceGraphs:
    """The graphs of a cache on one device."""

    def __init__(self, device: torch.device):
        self._device = device
        self._lock = threading.Lock()
        self._site: Site | None = None
        self._graphs: OrderedDict[Key, CapturedLoop | CapturedSolver] = OrderedDict()
        # Kinds that have come, and whether they may still be captured.
        self._known: OrderedDict[Key, bool] = OrderedDict()

    def replay(self, work: Work, options: tuple, always: bool) -> Outcome | Solution | None:
        """What the work comes to, by its graphs; None where it has none.

        Args:
            options: of its ``run``.
            always: capture it when it comes for the first time, or raise an error.
        """
        key = map_tensors(work, describe), current_settings()
        with self._lock:
            captured = self._graphs.get(key) or self._new(key, work, always)
            if captured is None:
                return None
            self._graphs.move_to_end(key)
            return captured.run(work, *options)

    def _new(self, key: Key, work: Work, always: bool) -> CapturedLoop | CapturedSolver | None:
        allowed = self._known.get(key, always)
        self._note(key, self._known.get(key, True))
        if not allowed:
            return None
        try:
            captured = self._graphs[key] = self._capture(work)
        except CaptureError as error:
            if error.out_of_memory:
                self._graphs.clear()  # their memory may be what the work needs to run at all
            if always:
                kind = torch.OutOfMemoryError if error.out_of_memory else RuntimeError
                raise kind(
                    f"FeedbackRing: the {work.title} could not be captured in a CUDA graph ({error.reason}): use a smaller batch, "
                    "or cuda_graph=False."
                ) from error.__cause__
            self._note(key, False)
            warnings.warn(
                f"FeedbackRing: a {work.title} could not be captured in a CUDA graph ({error.reason}) and runs without one, more "
                "slowly: use a smaller batch, or cuda_graph=False to do without graphs.",
                RuntimeWarning,
                stacklevel=2,
            )
            return None
        if len(self._graphs) > MAX_GRAPHS:
            self._note(self._graphs.popitem(last=False)[0], False)
        return captured

    def _capture(self, work: Work) -> CapturedLoop | CapturedSolver:
        site, self._site = self._site or Site(self._device), None
        captured = CapturedSolver(work, site) if isinstance(work, Solver) else CapturedLoop(work, site)
        self._site = site  # no more after a failure or an interrupt
        return captured

    def _note(self, key: Key, may_be_captured: bool) -> None:
        self._known[key] = may_be_captured
        self._known.move_to_end(key)
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)


def _can_be_captured(work: Work) -> bool:
    """Unknown modules may do on the host what a graph would not repeat, and a mode may watch or replace every operation, as those
    that count them or make up tensors do; and a caller may be capturing already."""
    known = all(getattr(part, "can_be_captured", True) for part in parts_of(work))
    return known and _get_current_dispatch_mode() is None and not torch.cuda.is_current_stream_capturing()
