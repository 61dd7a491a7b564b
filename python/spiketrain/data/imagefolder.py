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
from spiketrain.data.decoded import copy_of, decode_once
from spiketrain.data.listing import Listing, is_hidden, list_files
from spiketrain.errors import UserError


def load(name: str, root: Path, config: Config) -> Dataset:
    side = config.data.image_size
    listings = {part: _list(root / part) for part in ("train", "test")}
    classes = sorted({_label(path, listings["train"]) for path in listings["train"].files})
    empty = sorted(_folders(root / "train") - set(classes))
    if empty:
        raise UserError(f"{root / 'train' / empty[0]} holds no picture that is read: add some, or remove the folder")
    unseen = {_label(path, listings["test"]) for path in listings["test"].files} - set(classes)
    if unseen:
        raise UserError(f"{root / 'test'} has a class that {root / 'train'} lacks: {min(unseen)}")
    number = {label: i for i, label in enumerate(classes)}

    def images(part: str) -> Tensor:
        copy = copy_of(name, listings[part].files, root, part, (__name__, pixels.__name__), side)
        return decode_once(copy, listings[part].files, (3, side, side), lambda path: _decode(path, side))

    train, test = images("train"), images("test")
    mean, std = _moments(train)

    def split(images: Tensor, part: str, augment: bool) -> ImageSplit:
        listing = listings[part]
        labels = checked_labels(
            [number[_label(path, listing)] for path in listing.files], len(images), 0, len(classes) - 1, str(listing.folder)
        )
        return ImageSplit(images, labels, mean, std, augment)

    splits = split(train, "train", config.data.augment), split(test, "test", False)
    return Dataset(name, *splits, (3, side, side), len(classes), class_names=tuple(classes))


def _list(folder: Path) -> Listing:
    if not folder.is_dir():
        raise UserError(f"data set not found: no folder {folder}. Expected {folder}/CLASS/*.png (or .jpg) below --data.root")
    listing = list_files(folder, pixels.suffixes())
    for path in [path for path in listing.files if path.parent == folder]:
        listing.leave_out(path, "in no folder of a class")
    listing.say_what_was_left_out()
    if not listing.files:
        raise UserError(f"no pictures in {folder}: expected {folder}/CLASS/*.png (or .jpg)")
    return listing


def _folders(folder: Path) -> set[str]:
    """Names of the folders of classes, with pictures or without."""
    return {path.name for path in folder.iterdir() if path.is_dir() and not is_hidden(path.name)}


def _label(path: Path, listing: Listing) -> str:
    """The class of a picture: the folder right below that of the split."""
    return path.relative_to(listing.folder).parts[0]


def _decode(path: Path, side: int) -> np.ndarray:
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
