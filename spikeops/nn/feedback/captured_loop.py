"""A time loop as a CUDA graph, at the place that all graphs of a ring share on a device.

Solvers keep their updates in memory that they share there, one solution after the other (:meth:`Site.scratch`).
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from spikeops._graph_site import CaptureError, Site
from spikeops.nn.feedback.nested import clone_tensors, copy_tensors, distinct_tensors, map_tensors
from spikeops.nn.feedback.time_loop import Outcome, TimeLoop

WARM_UP_RUNS = 2


class Captured:
    """Work as one or more CUDA graphs. They read tensors of their own, into which those of work of the same shapes are copied.

    Raises:
        CaptureError: it could not be captured.
    """

    def __init__(self, work, site: Site):
        self._site = site
        # Tensors made in inference mode could not be written to outside of it.
        with torch.inference_mode(False), torch.no_grad(), torch.cuda.device(site.device), site.turn():
            try:
                self._own = site.own(lambda: map_tensors(work, torch.clone))
                parts = self._prepare()
            except Exception as error:
                raise CaptureError from error
            self._graphs = [site.capture(part) for part in parts]

    def _prepare(self) -> list[Callable[[], None]]:
        """Makes room for what comes out, and lets libraries choose their algorithms and load their kernels, which a capture does
        not; returns what to capture."""
        raise NotImplementedError


class CapturedLoop(Captured):
    """A time loop as a CUDA graph, which leaves its outcome in tensors of its own."""

    def _prepare(self) -> list[Callable[[], None]]:
        for _ in range(WARM_UP_RUNS):
            outcome = self._own.run()
        self._outcome = self._site.own(lambda: clone_tensors(outcome))
        return [self._run]

    def _run(self) -> None:
        torch._foreach_copy_(distinct_tensors(self._outcome), distinct_tensors(self._own.run()))

    def run(self, loop: TimeLoop) -> Outcome:
        with self._site.turn():
            copy_tensors(self._own, loop)
            self._graphs[0].replay()
            return clone_tensors(self._outcome)  # the next replay writes there
