"""NumPy's .npy and .npz as data: arrays of numbers, and structured ones of them. No pickle is read."""

from __future__ import annotations

import io
import math
import zipfile
from pathlib import Path

import numpy as np

from spiketrain.data.checks import check_can_hold
from spiketrain.data.listing import read_bounded
from spiketrain.errors import UserError


def read_npy(path: Path, at_most: int) -> np.ndarray:
    """The array of a .npy file of at most so many bytes.

    Raises:
        UserError: the file is damaged, holds objects, or something else than its header promises.
    """
    return _array(read_bounded(path, at_most), str(path))


def read_npz(path: Path, at_most: int) -> dict[str, np.ndarray]:
    """The arrays of a .npz file by their names, of at most so many bytes together.

    Raises:
        UserError: as `read_npy`, or the file would unpack to more.
    """
    content = read_bounded(path, at_most)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = [info for info in archive.infolist() if info.filename.endswith(".npy")]
            for info in members:
                check_can_hold(path, info.compress_size, info.file_size)
            if (promised := sum(info.file_size for info in members)) > at_most:
                raise UserError(f"{path} unpacks to {promised} bytes: expected at most {at_most}")
            unpacked = {info.filename.removesuffix(".npy"): archive.read(info) for info in members}
    except UserError:
        raise
    except Exception as error:  # a damaged archive can raise almost anything
        raise UserError(f"{path} is damaged: {type(error).__name__}: {error}"[:400]) from None
    return {name: _array(array, f"{path}, {name}") for name, array in unpacked.items()}


def _array(content: bytes, where: str) -> np.ndarray:
    file = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, is_fortran, dtype = np.lib.format.read_array_header_1_0(file)
        else:
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(file)
    except Exception as error:  # a damaged header can raise almost anything
        raise UserError(f"{where} is damaged or no NumPy array: {type(error).__name__}: {error}"[:400]) from None
    if dtype.hasobject:
        raise UserError(f"{where} holds Python objects, which are not read: expected numbers")
    count, holds = math.prod(shape), len(content) - file.tell()
    if min(shape, default=0) < 0 or not dtype.itemsize or count * dtype.itemsize != holds:
        raise UserError(
            f"{where} is truncated or damaged: its header promises {count * dtype.itemsize} bytes of data, it holds {holds}"
        )
    return np.frombuffer(content, dtype, count, file.tell()).reshape(shape, order="F" if is_fortran else "C")
