"""Image data sets, read from small files in their true formats."""

import os
import pickle

import numpy as np
import pytest
import torch
from data_files.writers import images, write_cifar, write_idx, write_mnist, write_pictures, write_svhn

from spiketrain import data
from spiketrain.data.base import Batches, ImageSplit, crop_and_flip
from spiketrain.errors import UserError


@pytest.mark.parametrize("name, folder", [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
@pytest.mark.parametrize("compress", [True, False])
def test_mnist(tiny, tmp_path, name, folder, compress):
    write_mnist(tmp_path, folder, compress)
    before = sorted(os.walk(tmp_path))
    dataset = data.load(tiny(data={"name": name, "root": str(tmp_path), "augment": False}, trainer={"limit_train": 0}))
    assert (len(dataset.train), len(dataset.test), dataset.input_shape, dataset.classes) == (30, 10, (1, 28, 28), 10)
    index = torch.tensor([4, 0])
    expected = (torch.from_numpy(images(30, 28, 28))[index].unsqueeze(1) / 255 - 0.1307) / 0.3081
    torch.testing.assert_close(dataset.train.batch(index), expected)
    assert dataset.train.labels[index].tolist() == [4, 0]
    assert sorted(os.walk(tmp_path)) == before  # the folder may be read-only: nothing is unpacked into it


def test_other_numbers_to_normalise_by(tiny, assert_error):
    """In the scale of pixels from 0 to 1, whatever the data set's own white is."""

    def pixels(**options):
        dataset = data.load(tiny(data={"name": "digits", "augment": False, **options}))
        return [split.batch(torch.arange(20)) for split in (dataset.train, dataset.test)]

    for plain, changed in zip(pixels(normalize=False), pixels(mean=[0.25], std=[0.5])):
        torch.testing.assert_close(changed, (plain - 0.25) / 0.5)
    mean, std = ("--data.mean", "[0.25]"), ("--data.std", "[0.5]")
    assert_error("expected both or none of them", "train", "tsslbp-digits", *mean)
    assert_error("data.normalize true", "train", "tsslbp-digits", *mean, *std, "--data.normalize", "false")
    assert_error("expected 1 numbers each", "train", "tsslbp-digits", *mean, "--data.std", "[1, 1]")
    assert_error("data.std: expected a number above 0, got [0]", "train", "tsslbp-digits", *mean, "--data.std", "[0]")
    for tiny_number in ("1e-39", "1e-300", "5e-324"):  # its reciprocal is no float32
        for same in ("0", "0.25"):
            options = "--data.mean", f"[{same}]", "--data.std", f"[{tiny_number}]"
            assert_error(["data.std", "no nearer to 0 than 1e-30"], "train", "tsslbp-digits", *options)
    far = "--data.mean", "[1e18]", "--data.std", "[1e-25]"
    assert_error(["data.mean, data.std", "too large for float32"], "train", "tsslbp-digits", *far)
    assert_error("surfaces holds none", "train", "convex-own-surfaces-1layer", *mean, *std)


def test_data_root_comes_from_the_environment(tiny, tmp_path, monkeypatch):
    write_mnist(tmp_path)
    monkeypatch.setenv("SPIKEOPS_DATA", str(tmp_path))
    assert len(data.load(tiny(data={"name": "mnist"})).test) == 10


def test_missing_data_set(tiny, tmp_path):
    for name in ("mnist", "fashion_mnist", "cifar10", "cifar100", "svhn", "imagefolder", "nmnist"):
        with pytest.raises(UserError, match=f"data set not found.*{tmp_path}"):
            data.load(tiny(data={"name": name, "root": str(tmp_path)}))


def test_unknown_data_set(tiny):
    with pytest.raises(UserError, match="Did you mean 'mnist'"):
        data.load(tiny(data={"name": "mnits"}))


def truncate(content):
    return content[:-5]


def flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("damage", [truncate, lambda content: b"", lambda content: b"<html>" + content])
def test_damaged_mnist(tiny, tmp_path, damage, compress):
    write_mnist(tmp_path, compress=compress)
    path = tmp_path / "MNIST" / "raw" / f"t10k-images-idx3-ubyte{'.gz' if compress else ''}"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="t10k-images"):
        data.load(tiny(data={"name": "mnist", "root": str(tmp_path)}))


def test_flipped_bit_in_compressed_mnist(tiny, tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "MNIST" / "raw" / "train-images-idx3-ubyte.gz"
    path.write_bytes(flip(path.read_bytes()))
    with pytest.raises(UserError, match="train-images.*damaged"):
        data.load(tiny(data={"name": "mnist", "root": str(tmp_path)}))


def test_images_and_labels_must_belong_together(tiny, tmp_path):
    write_mnist(tmp_path)
    write_idx(tmp_path / "MNIST" / "raw" / "train-labels-idx1-ubyte", np.zeros(29, np.uint8), True)
    with pytest.raises(UserError, match="30 train images but 29 labels"):
        data.load(tiny(data={"name": "mnist", "root": str(tmp_path)}))


@pytest.mark.parametrize("part", ["train", "t10k"])
def test_label_outside_the_classes(tiny, tmp_path, part):
    write_mnist(tmp_path)
    labels = np.arange(30 if part == "train" else 10, dtype=np.uint8) % 10
    labels[3] = 12
    write_idx(tmp_path / "MNIST" / "raw" / f"{part}-labels-idx1-ubyte", labels, compress=True)
    with pytest.raises(UserError, match=f"{tmp_path}.*{part}-labels.*: expected labels from 0 to 9, sample 3 has 12"):
        data.load(tiny(data={"name": "mnist", "root": str(tmp_path)}, trainer={"limit_train": 0, "limit_test": 0}))


@pytest.mark.parametrize("name, train, classes", [("cifar10", 20, 10), ("cifar100", 4, 100)])
def test_cifar(tiny, tmp_path, name, train, classes):
    write_cifar(tmp_path, name)
    dataset = data.load(tiny(data={"name": name, "root": str(tmp_path)}))
    assert (len(dataset.train), len(dataset.test), dataset.classes, dataset.input_shape) == (train, 4, classes, (3, 32, 32))
    torch.testing.assert_close(dataset.train.images[:4], torch.from_numpy(images(4, 3072)).view(4, 3, 32, 32))
    assert dataset.train.labels[:4].tolist() == [0, 1, 2, 3]
    normalised = dataset.test.batch(torch.arange(4))
    assert normalised.shape == (4, 3, 32, 32) and -2.6 < normalised.min() < normalised.max() < 2.8


class Payload:
    """Unpickling this would call something."""

    def __reduce__(self):
        return os.mkdir, ("harmed",)


@pytest.mark.parametrize(
    "content", [b"", b"not a pickle", pickle.dumps([1, 2]), pickle.dumps({"data": Payload()}), pickle.dumps({"data": 1})]
)
def test_damaged_or_hostile_cifar(tiny, tmp_path, content):
    folder = write_cifar(tmp_path, "cifar10")
    (folder / "data_batch_3").write_bytes(content)
    with pytest.raises(UserError, match="data_batch_3"):
        data.load(tiny(data={"name": "cifar10", "root": str(tmp_path)}))
    assert not (tmp_path / "harmed").exists()


def test_svhn(tiny, tmp_path):
    write_svhn(tmp_path)
    dataset = data.load(tiny(data={"name": "svhn", "root": str(tmp_path)}))
    assert dataset.train.labels.tolist() == [0, 1, 9, 2, 0, 3]  # the files call the digit 0 class 10
    assert torch.equal(dataset.test.images, torch.from_numpy(images(3, 32, 32, 3, seed=1)).permute(0, 3, 1, 2))

    path = tmp_path / "test_32x32.mat"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match="test_32x32.mat.*damaged"):
        data.load(tiny(data={"name": "svhn", "root": str(tmp_path)}))


def test_imagefolder(tiny, tmp_path, monkeypatch):
    from spiketrain.data import imagefolder

    root = tmp_path / "pictures"
    write_pictures(root)
    config = tiny(data={"name": "imagefolder", "root": str(root), "image_size": 16})
    dataset = data.load(config)
    assert (len(dataset.train), dataset.classes, dataset.input_shape) == (6, 3, (3, 16, 16))
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert dataset.train.images[3, :, 0, 0].tolist() == [40, 100, 10]
    normalised = dataset.train.batch(torch.arange(6))
    assert normalised[:, 0].mean().item() == pytest.approx(0, abs=1e-5)
    assert normalised[:, 0].std(correction=0).item() == pytest.approx(1, abs=1e-5)

    monkeypatch.setattr(imagefolder, "decode", None)  # a second time the pictures come out of the cache
    assert torch.equal(data.load(config).train.images, dataset.train.images)
    monkeypatch.undo()
    for cached in (tmp_path / "cache").rglob("*.cache"):  # a damaged cache is made again
        cached.write_bytes(cached.read_bytes()[:-7])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match="is damaged .*: the data set is read anew"):
        assert torch.equal(data.load(config).train.images, dataset.train.images)


