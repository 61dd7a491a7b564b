"""MNIST and FashionMNIST in their original IDX files, gzipped or unpacked, read where they lie.

The layout is torchvision's: ROOT/MNIST/raw/train-images-idx3-ubyte[.gz] and so on; ROOT may be read-only.
"""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.errors import UserError

FOLDERS = {"mnist": "MNIST", "fashion_mnist": "FashionMNIST"}
MEAN, STD = (0.1307,), (0.3081,)  # MNIST's; the published FashionMNIST experiments of TSSL-BP and IDE use them too


def load(name: str, root: Path, config: Config) -> Dataset:
    folder = root / FOLDERS[name] / "raw"
    if config.data.download:
        download(name, root)
    train = _split(folder, "train", config.data.augment)
    test = _split(folder, "t10k", False)
    return Dataset(name, train, test, tuple(train.images.shape[1:]), 10)


def download(name: str, root: Path) -> None:
    """Fetch the files with torchvision, which checks their MD5 sums."""
    from torchvision import datasets

    try:
        getattr(datasets, FOLDERS[name])(str(root), download=True)
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot download {name} into {root}: {error}") from None


def _split(folder: Path, part: str, augment: bool) -> ImageSplit:
    images = read_idx(_find(folder, f"{part}-images-idx3-ubyte"), dimensions=3)
    labels = read_idx(_find(folder, f"{part}-labels-idx1-ubyte"), dimensions=1).long()
    if len(images) != len(labels):
        raise UserError(f"{folder}: {len(images)} {part} images but {len(labels)} labels; fetch the files again")
    return ImageSplit(images.unsqueeze(1), labels, MEAN, STD, augment)


def _find(folder: Path, stem: str) -> Path:
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.is_file():
            return path
    raise UserError(
        f"data set not found: no {stem} or {stem}.gz in {folder}. Point --data.root at the data, or add --data.download true"
    )


def read_idx(path: Path, dimensions: int) -> Tensor:
    """An IDX file of unsigned bytes (gzipped where the name ends in .gz) as a uint8 tensor.

    The format: two zero bytes, 0x08 for unsigned bytes, the number of dimensions, each size as big-endian uint32, data.

    Raises:
        UserError: the file is damaged, truncated or of another kind.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            content = file.read()
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"{path} is damaged: {error}") from None
    header = 4 + 4 * dimensions
    if len(content) < header or content[:4] != bytes([0, 0, 8, dimensions]):
        raise UserError(f"{path} is not an IDX file of {dimensions}-dimensional bytes")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(content) - header != expected:
        raise UserError(
            f"{path} is truncated or damaged: its header promises {expected} bytes of data, it holds {len(content) - header}"
        )
    return torch.from_numpy(np.frombuffer(content, np.uint8, offset=header).copy()).view(shape)
