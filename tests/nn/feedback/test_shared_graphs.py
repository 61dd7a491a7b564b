"""Graphs of a cache: what they share, when they are captured, what happens where that fails. The GPU is a stand-in that computes on
the CPU and raises an error where a stream uses memory that another one may still be using. A GPU's own turn comes in tests/gpu."""

import copy
import gc
import pickle
import threading
import warnings
import weakref
from contextlib import nullcontext

import pytest
import torch
from feedback_tests.cuda_stand_in import Doubling, Machine, Race
from torch.utils._python_dispatch import TorchDispatchMode

import spikeops
from spikeops import _graph_site
from spikeops._graph_site import Site
from spikeops.nn.feedback import captured_loop
from spikeops.nn.feedback.cuda_graph import MAX_GRAPHS, GraphCache
from spikeops.nn.feedback.settings import current_settings


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(_graph_site, "_broken", [])
    monkeypatch.setattr(_graph_site, "_sites", weakref.WeakValueDictionary())
    return Machine(monkeypatch)


def run(cache, x, steps=1):
    """The outcome, compared with what the loop computes."""
    outcome = cache.run(Doubling(x, steps))
    assert outcome.sums[0] is outcome.counts[0]
    value = outcome.sums[0].as_subclass(torch.Tensor)
    assert torch.equal(value, 2 * x.as_subclass(torch.Tensor))
    return value


def test_the_stand_in_finds_races(machine):
    x = machine.tensor([1.0])
    with torch.cuda.stream(machine.streams[0][3]):
        x.mul_(2)
    with pytest.raises(Race):
        x.mul_(2)


@torch.no_grad()
def test_replays_compute_the_same_and_do_not_touch_earlier_outcomes(machine):
    cache, kept = GraphCache(True), []
    for step in range(4):
        for width in (2, 3):
            x = machine.tensor(torch.arange(width) + 10.0 * step)
            kept.append((run(cache, x), 2 * x.as_subclass(torch.Tensor)))
    assert machine.captures == 2
    for value, expected in kept:
        assert torch.equal(value, expected)


@torch.no_grad()
def test_auto_captures_what_comes_again(machine):
    cache = GraphCache("auto")
    for width, captures in ((4, 0), (4, 1), (4, 1), (3, 1), (3, 2), (4, 2)):
        run(cache, machine.tensor(torch.rand(width)))
        assert machine.captures == captures


def test_never(machine):
    run(GraphCache(False), machine.tensor(torch.rand(4)))
    assert machine.captures == 0


@torch.no_grad()
def test_each_device_has_its_own_stream_and_memory(machine):
    cache = GraphCache(True)
    for step in range(3):
        for index in (0, 1):
            run(cache, machine.tensor([1.0 + step], index))
    by_device = {graph.stream.index: graph for graph in machine.graphs}
    assert set(by_device) == {0, 1} and machine.captures == 2
    assert by_device[0].pool != by_device[1].pool


@torch.no_grad()
def test_the_graphs_of_a_ring_share_stream_and_memory_and_those_of_others_do_not(machine):
    caches = GraphCache(True), GraphCache(True)
    for cache in caches:
        for width in (1, 2, 3):
            run(cache, machine.tensor(torch.rand(width)))
    assert len({(graph.pool, graph.stream.cuda_stream) for graph in machine.graphs}) == 2
    assert sorted(machine.pools.values()) == [3, 3]


@torch.no_grad()
def test_streams_are_not_shared_even_where_torch_hands_out_the_same_again(machine):
    first, others = GraphCache(True), []
    run(first, machine.tensor([1.0]))
    for _ in range(31):
        others.append(GraphCache(True))
        run(others[-1], machine.tensor([1.0]))
    assert len({graph.stream.cuda_stream for graph in machine.graphs}) == 32
    with pytest.raises(RuntimeError, match="32 other sites"):
        run(GraphCache(True), machine.tensor([1.0]))
    del first
    run(GraphCache(True), machine.tensor([1.0]))


@torch.no_grad()
def test_a_device_that_cannot_be_waited_for(machine, monkeypatch):
    def busy(device):
        raise RuntimeError("not permitted: another thread is capturing")

    monkeypatch.setattr(torch.cuda, "synchronize", busy)
    cache, x = GraphCache("auto"), machine.tensor(torch.rand(2))
    run(cache, x)
    with pytest.warns(RuntimeWarning, match="another thread is capturing"):
        run(cache, x)


@torch.no_grad()
def test_a_loop_whose_graph_gave_way_is_not_captured_again(machine):
    cache = GraphCache(True)
    for _ in range(3):
        for width in range(1, MAX_GRAPHS + 3):
            run(cache, machine.tensor(torch.rand(width)))
    assert machine.captures == MAX_GRAPHS + 2
    assert sum(machine.pools.values()) == MAX_GRAPHS
    before = {graph: graph.replays for graph in machine.graphs}
    for width in range(1, MAX_GRAPHS + 3):
        run(cache, machine.tensor(torch.rand(width)))
    assert all(graph.replays == before[graph] + 1 for graph in machine.graphs)