def test_imagefolder_with_a_damaged_picture_or_class(tiny, tmp_path):
    write_pictures(tmp_path)
    config = tiny(data={"name": "imagefolder", "root": str(tmp_path)})
    picture = tmp_path / "train" / "dog" / "1.png"
    picture.write_bytes(picture.read_bytes()[:60])
    with pytest.raises(UserError, match="dog/1.png is damaged"):
        data.load(config)
    (tmp_path / "train" / "dog").rename(tmp_path / "train" / "emu")
    with pytest.raises(UserError, match="lacks: dog"):
        data.load(config)


def test_digits_split_is_fixed_and_stratified(tiny):
    first = data.load(tiny(seed=1, trainer={"limit_train": 0, "limit_test": 0}))
    second = data.load(tiny(seed=2, trainer={"limit_train": 0, "limit_test": 0}))
    assert (len(first.train), len(first.test)) == (1437, 360)
    assert torch.equal(first.test.images, second.test.images)
    assert all(35 <= count <= 37 for count in first.test.labels.bincount().tolist())
    batch = first.train.batch(torch.arange(1437))
    assert abs(batch.mean().item()) < 0.05 and abs(batch.std().item() - 1) < 0.05


def test_limited_split_keeps_all_classes_of_a_sorted_set():
    split = ImageSplit(torch.zeros(100, 1, 2, 2, dtype=torch.uint8), torch.arange(100) // 10, (0.0,), (1.0,))
    assert split.limited(20).labels.tolist() == [k for k in range(10) for _ in range(2)]
    assert split.limited(0) is split and split.limited(1000) is split


def test_batches_cover_every_sample_once_and_processes_share_them():
    split = ImageSplit(torch.arange(23, dtype=torch.uint8).view(23, 1, 1, 1), torch.arange(23), (0.0,), (1 / 255,))

    def epoch(rank, world_size, passes=1):
        batches = Batches(split, 5, torch.Generator().manual_seed(0), rank, world_size)
        for _ in range(passes):
            drawn = [labels for _, labels in batches]
        assert len(drawn) == len(batches) == 5
        return drawn

    alone = epoch(0, 1, passes=2)
    assert sorted(torch.cat(alone).tolist()) == list(range(23))
    assert torch.cat(alone).tolist() != list(range(23))
    shares = [epoch(rank, 2, passes=2) for rank in range(2)]
    for whole, *parts in zip(alone, *shares):
        assert sorted(torch.cat(parts).tolist()) == sorted(whole.tolist())


def test_crop_and_flip_moves_images_by_at_most_the_border():
    image = torch.zeros(400, 1, 9, 9, dtype=torch.uint8)
    image[:, :, 4, 4] = 1
    image[:, :, 4, 5] = 2  # to the right of the 1, to the left of it in flipped images
    moved = crop_and_flip(image, torch.Generator().manual_seed(0))
    at = (moved == 1).nonzero()[:, 2:]
    flipped = [(m == 2).nonzero()[0, 2] < (m == 1).nonzero()[0, 2] for m in moved if (m == 1).any() and (m == 2).any()]
    assert 150 < sum(flipped) < 250  # 400 draws of a fair coin: five standard deviations
    assert at.min() == 0 and at.max() == 8
    assert torch.equal(moved, crop_and_flip(image, torch.Generator().manual_seed(0)))
    assert not torch.equal(moved, crop_and_flip(image, torch.Generator().manual_seed(1)))


@pytest.mark.parametrize("border, flip", [(2, False), (0, True), (2, True)])
def test_augmentation_as_the_options_say(tiny, border, flip):
    """Training images of a batch are crops out of a border of so many pixels, mirrored or not; test images stay as they are."""
    config = tiny(data={"augment": True, "augment_border": border, "augment_flip": flip, "normalize": False}, trainer={"limit_train": 0, "limit_test": 0})
    dataset = data.load(config)
    index = torch.arange(300)
    moved, plain = dataset.train.batch(index, torch.Generator().manual_seed(0)), dataset.train.batch(index)
    padded = torch.nn.functional.pad(plain, (border,) * 4)
    crops = padded.unfold(2, 8, 1).unfold(3, 8, 1).flatten(2, 3)[:, 0]  # (images, places, 8, 8)
    if flip:
        crops = torch.cat([crops, crops.flip(3)], dim=1)
    found = (crops == moved).flatten(2).all(2)
    assert found.any(1).all()
    assert found.any(0).all(), "some places were never chosen"
    assert torch.equal(dataset.test.batch(index, torch.Generator().manual_seed(0)), dataset.test.batch(index))


def test_augmentation_of_other_data_is_refused(assert_error):
    words = ["data.augment_border", "are for images", "surfaces holds none"]
    assert_error(words, "train", "convex-own-surfaces-1layer", "--data.augment_border", 2)
    assert_error(["data.augment_border", "in [0, 1000]", "got -1"], "train", "localce-digits", "--data.augment_border", -1)
