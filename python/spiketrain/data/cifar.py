"""CIFAR-10 and CIFAR-100 in their original pickled batches (ROOT/cifar-10-batches-py, ROOT/cifar-100-python)."""

from __future__ import annotations

import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.errors import UserError


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
        if not path.is_file():
            raise UserError(f"data set not found: {path} is missing. Add --data.download true to fetch the whole set")
        batch = _read_batch(path)
        data, batch_labels = batch.get("data"), batch.get(layout.label_key)
        if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != 3 * 32 * 32:
            raise UserError(f"{path} is damaged: expected 'data' to be rows of 3072 bytes")
        if not isinstance(batch_labels, list) or len(batch_labels) != len(data):
            raise UserError(f"{path} is damaged: expected '{layout.label_key}' to be a list of {len(data)} labels")
        images.append(torch.from_numpy(data).view(-1, 3, 32, 32))
        labels += batch_labels
    return ImageSplit(torch.cat(images), torch.tensor(labels), layout.mean, layout.std, augment)


class _ArraysOnly(pickle.Unpickler):
    """Unpickles NumPy arrays, containers, text and numbers; refuses whatever else a pickle could call."""

    ALLOWED = frozenset(
        {
            ("numpy", "ndarray"),
            ("numpy", "dtype"),
            ("numpy.core.multiarray", "_reconstruct"),
            ("numpy._core.multiarray", "_reconstruct"),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str):
        if (module, name) not in self.ALLOWED:
            raise pickle.UnpicklingError(f"it asks for {module}.{name}")
        return super().find_class(module, name)


def _read_batch(path: Path) -> dict:
    try:
        with open(path, "rb") as file:
            batch = _ArraysOnly(file, encoding="latin1").load()
    except OSError:
        raise
    except Exception as error:  # a damaged pickle can raise almost anything
        raise UserError(f"{path} is damaged or no CIFAR batch: {error}") from None
    if not isinstance(batch, dict):
        raise UserError(f"{path} is damaged or no CIFAR batch: expected a dictionary")
    return batch
