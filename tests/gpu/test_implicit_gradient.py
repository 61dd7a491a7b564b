"""The implicit gradient on a GPU: solvers replayed as CUDA graphs compute what they compute step by step, bit for bit, and make the
host wait no more often."""

import math
import warnings
from dataclasses import replace

import pytest
import torch
from gpu_tests.captures import FAILURES
from torch import nn

import spikeops.nn as snn
from spikeops.nn.feedback import captured_solver, cuda_graph, operators, solvers
from spikeops.nn.feedback.cuda_graph import GraphCache
from spikeops.nn.feedback.implicit_equation import ImplicitEquation, TransposedJacobian
from spikeops.nn.feedback.solvers import Broyden, DampedFixedPoint, Solver

KINDS = [Broyden, DampedFixedPoint]


@pytest.fixture(autouse=True)
def backend():
    """Solvers launch kernels of PyTorch's alone: those of the time loops make no difference here."""


@pytest.fixture(autouse=True)
def reproducible_convolutions():
    cudnn = torch.backends.cudnn
    before = cudnn.allow_tf32, cudnn.deterministic
    cudnn.allow_tf32, cudnn.deterministic = False, True
    yield
    cudnn.allow_tf32, cudnn.deterministic = before


def problem(kind, seed=0, batch=8, steps=30, n=256):
    """A solver of v = J^T v + g with a J that is no contraction, so that few steps do not reach the rounding errors."""
    torch.manual_seed(seed)
    weight, right = torch.randn(n, n, device="cuda") / math.sqrt(n), torch.randn(batch, n, device="cuda")
    slope = (torch.rand(batch, n, device="cuda") < 0.9).float()
    jacobian = TransposedJacobian((slope,), (operators.Operator((operators.Linear(weight, None),)),))
    return kind(ImplicitEquation(jacobian, right, (batch, n)), torch.zeros_like(right), steps)


def same(a, b):
    assert torch.equal(a.value, b.value)
    torch.testing.assert_close(a.trace, b.trace, rtol=0, atol=0, equal_nan=True)
    assert (a.residual, a.steps, a.best_step, a.diverged) == (b.residual, b.steps, b.best_step, b.diverged)


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("steps", [3, 8, 30, 80])
def test_graphs_compute_the_same(kind, steps):
    """With other weights and right-hand sides; for batches that take turns; and without touching solutions given before."""
    cache, kept = GraphCache(True), []
    for seed, batch in enumerate((8, 8, 5, 8, 5)):
        one = problem(kind, seed, batch, steps)
        kept.append((cache.run(one, 0.0), one.run(0.0)))
    for captured, plain in kept:
        same(captured, plain)
    assert kept[0][0].steps == steps or kept[0][0].diverged or steps == 80
    (device,) = cache._devices.values()
    assert [len(captured._graphs) for captured in device._graphs.values()] == [
        min(math.ceil((steps + 1) / 8), captured_solver.MAX_CHUNKS)
    ] * 2


@torch.no_grad()
def test_a_solution_may_come_at_any_place_of_a_chunk():
    cache, one = GraphCache(True), problem(Broyden)
    trace = one.run(0.0).trace
    for norm in trace:
        same(cache.run(one, norm * 1.001), one.run(norm * 1.001))


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_numbers_that_are_not_finite_leave_no_traces(kind):
    cache, one = GraphCache(True), problem(kind)
    for value in (math.nan, math.inf, 0.0):
        bad = replace(one, residual=replace(one.residual, right=torch.full_like(one.residual.right, value)))
        for each in (one, bad, one):
            same(cache.run(each, 1e-6), each.run(1e-6))


def linear(**options):
    torch.manual_seed(1)
    layers = [nn.Linear(64, 48), nn.Linear(48, 64, bias=False)]
    return snn.FeedbackRing(layers, nn.Linear(64, 64), nn.Linear(20, 64), threshold=0.5, **options).cuda(), (20,)


def convolutional(**options):
    """With batch-norms that use the statistics of the batch, pooling and dropout."""
    torch.manual_seed(1)
    layers = [nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6)), nn.AvgPool2d(2)]
    back = nn.ConvTranspose2d(6, 4, 4, 4, bias=False)
    ring = snn.FeedbackRing(layers, back, nn.Conv2d(1, 4, 3, padding=1), threshold=0.5, dropout=0.2, **options)
    return ring.cuda(), (1, 16, 16)


def training_steps(ring, shape, batches):
    """Steps with changing weights."""
    torch.manual_seed(2)
    for batch in batches:
        ring.zero_grad()
        rate = ring(torch.rand(batch, *shape, device="cuda"))
        (rate * torch.randn_like(rate)).sum().backward()
        with torch.no_grad():
            for p in ring.parameters():
                p.add_(torch.randn_like(p), alpha=0.02)


@pytest.fixture
def solved(monkeypatch):
    """The solutions of backward passes, each compared with what its solver comes to without graphs."""
    solutions, run = [], GraphCache.run

    def compared(cache, work, *options):
        outcome = run(cache, work, *options)
        if isinstance(work, Solver):
            same(outcome, work.run(*options))
            solutions.append(outcome)
        return outcome

    monkeypatch.setattr(GraphCache, "run", compared)
    return solutions


