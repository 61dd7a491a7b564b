"""Data sets, each one file (or one file per format), all loaded into memory as a `Dataset`."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Callable
from pathlib import Path

from spiketrain import plugins
from spiketrain.config import Config, DataConfig
from spiketrain.data import outside
from spiketrain.data.base import Dataset, ImageSplit, Split
from spiketrain.data.checks import check_pictures, check_same_sizes, checked_labels
from spiketrain.data.class_names import CLASS_NAMES
from spiketrain.data.folders import data_root
from spiketrain.data.tasks import CLASSIFICATION
from spiketrain.data.validation import split_off
from spiketrain.errors import UserError, unknown_name

# name of the data set -> module that reads it; each module has load(name, root, config) -> Dataset
READERS = {
    "digits": "digits",
    "mnist": "mnist",
    "fashion_mnist": "mnist",
    "cifar10": "cifar",
    "cifar100": "cifar",
    "svhn": "svhn",
    "imagefolder": "imagefolder",
    "nmnist": "nmnist",
    "cifar10_dvs": "cifar10_dvs",
    "shd": "event_sets",
    "ssc": "event_sets",
    "dvs-gesture": "event_sets",
    "ncaltech101": "event_sets",
    "events": "event_sets",
    "surfaces": "surfaces",
    "paraboloid": "surfaces",
}
BINNED_EVENTS = tuple(name for name, reader in READERS.items() if reader == "event_sets")
EVENT_DATA = ("nmnist", "cifar10_dvs", *BINNED_EVENTS)  # a sample is a movie of spikes or frames, not an image
# Fields that only those take.
OF_EVENTS = ("sensor", "duration_ms", "cut", "crop", "downsample", "merge_polarities", "counts")


def load(config: Config) -> Dataset:
    """The data set that `config.data` names, cut down to `trainer.limit_train` and `trainer.limit_test` samples, without the validation samples,
    which are drawn from all of the training set first: none of them is ever trained on.

    Raises:
        UserError: unknown data set, one that cannot be split so, one from outside that is not to be imported or is none, or its files are missing or damaged.
    """
    name = config.data.name
    load_from = _reader(name)
    _check_options(config.data)
    root = data_root(config.data.root)
    try:
        dataset = load_from(name, root, config)
    except OSError as error:
        raise UserError(f"cannot read data set {name} in {root}: {error}") from None
    except MemoryError:
        raise UserError(f"data set {name} in {root} does not fit into memory") from None
    _check(dataset, f"data set {name} in {root}")
    finish(dataset, config)
    _set_augmentation(dataset.train, config)
    split_off(dataset, config)
    dataset.train = dataset.train.limited(config.trainer.limit_train)
    dataset.test = dataset.test.limited(config.trainer.limit_test)
    return dataset


def finish(dataset: Dataset, config: Config) -> None:
    """Give a data set that was read the normalisation that the options ask for, and the names of its classes."""
    dataset.train, dataset.test = (_normalized(split, config) for split in (dataset.train, dataset.test))
    dataset.class_names = dataset.class_names or CLASS_NAMES.get(dataset.name)


def _reader(name: str) -> Callable[[str, Path, Config], Dataset]:
    if name in READERS:
        return importlib.import_module(f"spiketrain.data.{READERS[name]}").load
    if not plugins.is_reference(name) and name not in (installed := plugins.installed("data.name")):
        raise unknown_name("data set", name, [*READERS, *installed])
    return functools.partial(outside.read, plugins.load("data.name", name))


def _check_options(data: DataConfig) -> None:
    """Refuse fields that have no effect on the data set."""
    given = [field for field in OF_EVENTS if getattr(data, field) != getattr(DataConfig, field)]
    if given and data.name not in BINNED_EVENTS:
        names = ", ".join(f"data.{field}" for field in given)
        raise UserError(f"{names}: only for {', '.join(BINNED_EVENTS)}, not for {data.name}")


def _check(dataset: Dataset, where: str) -> None:
    """What holds for every data set, whoever read it."""
    for part, split in (("training", dataset.train), ("test", dataset.test)):
        if len(split) == 0:
            raise UserError(f"{where} holds no {part} samples")
        if dataset.task is CLASSIFICATION:
            split.labels = checked_labels(split.labels.numpy(), len(split), 0, dataset.classes - 1, f"{where}, {part} samples")
        if isinstance(split, ImageSplit):
            check_pictures(tuple(split.images.shape), f"{where}, {part} samples")
            check_same_sizes(dataset.input_shape, tuple(split.images.shape[1:]), where)


def _set_augmentation(split: Split, config: Config) -> None:
    """Let training images be augmented as the options ask for."""
    border, flip = config.data.augment_border, config.data.augment_flip
    if isinstance(split, ImageSplit):
        split.border, split.flip = border, flip
    elif (border, flip) != (DataConfig.augment_border, DataConfig.augment_flip):
        raise UserError(f"data.augment_border, data.augment_flip: are for images, {config.data.name} holds none")


def _normalized(split: Split, config: Config) -> Split:
    """The split with the normalisation that the options ask for."""
    mean, std = config.data.mean, config.data.std
    if config.data.normalize and mean is None and std is None:
        return split
    if not isinstance(split, ImageSplit):
        raise UserError(f"data.normalize, data.mean, data.std: only images are normalised, {config.data.name} holds none")
    if mean is None and std is None:
        return split.in_unit_range()
    if not config.data.normalize or mean is None or std is None:
        raise UserError("data.mean, data.std: expected both or none of them, and data.normalize true")
    channels = split.images.shape[1]
    if len(mean) != channels or len(std) != channels:
        raise UserError(f"data.mean, data.std: expected {channels} numbers each, one per channel, got {mean} and {std}")
    split = split.normalized(mean, std)
    if not split.is_finite():
        raise UserError(f"data.mean, data.std: pixels normalised by {mean} and {std} are too large for float32")
    return split
