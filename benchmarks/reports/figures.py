"""What the raw rows amount to: speed-ups, bandwidths, and which of them are noisy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from measuring.results import NOISY_RATIO, Row


@dataclass(frozen=True)
class Size:
    """What is the same for all providers and modes that are compared."""

    T: int
    N: int
    dtype: str

    def __str__(self) -> str:
        return f"{self.T} x {_count(self.N)}" + ("" if self.dtype == "float32" else f" {self.dtype}")


@dataclass(frozen=True)
class Figure:
    """A number for a reader."""

    value: float
    is_noisy: bool

    def __truediv__(self, other: Figure) -> Figure:
        return Figure(self.value / other.value, self.is_noisy or other.is_noisy)


class Figures:
    """Rows of one table by what they belong to."""

    def __init__(self, rows: list[Row]):
        self.rows = rows
        self._values = {(*row.key, row.metric): row.value for row in rows}
        keys = dict.fromkeys(row.key for row in rows if row.metric == "time")
        self.measured = set(keys)
        self.sizes: dict[str, list[Size]] = {}
        for op, _, _, T, N, dtype in keys:
            sizes = self.sizes.setdefault(op, [])
            if Size(T, N, dtype) not in sizes:
                sizes.append(Size(T, N, dtype))

    def modes(self, op: str) -> list[str]:
        """Modes of an op in the order in which they were measured."""
        return list(dict.fromkeys(row.mode for row in self.rows if row.op == op and row.metric == "time"))

    def has(self, op: str, provider: str, mode: str, size: Size) -> bool:
        return (op, provider, mode, size.T, size.N, size.dtype) in self.measured

    def value(self, metric: str, op: str, provider: str, mode: str, size: Size) -> float | None:
        return self._values.get((op, provider, mode, size.T, size.N, size.dtype, metric))

    def milliseconds(self, *where) -> Figure | None:
        """Median time of a call. Noisy if its 80 % quantile is above 1.5 times its 20 % quantile."""
        median = self.value("time", *where)
        if median is None:
            return None
        return Figure(median, self.value("time_p80", *where) > NOISY_RATIO * self.value("time_p20", *where))

    def speedup(self, op: str, provider: str, mode: str, size: Size, opponent: str) -> Figure | None:
        """How many times the opponent's time."""
        ours, theirs = self.milliseconds(op, provider, mode, size), self.milliseconds(op, opponent, mode, size)
        return theirs / ours if ours and theirs else None

    def gigabytes_per_second(self, *where) -> Figure | None:
        """Minimum bytes over time."""
        milliseconds, need = self.milliseconds(*where), self.value("minimum_bytes", *where)
        return Figure(need / milliseconds.value / 1e6, milliseconds.is_noisy) if milliseconds and need else None

    def reasons(self, metric: str) -> dict[str, list[Row]]:
        """Rows whose value is a reason, by it."""
        reasons: dict[str, list[Row]] = {}
        for row in self.rows:
            if row.metric == metric:
                reasons.setdefault(row.value, []).append(row)
        return reasons

    def list_of_reasons(self, metric: str, name: Callable[[Row], str]) -> str:
        """A Markdown list of the reasons, each with what ``name`` calls its rows, once."""
        reasons = self.reasons(metric).items()
        return "\n".join(f"- {reason}: {', '.join(dict.fromkeys(map(name, rows)))}" for reason, rows in reasons)


def _count(n: int) -> str:
    for unit, name in ((10**6, "M"), (10**3, "k")):
        if n >= unit:
            return f"{n / unit:.3g}{name}"
    return str(n)
