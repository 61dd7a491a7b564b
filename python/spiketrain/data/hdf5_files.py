"""HDF5 as data: arrays that lie in the file itself. Links and arrays that lead to other files are not followed."""

from __future__ import annotations

import contextlib
import importlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from spiketrain.data.checks import check_can_hold
from spiketrain.data.listing import open_regular
from spiketrain.errors import UserError

if TYPE_CHECKING:
    import h5py


@contextlib.contextmanager
def opened(path: Path) -> Iterator[h5py.File]:
    """The file, open for reading; what goes wrong with it while it is, is an error of one line.

    Raises:
        UserError: h5py is not installed; the file is damaged, or no regular file.
    """
    try:
        library = importlib.import_module("h5py")
    except ImportError as error:
        raise UserError(
            f'{path} is read with h5py, which cannot be imported ({error}): pip install h5py, or pip install "spikeops[events]"'
        ) from None
    open_regular(path).close()  # h5py would wait for a pipe
    try:
        with library.File(path, "r", locking=False) as file:
            yield file
    except (UserError, MemoryError):
        raise
    except Exception as error:  # a damaged file can raise almost anything in HDF5
        raise UserError(f"{path} is damaged or no HDF5 file: {type(error).__name__}: {error}"[:400]) from None


def find(file: h5py.File, path: Path, name: str) -> h5py.Dataset | None:
    """The array at `name`, such as ``spikes/times``; None where there is none.

    Raises:
        UserError: it does not lie in the file itself.
    """
    import h5py

    node = file
    for part in name.split("/"):
        if not isinstance(node, h5py.Group) or part.encode() not in list(node.id):
            return None
        if node.id.links.get_info(part.encode()).type != h5py.h5l.TYPE_HARD:
            raise UserError(f"{path}, {name} is a link: expected an array in the file itself")
        node = node[part]
    if not isinstance(node, h5py.Dataset):
        return None
    if node.external or node.is_virtual:
        raise UserError(f"{path}, {name} lies in another file: expected an array in the file itself")
    return node


def read(dataset: h5py.Dataset, path: Path, at_most: int) -> np.ndarray:
    """All numbers of an array.

    Raises:
        UserError: it holds something else, or promises more than the file can hold.
    """
    if dataset.dtype.hasobject or dataset.shape is None:
        raise UserError(f"{path}, {dataset.name}: expected an array of numbers, got one of {dataset.dtype}")
    promised = math.prod(dataset.shape) * dataset.dtype.itemsize
    check_can_hold(path, dataset.id.get_storage_size(), promised)
    if promised > at_most:
        raise UserError(f"{path}, {dataset.name} unpacks to {promised} bytes: expected at most {at_most}")
    return dataset[()]
