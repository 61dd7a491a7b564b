"""How often the solvers read residual norms changes nothing but the number of evaluations that nobody wanted."""

import math

import pytest
import torch

from spikeops.nn.feedback import solvers

SOLVERS = [solvers.broyden, solvers.damped_fixed_point]


def linear(spectrum, scale=1.0):
    """x -> J x - x + b with a J of that spectral radius, b of that size, (3, 12)."""
    draw = torch.Generator().manual_seed(3)
    matrix, b = (torch.randn(*shape, generator=draw, dtype=torch.float64) for shape in ((12, 12), (3, 12)))
    matrix = spectrum * matrix / torch.linalg.eigvals(matrix).abs().max()
    return lambda x: x @ matrix.T - x + scale * b


def stalling():
    """Close to the tolerance of 1, and never below."""
    draw = torch.Generator().manual_seed(4)
    return lambda x: torch.randn(3, 12, generator=draw, dtype=torch.float64).mul(1e-3) + 2 / 6


PROBLEMS = {
    "converges": (lambda: linear(0.7), 60, 1e-3),
    "converges at the start": (lambda: linear(0.7, 1e-9), 60, 1e-3),
    "runs out of steps": (lambda: linear(0.9), 10, 1e-12),
    "takes no step": (lambda: linear(0.9), 0, 1e-12),
    "forgets its first updates": (lambda: linear(3.0), 40, 1e-40),
    "diverges": (lambda: lambda x: x * 100 + 1, 60, 1e-3),
    "stalls": (stalling, 60, 1.0),
    "is not a number": (lambda: lambda x: x + math.nan, 60, 1e-3),
    "becomes infinite": (lambda: lambda x: x.abs().exp().exp().exp() + 1, 60, 1e-3),
}


def solve(solver, name, at_once, monkeypatch):
    """The solution, and the numbers of evaluations and of readings."""
    make, max_steps, tolerance = PROBLEMS[name]
    monkeypatch.setitem(solvers.READ_AT_ONCE, "cpu", at_once)
    residual, evaluations, readings, tolist = make(), [], [], torch.Tensor.tolist
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "tolist", lambda self: readings.append(0) or tolist(self))
        patch.setattr(torch.Tensor, "item", None)
        start = torch.zeros(3, 12, dtype=torch.float64)
        solution = solver(lambda x: evaluations.append(0) or residual(x), start, max_steps, tolerance)
    return solution, len(evaluations), len(readings)


@pytest.mark.parametrize("name", list(PROBLEMS))
@pytest.mark.parametrize("solver", SOLVERS)
def test_solutions_do_not_depend_on_how_often_norms_are_read(solver, name, monkeypatch):
    expected, evaluations, readings = solve(solver, name, 1, monkeypatch)
    assert evaluations == readings == expected.steps + 1 == len(expected.trace)
    for at_once in (2, 3, 8, 100):
        solution, evaluations, readings = solve(solver, name, at_once, monkeypatch)
        assert torch.equal(solution.value, expected.value)
        assert (solution.steps, solution.best_step, solution.diverged) == (expected.steps, expected.best_step, expected.diverged)
        torch.testing.assert_close(solution.trace, expected.trace, rtol=0, atol=0, equal_nan=True)
        assert solution.residual == expected.residual
        assert evaluations <= min(PROBLEMS[name][1] + 1, expected.steps + at_once)
        assert readings == math.ceil((expected.steps + 1) / at_once)


def test_the_problems_are_what_they_are_called(monkeypatch):
    found = {name: solve(solvers.broyden, name, 1, monkeypatch)[0] for name in PROBLEMS}
    assert 2 < found["converges"].steps < 60 and found["converges"].residual < 1e-3
    assert found["converges at the start"].steps == 0
    assert found["runs out of steps"].steps == 10
    assert found["forgets its first updates"].steps > solvers.MEMORY + 2
    assert solve(solvers.damped_fixed_point, "diverges", 1, monkeypatch)[0].diverged
    assert found["becomes infinite"].diverged
    assert 30 < found["stalls"].steps < 60 and not found["stalls"].diverged
    assert found["is not a number"].steps == 0 and not found["is not a number"].diverged
