"""What every data set looks like to the rest: two splits in memory, cut into batches by index."""

from __future__ import annotations

import abc
import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from spiketrain import plugins
from spiketrain.data.tasks import CLASSIFICATION, Task
from spiketrain.errors import UserError, shortened


class Split(abc.ABC):
    """Samples with labels. `labels` is an int64 tensor of shape (samples,), or of real numbers (samples, outputs)."""

    labels: Tensor

    def __len__(self) -> int:
        return self.labels.numel()

    @abc.abstractmethod
    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        """The samples at `index` as float32: (N, C, H, W) for images, (T, N, C, H, W) for events.

        `generator` draws the augmentation; without one the samples come as they are.
        """

    @abc.abstractmethod
    def select(self, index: Tensor) -> Split:
        """A split of the samples at `index` only."""

    def preprocessing(self) -> dict[str, Any] | None:
        """How a file becomes a sample of this split, in plain containers, for `samples` and checkpoints; None where nothing is known."""
        return None

    def to(self, device: torch.device) -> Split:
        """The same split with its tensors on `device`."""
        moved = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(moved, name, value.to(device))
        return moved

    def limited(self, limit: int) -> Split:
        """At most `limit` samples (0: all), evenly spread, so that a set sorted by class keeps all its classes."""
        if limit <= 0 or limit >= len(self):
            return self
        return self.select(torch.arange(limit) * len(self) // limit)


class ImageSplit(Split):
    """Images kept as uint8 (N, C, H, W) and normalised per channel when a batch is cut: (x / 255 - mean) / std.

    `white` is the largest value that pixels take; `border` and `flip` say how images are augmented, as in `crop_and_flip`.
    """

    border = 4
    flip = True

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        mean: tuple[float, ...],
        std: tuple[float, ...],
        augment: bool = False,
        white: int = 255,
    ) -> None:
        self.images = images
        self.labels = labels
        self.scale = torch.tensor([1 / (255 * s) for s in std]).view(-1, 1, 1)
        self.shift = torch.tensor([-m / s for m, s in zip(mean, std)]).view(-1, 1, 1)
        self.augment = augment
        self.white = white

    @classmethod
    def blank(cls, shape: tuple[int, int, int], mean: tuple[float, ...], std: tuple[float, ...]) -> ImageSplit:
        """No images (C, H, W), with their normalisation."""
        return cls(torch.zeros(0, *shape, dtype=torch.uint8), torch.zeros(0, dtype=torch.int64), mean, std)

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        images = self.images.index_select(0, index)
        if self.augment and generator is not None:
            images = crop_and_flip(images, generator, self.border, self.flip)
        return normalize(images, self.scale, self.shift)

    def preprocessing(self) -> dict[str, Any]:
        scale, shift = (values.flatten().tolist() for values in (self.scale, self.shift))  # of float32, which they become again
        return {"kind": "pictures", "white": self.white, "scale": scale, "shift": shift}

    def normalized(self, mean: list[float], std: list[float]) -> ImageSplit:
        """The same images, normalised by other numbers: one per channel, for pixels from 0 to 1."""
        other = copy.copy(self)
        other.scale = torch.tensor([1 / (self.white * s) for s in std]).view(-1, 1, 1)
        other.shift = torch.tensor([-m / s for m, s in zip(mean, std)]).view(-1, 1, 1)
        return other

    def is_finite(self) -> bool:
        """Whether the darkest and the brightest pixel are finite in float32 once they are normalised."""
        return bool((self.shift.isfinite() & (self.shift + self.white * self.scale).isfinite()).all())

    def in_unit_range(self) -> ImageSplit:
        """The same images with pixels from 0 to 1 instead of normalised ones."""
        plain = copy.copy(self)
        plain.scale, plain.shift = torch.full_like(self.scale, 1 / self.white), torch.zeros_like(self.shift)
        return plain

    def select(self, index: Tensor) -> ImageSplit:
        part = copy.copy(self)
        part.images, part.labels = self.images[index], self.labels[index]
        return part


