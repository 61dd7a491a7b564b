"""Time loops captured in CUDA graphs.

A pass is some hundreds of small dependent kernels, whose launches take longer than they do. Captured once for given shapes, they
are launched at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace

import torch

from spikeops.nn.feedback.operators import Opaque, OpaqueTransposed
from spikeops.nn.feedback.time_loop import Outcome, TimeLoop

# Each holds the memory of its loop. Enough for a forward and a backward pass of a batch, of the last smaller one, and for tests.
MAX_GRAPHS = 6
WARM_UP_RUNS = 2


class GraphCache:
    """Runs time loops, as a CUDA graph where that is possible and wanted.

    Args:
        mode: "auto": capture when a loop of the same shapes comes a second time; True: the first time; False: never.
    """

    def __init__(self, mode: str | bool):
        self.mode = mode
        self._graphs: OrderedDict[TimeLoop, CapturedLoop] = OrderedDict()
        self._seen: OrderedDict[TimeLoop, None] = OrderedDict()

    def run(self, loop: TimeLoop) -> Outcome:
        if self.mode is False or not loop.current.is_cuda or not _can_be_captured(loop):
            return loop.run()
        key = map_tensors(loop, describe)
        if key not in self._graphs:
            if self.mode == "auto" and key not in self._seen:
                self._seen[key] = None
                _trim(self._seen)
                return loop.run()
            self._graphs[key] = CapturedLoop(loop)
            _trim(self._graphs)
        self._graphs.move_to_end(key)
        return self._graphs[key].run(loop)

    def __deepcopy__(self, memo) -> GraphCache:
        return GraphCache(self.mode)

    def __reduce__(self):
        return GraphCache, (self.mode,)


class CapturedLoop:
    """A time loop as a CUDA graph: it reads tensors of its own, into which those of a loop of the same shapes are copied."""

    def __init__(self, loop: TimeLoop):
        self._loop = map_tensors(loop, torch.clone)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(loop.current.device):
            # Outside the capture: libraries choose their algorithms and allocate their workspaces.
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(WARM_UP_RUNS):
                    self._loop.run()
            torch.cuda.current_stream().wait_stream(side)
            # Other threads, such as data loaders', may go on using the device.
            with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
                self._outcome = self._loop.run()

    def run(self, loop: TimeLoop) -> Outcome:
        copy_tensors(self._loop, loop)
        self._graph.replay()
        # The graph writes to the same memory each time; the caller keeps what it gets. A tensor may be there twice.
        originals = {id(tensor): tensor for tensor in tensors_of(self._outcome)}
        copies = {key: tensor.clone() for key, tensor in originals.items()}
        return map_tensors(self._outcome, lambda tensor: copies[id(tensor)])


def _can_be_captured(loop: TimeLoop) -> bool:
    """Unknown modules may do on the host what a graph would not repeat; and a caller may be capturing already."""
    operators = [*loop.operators, *([loop.feedback] if loop.feedback else [])]
    opaque = any(isinstance(stage, (Opaque, OpaqueTransposed)) for operator in operators for stage in operator.stages)
    return not opaque and not torch.cuda.is_current_stream_capturing()


def map_tensors(value, function: Callable):
    """A copy of nested dataclasses and tuples with ``function`` applied to every tensor."""
    if isinstance(value, torch.Tensor):
        return function(value)
    if is_dataclass(value):
        return replace(value, **{f.name: map_tensors(getattr(value, f.name), function) for f in fields(value)})
    return tuple(map_tensors(item, function) for item in value) if isinstance(value, tuple) else value


def copy_tensors(to: TimeLoop, source: TimeLoop) -> None:
    """Give a loop the values of all tensors of another that has the same shapes."""
    torch._foreach_copy_(tensors_of(to), tensors_of(source))


def tensors_of(value) -> list[torch.Tensor]:
    """All tensors in nested dataclasses and tuples."""
    found: list[torch.Tensor] = []
    map_tensors(value, lambda tensor: (found.append(tensor), tensor)[1])
    return found


def describe(tensor: torch.Tensor) -> tuple:
    """What a captured loop depends on, instead of the tensor: equal for loops that can share a graph."""
    return tuple(tensor.shape), tensor.stride(), tensor.dtype, tensor.device


def _trim(cache: OrderedDict) -> None:
    while len(cache) > MAX_GRAPHS:
        cache.popitem(last=False)
