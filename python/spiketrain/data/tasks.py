"""What a run is judged by: the share of samples it gets right, or its error where real numbers are wanted."""

from __future__ import annotations

import abc

from torch import Tensor


class Task(abc.ABC):
    """How outputs are compared with what is wanted.

    Attributes:
        name: of the figure, as in metrics.csv: ``test_<name>``
        title: of the figure, in tables and pictures
        measures_untrained: whether the figure before training is worth the time
    """

    name: str
    title: str
    measures_untrained = False

    @abc.abstractmethod
    def tally(self, scores: Tensor, wanted: Tensor) -> Tensor:
        """What adds up over the samples of all batches."""

    @abc.abstractmethod
    def figures(self, tally: Tensor, samples: int) -> dict[str, float]:
        """The figure of that many samples, by its name, and what else is worth a column of metrics.csv."""

    @abc.abstractmethod
    def show(self, figure: float) -> str:
        """The figure with its unit."""

    @abc.abstractmethod
    def best(self, history: list[dict[str, float]]) -> dict[str, float]:
        """The epoch with the best figure on the samples that choose it (`chosen_on`), the first one if several have it."""

    def chosen_on(self, metrics: dict[str, float]) -> str:
        """Which samples say how good an epoch is: "validation" in a run that has such, else "test"."""
        return "validation" if f"validation_{self.name}" in metrics else "test"

    def judged(self, metrics: dict[str, float]) -> float:
        """The figure that says how good an epoch is."""
        return metrics[f"{self.chosen_on(metrics)}_{self.name}"]

    def tested(self, metrics: dict[str, float]) -> float | None:
        """The figure on the test samples; None of an epoch that was not tested, as most of a run with validation samples are."""
        return metrics.get(f"test_{self.name}")


class Classification(Task):
    """Scores (N, classes) against labels (N,): the largest score is the prediction."""

    name, title = "accuracy", "acc."

    def tally(self, scores: Tensor, wanted: Tensor) -> Tensor:
        return (scores.argmax(1) == wanted).sum()

    def figures(self, tally: Tensor, samples: int) -> dict[str, float]:
        return {self.name: tally.item() / samples}

    def show(self, figure: float) -> str:
        return f"{100 * figure:.2f} %"

    def best(self, history: list[dict[str, float]]) -> dict[str, float]:
        return max(history, key=self.judged)


class Regression(Task):
    """Outputs (N, outputs) against real numbers of that shape: the root mean square error, of all outputs and of each."""

    name, title, measures_untrained = "rms_error", "rms", True

    def tally(self, scores: Tensor, wanted: Tensor) -> Tensor:
        return (scores - wanted).square().sum(0)

    def figures(self, tally: Tensor, samples: int) -> dict[str, float]:
        squares = (tally / samples).tolist()
        of_outputs = {f"{self.name}_{i}": square**0.5 for i, square in enumerate(squares, start=1)}
        return {self.name: (sum(squares) / len(squares)) ** 0.5, **of_outputs}

    def show(self, figure: float) -> str:
        return f"{figure:.5f}"

    def best(self, history: list[dict[str, float]]) -> dict[str, float]:
        return min(history, key=self.judged)


CLASSIFICATION, REGRESSION = Classification(), Regression()


def of(metrics: dict[str, float]) -> Task:
    """The task of a run, from the metrics of one of its epochs."""
    return REGRESSION if any(f"{part}_{REGRESSION.name}" in metrics for part in ("train", "validation", "test")) else CLASSIFICATION


def is_through(history: list[dict[str, float]], epochs: int) -> bool:
    """Whether a run has come to its end: all its epochs are complete, and the best of them was tested."""
    return len(history) >= epochs and (not history or of(history[0]).tested(of(history[0]).best(history)) is not None)


def seconds(metrics: dict[str, float]) -> float:
    """What an epoch took, training and testing."""
    return sum(metrics.get(f"{part}_seconds", 0.0) for part in ("train", "validation", "test"))
