"""What several seeds of a preset came to, in the papers' columns: mean, standard deviation and best, beside the published ones."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, field

from spiketrain.config import Published
from spiketrain.data import tasks
from spiketrain.data.tasks import CLASSIFICATION, Task
from spiketrain.methods.base.activity import LayerOperations

FAR = 2.0  # published standard deviations below the published mean: what falls shorter is marked
COMPLETE = "complete"


@dataclass(frozen=True)
class Summary:
    """Of the runs' figures, in percent where they are accuracies.

    Attributes:
        mean: over the runs
        std: standard deviation of the sample, with n - 1 in the denominator; None for one run
        best: of the runs
    """

    mean: float
    std: float | None
    best: float

    @classmethod
    def of(cls, figures: Sequence[float], task: Task) -> Summary:
        """Of at least one run."""
        best = max if task is CLASSIFICATION else min
        return cls(statistics.fmean(figures), statistics.stdev(figures) if len(figures) > 1 else None, best(figures))


@dataclass
class SeedRun:
    """One run of a preset.

    Attributes:
        seed: its seed
        epochs: those it has to train
        history: metrics of its complete epochs
        state: `COMPLETE`, or in words how far it is
        origin: what it ran on, by the columns of runs.csv; several sessions are set apart by semicolons
    """

    seed: int
    epochs: int
    history: list[dict[str, float]] = field(default_factory=list)
    state: str = "not begun"
    origin: dict[str, str] = field(default_factory=dict)

    @property
    def task(self) -> Task:
        return tasks.of(self.history[0])

    @classmethod
    def of_history(cls, seed: int, epochs: int, history: list[dict[str, float]]) -> SeedRun:
        """A run that is told of by its metrics alone."""
        return cls(seed, epochs, history, COMPLETE if tasks.is_through(history, epochs) else "not complete")

    @property
    def last(self) -> float | None:
        """Test figure of the last epoch, in percent where it is an accuracy; None in a run with validation samples, which tests only the best
        epoch, be it the last one or not."""
        return None if self.chosen_on == "validation" else self._in_percent(self.task.tested(self.history[-1]))

    @property
    def best(self) -> float | None:
        """That of the best epoch."""
        return self._in_percent(self.task.tested(self.task.best(self.history)))

    @property
    def chosen_on(self) -> str:
        """The samples that choose the best epoch: "validation" or "test"."""
        return self.task.chosen_on(self.history[0])

    @property
    def validation(self) -> float | None:
        """Figure of the best epoch on the validation samples, where there are such."""
        best = self.task.best(self.history)
        return self._in_percent(self.task.judged(best)) if self.chosen_on == "validation" else None

    @property
    def judged(self) -> float | None:
        """Figure of the best epoch on the samples that choose it."""
        return self.validation if self.chosen_on == "validation" else self.best

    @property
    def best_epoch(self) -> int:
        """The first of the epochs with the best figure."""
        return int(self.task.best(self.history)["epoch"])

    @property
    def seconds(self) -> float:
        """What its epochs took, training and testing. What was trained twice, after a kill, counts once."""
        return sum(map(tasks.seconds, self.history))

    def _in_percent(self, figure: float | None) -> float | None:
        return figure if figure is None or self.task is not CLASSIFICATION else 100 * figure


def speed_of(runs: Sequence[SeedRun]) -> tuple[float | None, float | None, float | None]:
    """Samples per second in training and in testing (or validating), means over all epochs of runs; and the most memory in 10^6 bytes that one
    process held. None: not measured."""
    rows = [row for run in runs for row in run.history]
    training = [row["train_samples_per_second"] for row in rows if "train_samples_per_second" in row]
    testing = [row[name] for run in runs for row in run.history if (name := f"{run.chosen_on}_samples_per_second") in row]
    peaks = [row["peak_memory_mb"] for row in rows if "peak_memory_mb" in row]
    return statistics.fmean(training) if training else None, statistics.fmean(testing) if testing else None, max(peaks, default=None)


@dataclass
class Experiment:
    """The seeds of one preset.

    Attributes:
        preset: its name
        runs: by their seeds, those that are not complete included
        published: the published figures
        settings: each field in which the runs differ from the preset, with both values; with any there is nothing to judge
        notes: what else a reader has to know, a sentence each
        departs: in what the preset departs from the published experiment
        operations: of a sample in the forward pass of each run, where they were asked for and could be counted
    """

    preset: str
    runs: list[SeedRun]
    published: Published
    settings: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    departs: list[str] = field(default_factory=list)
    operations: list[LayerOperations] = field(default_factory=list)

    @property
    def complete(self) -> list[SeedRun]:
        return [run for run in self.runs if run.state == COMPLETE]

    @property
    def seeds(self) -> str:
        """``3``, or where not all are complete ``2 of 3``."""
        complete = len(self.complete)
        return str(complete) if complete == len(self.runs) else f"{complete} of {len(self.runs)}"

    @property
    def measure(self) -> str:
        """What the figures are: ``accuracy, %`` or the name of an error."""
        begun = [run for run in self.runs if run.history]
        task = begun[0].task if begun else CLASSIFICATION
        return "accuracy, %" if task is CLASSIFICATION else task.name.replace("_", " ")

    @property
    def digits(self) -> int:
        """Decimals with which figures are shown."""
        return 2 if self.measure.endswith("%") else 4

    @property
    def last(self) -> Summary | None:
        """Of the complete runs' last epochs; None without any, or where those were not tested."""
        return self._summary([run.last for run in self.complete])

    @property
    def best(self) -> Summary | None:
        """Of the complete runs' best epochs."""
        return self._summary([run.best for run in self.complete])

    @property
    def judged(self) -> Summary | None:
        """Of the complete runs' best epochs, on the samples that choose these."""
        return self._summary([run.judged for run in self.complete])

    @property
    def validation(self) -> Summary | None:
        """The same where these are validation samples."""
        return self.judged if self.chosen_on == "validation" else None

    def _summary(self, figures: Sequence[float | None]) -> Summary | None:
        return Summary.of(figures, self.complete[0].task) if figures and None not in figures else None

    @property
    def chosen_on(self) -> str:
        """The samples that choose the best epoch, "" before any epoch is complete."""
        return next((run.chosen_on for run in self.runs if run.history), "")

    def verdict(self, summary: Summary | None) -> str:
        """A summary's mean against the published mean, in published standard deviations: ``reached``, ``within 2 std`` or ``SHORT ...``.

        ``other settings`` where the runs are not those of the preset, "" where there is nothing to compare.
        """
        mean, std = self.published.mean, self.published.std
        if summary is None or mean is None:
            return ""
        if self.settings:
            return "other settings"
        behind = mean - summary.mean
        if behind <= 0:
            return "reached"
        if std is None:
            return f"{behind:.2f} below, published without std"
        # As published, with two decimals: what is short by less than rounding is not short.
        if behind <= FAR * std + 1e-9:
            return f"within {FAR:g} std"
        return f"SHORT by {behind:.2f}" + (f" ({behind / std:.1f} std)" if std else "")

    @property
    def is_short(self) -> bool:
        """Whether the mean of the best epochs falls short of the published one by more than `FAR` standard deviations."""
        return self.verdict(self.best).startswith("SHORT")