@pytest.fixture
def torch_settings():
    """Puts back what tests of settings change."""
    cudnn = torch.backends.cudnn
    flags = {name: getattr(cudnn, name) for name in ("enabled", "benchmark", "deterministic", "allow_tf32")}
    library = torch.backends.cuda.preferred_blas_library()
    yield
    torch.backends.cuda.matmul.fp32_precision = "none"
    torch.set_float32_matmul_precision("highest")
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.preferred_blas_library(library)
    for name, value in flags.items():
        setattr(cudnn, name, value)


CHANGES = {
    "cudnn TF32": lambda: setattr(torch.backends.cudnn, "allow_tf32", False),
    "convolutions TF32": lambda: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"),
    "cudnn": lambda: setattr(torch.backends.cudnn, "enabled", False),
    "cudnn benchmark": lambda: setattr(torch.backends.cudnn, "benchmark", True),
    "cudnn deterministic": lambda: setattr(torch.backends.cudnn, "deterministic", True),
    "products TF32": lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
    "products precision": lambda: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "float32 precision": lambda: torch.set_float32_matmul_precision("high"),
    "deterministic": lambda: torch.use_deterministic_algorithms(True),
    "deterministic, warn": lambda: torch.use_deterministic_algorithms(True, warn_only=True),
    "BLAS": lambda: torch.backends.cuda.preferred_blas_library("cublaslt"),
}


@pytest.mark.parametrize("change", list(CHANGES))
@torch.no_grad()
def test_under_other_settings_a_loop_has_another_graph(machine, torch_settings, change):
    cache, x = GraphCache(True), machine.tensor(torch.rand(3))
    run(cache, x)
    CHANGES[change]()
    for _ in range(2):
        run(cache, x)
    assert machine.captures == 2


@torch.no_grad()
def test_under_another_backend_a_loop_has_another_graph(machine):
    cache, x = GraphCache(True), machine.tensor(torch.rand(3))
    for captures in (1, 2):
        for name, expected in (("native", 1), ("reference", 2)):
            with spikeops.backend(name):
                run(cache, x)
                assert machine.captures == max(captures, expected)


def test_settings_can_be_read_where_old_and_new_switches_were_mixed(torch_settings):
    torch.backends.cudnn.conv.fp32_precision = "ieee"
    torch.backends.cuda.matmul.fp32_precision = "tf32"
    with pytest.raises(RuntimeError, match="mix"):
        torch.get_float32_matmul_precision()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mixed = current_settings()
    torch.backends.cudnn.conv.fp32_precision = "tf32"
    assert current_settings() != mixed


def users(machine):
    """Number of graphs in each pool that has any, but for those that repaired what a failed capture had left."""
    repairs = {graph.pool for graph in _graph_site._broken if graph.ended}
    return {pool: graphs for pool, graphs in machine.pools.items() if graphs and pool not in repairs}


FAILURES = {
    "memory": (lambda: torch.OutOfMemoryError("CUDA out of memory. 8 GiB too few.\nMore."), "OutOfMemoryError: CUDA out of memory"),
    "library": (lambda: RuntimeError("not permitted while capturing\nMore."), "RuntimeError: not permitted while capturing"),
}


@torch.no_grad()
@pytest.mark.parametrize("ends_captures", [True, False])
@pytest.mark.parametrize("failure", list(FAILURES))
def test_auto_says_why_it_does_not_capture_and_just_runs(machine, failure, ends_captures):
    cache = GraphCache("auto")
    for _ in range(2):
        run(cache, machine.tensor(torch.rand(2)))  # another graph is there already
    (first_pool,) = machine.pools
    machine.fails, reason = FAILURES[failure]
    machine.ends_captures = ends_captures
    x = machine.tensor(torch.rand(3))
    run(cache, x)
    with pytest.warns(RuntimeWarning, match=reason) as caught:
        run(cache, x)
    assert len(caught) == 1 and "operation failed" not in str(caught[0].message) and "\n" not in str(caught[0].message)
    captures = machine.captures
    assert machine.current == machine.default and not machine.underway and not machine.generator_captures
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run(cache, x)  # says nothing more
        machine.fails = None
        run(cache, x)
        assert machine.captures == captures
        for _ in range(2):  # all others may have graphs, new and old
            for width in (2, 4):
                run(cache, machine.tensor(torch.rand(width)))
    alive = users(machine)
    assert sum(alive.values()) == len(machine.graphs) - len(_graph_site._broken) == 2
    # After a failure no graph joins the pool; memory is given back.
    assert (first_pool in alive) == (failure != "memory")
    assert len(alive) == (1 if failure == "memory" else 2)


