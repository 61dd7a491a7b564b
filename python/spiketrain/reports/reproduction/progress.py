"""Progress of runs side by side: on a terminal a line for each that runs, elsewhere a line for each thing that happens."""

from __future__ import annotations

from types import TracebackType

from spiketrain.data import tasks
from spiketrain.reports.console import Console
from spiketrain.reports.reproduction.tables import duration

_LATEST = 5  # epochs from which the rest of the time is reckoned


class SeedProgress:
    """What several runs at a time show of themselves.

    Args:
        progress: "auto" (moving lines on a terminal only), "on" or "off"

    >>> with SeedProgress("off") as progress:
    ...     progress.begin("bptt-digits seed 1", 10, 0)
    bptt-digits seed 1: begins
    """

    def __init__(self, progress: str = "auto") -> None:
        self._console = Console(progress)
        self._bars = None
        self._tasks: dict[str, int] = {}

    def __enter__(self) -> SeedProgress:
        if self._console.has_bar:
            from rich.console import Console as Terminal
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}", markup=False))
            # A console of its own: rich's shared one keeps what the terminal was when it was first asked for.
            self._bars = Progress(*columns, transient=True, console=Terminal())
            self._bars.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def say(self, text: str) -> None:
        """Print a line, above those that move."""
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            self._console.say(text)

    def begin(self, name: str, epochs: int, done: int) -> None:
        """A run begins, or goes on after so many of its epochs."""
        if self._bars is not None:
            self._tasks[name] = self._bars.add_task(name, total=epochs, completed=done, note="")
        else:
            self.say(f"{name}: {f'goes on after epoch {done} of {epochs}' if done else 'begins'}")

    def update(self, name: str, epochs: int, history: list[dict[str, float]]) -> None:
        """A run has completed another epoch."""
        note = f"{_figure(history[-1])}{remaining(epochs, history)}"
        if self._bars is not None:
            self._bars.update(self._tasks[name], completed=len(history), note=note, refresh=True)
        else:
            self.say(f"{name}: epoch {len(history)} of {epochs}, {note}")

    def end(self, name: str, outcome: str) -> None:
        """A run has ended, or could not begin."""
        if name in self._tasks:
            self._bars.remove_task(self._tasks.pop(name))
        self.say(f"{name}: {outcome}")


def remaining(epochs: int, history: list[dict[str, float]]) -> str:
    """``, 12 min left``, if the other epochs take as long as the latest; "" if there are none."""
    left = epochs - len(history)
    latest = history[-_LATEST:]
    seconds = sum(map(tasks.seconds, latest)) / len(latest)
    return f", {duration(left * seconds)} left" if left > 0 else ""


def _figure(row: dict[str, float]) -> str:
    task = tasks.of(row)
    return f"{task.chosen_on(row)} {task.title} {task.show(task.judged(row))}"
