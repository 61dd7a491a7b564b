"""Root solvers for the implicit gradient: the limited-memory Broyden method and the damped fixed point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count, islice

import torch

# As published: low-rank updates that are kept, the residual that stops the iteration, its growth that ends it as diverging.
MEMORY = 27
TOLERANCE = 2e-10
GROWTH_LIMIT = 1e6
# Iterates whose residual norms are read at once. On a GPU each reading waits for all that was launched; those that come after the
# last one wanted are thrown away.
READ_AT_ONCE = {"cpu": 1, "cuda": 8}

Residual = Callable[[torch.Tensor], torch.Tensor]
# With their residuals, without end.
Iterates = Iterator[tuple[torch.Tensor, torch.Tensor]]


@dataclass
class Solution:
    """Result of a solver.

    Attributes:
        value: the iterate with the smallest residual.
        residual: its residual norm, over the whole batch.
        steps: steps taken.
        best_step: step after which ``value`` was the iterate.
        diverged: the residual grew beyond the limit.
        trace: residual norm of every iterate, the start first.
    """

    value: torch.Tensor
    residual: float = math.inf
    steps: int = 0
    best_step: int = 0
    diverged: bool = False
    trace: list[float] = field(default_factory=list)

    def offer(self, value: torch.Tensor, norm: float) -> None:
        """Note an iterate with its residual norm, and keep it if it is the best so far. NaN is never the best."""
        self.steps = len(self.trace)
        self.trace.append(norm)
        if norm < self.residual:
            self.value, self.residual, self.best_step = value, norm, self.steps


def broyden(residual: Residual, start: torch.Tensor, max_steps: int, tolerance: float | None = None) -> Solution:
    """Root of ``residual`` by Broyden's "good" method with a limited memory and without line search.

    As in the published code of IDE (which took it from deep equilibrium models, Bai et al., NeurIPS 2019): per sample an
    inverse Jacobian H = -I + U V^T; the first step is ``-residual(start)``, the later ones ``-H residual``. Each step adds a
    rank-one update, the oldest of 27 is overwritten. NaN entries of an update (0 / 0 once converged) are set to 0. The
    residual norm is taken over the whole batch.

    Args:
        residual: (B, n) -> (B, n). On a GPU it is called for up to 7 steps more than the solution has taken, never more than
            ``max_steps`` after the start.
        start: (B, n).
        max_steps: at most so many steps.
        tolerance: residual norm to stop at; default 2e-10 * sqrt(B n), out of reach of float32.
    """
    memory = max(1, min(max_steps, MEMORY))
    return _best_of(_broyden_iterates(residual, start, memory), start, max_steps, tolerance, _stalled)


def _broyden_iterates(residual: Residual, start: torch.Tensor, memory: int) -> Iterates:
    batch, n = start.shape
    # U and V^T with a row for each update.
    us, vs = (start.new_empty(batch, memory, n) for _ in range(2))
    x, r = start, residual(start)
    yield x, r
    # H r at x: known from the step that led away from there, except for the first step, which has the other sign.
    step, hr = -r, -r
    for updates in count():
        x, r_before = x + step, r
        r = residual(x)
        yield x, r
        used, slot = min(updates, memory), updates % memory
        v = _inverse_times(vs[:, :used], us[:, :used], step)  # H^T step
        hr_before, hr = hr, _inverse_times(us[:, :used], vs[:, :used], r)
        u = (step - (hr - hr_before)) / _dot(v, r - r_before)
        u, v = (torch.nan_to_num(value, nan=0.0, posinf=math.inf, neginf=-math.inf) for value in (u, v))
        # H r with the new H: its oldest update gives way to the new one.
        if used == memory:
            hr = hr - us[:, slot] * _dot(vs[:, slot], r)
        us[:, slot], vs[:, slot] = u, v
        hr = torch.addcmul(hr, u, _dot(v, r))
        step = -hr


def _inverse_times(us: torch.Tensor, vs: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """H g for H = -I + U V^T; H^T g with U and V exchanged."""
    weights = torch.bmm(vs, g[:, :, None])
    return torch.baddbmm(g[:, None], weights.transpose(1, 2), us, beta=-1)[:, 0]


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(1, keepdim=True)


def _stalled(result: Solution, tolerance: float) -> bool:
    """Close to the tolerance and no more progress."""
    last = result.trace[-30:]
    return result.steps > 30 and last[-1] < 3 * tolerance and max(last) < 1.3 * min(last)


def damped_fixed_point(residual: Residual, start: torch.Tensor, steps: int, tolerance: float | None = None) -> Solution:
    """Root of ``residual(x) = f(x) - x`` by x <- x + residual(x) / 2 = (x + f(x)) / 2.

    Converges where the eigenvalues of f's Jacobian have real parts below 1 and it is not too far from symmetric; slower than
    :func:`broyden`, but needs no memory. Arguments as there.
    """
    return _best_of(_damped_iterates(residual, start), start, steps, tolerance, lambda result, tolerance: False)


def _damped_iterates(residual: Residual, start: torch.Tensor) -> Iterates:
    x, r = start, residual(start)
    while True:
        yield x, r
        x = x + r / 2
        r = residual(x)


def _best_of(iterates: Iterates, start: torch.Tensor, max_steps: int, tolerance: float | None, stalled: Callable) -> Solution:
    """Takes steps until the residual is below the tolerance, stalls, or has grown too far."""
    tolerance = TOLERANCE * math.sqrt(start.numel()) if tolerance is None else tolerance
    result = Solution(start)
    at_once = READ_AT_ONCE.get(start.device.type, 1)
    with_norms = ((x, torch.linalg.vector_norm(r)) for x, r in islice(iterates, max_steps + 1))
    while some := list(islice(with_norms, at_once)):
        values, norms = zip(*some)
        for value, norm in zip(values, torch.stack(norms).tolist()):
            result.offer(value, norm)
            if norm < tolerance or stalled(result, tolerance):
                return result
            if not norm <= result.trace[0] * GROWTH_LIMIT:
                result.diverged = result.steps > 0  # a start that is not finite has not grown
                return result
    return result
