"""A root solver as CUDA graphs, one for each chunk of iterates, between which the host reads residual norms and decides."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import torch

from spikeops.nn.feedback.captured_loop import WARM_UP_RUNS, Captured
from spikeops.nn.feedback.nested import copy_tensors, map_tensors, tensors_of
from spikeops.nn.feedback.solvers import Chunk, Solution, Solver

# Each chunk is another graph, since it uses another part of the solver's memory. Those after 64 iterates, of which none is needed
# as a rule, run plainly.
MAX_CHUNKS = 8


class CapturedSolver(Captured):
    """A solver as CUDA graphs. A chunk goes on from tensors in which the one before has left its last iterate."""

    def _prepare(self) -> list[Callable[[], None]]:
        shape = self._own.room_shape()
        self._scratch = self._site.scratch(math.prod(shape), self._own.start)  # other solvers find it as long as it is held
        self._room, self._chunk = self._scratch[: math.prod(shape)].view(shape), None
        numbers = list(islice(self._own.readings(), MAX_CHUNKS))
        for _ in range(WARM_UP_RUNS):
            last = None
            for some in numbers:
                chunk = self._own.take(some, self._room, last)
                self._chunk = self._chunk or self._site.own(partial(map_tensors, chunk, torch.clone))  # of the longest one
                last = chunk.last
        return [partial(self._take, some) for some in numbers]

    def _take(self, numbers: range) -> None:
        new = self._own.take(numbers, self._room, self._chunk.last if numbers.start else None)
        # A chunk that others follow has several iterates, so that none of what they go on from lies where this writes to.
        torch._foreach_copy_(tensors_of(self._taken(numbers)), tensors_of(new))

    def _taken(self, numbers: range) -> Chunk:
        return Chunk(self._chunk.values[: len(numbers)], self._chunk.norms[: len(numbers)], self._chunk.last)

    def run(self, solver: Solver, tolerance: float) -> Solution:
        with self._site.turn():
            copy_tensors(self._own, solver)
            return solver.best_of(self._chunks(), tolerance, keep=torch.clone)  # the next chunk writes there

    def _chunks(self) -> Iterator[Chunk]:
        for index, numbers in enumerate(self._own.readings()):
            if index < len(self._graphs):
                self._graphs[index].replay()
            else:
                self._take(numbers)
            yield self._taken(numbers)