@pytest.mark.filterwarnings("ignore:FeedbackRing. the .* solver of the implicit gradient failed")
@pytest.mark.parametrize("mode", [True, "auto"])
@pytest.mark.parametrize("solver", ["broyden", "fixed_point"])
@pytest.mark.parametrize("solver_steps", [3, 30])
@pytest.mark.parametrize("make", [linear, convolutional])
def test_backward_passes_of_rings(make, solver, solver_steps, mode, solved):
    options = dict(time_steps=8, solver=solver, solver_steps=solver_steps)
    batches = [4, 4, 3, 4, 3, 4]
    ring, shape = make(cuda_graph=mode, **options)
    training_steps(ring, shape, batches)
    (device,) = ring.graphs._devices.values()
    captured = [one for one in device._graphs.values() if isinstance(one, captured_solver.CapturedSolver)]
    assert len(captured) == 2 and len({g.pool() for one in device._graphs.values() for g in one._graphs}) == 1
    assert captured[0]._scratch is captured[1]._scratch
    assert len(solved) == len(batches) and any(solution.value.any() for solution in solved)


def test_the_gradient_is_that_of_the_cpu():
    """Of numbers that floats hold exactly, so that every order of adding gives the same spikes."""
    ring, shape = linear(cuda_graph=True, time_steps=8)
    with torch.no_grad():
        for p in ring.parameters():
            p.copy_(torch.randint(-4, 5, p.shape) / (8 if p.shape[-1:] == shape else 32))
    x, weights = torch.randint(0, 9, (6, *shape)) / 8, torch.randn(6, 64)

    def gradients(device):
        ring.to(device).zero_grad()
        rate = ring(x.to(device))
        (rate * weights.to(device)).sum().backward()
        return [rate.detach().cpu(), *(p.grad.cpu() for p in ring.parameters())]

    found, again, expected = gradients("cuda"), gradients("cuda"), gradients("cpu")
    assert torch.equal(found[0], expected[0]) and expected[0].any() and ring.last_residual < 1e-3
    for a, b, c in zip(found, again, expected, strict=True):
        assert (a - c).abs().max() <= 1e-3 * c.abs().max() and (b - c).abs().max() <= 1e-3 * c.abs().max()


def waits(function):
    """How often the host waits for the GPU, and what comes out."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            outcome = function()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return sum("called a synchronizing" in str(warning.message) for warning in caught), outcome


@torch.no_grad()
@pytest.mark.parametrize("kind", KINDS)
def test_graphs_do_not_wait_in_every_step(kind):
    cache, one = GraphCache(True), problem(kind, steps=24)
    cache.run(one, 0.0)
    count, solution = waits(lambda: cache.run(one, 0.0))
    assert solution.steps == 24 and count in range(4, 9)


@pytest.mark.parametrize("solver", [solvers.broyden, solvers.damped_fixed_point])
def test_the_solvers_do_not_wait_in_every_step(solver, monkeypatch):
    torch.manual_seed(1)
    matrix = torch.randn(256, 256, device="cuda") / 17  # so that 24 steps do not reach the rounding errors
    right = torch.randn(8, 256, device="cuda")
    found = []
    for at_once, allowed in ((1, range(25, 30)), (8, range(4, 9))):
        monkeypatch.setitem(solvers.READ_AT_ONCE, "cuda", at_once)
        count, solution = waits(lambda: solver(lambda v: v @ matrix - v + right, torch.zeros_like(right), 24, 0.0))
        found.append(solution)
        assert count in allowed
    often, seldom = found
    assert often.steps == seldom.steps == 24 and often.trace == seldom.trace
    assert torch.equal(often.value, seldom.value)


@pytest.mark.parametrize("first", [0, 16])
@pytest.mark.parametrize("fail", list(FAILURES))
def test_a_solver_that_cannot_be_captured_just_runs(monkeypatch, solved, fail, first):
    """Whichever of its chunks it is that fails."""
    take = Solver.take

    def take_or_fail(self, numbers, *args):
        if len(self.start) == 3 and numbers.start == first and torch.cuda.is_current_stream_capturing():
            fail()
        return take(self, numbers, *args)

    ring, shape = linear(cuda_graph="auto", time_steps=8)
    with monkeypatch.context() as patch:
        patch.setattr(Solver, "take", take_or_fail)
        training_steps(ring, shape, [4, 4, 3])
        with pytest.warns(RuntimeWarning, match=f"a solver of the implicit gradient .*{FAILURES[fail]}"):
            training_steps(ring, shape, [3])
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "FeedbackRing: a .* could not be captured", RuntimeWarning)
        training_steps(ring, shape, [3, 4, 5, 3, 4, 5])
    (device,) = ring.graphs._devices.values()
    kinds = [one._own for one in device._graphs.values() if isinstance(one, captured_solver.CapturedSolver)]
    assert sorted(len(solver.start) for solver in kinds) == [4, 5]
    assert len(solved) == 10 and torch.cuda.current_stream() == torch.cuda.default_stream()


def test_unknown_modules_run_plainly(monkeypatch, solved):
    class Squash(nn.Module):
        def forward(self, x):
            return torch.tanh(x)

    monkeypatch.setattr(cuda_graph, "CapturedSolver", None)
    torch.manual_seed(1)
    layers = [nn.Sequential(nn.Linear(16, 16), Squash())]
    ring = snn.FeedbackRing(layers, nn.Linear(16, 16), nn.Linear(20, 16), threshold=0.5, time_steps=8, cuda_graph=True).cuda()
    training_steps(ring, (20,), [4, 4, 4])
    assert len(solved) == 3 and not ring.graphs._devices
