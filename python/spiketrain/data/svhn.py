"""SVHN, the cropped 32x32 digits, in the original MATLAB files (ROOT/train_32x32.mat, ROOT/test_32x32.mat)."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch

from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.data.checks import check_can_hold, check_pictures, checked_labels
from spiketrain.data.listing import open_regular
from spiketrain.errors import UserError

MEAN, STD = (0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970)  # of the training set
CLASSES = 10
NUMBERS = ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "single", "double")


def load(name: str, root: Path, config: Config) -> Dataset:
    if config.data.download:
        download(root)
    train = _split(root / "train_32x32.mat", config.data.augment)
    test = _split(root / "test_32x32.mat", False)
    return Dataset(name, train, test, (3, 32, 32), CLASSES)


def blank(name: str, config: Config) -> Dataset:
    """The data set without a sample."""
    split = ImageSplit.blank((3, 32, 32), MEAN, STD)
    return Dataset(name, split, split, (3, 32, 32), CLASSES)


def download(root: Path) -> None:
    """Fetch both files with torchvision, which checks their MD5 sums."""
    from torchvision.datasets import SVHN

    try:
        for split in ("train", "test"):
            SVHN(str(root), split=split, download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot download SVHN into {root}: {error}") from None


def _split(path: Path, augment: bool) -> ImageSplit:
    if not os.path.lexists(path):
        raise UserError(f"data set not found: no {path}. Point --data.root at the data, or add --data.download true")
    with open_regular(path) as file:
        images, labels = _read(path, file)
    check_pictures((images.shape[3], *images.shape[:3]), str(path))
    # The files call the digit 0 class 10; copies of them that call it 0 are about.
    digits = checked_labels(labels, images.shape[3], 0, CLASSES, f"{path}, y") % CLASSES
    return ImageSplit(torch.from_numpy(images.transpose(3, 2, 0, 1).copy()), digits, MEAN, STD, augment)


def _read(path: Path, file: BinaryIO) -> tuple[np.ndarray, np.ndarray]:
    """X and y. Their headers are looked at before memory is taken for them."""
    from scipy.io import loadmat, whosmat

    try:
        shapes = {name: (shape, kind) for name, shape, kind in whosmat(file)}
    except Exception as error:  # a damaged file can raise almost anything in the MATLAB reader
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}"[:400]) from None
    missing = {"X", "y"} - set(shapes)
    if missing:
        raise UserError(f"{path} holds no {' and no '.join(sorted(missing))}: expected X of (32, 32, 3, N) bytes and N labels y")
    (images_shape, images_kind), (labels_shape, labels_kind) = shapes["X"], shapes["y"]
    if images_kind != "uint8" or len(images_shape) != 4 or images_shape[:3] != (32, 32, 3):
        raise UserError(f"{path} is damaged: expected X of (32, 32, 3, N) uint8, got {images_shape} {images_kind}")
    if labels_kind not in NUMBERS or math.prod(labels_shape) != images_shape[3]:
        raise UserError(
            f"{path} is damaged: expected {images_shape[3]} numbers y, one label for each image of X, got {labels_shape} {labels_kind}"
        )
    check_can_hold(path, os.fstat(file.fileno()).st_size, math.prod(images_shape))
    try:
        file.seek(0)
        content = loadmat(file, variable_names=["X", "y"])
        images, labels = content["X"], content["y"]
    except Exception as error:  # as above
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}"[:400]) from None
    if images.dtype != np.uint8 or images.shape != images_shape:
        raise UserError(f"{path} is damaged: expected X of {images_shape} uint8, got {images.shape} {images.dtype}")
    return images, labels
