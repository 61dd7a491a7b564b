"""CIFAR-10 and CIFAR-100 in their original pickled batches (ROOT/cifar-10-batches-py, ROOT/cifar-100-python)."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spiketrain.config import Config
from spiketrain.data import plain_pickle
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.data.checks import check_pictures, checked_labels
from spiketrain.data.listing import read_bounded
from spiketrain.errors import UserError

LARGEST_BATCH = 2**30  # bytes; CIFAR-100 as one batch has 155 million


@dataclass(frozen=True)
class Layout:
    folder: str
    train: tuple[str, ...]
    test: str
    label_key: str
    classes: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    torchvision_name: str


LAYOUTS = {
    "cifar10": Layout(
        folder="cifar-10-batches-py",
        train=tuple(f"data_batch_{i}" for i in range(1, 6)),
        test="test_batch",
        label_key="labels",
        classes=10,
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        torchvision_name="CIFAR10",
    ),
    "cifar100": Layout(
        folder="cifar-100-python",
        train=("train",),
        test="test",
        label_key="fine_labels",
        classes=100,
        # CIFAR-10's, with which the published CIFAR-100 experiments of IDE and SPIDE normalise. Its own differ a little:
        # mean (0.5071, 0.4867, 0.4408), standard deviation (0.2675, 0.2565, 0.2761).
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
        torchvision_name="CIFAR100",
    ),
}


def load(name: str, root: Path, config: Config) -> Dataset:
    layout = LAYOUTS[name]
    if config.data.download:
        download(layout, root)
    folder = root / layout.folder
    if not folder.is_dir():
        raise UserError(f"data set not found: no folder {folder}. Point --data.root at the data, or add --data.download true")
    train = _split(folder, layout.train, layout, config.data.augment)
    test = _split(folder, (layout.test,), layout, False)
    return Dataset(name, train, test, (3, 32, 32), layout.classes)


def blank(name: str, config: Config) -> Dataset:
    """The data set without a sample."""
    layout = LAYOUTS[name]
    split = ImageSplit.blank((3, 32, 32), layout.mean, layout.std)
    return Dataset(name, split, split, (3, 32, 32), layout.classes)


def download(layout: Layout, root: Path) -> None:
    """Fetch the archive with torchvision, which checks its MD5 sum."""
    from torchvision import datasets

    try:
        getattr(datasets, layout.torchvision_name)(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot download {layout.torchvision_name} into {root}: {error}") from None


def _split(folder: Path, files: tuple[str, ...], layout: Layout, augment: bool) -> ImageSplit:
    images, labels = [], []
    for file in files:
        path = folder / file
        if not os.path.lexists(path):
            raise UserError(f"data set not found: {path} is missing. Add --data.download true to fetch the whole set")
        batch = _read_batch(path)
        data = batch.get("data")
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * 32 * 32:
            raise UserError(f"{path} is damaged: expected 'data' to be rows of 3072 bytes, got {_kind(data)}")
        if layout.label_key not in batch:
            raise UserError(f"{path} is damaged: it holds no '{layout.label_key}'")
        images.append(torch.from_numpy(data.copy()).view(-1, 3, 32, 32))
        labels.append(checked_labels(batch[layout.label_key], len(data), 0, layout.classes - 1, f"{path}, '{layout.label_key}'"))
    check_pictures((sum(map(len, images)), 3, 32, 32), f"{folder / files[0]}{' and so on' if files[1:] else ''}")
    return ImageSplit(torch.cat(images), torch.cat(labels), layout.mean, layout.std, augment)


def _kind(value: object) -> str:
    return f"{value.dtype} of shape {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__


def _read_batch(path: Path) -> dict[str, Any]:
    """The dictionary in a batch; keys that Python 3 wrote as bytes come as text."""
    content = read_bounded(path, LARGEST_BATCH)
    try:
        batch = plain_pickle.load(content)
    except Exception as error:  # a damaged pickle can raise almost anything
        words = error if isinstance(error, plain_pickle.NoPlainData) else f"{type(error).__name__}: {error}"
        raise UserError(f"{path} is damaged or no CIFAR batch: {words}"[:400]) from None
    if not isinstance(batch, dict):
        raise UserError(f"{path} is damaged or no CIFAR batch: expected a dictionary, got {_kind(batch)}")
    return {key.decode("latin1") if isinstance(key, bytes) else str(key)[:100]: value for key, value in batch.items()}
