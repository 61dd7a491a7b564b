"""Data sets that lie outside the package: called like the readers here, and held against what the rest takes for granted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from spiketrain import plugins
from spiketrain.config import Config
from spiketrain.data.base import Dataset, Split
from spiketrain.data.tasks import CLASSIFICATION, Task
from spiketrain.errors import UserError, shortened, shown


def read(load: Callable[[str, Path, Config], Dataset], name: str, root: Path, config: Config) -> Dataset:
    """What ``load(name, root, config)`` returns.

    Raises:
        UserError: it is no function, raises, or returns something that cannot be trained on. OSError and MemoryError are passed on.
    """
    where = f"data set {shortened(name, 100)}"
    if not callable(load):
        raise UserError(f"{where}: expected a function of (name, root, config), got {shown(load)}")
    try:
        dataset = load(name, root, config)
        _check(dataset, where, config.network.time_steps)
    except (UserError, OSError, MemoryError):
        raise
    except Exception as error:  # foreign code can raise anything
        raise UserError(f"{where}: {plugins.described(error)}") from error
    return dataset


def _check(dataset: Dataset, where: str, time_steps: int) -> None:
    if not isinstance(dataset, Dataset):
        raise UserError(f"{where}: expected a spiketrain.data.Dataset, got {shown(dataset)}")
    shape, classes = dataset.input_shape, dataset.classes
    is_shape = isinstance(shape, tuple) and shape and all(type(side) is int and side > 0 for side in shape)
    if not is_shape or (dataset.task is CLASSIFICATION and len(shape) != 3):
        raise UserError(
            f"{where}: expected as input_shape a tuple (C, H, W), such as (1, 28, 28), or (1, 1, 40) for 40 features, got {shown(shape)}"
        )
    if type(classes) is not int or classes < 1:
        raise UserError(f"{where}: expected 1 or more as classes, got {shown(classes)}")
    if not isinstance(dataset.task, Task):
        raise UserError(f"{where}: expected a task of spiketrain.data.tasks, got {shown(dataset.task)}")
    names = dataset.class_names
    if names is not None and len(names) != classes:
        raise UserError(f"{where}: expected {classes} class_names, one for each class, got {len(names)}")
    if names is not None and (isinstance(names, str) or not all(type(name) is str for name in names)):
        raise UserError(f"{where}: expected class_names to be a tuple of texts, got {shown(names)}")
    for part, split in (("train", dataset.train), ("test", dataset.test)):
        _check_split(split, f"{where}, {part}", dataset, time_steps)


def _check_split(split: Split, where: str, dataset: Dataset, time_steps: int) -> None:
    if not isinstance(split, Split):
        raise UserError(f"{where}: expected a subclass of spiketrain.data.base.Split, got {shown(split)}")
    labels, is_classes = getattr(split, "labels", None), dataset.task is CLASSIFICATION
    wanted = (torch.int64, 1, "int64 (samples,)") if is_classes else (torch.float32, 2, "float32 (samples, outputs)")
    if not isinstance(labels, Tensor) or (labels.dtype, labels.dim()) != wanted[:2]:
        raise UserError(f"{where}: expected labels of {wanted[2]}, got {_of_tensor(labels)}")
    if not len(split):
        return  # which is refused of all data sets
    count = min(2, len(labels))
    batch = split.batch(torch.arange(count))
    shapes = [(count, *dataset.input_shape), (time_steps, count, *dataset.input_shape)]
    if not isinstance(batch, Tensor) or batch.dtype != torch.float32 or tuple(batch.shape) not in shapes:
        raise UserError(
            f"{where}: expected a batch of {count} as float32 of shape {shapes[0]}, or with time {shapes[1]} (network.time_steps {time_steps}), "
            f"got {_of_tensor(batch)}"
        )


    if not batch.isfinite().all():
        raise UserError(f"{where}: expected finite numbers, got a batch with others")


def _of_tensor(value: object) -> str:
    return f"{str(value.dtype).removeprefix('torch.')} {tuple(value.shape)}" if isinstance(value, Tensor) else shown(value)
