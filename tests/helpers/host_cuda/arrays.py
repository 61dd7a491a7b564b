"""Arrays as kernels see them: raw (T, N) memory in the storage format of each dtype."""

from __future__ import annotations

import dataclasses

import numpy as np

FLOATING = ("float32", "float64", "float16", "bfloat16")
INTEGER = ("uint8", "int32", "int64")

STEPS = (1, 2, 5, 31, 32, 33, 100)
# None, one, odd (one neuron a thread), and several blocks that every dtype handles 16 bytes a thread.
NEURONS = (0, 1, 129, 1288)


@dataclasses.dataclass(frozen=True)
class Case:
    dtype: str
    T: int
    N: int
    misaligned: bool = False  # arrays begin one element past a 16-byte border
    seed: int = 0

    def __str__(self):
        return f"{self.dtype}-T{self.T}-N{self.N}" + ("-misaligned" if self.misaligned else "")

    @property
    def draw(self) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.T, self.N])

    def data(self, values) -> np.ndarray:
        return place(to_storage(values, self.dtype), self.misaligned)

    def state(self, values) -> np.ndarray:
        return place(np.asarray(values).astype(state_type(self.dtype)), self.misaligned)

    def data_out(self, *shape) -> np.ndarray:
        return poisoned(shape, storage_type(self.dtype), self.misaligned)

    def state_out(self, *shape) -> np.ndarray:
        return poisoned(shape, state_type(self.dtype), self.misaligned)


def storage_type(dtype: str) -> np.dtype:
    return np.dtype(np.uint16 if dtype == "bfloat16" else dtype)


def state_type(dtype: str) -> np.dtype:
    return np.dtype(np.float64 if dtype == "float64" else np.float32)


def to_storage(values, dtype: str) -> np.ndarray:
    values = np.asarray(values)
    if dtype != "bfloat16":
        return values.astype(dtype)
    bits = values.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)  # rounds to nearest, ties to even


def from_storage(stored: np.ndarray, dtype: str) -> np.ndarray:
    if dtype != "bfloat16":
        return stored
    return (stored.astype(np.uint32) << 16).view(np.float32)


def _memory(shape, dtype, misaligned: bool) -> np.ndarray:
    """Uninitialised memory that ends where the array ends, so that an overrun meets a sanitizer's guard zone."""
    count, dtype = int(np.prod(shape)), np.dtype(dtype)
    skip = 1 if misaligned else 0
    array = np.empty(count + skip, dtype)[skip:].reshape(shape)
    assert array.size == 0 or (array.ctypes.data % 16 == 0) != misaligned
    return array


def place(values: np.ndarray, misaligned: bool) -> np.ndarray:
    array = _memory(values.shape, values.dtype, misaligned)
    array[...] = values
    return array


def poisoned(shape, dtype, misaligned: bool = False) -> np.ndarray:
    """An output array filled with all ones: NaN in every floating format, so that an unwritten element shows."""
    array = _memory(shape, dtype, misaligned)
    array.view(np.uint8)[...] = 0xFF
    return array


def differing_bytes(actual: np.ndarray, expected: np.ndarray) -> int:
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    return int((actual.view(np.uint8) != expected.view(np.uint8)).sum())


def assert_same_bytes(actual: dict, expected: dict, what="") -> None:
    assert actual.keys() == expected.keys()
    for name, array in expected.items():
        count = differing_bytes(actual[name], array)
        assert count == 0, f"{what} {name}: {count} of {array.nbytes} bytes differ"
