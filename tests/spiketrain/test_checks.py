"""Labels and sizes that make no sense, in the files of every data set: one line that names the file, before anything is reckoned."""

import gzip
import os
import pickle
import struct

import numpy as np
import pytest
import torch
from data_files.writers import CIFAR_FILES, images, write_cifar, write_idx, write_mnist, write_svhn

from spiketrain import data
from spiketrain.data.checks import checked_labels
from spiketrain.errors import UserError

GOOD = [
    [0, 1, 2, 9], (0, 1, 2, 9), [np.uint8(0), np.int64(1), 2, 9], np.array([0, 1, 2, 9]), np.array([[0, 1, 2, 9]], np.uint8),
    np.array([[0], [1], [2], [9]], np.int8), np.array([0.0, 1.0, 2.0, 9.0], np.float32), [0.0, 1.0, 2.0, 9.0],
    np.array([0, 1, 2, 9], ">u4"), np.array([0, 1, 2, 9], np.uint64),
]  # fmt: skip
BAD = [
    ([0, 1, 2], "expected 4 labels, one for each sample, got 3"),
    ([0, 1, 2, 10], "expected labels from 0 to 9, sample 3 has 10"),
    ([0, -1, 2, 3], "sample 1 has -1"),
    ([0, 1.5, 2, 3], "sample 1 has 1.5"),
    ([0, float("nan"), 2, 3], "sample 1 has nan"),
    ([0, float("inf"), 2, 3], "sample 1 has inf"),
    ([0, 2**70, 2, 3], "sample 1 has a number of 71 bits"),
    ([0, 10**5000, 2, 3], "sample 1 has a number of 16610 bits"),
    (["a"] * 4, "sample 0 has a str"),
    ([0, 1, 2, None], "sample 3 has a None"),
    ([0, 1, 2, [3]], "sample 3 has a list"),
    ([0, 1, 2, np.array(3)], "sample 3 has a ndarray"),
    ([True, False, True, True], "sample 0 has a bool"),
    (np.array([True] * 4), "got an array of bool"),
    (np.array(["1"] * 4), "got an array of <U1"),
    (np.array([None] * 4), "got an array of object"),
    (np.array([0, 1, 2, 3j]), "got an array of complex128"),
    (np.zeros((2, 2), int), "got an array of shape (2, 2)"),
    (np.array(3), "got an array of shape ()"),
    (np.array([0, 1, 2, 256]), "sample 3 has 256"),
    (np.array([0, 1, 2, 2**64 - 1], np.uint64), f"sample 3 has {2**64 - 1}"),
    (np.array([0, 1, np.nan, 3]), "sample 2 has nan"),
    (np.array([0, 1, 2, 2.0**64]), "sample 3 has 1.84467e+19"),
    ("0123", "expected 4 labels, got a str"),
    (None, "expected 4 labels, got a None"),
    ({0: 1}, "expected 4 labels, got a dict"),
]


@pytest.mark.parametrize("labels", GOOD, ids=lambda labels: str(getattr(labels, "dtype", type(labels).__name__)))
def test_whole_numbers_of_any_type(labels):
    read = checked_labels(labels, 4, 0, 9, "file")
    assert read.tolist() == [0, 1, 2, 9] and read.dtype is torch.int64


@pytest.mark.parametrize("labels, words", BAD, ids=lambda value: value if isinstance(value, str) else type(value).__name__)
def test_all_else_is_refused(labels, words):
    with pytest.raises(UserError) as error:
        checked_labels(labels, 4, 0, 9, "some/file")
    assert str(error.value).startswith("some/file: expected ") and words in str(error.value) and len(str(error.value)) < 200


