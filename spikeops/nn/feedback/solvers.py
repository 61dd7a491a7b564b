"""Root solvers for the implicit gradient: the limited-memory Broyden method and the damped fixed point."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch

# As published: low-rank updates that are kept, the residual that stops the iteration, its growth that ends it as diverging.
MEMORY = 27
TOLERANCE = 2e-10
GROWTH_LIMIT = 1e6

Residual = Callable[[torch.Tensor], torch.Tensor]


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

    def offer(self, value: torch.Tensor, residual: torch.Tensor) -> float:
        """Note an iterate, and keep it if it is the best so far. Returns its residual norm; NaN is never the best."""
        norm = torch.linalg.vector_norm(residual).item()
        self.trace.append(norm)
        if norm < self.residual:
            self.value, self.residual, self.best_step = value, norm, self.steps
        return norm


def broyden(residual: Residual, start: torch.Tensor, max_steps: int, tolerance: float | None = None) -> Solution:
    """Root of ``residual`` by Broyden's "good" method with a limited memory and without line search.

    As in the published code of IDE (which took it from deep equilibrium models, Bai et al., NeurIPS 2019): per sample an
    inverse Jacobian H = -I + U V^T; the first step is ``-residual(start)``, the later ones ``-H residual``. Each step adds a
    rank-one update, the oldest of 27 is overwritten. NaN entries of an update (0 / 0 once converged) are set to 0. The
    residual norm is taken over the whole batch.

    Args:
        residual: (B, n) -> (B, n).
        start: (B, n).
        max_steps: at most so many steps.
        tolerance: residual norm to stop at; default 2e-10 * sqrt(B n), out of reach of float32.
    """
    tolerance = TOLERANCE * math.sqrt(start.numel()) if tolerance is None else tolerance
    batch, n = start.shape
    memory = max(1, min(max_steps, MEMORY))
    # U and V^T with a row for each update.
    us, vs = (start.new_empty(batch, memory, n) for _ in range(2))
    x, r = start, residual(start)
    result = Solution(x)
    initial = norm = result.offer(x, r)
    # H r at x: known from the step that led away from there, except for the first step, which has the other sign.
    step, hr = -r, -r
    while norm >= tolerance and result.steps < max_steps:
        x, r_before = x + step, r
        r = residual(x)
        result.steps += 1
        norm = result.offer(x, r)
        if norm < tolerance or _stalled(result, tolerance):
            break
        if not norm <= initial * GROWTH_LIMIT:
            result.diverged = True
            break
        used, slot = min(result.steps - 1, memory), (result.steps - 1) % memory
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
    return result


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
    tolerance = TOLERANCE * math.sqrt(start.numel()) if tolerance is None else tolerance
    x, r = start, residual(start)
    result = Solution(x)
    initial = norm = result.offer(x, r)
    while norm >= tolerance and result.steps < steps:
        x = x + r / 2
        r = residual(x)
        result.steps += 1
        norm = result.offer(x, r)
        if not norm <= initial * GROWTH_LIMIT:
            result.diverged = True
            break
    return result
