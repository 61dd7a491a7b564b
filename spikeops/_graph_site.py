"""The place that several CUDA graphs share on a device: a stream, a pool of memory, and an order.

All of them are captured on one stream and work in one pool of memory, which therefore has about the size that the largest needs and
not that of all together. PyTorch asks graphs of one pool to run one at a time, and in the order of their capture where one reads
what another left behind. Here none may, so any order will do:

- What a graph reads from outside, and where it leaves its outcome, is made outside the capture, and so outside the pool; or the outcome
  is read before another is replayed.
- Inside the pool it reads nothing that it has not written in the same replay. Between replays the pool holds nothing of value.
- A replay begins when the one before has ended: :meth:`Site.turn` sees to that across threads and streams.

The stream is the site's own since PyTorch keeps a work space for matrix products per stream, which graphs write to: made during
the first capture it lies in the pool, and is there for as long as any of the graphs. Nothing else may multiply on that stream.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

import torch

T = TypeVar("T")

# PyTorch hands out 32 streams per device again and again. Those of other graphs are left out.
STREAMS = 32
# PyTorch can capture one graph at a time.
_capturing = threading.Lock()
_sites: weakref.WeakValueDictionary[tuple[int, int], Site] = weakref.WeakValueDictionary()
# Graphs whose capture PyTorch could not end, and such as repaired that. PyTorch may ask them later, so that they have to stay.
_broken: list[torch.cuda.CUDAGraph] = []


class CaptureError(RuntimeError):
    """Work could not be captured; the reason is its ``__cause__``."""

    @property
    def reason(self) -> str:
        text = str(self.__cause__).strip().splitlines()
        return f"{type(self.__cause__).__name__}: {text[0].rstrip('.')}" if text else type(self.__cause__).__name__

    @property
    def out_of_memory(self) -> bool:
        return isinstance(self.__cause__, torch.OutOfMemoryError)


class Site:
    """Stream, memory and order of some graphs on one device. To be used by one thread at a time.

    Once a capture has failed here, or all graphs are gone, further ones need another site: PyTorch takes no graph into a pool that
    all others have left, or in which it could not end a capture. The graphs that are here go on.
    """

    def __init__(self, device: torch.device):
        self.device = device
        self.stream = self._own_stream()
        self._pool = torch.cuda.graph_pool_handle()
        self._last_use = torch.cuda.Event()
        self._scratch: Callable[[], torch.Tensor | None] = lambda: None

    def _own_stream(self) -> torch.cuda.Stream:
        with _capturing:
            for _ in range(STREAMS):
                stream = torch.cuda.Stream(self.device)
                place = self.device.index, stream.cuda_stream
                if place not in _sites:
                    _sites[place] = self
                    _wait_for(self.device)  # what a site that is gone left on this stream is no more in use
                    return stream
        raise CaptureError from RuntimeError(f"the graphs of {STREAMS} other sites have taken all streams of {self.device}")

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Around all use of the graphs' tensors: the device does it after everything that it was given before, on any stream."""
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(self._last_use)
        try:
            yield
        except BaseException:
            with suppress(RuntimeError):  # where the device is lost, the first error says so
                self._last_use.record(stream)
            raise
        self._last_use.record(stream)

    def own(self, make: Callable[[], T]) -> T:
        """What ``make`` copies of tensors, for graphs to read and write. It is allocated on the stream of the captures, where only
        other such copies can get its memory once it is gone, and those wait for the last use."""
        current = torch.cuda.current_stream(self.device)
        self.stream.wait_stream(current)
        with torch.cuda.stream(self.stream):
            copy = make()
        current.wait_stream(self.stream)
        return copy

    def scratch(self, size: int, like: torch.Tensor) -> torch.Tensor:
        """Memory of that many numbers or more, where graphs that are replayed one right after the other may leave something for the
        next, until others do. The same for all that hold it, unless one needs more of it or another type."""
        scratch = self._scratch()
        if scratch is None or scratch.numel() < size or scratch.dtype != like.dtype:
            scratch = self.own(lambda: like.new_empty(size))
            self._scratch = weakref.ref(scratch)
        return scratch

    def capture(self, run: Callable[[], None]) -> torch.cuda.CUDAGraph:
        """The graph of ``run``.

        Raises:
            CaptureError: it failed. Streams and allocator are as they were.
        """
        graph, before, first = torch.cuda.CUDAGraph(), torch.cuda.current_stream(self.device), None
        with _capturing:
            try:
                # Other threads, such as data loaders', may go on using the device.
                with torch.cuda.graph(graph, pool=self._pool, stream=self.stream, capture_error_mode="thread_local"):
                    try:
                        run()
                    except BaseException as error:
                        first = error
                        raise
            except BaseException as error:  # perhaps of the end of the capture, which the first one made impossible
                self._repair(graph, before)
                first = first or error
                try:
                    if isinstance(first, Exception):
                        raise CaptureError from first
                    raise first
                finally:
                    first = None  # a cycle of error and frame would keep the capture's memory
        return graph

    def _repair(self, graph: torch.cuda.CUDAGraph, before: torch.cuda.Stream) -> None:
        """Undo a capture that failed, where PyTorch does not: some versions leave the capture's stream the current one, and
        allocator and random generator in the belief that a capture is under way, in which they free no memory and draw nothing."""
        torch.cuda.set_stream(before)
        with suppress(RuntimeError):
            graph.reset()
        with suppress(RuntimeError):  # it did end
            torch._C._cuda_endAllocateToPool(self.device.index, self._pool)
            _broken.append(graph)
            torch._C._cuda_releasePool(self.device.index, self._pool)
        with suppress(RuntimeError):  # takes an error that a library left behind; one that stays is met by the next call
            torch.ones((), device=self.device)
        with suppress(RuntimeError):
            self._end_capture_of_generator()

    def _end_capture_of_generator(self) -> None:
        """The end of a capture that succeeds is what tells the generator."""
        anything, graph = torch.ones((), device=self.device), torch.cuda.CUDAGraph()
        self.stream.wait_stream(torch.cuda.current_stream(self.device))
        pool = torch.cuda.graph_pool_handle()
        with torch.cuda.graph(graph, pool=pool, stream=self.stream, capture_error_mode="thread_local"):
            anything.add_(1)  # PyTorch warns of graphs that are empty
        _broken.append(graph)  # reset, it would take this stream's work space from the graphs that are there


def _wait_for(device: torch.device) -> None:
    try:
        torch.cuda.synchronize(device)
    except RuntimeError as error:
        raise CaptureError from error
