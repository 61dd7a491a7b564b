"""A stand-in for CUDA streams, graphs and their memory, for tests without a GPU.

Tensors "on a device" live on the CPU and compute at once. Of every operation on them the stand-in notes the stream, and raises
:class:`Race` where a stream uses memory that another one used before, without having waited for it.
"""

import threading
import weakref
from contextlib import contextmanager
from dataclasses import dataclass
from types import SimpleNamespace

import torch
from torch.utils._pytree import tree_leaves

from spikeops.nn.feedback.nested import tensors_of
from spikeops.nn.feedback.solvers import Solver
from spikeops.nn.feedback.time_loop import Outcome

OUTSIDE_THE_STREAM = {"__get__", "stride", "size", "dim", "numel", "data_ptr", "is_contiguous", "as_subclass", "equal"}


class Race(AssertionError):
    pass


class Event:
    def __init__(self):
        self.done = set()

    def record(self, stream):
        self.done = set(stream.done)


class Machine:
    """The devices 0 and 1.

    Attributes:
        fails: makes the error that every captured loop raises; None: they are captured.
        ends_captures: captures that have failed are ended, as newer versions of PyTorch do.
        generator_captures: whether the random generator believes that a capture is under way: it draws nothing outside of one.
    """

    def __init__(self, monkeypatch):
        self.operations, self.last_uses, self.kept = 0, {}, []
        self.fails, self.ends_captures, self.generator_captures = None, True, False
        self.graphs, self.captures, self._of_thread = weakref.WeakSet(), 0, threading.local()
        self.pools, self.underway, self.handles = {}, set(), 0  # graphs of each pool
        self.streams = {index: [Stream(index, handle) for handle in range(40)] for index in (0, 1)}
        self.given = {0: 0, 1: 0}
        self.kinds = [type(f"OnDevice{index}", (_OnDevice,), {"machine": self, "index": index}) for index in (0, 1)]
        self.default = {index: Stream(index, 1000) for index in (0, 1)}
        self.current = dict(self.default)
        machine = self

        def new_stream(device):
            machine.given[device.index] += 1
            return machine.streams[device.index][(machine.given[device.index] - 1) % 32]

        @contextmanager
        def nothing(*_):
            yield

        @contextmanager
        def on(stream):
            before = machine.current[stream.index]
            machine.current[stream.index] = stream
            try:
                yield
            finally:
                machine.current[stream.index] = before

        def synchronize(device):
            streams = [machine.default[device.index], *machine.streams[device.index]]
            done = set().union(*(stream.done for stream in streams))
            for stream in streams:
                stream.done |= done

        def handle():
            machine.handles += 1
            return (0, machine.handles)

        def end_allocation(index, pool):
            if pool not in machine.underway:
                raise RuntimeError("endAllocatePool: not currently recording to mempool_id")
            machine.underway.remove(pool)

        def release(index, pool):
            machine.pools[pool] -= 1

        stand_ins = dict(Event=Event, Stream=new_stream, CUDAGraph=lambda: Graph(machine), stream=on, device=nothing,
                         synchronize=synchronize, graph_pool_handle=handle, graph=machine.capture,
                         is_current_stream_capturing=lambda: False,
                         current_stream=lambda device: machine.current[device.index],
                         set_stream=lambda stream: machine.current.update({stream.index: stream}))  # fmt: skip
        for name, value in stand_ins.items():
            monkeypatch.setattr(torch.cuda, name, value)
        foreach_copy = torch._foreach_copy_

        def copy(to, source):
            if machine.capturing is not None:
                machine.capturing.copies.append((to, source))
            foreach_copy(to, source)

        monkeypatch.setattr(torch, "_foreach_copy_", copy)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", end_allocation, raising=False)
        monkeypatch.setattr(torch._C, "_cuda_releasePool", release, raising=False)
        ones = torch.ones

        def ones_or_anything(*shape, device=None, **options):
            on_device = device is not None and torch.device(device).type == "cuda"
            return SimpleNamespace(add_=lambda _: None) if on_device else ones(*shape, device=device, **options)

        monkeypatch.setattr(torch, "ones", ones_or_anything)

    @property
    def capturing(self):
        """The graph that this thread captures: what others do meanwhile, on other streams, is no part of it."""
        return getattr(self._of_thread, "capturing", None)

    @capturing.setter
    def capturing(self, graph):
        self._of_thread.capturing = graph

    @contextmanager
    def capture(self, graph, pool, stream, capture_error_mode):
        assert self.capturing is None, "two captures at a time"
        assert not self.underway, "the allocator is still in another capture"
        assert self.pools.get(pool, 1) > 0, "all graphs have left this pool"
        assert capture_error_mode == "thread_local"
        before = self.current[stream.index]
        self.pools[pool] = self.pools.get(pool, 0) + 1
        graph.pool, graph.stream = pool, stream
        self.underway.add(pool)
        self.current[stream.index], self.capturing, self.generator_captures = stream, graph, True
        failed = True
        try:
            yield
            failed = False
        finally:
            self.capturing = None
            if failed and not self.ends_captures:
                raise RuntimeError("operation failed due to a previous error during capture")
            self.underway.remove(pool)
            graph.ended = True
            self.generator_captures = failed
            self.current[stream.index] = before

    def run(self, loop, compute):
        """The outcome of a loop, for the graph that is captured to compute it again."""
        if self.capturing is None:
            return compute()
        if self.fails is not None:
            raise self.fails()
        self.capturing.loop, self.capturing.outcome = loop, compute()
        return self.capturing.outcome

    def capture_solvers(self, monkeypatch):
        """Have the chunks of solvers captured too."""
        take = Solver.take

        def taken(solver, *args):
            def compute():
                return take(solver, *args)

            return self.run(SimpleNamespace(run=compute), compute)

        monkeypatch.setattr(Solver, "take", taken)

    def use(self, tensors):
        """An operation on the present stream of the tensors' device. What is captured does not run yet."""
        if self.capturing is not None:
            return
        self.operations += 1
        for tensor in tensors:
            stream = self.current[tensor.index]
            with torch._C.DisableTorchFunctionSubclass():
                place = tensor.untyped_storage().data_ptr()
            if (last := self.last_uses.get(place)) is not None and last not in stream.done:
                raise Race(f"{stream} uses what another stream may still be using")
            self.last_uses[place] = self.operations
            self.kept.append(tensor)  # no other gets its memory
            stream.done.add(self.operations)

    def tensor(self, values, index=0):
        return torch.as_tensor(values).as_subclass(self.kinds[index])


