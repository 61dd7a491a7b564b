"""Solvers of the implicit gradient as CUDA graphs compute what they compute step by step, bit for bit. The GPU is a stand-in that
computes on the CPU; a GPU's own turn comes in tests/gpu."""

import gc
import math
import warnings
import weakref
from contextlib import nullcontext
from dataclasses import replace

import pytest
import torch
from feedback_tests.cuda_stand_in import Doubling, Machine, Race
from torch import nn

import spikeops.nn as snn
from spikeops import _graph_site
from spikeops.nn.feedback import captured_solver, cuda_graph, nested, solvers
from spikeops.nn.feedback.cuda_graph import MAX_GRAPHS, GraphCache
from spikeops.nn.feedback.solvers import Solver


@pytest.fixture
def machine(monkeypatch):
    monkeypatch.setattr(_graph_site, "_broken", [])
    monkeypatch.setattr(_graph_site, "_sites", weakref.WeakValueDictionary())
    machine = Machine(monkeypatch)
    machine.capture_solvers(monkeypatch)
    return machine


class Squash(nn.Module):
    """Not known to a ring."""

    def forward(self, x):
        return torch.tanh(x)


def linear(**options):
    return snn.FeedbackRing([nn.Linear(12, 10), nn.Linear(10, 12, bias=False)], nn.Linear(12, 12), nn.Linear(4, 12), **options)


def convolutional(last=(), **options):
    layers = [nn.Sequential(nn.Conv2d(4, 3, 3, 1, 1), nn.BatchNorm2d(3)), nn.Sequential(nn.AvgPool2d(2), *last)]
    back = nn.ConvTranspose2d(3, 4, 3, 2, 1, 1, bias=False)
    return snn.FeedbackRing(layers, back, nn.Conv2d(1, 4, 3, padding=1), dropout=0.2, **options)


RINGS = {"linear": (linear, (4,)), "convolutional": (convolutional, (1, 4, 4))}
OPTIONS = dict(time_steps=6, threshold=0.5)


def problem(kind="linear", solver="broyden", seed=1, batch=3, steps=30, dtype=torch.float32):
    """The solver of a backward pass, and the tolerance, on the CPU."""
    torch.manual_seed(seed)
    make, shape = RINGS[kind]
    found, run = [], Solver.run
    ring = make(solver=solver, solver_steps=steps, **OPTIONS).to(dtype)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of solvers that find nothing
        patch.setattr(Solver, "run", lambda self, tolerance: found.append((self, tolerance)) or run(self, tolerance))
        rate = ring(torch.rand(batch, *shape, dtype=dtype))
        (rate * torch.randn_like(rate)).sum().backward()
    return found[0]


def on(machine, solver):
    return nested.map_tensors(solver, machine.tensor)


@torch.no_grad()
def check(cache, machine, solver, tolerance):
    """The solution, compared with that of the solver that just runs; and both values."""
    expected = solver.run(tolerance)
    solution = cache.run(on(machine, solver), tolerance)
    value = solution.value.as_subclass(torch.Tensor)
    assert torch.equal(value, expected.value)
    torch.testing.assert_close(solution.trace, expected.trace, rtol=0, atol=0, equal_nan=True)
    for name in ("residual", "steps", "best_step", "diverged"):
        assert getattr(solution, name) == getattr(expected, name), name
    return solution, value, expected.value


@pytest.mark.parametrize("solver", ["broyden", "fixed_point"])
@pytest.mark.parametrize("kind", list(RINGS))
@pytest.mark.parametrize("steps", [1, 7, 8, 30, 80])
def test_graphs_compute_the_same(machine, kind, solver, steps):
    """With other weights, gradients and masks; for batches that take turns; and without touching solutions given before."""
    cache, kept = GraphCache(True), []
    for seed, batch in enumerate((3, 3, 2, 3, 2)):
        one, _ = problem(kind, solver, seed, batch, steps)
        solution, *values = check(cache, machine, one, 0.0)  # takes all steps
        assert solution.steps == steps or solution.diverged
        kept.append(values)
    assert machine.captures == 2 * min(math.ceil((steps + 1) / 8), captured_solver.MAX_CHUNKS)
    for value, expected in kept:
        assert torch.equal(value, expected)
    assert not all(torch.equal(expected, kept[0][1]) for _, expected in kept[1:])