def normalize(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """uint8 images (N, C, H, W) as a network takes them: shift + scale * pixel, both (C, 1, 1), float32."""
    return torch.addcmul(shift, images.float(), scale)


def crop_and_flip(images: Tensor, generator: torch.Generator, border: int = 4, flip: bool = True) -> Tensor:
    """Each image (N, C, H, W) cropped at a random place out of a zero border and, with `flip`, mirrored with probability 1/2."""
    n, _, height, width = images.shape
    offset = torch.randint(0, 2 * border + 1, (2, n), generator=generator)
    mirrored = torch.randint(0, 2, (1, n), generator=generator) * flip
    top, left, mirrored = _without_waiting(torch.cat([offset, mirrored]), images.device).view(3, n, 1)
    rows = top + torch.arange(height, device=images.device)
    columns = torch.arange(width, device=images.device).expand(n, width)
    columns = left + torch.where(mirrored.bool(), width - 1 - columns, columns)
    padded = torch.nn.functional.pad(images, (border,) * 4).permute(0, 2, 3, 1)
    sample = torch.arange(n, device=images.device).view(n, 1, 1)
    cropped = padded[sample, rows.view(n, height, 1), columns.view(n, 1, width)]
    return cropped.permute(0, 3, 1, 2).contiguous()


def _without_waiting(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor of the CPU on a device, which need not have done all that it was given before."""
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@dataclass
class Dataset:
    """A data set ready for training.

    Attributes:
        input_shape: (C, H, W) of one sample (of one time step of it for events)
        classes: number of classes, or of outputs where real numbers are wanted
        task: what outputs are judged by
        class_names: what the classes are called, where the data set says so
        validation: samples of the training set that are not trained on, where `data.validation` asks for any
    """

    name: str
    train: Split
    test: Split
    input_shape: tuple[int, ...]
    classes: int
    task: Task = CLASSIFICATION
    class_names: tuple[str, ...] | None = None
    validation: Split | None = field(default=None, init=False)

    def description(self) -> dict[str, Any]:
        """What a network must know of its data to be used without them, in plain containers: `described.stand_in` is the way back."""
        return {
            "data": self.name,
            "input_shape": list(self.input_shape),
            "classes": self.classes,
            "class_names": None if self.class_names is None else list(self.class_names),
            "task": self.task.name,
            "preprocessing": self.test.preprocessing(),
        }


class Batches:
    """Passes over a split in batches, shuffled and augmented where a generator is given.

    With several processes each one gets its share of every batch, so that `batch_size` counts them together. A process
    that would get nothing of a short last batch still gets one empty batch, to keep step with the others.
    """

    def __init__(
        self, split: Split, batch_size: int, generator: torch.Generator | None = None, rank: int = 0, world_size: int = 1
    ) -> None:
        if len(split) == 0:
            raise UserError("the data set holds no samples")
        self.split = split
        self.batch_size = batch_size
        self.generator = generator
        self.rank, self.world_size = rank, world_size

    def __len__(self) -> int:
        return -(-len(self.split) // self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.split)
        order = torch.arange(count) if self.generator is None else torch.randperm(count, generator=self.generator)
        order = order.to(self.split.labels.device)  # all at once: each transfer waits for the device
        augmentation = self._augmentation()
        for start in range(0, count, self.batch_size):
            index = order[start : start + self.batch_size][self.rank :: self.world_size]
            yield self._inputs(index, augmentation), self.split.labels[index]

    def _inputs(self, index: Tensor, augmentation: torch.Generator | None) -> Tensor:
        """The samples; those of code from outside are looked at, since a number that is none may become a plausible output: neurons do not
        fire at NaN."""
        if type(self.split).__module__.startswith("spiketrain."):
            return self.split.batch(index, augmentation)
        where = f"data set of {shortened(type(self.split).__qualname__, 60)}"
        try:
            inputs = self.split.batch(index, augmentation)
            is_finite = bool(inputs.isfinite().all())
        except (UserError, MemoryError, torch.OutOfMemoryError):
            raise
        except Exception as error:  # foreign code can raise anything
            raise UserError(f"{where}: {plugins.described(error)}") from error
        if not is_finite:
            raise UserError(f"{where}: a batch holds numbers that are not finite")
        return inputs

    def _augmentation(self) -> torch.Generator | None:
        """A generator for one epoch of this process. The shuffling one must stay the same in all of them."""
        if self.generator is None:
            return None
        seed = torch.randint(2**62, (), generator=self.generator).item()
        return torch.Generator().manual_seed(seed + self.rank)
