"""Validation samples: a part of the training set that is not trained on, by which the best epoch is chosen."""

from __future__ import annotations

import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset
from spiketrain.data.tasks import CLASSIFICATION
from spiketrain.errors import UserError, shown


def split_off(dataset: Dataset, config: Config) -> None:
    """Take `data.validation` samples out of ``dataset.train`` into ``dataset.validation``.

    Which ones follows from the seed of the run and the labels alone: each process of a run, and each that resumes it, draws the same.

    Raises:
        UserError: that many cannot be taken.
    """
    asked = config.data.validation
    if not asked:
        return
    labels = dataset.train.labels
    count, available = len(dataset.train), len(dataset.train)
    wanted = round(asked * count) if isinstance(asked, float) else asked
    if dataset.task is CLASSIFICATION:
        available -= labels.unique().numel()  # of each class one is left to learn from
    if not 0 < wanted <= available:
        hint = f", of each class one has to be left: expected at most {available}" if wanted else ": expected at least 1"
        raise UserError(f"field data.validation: {shown(asked)} of the {count} training samples of {dataset.name} are {wanted}{hint}")
    generator = torch.Generator().manual_seed(_seed(config.seed))
    order = torch.randperm(count, generator=generator)
    chosen = _of_each_class(labels[order], wanted) if dataset.task is CLASSIFICATION else torch.arange(count) < wanted
    # In the order of the training set, which may be sorted: what is cut off of it, spread evenly, keeps all classes.
    validation, train = order[chosen].sort().values, order[~chosen].sort().values
    dataset.validation, dataset.train = dataset.train.select(validation), dataset.train.select(train)


def _seed(seed: int) -> int:
    """Another stream than that of the shuffling, which begins with the seed itself."""
    return (seed ^ 0x5BD1E995) % 2**63


def _of_each_class(labels: Tensor, wanted: int) -> Tensor:
    """The first samples of each class, in proportion to how many it has: bool (samples,), with `wanted` that are true.

    What is left by rounding down goes to the classes with the largest remainders; none gives all that it has.
    """
    classes, place, counts = labels.unique(return_inverse=True, return_counts=True)
    taken = counts * wanted // len(labels)
    remainders = counts * wanted % len(labels)
    taken = taken.minimum(counts - 1)
    while (left := wanted - int(taken.sum())) > 0:
        open_classes = torch.nonzero(taken < counts - 1).flatten()
        first = open_classes[remainders[open_classes].argsort(descending=True, stable=True)][:left]
        taken[first] += 1
    chosen = torch.zeros(len(labels), dtype=torch.bool)
    for number in range(len(classes)):
        chosen[torch.nonzero(place == number).flatten()[: taken[number]]] = True
    return chosen
