"""The confusion matrix of a classifier: counts over the test samples, and their picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset
from spiketrain.errors import printable, shortened
from spiketrain.reports.drawing import INK, empty_figure, save_figure

MOST_WITH_COUNTS = 30  # classes whose cells have room for a number
INCHES = {10: 0.62, MOST_WITH_COUNTS: 0.36, 150: 0.13}  # side of a cell, for at most so many classes
LARGEST_INCHES = 20  # side of the matrix of more classes, of which not all are named


def count(scores: Tensor, labels: Tensor, classes: int) -> Tensor:
    """How many samples of each class were taken for which, int64 (classes, classes + 1), on the device of `labels`.

    Args:
        scores: (N, outputs), at least one output per class
        labels: int64 (N,)

    Rows are the true classes, columns the predicted ones; the last column counts predictions of outputs that no class has.
    """
    predicted = scores.argmax(1).clamp_max(classes)
    return torch.bincount(labels * (classes + 1) + predicted, minlength=classes * (classes + 1)).view(classes, classes + 1)


def save_confusion(counts: Tensor, dataset: Dataset, config: Config, epoch: int, path: Path) -> None:
    """Draw the matrix of the test samples as PNG."""
    figure = draw_confusion(counts, dataset.class_names or list(map(str, range(dataset.classes))))
    figure.suptitle(f"{config.preset}, epoch {epoch}: test samples", x=0.01, ha="left", color=INK, fontweight="bold")
    save_figure(figure, path)


def draw_confusion(counts: Tensor, class_names: Sequence[str], compact: bool = False):
    """The matrix as a figure: colours are shares of each row, numbers are counts (up to 30 classes). `compact`: for a narrow place, with smaller
    cells and without the scale of the colours."""
    from matplotlib.colors import PowerNorm

    table = counts.cpu().numpy()
    names = [shortened(printable(name), 24) for name in class_names]
    columns = names + (["none"] if table[:, -1].any() else [])
    table = table[:, : len(columns)]
    totals = table.sum(1, keepdims=True)
    shares = np.where(totals > 0, table / np.maximum(totals, 1), np.nan)  # a class without samples stays empty

    cell = next((inches for most, inches in INCHES.items() if len(names) <= most), LARGEST_INCHES / len(names))
    cell, beside = (min(cell, 0.42), 1.0) if compact else (cell, 2.6)
    font = min(8.0, 60 * cell)
    every = -(-len(names) // 150)
    figure = empty_figure(max(4.6, cell * len(columns) + beside), max(3.6, cell * len(names) + 1.9))
    axes = figure.add_subplot()
    # By the root, so that what happens to a few per cent of a class is seen, too.
    image = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=1), interpolation="nearest")
    text = {"fontsize": max(font, 5.0), "parse_math": False}
    axes.set_xticks(
        range(0, len(columns), every), labels=columns[::every], rotation=90 if max(map(len, columns)) > 2 else 0, **text
    )
    axes.set_yticks(range(0, len(names), every), labels=names[::every], **text)
    axes.tick_params(colors=INK, length=0)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_xticks([k - 0.5 for k in range(1, len(columns))], minor=True)
    axes.set_yticks([k - 0.5 for k in range(1, len(names))], minor=True)
    axes.grid(which="minor", color="#e6e9ec", linewidth=0.4)
    axes.tick_params(which="minor", length=0)
    if len(names) <= MOST_WITH_COUNTS:
        for (row, column), number in np.ndenumerate(table):
            if number:
                is_dark = shares[row, column] > 0.3
                axes.text(
                    column, row, f"{number}", ha="center", va="center", fontsize=min(font, 7), color="white" if is_dark else INK
                )
    right, samples = int(np.trace(table)), int(table.sum())
    recall = np.nanmean(np.diagonal(shares)) if samples else 0.0
    title = f"{right} of {samples} right ({100 * right / max(samples, 1):.2f} %), mean over the classes {100 * recall:.2f} %"
    axes.set_title(title, color=INK, fontsize=9, loc="left")
    if not compact:
        figure.colorbar(image, ax=axes, shrink=0.6, label="share of the true class")
    return figure
