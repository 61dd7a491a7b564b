"""Pictures in folders: ROOT/train/CLASS/*.png and ROOT/test/CLASS/*.png (or .jpg, .jpeg, .bmp), any size.

Decoded once: the resized images are kept in the cache folder, named by a hash of all that they depend on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.data.decoded import decode_once
from spiketrain.errors import UserError

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp")


def load(name: str, root: Path, config: Config) -> Dataset:
    train_files, test_files = _list(root / "train"), _list(root / "test")
    classes = sorted({path.parent.name for path in train_files})
    unseen = {path.parent.name for path in test_files} - set(classes)
    if unseen:
        raise UserError(f"{root / 'test'} has a class that {root / 'train'} lacks: {min(unseen)}")
    side = config.data.image_size

    def decoded(files: list[Path]) -> Tensor:
        return decode_once("imagefolder", files, root, (3, side, side), lambda path: _decode(path, side), __name__)

    train, test = decoded(train_files), decoded(test_files)
    mean, std = _moments(train)

    def split(images: Tensor, files: list[Path], augment: bool) -> ImageSplit:
        labels = torch.tensor([classes.index(path.parent.name) for path in files])
        return ImageSplit(images, labels, mean, std, augment)

    return Dataset(
        name, split(train, train_files, config.data.augment), split(test, test_files, False), (3, side, side), len(classes)
    )


def _list(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UserError(f"data set not found: no folder {folder}. Expected {folder}/CLASS/*.png (or .jpg) below --data.root")
    files = sorted(path for path in folder.glob("*/*") if path.suffix.lower() in SUFFIXES)
    if not files:
        raise UserError(f"no pictures in {folder}: expected {folder}/CLASS/*.png (or .jpg)")
    return files


def _decode(path: Path, side: int) -> np.ndarray:
    from PIL import Image

    try:
        with Image.open(path) as picture:
            picture = picture.convert("RGB")
    except Exception as error:  # Pillow raises many kinds for damaged files
        raise UserError(f"{path} is damaged or no picture: {error}") from None
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture).transpose(2, 0, 1)


def _moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on the scale from 0 to 1, from at most 10,000 images."""
    sample = images[:: max(1, len(images) // 10_000)].double().div_(255)
    std = sample.std(dim=(0, 2, 3), correction=0).clamp_min(1e-3)
    return tuple(sample.mean(dim=(0, 2, 3)).tolist()), tuple(std.tolist())
