"""NIR graphs in files: HDF5, a group for each node."""

from __future__ import annotations

import math
import os
import stat
from typing import Any

from spikeops.nir._packages import package

# What zeros shrink to by HDF5's gzip, about a thousandth: an array that promises more than its bytes can hold is a damaged one.
_LARGEST_EXPANSION = 2000


def read(nir: Any, path: str) -> Any:
    """The graph in a file.

    Raises:
        FileNotFoundError, OSError: there is none, or it is no regular file.
        ValueError: it is damaged, or something else than NIR's."""
    try:
        status = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"from_nir: there is no file {path!r}.") from None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(f"from_nir: {path!r} is no regular file.")  # HDF5 would wait for a pipe
    try:
        _look_through(path)
        return nir.read(path, type_check=False)
    except _Damaged as error:
        raise ValueError(f"from_nir: {path} is not a NIR graph: {error}") from None
    except Exception as error:  # a damaged file may make h5py and nir raise anything; nothing has been made of it
        raise ValueError(f"from_nir: {path} is not a NIR graph: {type(error).__name__}: {error}") from error


class _Damaged(Exception):
    pass


def _look_through(path: str) -> None:
    """Refuse what would keep nir busy without an end, or lead it to other files: it reads every group as often as there are ways to it,
    and every array whole, however large."""
    h5py = package("h5py")
    with h5py.File(path, "r") as file:
        waiting, seen = [file], set()
        while waiting:
            group = waiting.pop()
            for name in group:
                where = f"{group.name.rstrip('/')}/{name}"
                if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                    raise _Damaged(f"{where} is a link to somewhere else")
                node = group[name]
                address = h5py.h5o.get_info(node.id).addr
                if address in seen:
                    raise _Damaged(f"{where} is there under another name, too")
                seen.add(address)
                if isinstance(node, h5py.Group):
                    waiting.append(node)
                elif isinstance(node, h5py.Dataset):
                    _check_array(node, where)


def _check_array(array: Any, where: str) -> None:
    if array.external or array.is_virtual:
        raise _Damaged(f"{where} lies in another file")
    promised, held = math.prod(array.shape or ()) * array.dtype.itemsize, array.id.get_storage_size()
    if array.shape is not None and promised > held * _LARGEST_EXPANSION:
        raise _Damaged(f"{where} promises {promised} bytes, and holds {held}")
