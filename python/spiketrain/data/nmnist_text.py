"""N-MNIST as text, as the published preprocessing of TSSL-BP (and of IDE, which takes it over) writes it.

One of two layouts: 2312_3000_stable/Train/3/12.dat with a recording, or 2312_3000_stable/Train_3.dat with all of a class, each ended by a
line with a ``#``. The folder's name says how long a time step is, in microseconds. A line is a pixel, then its time steps, all ended by
tabs: the pixel counts from 1, by rows of x and within them y, the brighter ones (polarity 1) after the others; time steps count from 1 (the
first instant of a recording is 0, and falls into the first step here). The drift of the camera is taken out already.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from spiketrain.data.listing import read_bounded
from spiketrain.errors import UserError, printable

SIDE = 34
FOLDER = "2312_*_stable"
LARGEST_FILE = 2**31  # bytes; a class has some 10^8
# Recordings take 0.3 s.
SHORTEST_US, LONGEST_US = 200_000, 500_000


def width(folder: Path) -> float | None:
    """Microseconds of a time step, where the folder's name says it."""
    match = re.fullmatch(r"2312_(\d{1,9})_stable", folder.name)
    return float(match[1]) if match else None


def check_width(folder: Path, bin_us: float) -> None:
    """Refuse a folder whose time steps are not those wanted."""
    found = width(folder)
    if found is not None and found != bin_us:
        raise UserError(
            f"{folder} holds time steps of {found / 1000:g} ms: expected data.bin_ms {found / 1000:g}, got {bin_us / 1000:g}"
        )


def say_if_implausible(folder: Path, part: str, steps: int, bin_us: float) -> None:
    """A warning where recordings of so many time steps would not take the time that they take."""
    if not SHORTEST_US <= steps * bin_us <= LONGEST_US:
        warnings.warn(
            printable(
                f"the text files of {folder / part} have up to {steps} time steps, {steps * bin_us / 1000:g} ms at data.bin_ms "
                f"{bin_us / 1000:g}, but recordings take some 300 ms: were they made with other time steps?"
            ),
            stacklevel=2,
        )


def files_of_classes(folder: Path, part: str) -> list[Path]:
    """Train_0.dat to Train_9.dat."""
    return [path for path in (folder / f"{part}_{label}.dat" for label in range(10)) if os.path.lexists(path)]


def label_of_class(path: Path) -> int:
    """The 3 of Train_3.dat."""
    return int(path.stem[-1])


def read_samples(path: Path, one: bool) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Time step, from 0 on, and place (polarity * 34 + y) * 34 + x of every event, recording by recording.

    Args:
        one: whether the file is of one recording, or of a class

    Raises:
        UserError: the file is damaged.
    """
    content = read_bounded(path, LARGEST_FILE)
    if not re.fullmatch(rb"[0-9\s#]*", content):
        raise UserError(f"{path} is damaged or no text of N-MNIST: expected numbers alone")
    if content[-1:].strip():
        raise UserError(f"{path} is truncated: it ends within a line")
    pixels: list[int] = []
    steps: list[int] = []
    count = 0
    for number, line in enumerate(content.split(b"\n"), 1):
        words = line.split()
        if words == [b"#"]:
            yield _sample(path, pixels, steps, number)
            pixels, steps, count = [], [], count + 1
        elif words:
            if len(words) < 2 or not all(word.isdigit() and len(word) < 10 for word in words):
                raise UserError(f"{path} is damaged: expected a pixel and its time steps in line {number}")
            pixel, *times = map(int, words)
            if not 1 <= pixel <= 2 * SIDE**2:
                raise UserError(f"{path} is damaged: expected pixels from 1 to {2 * SIDE**2}, got {pixel} in line {number}")
            pixels += [pixel - 1] * len(times)
            steps += times
    if one and count == 0:
        yield _sample(path, pixels, steps, number)
    elif one and (count > 1 or pixels):
        raise UserError(f"{path}: expected one recording, got {count + bool(pixels)}")
    elif not one and (pixels or not count):
        raise UserError(f"{path} is truncated: expected a line with # after each recording")


def _sample(path: Path, pixels: list[int], steps: list[int], number: int) -> tuple[np.ndarray, np.ndarray]:
    if not pixels:
        raise UserError(f"{path} holds no events before line {number}")
    polarity, place = np.divmod(np.array(pixels, np.int64), SIDE**2)
    x, y = np.divmod(place, SIDE)
    return np.maximum(np.array(steps, np.int64) - 1, 0), (polarity * SIDE + y) * SIDE + x
