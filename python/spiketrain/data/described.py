"""What a network must know of its data to be used without them: what a checkpoint says of it, or what a configuration does.

`Dataset.description` is what checkpoints hold. `stand_in` makes of it a data set of one blank sample, with which a network is built, and
`of_config` finds it for checkpoints of older versions, which hold none.
"""

from __future__ import annotations

import importlib
import math
from typing import Any

import torch

from spiketrain import data
from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit, Split
from spiketrain.data.cifar10_dvs import FRAMES, FrameSplit
from spiketrain.data.sparse_events import Binning, EventSplit
from spiketrain.data.tasks import CLASSIFICATION, REGRESSION
from spiketrain.errors import UserError, shortened, shown

LARGEST_SHAPE = 2**31  # numbers of a sample
MOST_CLASSES = 2**20
_TASKS = {task.name: task for task in (CLASSIFICATION, REGRESSION)}


class BlankSplit(Split):
    """One sample of zeros, of data that no file is read for."""

    def __init__(self, shape: tuple[int, ...], kind: dict[str, Any] | None = None) -> None:
        self.shape, self.kind = shape, kind
        self.labels = torch.zeros(1, dtype=torch.int64)

    def preprocessing(self) -> dict[str, Any] | None:
        return self.kind

    def batch(self, index: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        return torch.zeros(len(index), *self.shape, device=index.device)

    def select(self, index: torch.Tensor) -> BlankSplit:
        return self


def of_config(config: Config) -> dict[str, Any]:
    """The description of the data set that a configuration names: from the configuration alone where that is enough, else from the data.

    Raises:
        UserError: the data are needed and are not there; the message says what for.
    """
    name = config.data.name
    reader = importlib.import_module(f"spiketrain.data.{data.READERS[name]}") if name in data.READERS else None
    blank = getattr(reader, "blank", lambda name, config: None)(name, config)
    if blank is not None:
        data.finish(blank, config)
        return blank.description()
    try:
        return data.load(config).description()
    except UserError as error:
        raise UserError(
            shortened(
                f"the checkpoint is of a version that did not keep class names, input shape and normalisation, and of {name} they are in the "
                f"data set alone, once more: {error}"
            )
        ) from None


def stand_in(description: dict[str, Any]) -> Dataset:
    """A data set of one blank sample, of which a batch looks as one of the data set that is described.

    Raises:
        ValueError, TypeError, KeyError: it is no description that a data set gives.
    """
    shape = _whole_numbers(description["input_shape"], "input_shape")
    classes = _whole(description["classes"], "classes", MOST_CLASSES)
    names = description["class_names"]
    if names is not None:
        if not isinstance(names, list) or len(names) != classes or not all(isinstance(name, str) for name in names):
            raise ValueError(f"class_names are no {classes} names")
        names = tuple(names)
    name, task = description["data"], description["task"]
    if not isinstance(name, str) or not isinstance(task, str) or task not in _TASKS:
        raise ValueError(f"data or task is {shown(name)}, {shown(task)}")
    split = split_of(description["preprocessing"], shape)
    return Dataset(name, split, split, shape, classes, _TASKS[task], names)


def split_of(preprocessing: dict[str, Any] | None, shape: tuple[int, ...]) -> Split:
    """One blank sample, cut into batches as those of the data set."""
    label, none = torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int32)
    if preprocessing is None:
        return BlankSplit(shape)
    kind = preprocessing["kind"]
    if kind == "points":
        return BlankSplit(shape, {"kind": kind})
    if kind == "pictures" and len(shape) == 3:
        return pictures(torch.zeros(1, *shape, dtype=torch.uint8), preprocessing)
    if kind == "events":
        binning = Binning.from_dict(preprocessing["binning"])
        if binning.shape != shape:
            raise ValueError(f"the sensor is cut into {binning.shape}, the input is {shape}")
        if type(preprocessing["counts"]) is not bool:
            raise ValueError("counts is no truth value")
        return EventSplit(none, torch.zeros(2, dtype=torch.int64), label, binning.time_steps, shape, cut=preprocessing)
    if kind == "nmnist":
        steps, kept = _whole(preprocessing["time_steps"], "time_steps"), preprocessing["kept"]
        if type(kept) is not int or not 0 <= kept <= steps or not _is_positive(preprocessing["bin_us"]):
            raise ValueError("its time steps are none")
        return EventSplit(none, torch.zeros(2, dtype=torch.int64), label, steps, shape, cut=preprocessing)
    if kind == "frames":
        side, steps = (_whole(preprocessing[name], name) for name in ("side", "time_steps"))
        if shape != (2, side, side) or steps > FRAMES:
            raise ValueError("its frames are none")
        return FrameSplit(torch.zeros(1, steps, *shape, dtype=torch.uint8), label, steps, augment=False)
    raise ValueError(f"preprocessing is of the kind {shown(kind)}")


def pictures(images: torch.Tensor, preprocessing: dict[str, Any]) -> ImageSplit:
    """uint8 images (N, C, H, W) that are normalised as those of the data set."""
    channels = images.shape[1]
    numbers = {}
    for name in ("scale", "shift"):
        values = preprocessing[name]
        if not isinstance(values, list) or len(values) != channels or not all(_is_finite(value) for value in values):
            raise ValueError(f"{name} is no list of {channels} numbers, one for each channel")
        numbers[name] = torch.tensor(values, dtype=torch.float32).view(-1, 1, 1)
    white = _whole(preprocessing["white"], "white", 255)
    labels = torch.zeros(len(images), dtype=torch.int64)
    split = ImageSplit(images, labels, (0.0,) * channels, (1.0,) * channels, white=white)
    split.scale, split.shift = numbers["scale"], numbers["shift"]
    return split


def _whole_numbers(values: Any, name: str) -> tuple[int, ...]:
    if not isinstance(values, list) or not 1 <= len(values) <= 5:
        raise ValueError(f"{name} is {shown(values)}")
    shape = tuple(_whole(value, name) for value in values)
    if math.prod(shape) > LARGEST_SHAPE:
        raise ValueError(f"{name} is {shown(values)}")
    return shape


def _whole(value: Any, name: str, most: int = LARGEST_SHAPE) -> int:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{name} is {shown(value)}")
    return value


def _is_finite(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _is_positive(value: Any) -> bool:
    return _is_finite(value) and value > 0
