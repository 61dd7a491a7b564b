"""Pickles as data: what is harmless is read whatever its protocol, and nothing is ever called."""

import collections
import contextlib
import os
import pickle
import struct
import tracemalloc

import numpy as np
import pytest

from spiketrain.data import plain_pickle

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
PLAIN = {
    "list": [1, -3, 2**31, 2**70, -(2**70), 1.5],
    "tuple": (1, (2, [3])),
    "none and truth": [None, True, False],
    "text": ["", "né", "\udcff", "long" * 100],
    "bytes": [b"", b"\xff\x00", b"x" * 70_000],
    "ordered": collections.OrderedDict(a=1),
    "nested": {"a": {b"b": {3: 4}}},
}
ARRAYS = {
    "bytes": np.arange(12, dtype=np.uint8).reshape(3, 4),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big endian": np.arange(3, dtype=">i4"),
    "gaps": np.arange(10)[::2],
    "no dimensions": np.array(5),
    "none": np.zeros((0, 3), np.float16),
    "truth": np.array([True, False]),
    "text": np.array(["a", "bc"]),
    "bytes of text": np.array([b"a", b"bc"]),
    "large": np.arange(30_000, dtype=np.int64),
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_data(protocol):
    assert plain_pickle.load(pickle.dumps(PLAIN, protocol)) == PLAIN
    assert plain_pickle.load(pickle.dumps({"a": bytearray(b"xy")}, protocol)) == {"a": bytearray(b"xy")}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(protocol, name):
    read = plain_pickle.load(pickle.dumps({"a": ARRAYS[name], "b": [ARRAYS[name]]}, protocol))["a"]
    assert type(read) is np.ndarray and read.dtype == ARRAYS[name].dtype and read.shape == ARRAYS[name].shape
    assert np.array_equal(read, ARRAYS[name])


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_scalars(protocol):
    values = [np.int64(3), np.uint8(255), np.float32(2.5), np.bool_(True), np.str_("ab")]
    read = plain_pickle.load(pickle.dumps(values, protocol))
    assert read == values and [type(value) for value in read] == [type(value) for value in values]


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray", "numpy.core._multiarray_umath"])
@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_names_of_all_versions_of_numpy(module, protocol):
    content = pickle.dumps({"a": np.arange(3), "b": np.int64(7)}, protocol)
    ours = next(name for name in (b"numpy._core.multiarray", b"numpy.core.multiarray") if name in content)
    content = renamed(content, ours, module.encode(), protocol)
    read = plain_pickle.load(content)
    assert read["a"].tolist() == [0, 1, 2] and read["b"] == 7


@pytest.mark.parametrize("module", ["numpy.core.numeric", "numpy._core.numeric"])
def test_buffers_of_all_versions_of_numpy(module):
    content = pickle.dumps(np.arange(3), 5)
    ours = next(name for name in (b"numpy._core.numeric", b"numpy.core.numeric") if name in content)
    assert plain_pickle.load(renamed(content, ours, module.encode(), 5)).tolist() == [0, 1, 2]


def renamed(content, ours, other, protocol):
    """The pickle with another name of a module; from protocol 4 on names and frames have lengths."""
    if protocol < 4:
        return content.replace(ours, other)
    content = content.replace(bytes([len(ours)]) + ours, bytes([len(other)]) + other)
    return content[:3] + struct.pack("<Q", len(content) - 11) + content[11:] if content[2:3] == b"\x95" else content


def test_python_2():
    """As the original CIFAR batches: text and bytes are one kind."""
    content = b"(dp1\nS'data'\np2\nS'\\xff\\x00'\np3\nsS'labels'\np4\n(lp5\nI6\naL7L\nas."
    assert plain_pickle.load(content) == {"data": "\xff\x00", "labels": [6, 7]}
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n(I2\ntcnumpy\ndtype\n(S'u1'\nI0\nI1\ntR"
        b"(I3\nS'|'\nNNNI-1\nI-1\nI0\ntbI00\nS'\\xff\\x01'\ntb."
    )
    assert plain_pickle.load(array).tolist() == [255, 1]


class Called:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


class Built:
    def __init__(self):
        self.a = 1


class BuiltAnew:
    def __new__(cls, *_):
        return object.__new__(cls)

    def __getnewargs__(self):
        return (1,)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "value",
    [
        Called(os.mkdir, "harmed"), Called(eval, "1"), Called(np.load, "x"), Called(print), os.mkdir,
        Built(), BuiltAnew(), {1, 2}, frozenset("a"), 1j, np.array([1, "a"], object), np.zeros(2, [("a", "i4")]), np.array([1j]),
        np.ma.array([1]), np.zeros(2, "datetime64[s]"), {(1, 2): 3}, {1.5: 2}, range(3), slice(1),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_nothing_else(protocol, value, tmp_path):
    with pytest.raises(plain_pickle.NoPlainData):
        plain_pickle.load(pickle.dumps({"data": [value]}, protocol))
    assert not (tmp_path / "harmed").exists()


def nested_tuples(depth):
    return b"\x80\x04)" + b"\x85" * depth


def calls(name, count, size):
    """A pickle that has one string copied many times over."""
    text = b"X" + struct.pack("<I", size) + b"a" * size + b"\x940"
    module, function = name
    call = f"c{module}\n{function}\n".encode() + b"h\x00\x85R0"
    return b"\x80\x04" + text + call * count + b"N."


BOMBS = {
    "place in the memory": b"\x80\x04Nr\xff\xff\xff\xff.",
    "length of bytes": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "length of a bytearray": b"\x80\x05\x96" + struct.pack("<Q", 2**40) + b".",
    "length of text": b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b".",
    "length of a frame": b"\x80\x04\x95" + struct.pack("<Q", 2**40) + b"N.",
    "length of a number": b"\x80\x04\x8b" + struct.pack("<i", 2**30) + b".",
    "digits": b"L" + b"9" * 1_000_000 + b"L\n.",
    "tuples as a key": b"}" + nested_tuples(200_000)[2:] + b"Ns.",
    "doubling tuples as a key": b"})" + b"2\x86" * 200 + b"Ns.",
    "copies by encode": calls(("_codecs", "encode"), 2000, 50_000),
    "copies by bytes": calls(("builtins", "bytearray"), 2000, 50_000),
    "shape": pickle.dumps(np.zeros(4, np.uint8), 2).replace(b"K\x01K\x04\x85", b"K\x01\x8a\x05\0\0\0\0\x7f\x85"),
}


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name):
    """Refused, or read as the little that they are, within a memory of some times their length. A key that is hashed 2^200 times would not end."""
    tracemalloc.start()
    try:
        with contextlib.suppress(Exception):
            plain_pickle.load(BOMBS[name])
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 80 * len(BOMBS[name]) + 10**6  # a tuple takes 64 bytes, and one byte of the pickle makes it


@pytest.mark.parametrize("seed", range(20))
def test_damaged(seed):
    """Any damage ends in an exception, or in plain data."""
    rng = np.random.default_rng(seed)
    content = pickle.dumps({"data": ARRAYS["bytes"], "labels": list(range(9))}, int(rng.integers(6)))
    for _ in range(30):
        damaged = bytearray(content[: rng.integers(1, len(content) + 1)])
        for place in rng.integers(0, len(damaged), 3):
            damaged[place] = rng.integers(256)
        try:
            value = plain_pickle.load(bytes(damaged))
        except Exception:
            continue
        assert isinstance(
            value, (dict, list, tuple, str, bytes, bytearray, int, float, np.ndarray, np.generic, type(None))
        ) or callable(value)