@torch.no_grad()
@pytest.mark.parametrize("ends_captures", [True, False])
@pytest.mark.parametrize("failure", list(FAILURES))
def test_true_raises_what_failed(machine, failure, ends_captures):
    cache, x = GraphCache(True), machine.tensor(torch.rand(3))
    machine.fails, reason = FAILURES[failure]
    machine.ends_captures = ends_captures
    for _ in range(2):
        with pytest.raises(type(machine.fails()), match=rf"{reason}.*smaller batch, or cuda_graph=False\.$") as caught:
            cache.run(Doubling(x))
        assert str(caught.value.__cause__) == str(machine.fails())
        assert machine.current == machine.default and not machine.underway and not users(machine)
    machine.fails = None
    run(cache, x)


@torch.no_grad()
@pytest.mark.parametrize("ends_captures", [True, False])
def test_an_interrupt_during_a_capture_stays_one(machine, ends_captures):
    cache, x = GraphCache(True), machine.tensor(torch.rand(3))
    machine.fails, machine.ends_captures = KeyboardInterrupt, ends_captures
    with pytest.raises(KeyboardInterrupt):
        cache.run(Doubling(x))
    assert machine.current == machine.default and not machine.underway and not users(machine)
    machine.fails = None
    run(cache, x)


@torch.no_grad()
def test_a_failure_keeps_no_memory(machine):
    """Its errors would by their frames, if one of them knew the error."""
    machine.fails = lambda: torch.OutOfMemoryError("out of memory")
    cache, x = GraphCache("auto"), machine.tensor(torch.rand(3))
    gc.disable()
    try:
        run(cache, x)
        with pytest.warns(RuntimeWarning, match="out of memory"):
            run(cache, x)
        assert set(machine.graphs) <= set(_graph_site._broken) and not users(machine)
    finally:
        gc.enable()


@torch.no_grad()
def test_an_error_of_a_replay_is_not_hidden(machine, monkeypatch):
    cache, x = GraphCache("auto"), machine.tensor(torch.rand(3))
    for _ in range(3):
        run(cache, x)
    (graph,) = machine.graphs

    def lost():
        raise RuntimeError("CUDA error: the device is lost")

    monkeypatch.setattr(graph, "replay", lost)
    monkeypatch.setattr(_graph_site.torch.cuda.Event, "record", lambda *_: lost())
    with pytest.raises(RuntimeError, match="the device is lost"):
        cache.run(Doubling(x))


@torch.no_grad()
@pytest.mark.parametrize("widths", [(2, 2), (2, 3)], ids=["one graph", "two graphs"])
def test_two_streams_take_turns(machine, widths):
    cache = GraphCache(True)
    for step in range(6):
        stream = machine.streams[0][20 + step % 2]
        with torch.cuda.stream(stream):
            run(cache, machine.tensor(torch.rand(widths[step % 2])))
    assert machine.captures == len(set(widths))


@torch.no_grad()
def test_without_turns_two_streams_race(machine, monkeypatch):
    """So that the test above can fail."""
    cache = GraphCache(True)
    run(cache, machine.tensor(torch.rand(2)))
    monkeypatch.setattr(Site, "turn", lambda self: nullcontext())
    with pytest.raises(Race), torch.cuda.stream(machine.streams[0][20]):
        run(cache, machine.tensor(torch.rand(2)))


def test_threads_take_turns(machine, monkeypatch):
    """Also replicas of torch.nn.DataParallel, which share a cache, each in a thread and on a device of its own."""
    cache, inside, errors = GraphCache(True), {0: 0, 1: 0}, []
    copy_tensors = captured_loop.copy_tensors

    def watched(to, source):
        index = source.current.index
        inside[index] += 1
        assert inside[index] == 1, "two threads in the same graph's tensors"
        threading.Event().wait(0.002)
        copy_tensors(to, source)
        inside[index] -= 1

    monkeypatch.setattr(captured_loop, "copy_tensors", watched)

    @torch.no_grad()
    def work(seed):
        try:
            for step in range(5):
                run(cache, machine.tensor(torch.tensor([float(seed), step]), seed % 2))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert machine.captures == 2


def test_a_graph_captured_in_inference_mode_serves_outside_of_it_too(machine):
    cache = GraphCache(True)
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            run(cache, machine.tensor(torch.rand(3)))
    assert machine.captures == 1


@torch.no_grad()
def test_modes_that_watch_operations_see_them(machine):
    class Watching(TorchDispatchMode):
        seen = 0

        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            Watching.seen += 1
            return function(*args, **(kwargs or {}))

    cache, x = GraphCache(True), machine.tensor(torch.rand(3))
    with Watching():
        run(cache, x)
    assert Watching.seen and machine.captures == 0


def test_copies_have_graphs_of_their_own(machine):
    cache = GraphCache(True)
    with torch.no_grad():
        run(cache, machine.tensor([1.0]))
        for twin in (copy.deepcopy(cache), pickle.loads(pickle.dumps(cache))):
            captures = machine.captures
            run(twin, machine.tensor([1.0]))
            assert machine.captures == captures + 1
