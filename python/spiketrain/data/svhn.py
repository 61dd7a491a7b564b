"""SVHN, the cropped 32x32 digits, in the original MATLAB files (ROOT/train_32x32.mat, ROOT/test_32x32.mat)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.errors import UserError

MEAN, STD = (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)  # of the training set


def load(name: str, root: Path, config: Config) -> Dataset:
    if config.data.download:
        download(root)
    train = _split(root / "train_32x32.mat", config.data.augment)
    test = _split(root / "test_32x32.mat", False)
    return Dataset(name, train, test, (3, 32, 32), 10)


def download(root: Path) -> None:
    """Fetch both files with torchvision, which checks their MD5 sums."""
    from torchvision.datasets import SVHN

    try:
        for split in ("train", "test"):
            SVHN(str(root), split=split, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot download SVHN into {root}: {error}") from None


def _split(path: Path, augment: bool) -> ImageSplit:
    from scipy.io import loadmat

    if not path.is_file():
        raise UserError(f"data set not found: no {path}. Point --data.root at the data, or add --data.download true")
    try:
        content = loadmat(path)
        images, labels = content["X"], content["y"]
    except Exception as error:  # a damaged file can raise almost anything in the MATLAB reader
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}") from None
    if images.dtype != np.uint8 or images.shape[:3] != (32, 32, 3) or images.shape[3] != labels.size:
        raise UserError(
            f"{path} is damaged: expected X of (32, 32, 3, N) bytes and N labels y, got {images.shape} and {labels.shape}"
        )
    images = torch.from_numpy(images.transpose(3, 2, 0, 1).copy())
    labels = torch.from_numpy(labels.reshape(-1).astype(np.int64)) % 10  # the files call the digit 0 class 10
    return ImageSplit(images, labels, MEAN, STD, augment)
