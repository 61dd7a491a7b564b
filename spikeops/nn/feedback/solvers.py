"""Root solvers for the implicit gradient: the limited-memory Broyden method and the damped fixed point."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

import torch

# As published: low-rank updates that are kept, the residual that stops the iteration, its growth that ends it as diverging.
MEMORY = 27
TOLERANCE = 2e-10
GROWTH_LIMIT = 1e6
# Iterates whose residual norms are read at once. On a GPU each reading waits for all that was launched; those that come after the
# last one wanted are thrown away.
READ_AT_ONCE = {"cpu": 1, "cuda": 8}

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

    def offer(self, value: torch.Tensor, norm: float) -> None:
        """Note an iterate with its residual norm, and keep it if it is the best so far. NaN is never the best."""
        self.steps = len(self.trace)
        self.trace.append(norm)
        if norm < self.residual:
            self.value, self.residual, self.best_step = value, norm, self.steps


@dataclass(frozen=True)
class Chunk:
    """Iterates whose residual norms are read at once.

    Attributes:
        values: (B, n) each.
        norms: of their residuals, over the whole batch, (iterates,).
        last: all that the solver goes on from.
    """

    values: tuple[torch.Tensor, ...]
    norms: torch.Tensor
    last: Iterate | BroydenIterate


@dataclass(frozen=True)
class Solver:
    """A root solver at work on a problem. Its iterates have numbers, the start 0.

    Attributes:
        residual: (B, n) -> (B, n).
        start: (B, n).
        max_steps: at most so many steps.
    """

    residual: Residual
    start: torch.Tensor
    max_steps: int

    title: ClassVar[str] = "solver of the implicit gradient"

    @property
    def device(self) -> torch.device:
        return self.start.device

    def run(self, tolerance: float) -> Solution:
        """Takes steps until the residual is below the tolerance, stalls, or has grown too far."""
        return self.best_of(self._chunks(), tolerance)

    def _chunks(self) -> Iterator[Chunk]:
        room, chunk = self.start.new_empty(self.room_shape()), None
        for numbers in self.readings():
            chunk = self.take(numbers, room, chunk and chunk.last)
            yield chunk

    def room_shape(self) -> tuple[int, ...]:
        """Of the memory that all iterates share. What is in it before the first one does not matter."""
        return (0,)

    def readings(self) -> Iterator[range]:
        """Numbers of the iterates of each chunk."""
        at_once, end = READ_AT_ONCE.get(self.start.device.type, 1), self.max_steps + 1
        return (range(first, min(first + at_once, end)) for first in range(0, end, at_once))

    def take(self, numbers: range, room: torch.Tensor, last: Iterate | BroydenIterate | None) -> Chunk:
        """The iterates of these numbers, ``last`` the one before them."""
        values, norms = [], []
        for number in numbers:
            last = self._next(number, room, last) if number else self._first()
            values.append(last.x)
            norms.append(torch.linalg.vector_norm(last.r))
        return Chunk(tuple(values), torch.stack(norms), last)

    def best_of(self, chunks: Iterable[Chunk], tolerance: float, keep: Callable = lambda value: value) -> Solution:
        """The solution among these iterates.

        Args:
            keep: makes the value of an iterate last beyond its chunk.
        """
        solution = Solution(self.start)
        for chunk in chunks:
            best = solution.value
            ended = any(self._ends(solution, *iterate, tolerance) for iterate in zip(chunk.values, chunk.norms.tolist()))
            if solution.value is not best:
                solution.value = keep(solution.value)
            if ended:
                break
        return solution

    def _ends(self, solution: Solution, value: torch.Tensor, norm: float, tolerance: float) -> bool:
        solution.offer(value, norm)
        if norm < tolerance or self._stalled(solution, tolerance):
            return True
        if norm <= solution.trace[0] * GROWTH_LIMIT:
            return False
        solution.diverged = solution.steps > 0  # a start that is not finite has not grown
        return True

    def _stalled(self, solution: Solution, tolerance: float) -> bool:
        return False


@dataclass(frozen=True)
class Iterate:
    """An iterate x (B, n) and its residual r."""

    x: torch.Tensor
    r: torch.Tensor


@dataclass(frozen=True)
class BroydenIterate:
    """An iterate x (B, n) of Broyden's method, its residual r, and how it came about.

    Attributes:
        step: that led here; for the start, that leads away from it.
        r_before: residual of the iterate before.
        hr: H r there, with the H of that time.
    """

    x: torch.Tensor
    r: torch.Tensor
    step: torch.Tensor
    r_before: torch.Tensor
    hr: torch.Tensor


class Broyden(Solver):
    """See :func:`broyden`. The room is U and V^T, with a row for each update: (2, B, memory, n)."""

    def room_shape(self) -> tuple[int, ...]:
        batch, n = self.start.shape
        return 2, batch, max(1, min(self.max_steps, MEMORY)), n

    def _first(self) -> BroydenIterate:
        r = self.residual(self.start)
        step = hr = -r  # later steps have the other sign
        return BroydenIterate(self.start, r, step, r, hr)

    def _next(self, number: int, room: torch.Tensor, last: BroydenIterate) -> BroydenIterate:
        step, hr = (last.step, last.hr) if number == 1 else self._update(number - 2, room, last)
        x = last.x + step
        return BroydenIterate(x, self.residual(x), step, last.r, hr)

    def _update(self, updates: int, room: torch.Tensor, last: BroydenIterate) -> tuple[torch.Tensor, torch.Tensor]:
        """The step to take, and H r, with an H that has learnt from the last step. ``updates``: how many came before."""
        us, vs = room
        r, memory = last.r, us.shape[1]
        used, slot = min(updates, memory), updates % memory
        update = r.new_empty(2, *r.shape)
        u, v = update
        _inverse_times(vs[:, :used], us[:, :used], last.step, out=v)  # H^T step
        hr = _inverse_times(us[:, :used], vs[:, :used], r)
        torch.div(last.step - (hr - last.hr), _dot(v, r - last.r_before), out=u)
        # H r with the new H: its oldest update gives way to the new one.
        if used == memory:
            hr = hr - us[:, slot] * _dot(vs[:, slot], r)
        torch.nan_to_num(update, nan=0.0, posinf=math.inf, neginf=-math.inf, out=room[:, :, slot])
        hr = torch.addcmul(hr, us[:, slot], _dot(vs[:, slot], r))
        return -hr, hr

    def _stalled(self, solution: Solution, tolerance: float) -> bool:
        """Close to the tolerance and no more progress."""
        last = solution.trace[-30:]
        return solution.steps > 30 and last[-1] < 3 * tolerance and max(last) < 1.3 * min(last)


def _inverse_times(us: torch.Tensor, vs: torch.Tensor, g: torch.Tensor, out: torch.Tensor | None = None) -> torch.Tensor:
    """H g for H = -I + U V^T; H^T g with U and V exchanged."""
    weights = torch.bmm(vs, g[:, :, None])
    out = None if out is None else out[:, None]
    return torch.baddbmm(g[:, None], weights.transpose(1, 2), us, beta=-1, out=out)[:, 0]


def _dot(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return (a * b).sum(1, keepdim=True)


class DampedFixedPoint(Solver):
    """See :func:`damped_fixed_point`."""

    def _first(self) -> Iterate:
        return Iterate(self.start, self.residual(self.start))

    def _next(self, number: int, room: torch.Tensor, last: Iterate) -> Iterate:
        x = last.x + last.r / 2
        return Iterate(x, self.residual(x))


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
    return Broyden(residual, start, max_steps).run(_published(start) if tolerance is None else tolerance)


def damped_fixed_point(residual: Residual, start: torch.Tensor, max_steps: int, tolerance: float | None = None) -> Solution:
    """Root of ``residual(x) = f(x) - x`` by x <- x + residual(x) / 2 = (x + f(x)) / 2.

    Converges where the eigenvalues of f's Jacobian have real parts below 1 and it is not too far from symmetric; slower than
    :func:`broyden`, but needs no memory. Arguments as there.
    """
    return DampedFixedPoint(residual, start, max_steps).run(_published(start) if tolerance is None else tolerance)


def _published(start: torch.Tensor) -> float:
    return TOLERANCE * math.sqrt(start.numel())