@pytest.mark.parametrize("name", CIFAR_FILES)
@pytest.mark.parametrize("protocol", range(6))
def test_cifar(tiny, tmp_path, name, protocol):
    folder, key, files = CIFAR_FILES[name]
    path = write_cifar(tmp_path, name) / files[-2]
    before = data.load(config := tiny(data={"name": name, "root": str(tmp_path)}, trainer={"limit_train": 0}))
    batch = {b"data": images(4, 3072, seed=len(files) - 2), key.encode(): np.array([len(files) - 2, 1, 2, 3], ">i2")}
    path.write_bytes(pickle.dumps(batch, protocol))  # keys as those get them who read the originals as bytes
    after = data.load(config)
    assert torch.equal(after.train.images, before.train.images) and torch.equal(after.train.labels, before.train.labels)
    path.write_bytes(pickle.dumps({"data": images(4, 3072), key: [0, 1, 2, 100]}, protocol))
    with pytest.raises(UserError, match=f"{path}, '{key}': expected labels from 0 to {before.classes - 1}, sample 3 has 100"):
        data.load(config)
    path.write_bytes(pickle.dumps({"data": images(4, 3072)}, protocol))
    with pytest.raises(UserError, match=f"{path} is damaged: it holds no '{key}'"):
        data.load(config)


@pytest.mark.parametrize("labels, words", BAD, ids=lambda value: value if isinstance(value, str) else type(value).__name__)
def test_labels_of_cifar(tiny, tmp_path, labels, words):
    path = write_cifar(tmp_path, "cifar10") / "data_batch_3"
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "Oc":
        words = "holds an array of the type"
    for protocol in range(2, 6):  # below, Python writes no long number
        path.write_bytes(pickle.dumps({"data": images(4, 3072), "labels": labels}, protocol))
        with pytest.raises(UserError) as error:
            data.load(tiny(data={"name": "cifar10", "root": str(tmp_path)}))
        assert str(path) in str(error.value) and words in str(error.value)


@pytest.mark.parametrize("pixels, words", [
    (np.zeros((4, 3071), np.uint8), r"uint8 of shape \(4, 3071\)"), (np.zeros((4, 3, 32, 32), np.uint8), r"uint8 of shape \(4, 3, 32, 32\)"),
    (np.zeros((4, 3072)), r"float64 of shape"), ([[0] * 3072] * 4, "list"), (None, "NoneType"),
])  # fmt: skip
def test_pixels_of_cifar(tiny, tmp_path, pixels, words):
    path = write_cifar(tmp_path, "cifar10") / "data_batch_3"
    path.write_bytes(pickle.dumps({"data": pixels, "labels": [0, 1, 2, 3]}))
    with pytest.raises(UserError, match=f"{path} is damaged: expected 'data' to be rows of 3072 bytes, got {words}"):
        data.load(tiny(data={"name": "cifar10", "root": str(tmp_path)}))


def header(*sizes):
    return bytes([0, 0, 8, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "sizes, data_bytes, words",
    [
        ((2**31, 28, 28), 0, "2147483648 train images but 30 labels"),
        ((30, 2**31, 2**31), 0, "promises"),
        ((30, 2**32 - 1, 2**32 - 1), 100, "promises"),
        ((30, 28, 28), 30 * 784 - 1, "promises 23520 bytes of data, it holds 23519"),
        ((30, 28, 28), 30 * 784 + 1, "promises 23520 bytes of data, it holds"),
        ((30, 0, 28), 0, "expected pictures with pixels, got sizes 0 x 28"),
        ((30, 28), 30 * 28, "not an IDX file of 3-dimensional bytes"),
    ],
)
def test_sizes_of_mnist(tiny, tmp_path, compress, sizes, data_bytes, words):
    """Compared with the file before memory is taken."""
    write_mnist(tmp_path, compress=compress)
    path = next((tmp_path / "MNIST" / "raw").glob("train-images*"))
    content = header(*sizes) + bytes(data_bytes)
    path.write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(UserError) as error:
        data.load(tiny(data={"name": "mnist", "root": str(tmp_path)}))
    assert str(path) in str(error.value) and words in str(error.value)


def test_a_compressed_file_of_gigabytes_is_refused(tiny, tmp_path):
    """A file of a few megabytes that unpacks to more than anybody asked for."""
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(header(30, 10_000, 10_000), 1) + os.urandom(3_000_000))
    with pytest.raises(UserError, match="unpacks to 3000000000 bytes, more than 2147483648: unpack it first"):
        data.load(tiny(data={"name": "mnist", "root": str(tmp_path)}))
    path.write_bytes(gzip.compress(header(30, 28, 28) + bytes(50_000_000)))  # only the promised part is unpacked
    with pytest.raises(UserError, match="promises 23520 bytes of data, it holds more"):
        data.load(tiny(data={"name": "mnist", "root": str(tmp_path)}))


