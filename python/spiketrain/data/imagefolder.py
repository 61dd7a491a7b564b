"""Pictures in folders: ROOT/train/CLASS/*.png and ROOT/test/CLASS/*.png, of any size and any format that Pillow decodes.

Pictures in folders within that of a class belong to it. Hidden entries and files of other kinds are left out, with a warning that counts
them. How a picture becomes 8 bits per colour is written in `pixels`. Decoded once: the resized images are kept in the cache folder.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data import pixels
from spiketrain.data.base import Dataset, ImageSplit
from spiketrain.data.checks import checked_labels
from spiketrain.data.class_folders import ClassFolders
from spiketrain.data.decoded import copy_of, decode_once


def load(name: str, root: Path, config: Config) -> Dataset:
    side = config.data.image_size
    folders = ClassFolders(root, pixels.suffixes(), "picture", "*.png (or .jpg)")
    classes = folders.classes

    def images(part: str) -> Tensor:
        copy = copy_of(name, folders.files[part], root, part, (__name__, pixels.__name__), side)
        return decode_once(copy, folders.files[part], (3, side, side), lambda path: decode(path, side))

    train, test = images("train"), images("test")
    mean, std = _moments(train)

    def split(images: Tensor, part: str, augment: bool) -> ImageSplit:
        labels = checked_labels(folders.labels[part], len(images), 0, len(classes) - 1, str(root / part))
        return ImageSplit(images, labels, mean, std, augment)

    splits = split(train, "train", config.data.augment), split(test, "test", False)
    return Dataset(name, *splits, (3, side, side), len(classes), class_names=classes)


def decode(path: Path, side: int) -> np.ndarray:
    from PIL import Image

    picture = pixels.read_picture(path)
    if picture.size != (side, side):
        picture = picture.resize((side, side), Image.Resampling.BILINEAR)
    return np.asarray(picture).transpose(2, 0, 1)


def _moments(images: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel on the scale from 0 to 1, from at most 10,000 images."""
    sample = images[:: max(1, len(images) // 10_000)].double().div_(255)
    std = sample.std(dim=(0, 2, 3), correction=0).clamp_min(1e-3)
    return tuple(sample.mean(dim=(0, 2, 3)).tolist()), tuple(std.tolist())
