"""What a run prints: a row of a table per epoch, and on a terminal a progress bar that disappears when the epoch ends."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

from spiketrain.data import tasks
from spiketrain.data.tasks import Task

Item = TypeVar("Item")


class Console:
    """Prints to standard output; silent in all but the main process of a distributed run.

    Args:
        progress: "auto" (a bar on a terminal only), "on" or "off"
        quiet: print nothing at all
    """

    def __init__(self, progress: str = "auto", quiet: bool = False) -> None:
        self.quiet = quiet
        self.has_bar = not quiet and (progress == "on" or (progress == "auto" and sys.stdout.isatty()))

    def say(self, text: str) -> None:
        """Print a line. Where nobody reads any more, or the disk is full, the run goes on in silence: its files are the result."""
        if self.quiet:
            return
        try:
            print(text, flush=True)
        except OSError:
            self.quiet, self.has_bar = True, False
            self._drop_output()

    @staticmethod
    def _drop_output() -> None:
        """Send what is printed later, and what waits in the buffer, to nowhere, lest Python stumble over it at its end."""
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)

    def header(self, task: Task, judge: str = "test") -> None:
        """`judge`: the samples that choose the best epoch, "validation" or "test"."""
        part = {"validation": "val."}.get(judge, judge)
        self.say(f"epoch   train loss {f'train {task.title}':>12s} {f'{part} {task.title}':>11s}         lr   train s {f'{part} s':>8s}")

    def row(self, metrics: dict[str, float], is_best: bool) -> None:
        task = tasks.of(metrics)
        judge = task.chosen_on(metrics)
        train, test = (task.show(metrics[f"{part}_{task.name}"]) for part in ("train", judge))
        self.say(
            f"{metrics['epoch']:5d} {metrics['train_loss']:12.5g} {train:>12s} {test:>11s} {metrics['learning_rate']:10.2e} {metrics['train_seconds']:9.1f} "
            f"{metrics[f'{judge}_seconds']:8.1f}{'  best' if is_best else ''}"
        )
        for name in (key.removeprefix("loss_") for key in metrics if key.startswith("loss_")):
            error = metrics.get(f"error_{name}")
            self.say(f"{name:>20s}: loss {metrics[f'loss_{name}']:.5g}{'' if error is None else f', error {100 * error:.2f} %'}")

    def track(self, batches: Iterable[Item], total: int, title: str, note: Callable[[], str]) -> Iterator[Item]:
        """The batches, with a progress bar that shows ``note()`` a few times a second."""
        with self._bar(total, title) as advance:
            shown = 0.0
            for batch in batches:
                yield batch
                now = time.monotonic()
                advance(note() if self.has_bar and now - shown > 0.3 else None)
                if now - shown > 0.3:
                    shown = now

    @contextlib.contextmanager
    def _bar(self, total: int, title: str) -> Iterator[Callable[[str | None], Any]]:
        if not self.has_bar:
            yield lambda note: None
            return
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, transient=True) as progress:
            task = progress.add_task(title, total=total, note="")
            yield lambda note: progress.update(task, advance=1, **({} if note is None else {"note": note}))