@pytest.mark.parametrize("part, words", [("train", "train-images"), ("t10k", "t10k-images")])
def test_no_images_at_all(tiny, tmp_path, part, words):
    write_mnist(tmp_path)
    write_idx(tmp_path / "MNIST" / "raw" / f"{part}-images-idx3-ubyte", np.zeros((0, 28, 28), np.uint8), True)
    write_idx(tmp_path / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", np.zeros(0, np.uint8), True)
    with pytest.raises(UserError, match=f"{words}.* holds no samples"):
        data.load(tiny(data={"name": "mnist", "root": str(tmp_path)}))


def test_test_images_of_another_size(tiny, tmp_path, assert_error):
    write_mnist(tmp_path)
    write_idx(tmp_path / "MNIST" / "raw" / "t10k-images-idx3-ubyte", images(10, 20, 20), True)
    words = ["expected test samples of the training samples' size 1 x 28 x 28, got 1 x 20 x 20", str(tmp_path)]
    assert_error(words, "train", "bptt-mnist-cnn", "--data.root", tmp_path)
    assert not os.path.exists("runs")


@pytest.mark.parametrize("compress", [True, False])
def test_svhn(tiny, tmp_path, compress):
    from scipy.io import savemat

    write_svhn(tmp_path, compress)
    config = tiny(data={"name": "svhn", "root": str(tmp_path)})
    path = tmp_path / "train_32x32.mat"

    def write(pixels, labels):
        savemat(path, {"X": pixels, "y": labels}, do_compression=compress)

    pixels = images(32, 32, 3, 4)
    write(pixels, np.array([[10.0, 0, 3, 9]]))
    assert data.load(config).train.labels.tolist() == [0, 0, 3, 9]
    for label, words in ((11, "sample 0 has 11"), (-3, "sample 0 has -3"), (1.5, "sample 0 has 1.5"), (np.nan, "sample 0 has nan")):
        write(pixels, np.full((4, 1), label))
        with pytest.raises(UserError, match=f"{path}, y: expected labels from 0 to 10, {words}"):
            data.load(config)
    for labels in (np.ones((3, 1)), np.ones((2, 3)), np.array(["a"] * 4), np.array([["1"], [2], [3], [4]], object)):
        write(pixels, labels)
        with pytest.raises(UserError, match=f"{path} is damaged: expected 4 numbers y"):
            data.load(config)
    write(pixels, np.ones((2, 2)))
    with pytest.raises(UserError, match=rf"{path}, y: expected 4 labels, got an array of shape \(2, 2\)"):
        data.load(config)
    for bad in (pixels.astype(float), pixels[:28, :28], pixels[..., 0]):
        write(bad, np.ones((4, 1)))
        with pytest.raises(UserError, match=rf"{path} is damaged: expected X of \(32, 32, 3, N\) uint8"):
            data.load(config)
    write(pixels[..., :0], np.ones((0, 1)))
    with pytest.raises(UserError, match=f"{path}"):
        data.load(config)
    savemat(path, {"X": pixels})
    with pytest.raises(UserError, match=f"{path} holds no y"):
        data.load(config)
