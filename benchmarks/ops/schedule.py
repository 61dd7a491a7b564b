"""In which order things are measured, and for how long.

Whatever is compared (all providers of one op, mode and size) takes turns, so that a disturbance of the machine hits all alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ops.registry import Case

PASSES = 3  # turns of every provider


@dataclass(frozen=True)
class Turn:
    """One provider's turn in one mode of one case."""

    case: Case
    mode: str
    provider: str
    number: int

    @property
    def where(self) -> tuple:
        """Op, provider, mode, T, N, dtype: what identifies a measurement in the table."""
        return self.case.op.name, self.provider, self.mode, self.case.T, self.case.N, self.case.dtype_name

    def __str__(self) -> str:
        op, provider, mode, T, N, dtype = self.where
        return f"{op}-T{T}-N{N}-{dtype}-{mode}-{provider}-{self.number}"


def turns(cases: Iterable[Case], providers, passes: int = PASSES) -> Iterator[Turn]:
    """All turns, those of a case and mode next to each other. ``providers(case)`` lists who takes part."""
    for case in cases:
        for mode in case.op.modes:
            for number in range(passes):
                for provider in providers(case):
                    yield Turn(case, mode, provider, number)


def rounds_for(call_seconds: float, budget: float) -> tuple[int, int]:
    """(rounds, iterations): up to 20 timings of `iterations` calls each within `budget` seconds, at least one.

    A timing lasts a millisecond or more, so that the resolution of the clock does not matter.
    """
    call_seconds = max(call_seconds, 1e-7)
    iterations = max(1, round(1e-3 / call_seconds))
    return min(max(int(budget / (call_seconds * iterations)), 1), 20), iterations
