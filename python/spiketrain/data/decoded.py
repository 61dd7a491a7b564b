"""Files decoded once, and kept in the cache folder for the next run."""

from __future__ import annotations

import hashlib
import inspect
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from spiketrain.data.cache import Copy
from spiketrain.errors import UserError


def copy_of(data_set: str, files: list[Path], root: Path, part: str, modules: tuple[str, ...], *settings: object) -> Copy:
    """Names a copy by all that it depends on.

    Args:
        data_set: for the folder in the cache
        files: paths below `root`, told apart by name, size and date
        part: of the data set, such as train: with the settings, which copies take each other's place
        modules: names of those whose code makes the copy; another version of it makes another one
        settings: what else the copy depends on
    """
    slot = hashlib.sha256(f"{data_set}\n{part}\n{settings}\n".encode() + os.fsencode(root.absolute()))
    key = slot.copy()
    key.update(f"\npillow {_pillow_version()}\n".encode())
    for module in modules:
        key.update(inspect.getsource(sys.modules[module]).encode())
    for path in files:
        status = path.stat()
        key.update(os.fsencode(path.relative_to(root)) + f"\0{status.st_size} {status.st_mtime_ns}\n".encode())
    return Copy(data_set, root.absolute(), slot.hexdigest()[:16], key.hexdigest()[:16])


def _pillow_version() -> str:
    """Its resizing and its JPEG decoder are not the same in all of them."""
    try:
        return version("pillow")
    except PackageNotFoundError:  # what is decoded already can do without
        return ""


def decode_once(
    copy: Copy, files: list[Path], shape: tuple[int, ...], decode: Callable[[Path], np.ndarray], memory_map: bool = False
) -> Tensor:
    """What `decode` makes of all files (N, *shape), uint8, out of the cache where it is there.

    Args:
        copy: its place in the cache
        shape: of one decoded file
        decode: runs in several threads
        memory_map: leave the copy on the disk and read only what is used of it, for gigabytes

    Raises:
        UserError: they do not fit into memory, or `decode` cannot decode one.
    """
    whole = (len(files), *shape)
    found = copy.read(memory_map)
    if found is not None and "images" in found and found["images"].dtype == np.uint8 and found["images"].shape == whole:
        return torch.from_numpy(found["images"])
    try:
        images = np.empty(whole, np.uint8)
    except (MemoryError, ValueError):
        sizes = " x ".join(map(str, whole))
        raise UserError(f"{copy.data_set} in {copy.root}: {sizes} bytes do not fit into memory. Lower data.image_size") from None

    def fill(place: int) -> None:
        images[place] = decode(files[place])

    with ThreadPoolExecutor() as threads:  # Pillow and NumPy work without holding Python's lock
        list(threads.map(fill, range(len(files))))
    copy.write(images=images)
    return torch.from_numpy(images)
