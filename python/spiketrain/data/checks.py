"""What every reader holds its labels and pictures against, before it reckons with them. Each refusal is one line."""

from __future__ import annotations

import numbers
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiketrain.errors import UserError

# zlib's format cannot make more than some 1,032 bytes of one.
LARGEST_EXPANSION = 1032


def checked_labels(labels: Any, count: int, lowest: int, highest: int, where: str) -> Tensor:
    """`labels` as an int64 tensor (count,).

    Args:
        labels: a list, tuple or array of whole numbers, (count,), (count, 1) or (1, count); of any integer type, or real numbers
            that are whole
        count: of the samples they belong to
        lowest, highest: what labels may be
        where: what error messages begin with: the file, and what holds the labels in it

    Raises:
        UserError: they are anything else.
    """
    if isinstance(labels, (list, tuple)):
        for i, label in enumerate(labels):
            if isinstance(label, (bool, np.bool_)) or not isinstance(label, (numbers.Integral, numbers.Real)):
                raise UserError(f"{where}: expected whole numbers from {lowest} to {highest}, sample {i} has a {_type(label)}")
        # Compared one by one: an array would cut off what is too large for its type.
        wrong = next((i for i, label in enumerate(labels) if not (lowest <= label <= highest and label == int(label))), None)
        values = None if wrong is not None else np.array([int(label) for label in labels], np.int64)
    elif isinstance(labels, np.ndarray):
        if labels.dtype.kind not in "iuf":
            raise UserError(f"{where}: expected whole numbers from {lowest} to {highest}, got an array of {labels.dtype}")
        if labels.ndim != 1 and not (labels.ndim == 2 and 1 in labels.shape):
            raise UserError(f"{where}: expected {count} labels, got an array of shape {labels.shape}")
        labels = labels.reshape(-1)
        good = (labels >= lowest) & (labels <= highest) & (labels == np.floor(labels))  # a NaN is none of these
        wrong = None if good.all() else int(np.argmin(good))
        values = labels.astype(np.int64) if wrong is None else None
    else:
        raise UserError(f"{where}: expected {count} labels, got a {_type(labels)}")
    if len(labels) != count:
        raise UserError(f"{where}: expected {count} labels, one for each sample, got {len(labels)}")
    if values is None:
        raise UserError(f"{where}: expected labels from {lowest} to {highest}, sample {wrong} has {_short(labels[wrong])}")
    return torch.from_numpy(values)


def check_pictures(shape: tuple[int, ...], where: str) -> None:
    """Refuse pictures (N, ...) of which there are none, or that have no pixels."""
    if shape[0] == 0:
        raise UserError(f"{where} holds no samples")
    if 0 in shape:
        raise UserError(f"{where}: expected pictures with pixels, got sizes {' x '.join(map(str, shape[1:]))}")


def check_same_sizes(train: tuple[int, ...], test: tuple[int, ...], where: str) -> None:
    """Refuse test samples of another size, or another number of channels, than the training samples."""
    if train != test:
        raise UserError(
            f"{where}: expected test samples of the training samples' size {' x '.join(map(str, train))}, got {' x '.join(map(str, test))}"
        )


def check_can_hold(path: Path, compressed: int, promised: int) -> None:
    """Refuse a compressed file whose header promises more bytes than so few could be unpacked to."""
    if promised > compressed * LARGEST_EXPANSION:
        raise UserError(
            f"{path} is damaged: its header promises {promised} bytes of data, its {compressed} compressed bytes cannot hold so many"
        )


def _type(value: object) -> str:
    return "None" if value is None else type(value).__name__


def _short(value: object) -> str:
    """A number in a few characters, however large."""
    if isinstance(value, int) and value.bit_length() > 64:
        return f"a number of {value.bit_length()} bits"
    return f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
