"""What a run is made of: its device, its data set, its method."""

from __future__ import annotations

import torch
from torch import Tensor

from spiketrain import data, distributed, methods, plugins
from spiketrain.config import Config
from spiketrain.data.base import Batches, Dataset
from spiketrain.errors import UserError, shortened
from spiketrain.methods.base.method import Method


def pick_device(name: str) -> torch.device:
    """The device that `trainer.device` names; with several processes, cuda means one GPU each.

    Raises:
        UserError: no such device.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise UserError(f"trainer.device: expected cpu, cuda or cuda:N, got {name}")
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise UserError("trainer.device: this PyTorch sees no CUDA device; use --trainer.device cpu")
        device = torch.device("cuda", distributed.local_rank() if device.index is None else device.index)
        if device.index >= torch.cuda.device_count():
            raise UserError(f"trainer.device: there are {torch.cuda.device_count()} CUDA devices, got {device}")
        torch.cuda.set_device(device)
    return device


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
