"""MNIST and FashionMNIST in their original IDX files, gzipped or unpacked, read where they lie.

The layout is torchvision's: ROOT/MNIST/raw/train-images-idx3-ubyte[.gz] and so on; ROOT may be read-only.
"""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.data.checks import check_can_hold, check_pictures, checked_labels
from spiketrain.data.listing import open_regular
from spiketrain.errors import UserError

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
MEAN, STD = (0.1307,), (0.3081,)  # MNIST's; the published FashionMNIST experiments of TSSL-BP and IDE use them too
CLASSES = 10
LARGEST_UNPACKED = 2**31  # bytes that are unpacked in memory; files that are unpacked already may be larger


def load(name: str, root: Path, config: Config) -> Dataset:
    folder = root / FOLDERS[name] / "raw"
    if config.data.download:
        download(name, root)
    train = _split(folder, "train", config.data.augment)
    test = _split(folder, "t10k", False)
    return Dataset(name, train, test, tuple(train.images.shape[1:]), CLASSES)


def blank(name: str, config: Config) -> Dataset:
    """The data set without a sample."""
    split = ImageSplit.blank((1, 28, 28), MEAN, STD)
    return Dataset(name, split, split, (1, 28, 28), CLASSES)


def download(name: str, root: Path) -> None:
    """Fetch the files with torchvision, which checks their MD5 sums."""
    from torchvision import datasets

    try:
        getattr(datasets, FOLDERS[name])(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot download {name} into {root}: {error}") from None


def _split(folder: Path, part: str, augment: bool) -> ImageSplit:
    images_path, labels_path = (
        _find(folder, f"{part}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")
    )  # the labels first: their number is known before memory is taken for images
    labels = read_idx(labels_path, dimensions=1)
    images = read_idx(images_path, dimensions=3, count=len(labels), what=f"{part} images")
    check_pictures(images.shape, str(images_path))
    return ImageSplit(
        images.unsqueeze(1), checked_labels(labels.numpy(), len(images), 0, CLASSES - 1, str(labels_path)), MEAN, STD, augment
    )


def _find(folder: Path, stem: str) -> Path:
    for path in (folder / stem, folder / f"{stem}.gz"):
        if os.path.lexists(path):
            return path
    raise UserError(
        f"data set not found: no {stem} or {stem}.gz in {folder}. Point --data.root at the data, or add --data.download true"
    )


def read_idx(path: Path, dimensions: int, count: int | None = None, what: str = "") -> Tensor:
    """An IDX file of unsigned bytes (gzipped where the name ends in .gz) as a uint8 tensor.

    The format: two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each size as big-endian uint32, data.

    Args:
        count: that the first size has to be, where it is known
        what: there are as many of, for error messages

    Raises:
        UserError: the file is damaged, truncated or of another kind, no regular file, or larger than its header promises.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if path.suffix != ".gz":
            return _read_idx(path, file, dimensions, count, what, size, compressed=False)
        try:
            with gzip.open(file) as unpacked:
                return _read_idx(path, cast(BinaryIO, unpacked), dimensions, count, what, size, compressed=True)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise UserError(f"{path} is damaged: {error}") from None


def _read_idx(path: Path, file: BinaryIO, dimensions: int, count: int | None, what: str, size: int, compressed: bool) -> Tensor:
    header = 4 + 4 * dimensions
    start = file.read(header)
    if len(start) < header or start[:4] != bytes([0, 0, 8, dimensions]):
        raise UserError(f"{path} is not an IDX file of {dimensions}-dimensional bytes")
    shape = struct.unpack(f">{dimensions}I", start[4:])
    promised = math.prod(shape)
    if count is not None and shape[0] != count:
        raise UserError(f"{path}: {shape[0]} {what} but {count} labels; fetch the files again")
    if compressed:
        check_can_hold(path, size, promised)
        if promised > LARGEST_UNPACKED:
            raise UserError(f"{path} unpacks to {promised} bytes, more than {LARGEST_UNPACKED}: unpack it first")
    elif size - header != promised:
        raise UserError(f"{path} is truncated or damaged: its header promises {promised} bytes of data, it holds {size - header}")
    content = file.read(promised + 1)  # one more shows whether there is more, and has gzip compare its checksum
    if len(content) != promised:
        holds = len(content) if len(content) < promised else "more"
        raise UserError(f"{path} is truncated or damaged: its header promises {promised} bytes of data, it holds {holds}")
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy()).view(shape)
