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
    memory = min(max_steps, MEMORY)
    # Rows are the columns u of U and the rows v^T of V^T.
    us, vs = (start.new_zeros(batch, max(memory, 1), n) for _ in range(2))
    x, r = start, residual(start)
    result = Solution(x)
    initial = norm = result.offer(x, r)
    step = -r
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
        v = _rows_times_inverse(us[:, :used], vs[:, :used], step)
        change = r - r_before
        u = step - _inverse_times(us[:, :used], vs[:, :used], change)
        u = u / (v * change).sum(1, keepdim=True)
        vs[:, slot] = torch.nan_to_num_(v, nan=0.0, posinf=math.inf, neginf=-math.inf)
        us[:, slot] = torch.nan_to_num_(u, nan=0.0, posinf=math.inf, neginf=-math.inf)
        used = min(result.steps, memory)
        step = -_inverse_times(us[:, :used], vs[:, :used], r)
    return result


def _inverse_times(us: torch.Tensor, vs: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """H g for H = -I + U V^T."""
    weights = torch.bmm(vs, g[:, :, None])
    return torch.baddbmm(g[:, None], weights.transpose(1, 2), us, beta=-1)[:, 0]


def _rows_times_inverse(us: torch.Tensor, vs: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """g^T H."""
    return _inverse_times(vs, us, g)


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
