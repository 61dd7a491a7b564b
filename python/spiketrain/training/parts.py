"""What a run is made of: its data set, its method."""

from __future__ import annotations

import torch
from torch import Tensor

from spiketrain import data, methods, plugins
from spiketrain.config import Config
from spiketrain.data.base import Batches, Dataset
from spiketrain.errors import UserError, shortened
from spiketrain.methods.base.method import Method


def load_data(config: Config, device: torch.device) -> Dataset:
    """The data set of a run, its tensors on `device`."""
    dataset = data.load(config)
    dataset.train, dataset.test = dataset.train.to(device), dataset.test.to(device)
    if dataset.validation is not None:
        dataset.validation = dataset.validation.to(device)
    return dataset


def build_method(config: Config, dataset: Dataset, device: torch.device) -> Method:
    """The method of a run with fresh weights, tried out on one sample so that wrong options show before anything is written.

    Raises:
        UserError: the options cannot be met, for example a network with fewer outputs than classes.
    """
    cls = methods.get(config.method.name)
    try:
        method = cls(config, dataset.input_shape, dataset.classes, device)
        method.scores(first_batch(dataset, 1)[0])
    except (ValueError, TypeError, IndexError, RuntimeError, MemoryError, OverflowError, ZeroDivisionError) as error:
        raise UserError(f"cannot build the network: {shortened(str(error) or type(error).__name__, 250)}") from None
    except UserError as error:
        raise UserError(shortened(error)) from None
    except Exception as error:
        if cls.__module__.startswith("spiketrain."):
            raise
        raise UserError(f"method {shortened(config.method.name, 80)}: {plugins.described(error)}") from error
    return method


def first_batch(dataset: Dataset, size: int) -> tuple[Tensor, Tensor]:
    """The first training samples as they are, for measurements and pictures."""
    return next(iter(Batches(dataset.train, size)))
