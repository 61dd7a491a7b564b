"""Files decoded once, and kept in the cache folder for the next run."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from spiketrain.data import cache_dir
from spiketrain.files import write_atomically


def cache_name(files: list[Path], root: Path, module: str, *settings: object) -> str:
    """Names a copy by all that it depends on.

    Args:
        files: paths below `root`, told apart by name, size and date
        module: name of the one whose code makes the copy; another version of it makes another one
        settings: what else the copy depends on
    """
    key = hashlib.sha256(f"{settings}\n{inspect.getsource(sys.modules[module])}".encode())
    for path in files:
        status = path.stat()
        key.update(f"{path.relative_to(root)} {status.st_size} {status.st_mtime_ns}\n".encode())
    return key.hexdigest()[:32]


def _pillow_version() -> str:
    """Its resizing and its JPEG decoder are not the same in all of them."""
    try:
        return version("pillow")
    except PackageNotFoundError:  # what is decoded already can do without
        return ""


def decode_once(
    name: str,
    files: list[Path],
    root: Path,
    shape: tuple[int, ...],
    decode: Callable[[Path], np.ndarray],
    module: str,
    memory_map: Literal["c"] | None = None,
) -> Tensor:
    """What `decode` makes of all files (N, *shape), uint8, out of the cache where it is there.

    Args:
        name: of the data set, for the folder in the cache
        files: paths below `root`
        shape: of one decoded file
        decode: runs in several threads
        module: name of the one that `decode` is from
        memory_map: "c" reads only what is used from the cache, for gigabytes; None reads all
    """
    cached = cache_dir() / name / f"{cache_name(files, root, module, shape, _pillow_version())}.npy"
    try:
        images = np.load(cached, mmap_mode=memory_map, allow_pickle=False)
        if images.dtype == np.uint8 and images.shape == (len(files), *shape):
            return torch.from_numpy(images)
    except (OSError, ValueError, EOFError):
        pass  # not there yet, or damaged: decode again
    with ThreadPoolExecutor() as threads:  # Pillow and NumPy work without holding Python's lock
        images = np.stack(list(threads.map(decode, files)))
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(cached, lambda file: np.save(file, images, allow_pickle=False))
    except OSError:
        pass  # no place for a cache: the next run decodes again
    return torch.from_numpy(images)