@dataclass(eq=False)
class Stream:
    index: int
    cuda_stream: int

    def __post_init__(self):
        self.done = set()

    def wait_event(self, event):
        self.done |= event.done

    def wait_stream(self, stream):
        self.done |= stream.done


class Graph:
    """Replayed, it computes again what was captured, into the same memory, after it has spoilt all else in its pool: its loop's
    outcome, and what was copied from there."""

    def __init__(self, machine):
        self.machine, self.pool, self.ended = machine, None, False
        self.loop = self.outcome = None
        self.copies, self.replays = [], 0
        machine.graphs.add(self)
        machine.captures += 1

    def replay(self):
        self.replays += 1
        for graph in self.machine.graphs:
            if graph.pool == self.pool and graph is not self:
                for kept in tensors_of(graph.outcome):
                    kept.fill_(7)
        for kept, value in zip(tensors_of(self.outcome), tensors_of(self.loop.run()), strict=True):
            kept.copy_(value)
        for to, source in self.copies:
            torch._foreach_copy_(to, source)

    def reset(self):
        if self.ended:
            self.ended, self.outcome = False, None
            self.machine.pools[self.pool] -= 1

    def __del__(self):
        self.reset()


class _OnDevice(torch.Tensor):
    is_cuda = True
    device = property(lambda self: torch.device("cuda", self.index))

    @classmethod
    def __torch_function__(cls, function, types, args=(), kwargs=None):
        result = super().__torch_function__(function, types, args, kwargs)
        if function.__name__ not in OUTSIDE_THE_STREAM:
            cls.machine.use([x for x in tree_leaves((args, kwargs, result)) if isinstance(x, _OnDevice)])
        return result


@dataclass(frozen=True)
class Doubling:
    """A time loop, as far as a cache of graphs knows one."""

    current: torch.Tensor
    steps: int = 1

    title = "doubling"
    device = property(lambda self: self.current.device)

    def run(self):
        return self.current.machine.run(self, self._compute)

    def _compute(self):
        value = self.current * 2
        return Outcome((value,), (value,), value)