def test_a_solution_may_come_at_any_place_of_a_chunk(machine):
    """Graphs of chunks after that one are not replayed."""
    cache, (one, _) = GraphCache(True), problem("convolutional")
    with torch.no_grad():
        trace = one.run(0.0).trace
    found = set()
    for norm in trace:
        before = sum(graph.replays for graph in machine.graphs)
        solution, *_ = check(cache, machine, one, norm * (1 + 1e-6))
        found.add(solution.steps)
        assert sum(graph.replays for graph in machine.graphs) == before + solution.steps // 8 + 1
    assert machine.captures == 4 and {steps // 8 for steps in found} == {0, 1, 2, 3} and len(found) > 12


def test_chunks_without_a_graph_go_on_from_those_with_one(machine, monkeypatch):
    monkeypatch.setattr(captured_solver, "MAX_CHUNKS", 2)
    cache = GraphCache(True)
    for seed in (1, 2):
        solution, *_ = check(cache, machine, problem("convolutional", seed=seed)[0], 0.0)
        assert solution.steps == 30 and solution.best_step > 16
    assert machine.captures == 2


@pytest.mark.parametrize("solver", ["broyden", "fixed_point"])
@pytest.mark.parametrize("value", [math.nan, math.inf, 0.0])
def test_numbers_that_are_not_finite_leave_no_traces(machine, solver, value):
    cache, (one, tolerance) = GraphCache(True), problem(solver=solver)
    bad = replace(one, residual=replace(one.residual, right=torch.full_like(one.residual.right, value)))
    for each in (one, bad, one, bad):
        check(cache, machine, each, tolerance)
    assert machine.captures == 4


def test_auto_captures_what_comes_again(machine):
    cache = GraphCache("auto")
    for batch, captures in ((3, 0), (3, 4), (3, 4), (2, 4), (2, 8), (3, 8)):
        check(cache, machine, *problem(batch=batch))
        assert machine.captures == captures


@pytest.mark.parametrize("batches", [(3, 3), (3, 2)], ids=["one solver", "two solvers"])
def test_two_streams_take_turns(machine, batches):
    """Also in the memory that solvers share."""
    cache = GraphCache(True)
    for step in range(6):
        with torch.cuda.stream(machine.streams[0][20 + step % 2]):
            check(cache, machine, *problem(batch=batches[step % 2]))
    assert machine.captures == 4 * len(set(batches))


def test_without_turns_two_streams_race(machine, monkeypatch):
    """So that the test above can fail."""
    cache, (one, tolerance) = GraphCache(True), problem()
    check(cache, machine, one, tolerance)
    monkeypatch.setattr(_graph_site.Site, "turn", lambda self: nullcontext())
    with pytest.raises(Race), torch.cuda.stream(machine.streams[0][20]):
        check(cache, machine, one, tolerance)


def alive(machine):
    return len(set(machine.graphs) - set(_graph_site._broken))


def failing_chunk(machine, monkeypatch, first):
    """The chunk that begins with this iterate cannot be captured."""
    take = Solver.take

    def take_or_fail(self, numbers, *args):
        if machine.capturing is not None and numbers.start == first:
            raise RuntimeError("not permitted while capturing")
        return take(self, numbers, *args)

    monkeypatch.setattr(Solver, "take", take_or_fail)


@pytest.mark.parametrize("ends_captures", [True, False])
@pytest.mark.parametrize("first", [0, 16])
def test_auto_says_why_it_does_not_capture_and_just_runs(machine, monkeypatch, first, ends_captures):
    cache, machine.ends_captures = GraphCache("auto"), ends_captures
    with monkeypatch.context() as patch:
        failing_chunk(machine, patch, first)
        check(cache, machine, *problem())
        with pytest.warns(RuntimeWarning, match="a solver of the implicit gradient could not be captured.*not permitted") as caught:
            check(cache, machine, *problem())
    assert len(caught) == 1
    assert machine.current == machine.default and not machine.underway and not machine.generator_captures
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tries = machine.captures
        check(cache, machine, *problem())  # says nothing more
        assert machine.captures == tries
        gc.collect()
        assert alive(machine) == 0
        for _ in range(3):  # others may have graphs
            cache.run(Doubling(machine.tensor(torch.rand(2))))
            check(cache, machine, *problem(steps=5))
    assert alive(machine) == 2


def test_true_raises_what_failed(machine, monkeypatch):
    cache, (one, tolerance) = GraphCache(True), problem()
    with monkeypatch.context() as patch:
        failing_chunk(machine, patch, 8)
        with torch.no_grad(), pytest.raises(RuntimeError, match="the solver .* not permitted.*smaller batch, or cuda_graph=False"):
            cache.run(on(machine, one), tolerance)
    check(cache, machine, one, tolerance)


def test_a_solver_counts_as_one_among_the_loops(machine):
    """The one that was not used for the longest time gives way, with all its graphs."""
    cache, batches = GraphCache(True), range(2, 2 + MAX_GRAPHS)
    with torch.no_grad():
        cache.run(Doubling(machine.tensor(torch.rand(2))))
    for _ in range(2):
        for batch in batches:
            check(cache, machine, problem(batch=batch, steps=10)[0], 0.0)
    assert machine.captures == 1 + 2 * MAX_GRAPHS
    assert all(graph.replays == 2 for graph in machine.graphs) and alive(machine) == 2 * MAX_GRAPHS
    with torch.no_grad():
        for _ in range(2):
            cache.run(Doubling(machine.tensor(torch.rand(3))))
    assert alive(machine) == 2 * MAX_GRAPHS - 1


def scratches(cache):
    """By batch."""
    (device,) = cache._devices.values()
    return {len(captured._own.start): captured._scratch for captured in device._graphs.values()}


def test_solvers_share_the_memory_of_their_updates(machine):
    cache = GraphCache(True)
    for batch in (3, 2, 3, 4, 2):
        check(cache, machine, *problem(batch=batch))
    found = scratches(cache)
    assert found[2] is found[3] and found[4].numel() == 2 * 4 * solvers.MEMORY * 12
    check(cache, machine, *problem(batch=1, dtype=torch.float64))
    check(cache, machine, *problem(batch=5))
    found = scratches(cache)
    assert found[1].dtype == torch.float64 and found[5].dtype == torch.float32


@pytest.mark.parametrize("kind", list(RINGS))
def test_solvers_of_other_weights_and_gradients_share_a_graph_and_others_do_not(kind):
    def key(**options):
        return nested.map_tensors(problem(kind, **options)[0], nested.describe)

    keys = {key(), key(solver="fixed_point"), key(batch=2), key(steps=20), key(dtype=torch.float64)}
    assert key(seed=2) == key(seed=3) == key() and len(keys) == 5


def test_unknown_modules_are_not_captured(machine, monkeypatch):
    found, x = [], torch.rand(2, 1, 4, 4)
    monkeypatch.setattr(GraphCache, "run", lambda self, work, *options: found.append(work) or work.run(*options))
    for last in ((), (Squash(),)):
        convolutional(last, **OPTIONS)(x).sum().backward()
    assert [cuda_graph._can_be_captured(work) for work in found] == [True, True, False, False]


def test_on_the_cpu_solvers_just_run(monkeypatch):
    monkeypatch.setattr(cuda_graph, "DeviceGraphs", None)
    ring = linear(cuda_graph=True, **OPTIONS)
    ring(torch.rand(3, 4)).sum().backward()
    assert ring.backward_passes == 1
