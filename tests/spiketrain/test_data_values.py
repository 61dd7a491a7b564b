"""What each data set feeds, value for value: classes, statistics, both splits, plain and augmented."""

import numpy as np
import pytest
import torch
from data_files.writers import images, write_cifar, write_dvs, write_mnist, write_nmnist, write_pictures, write_svhn

from spiketrain import data
from spiketrain.data.base import Batches, ImageSplit

CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
SVHN = ((0.4377, 0.4438, 0.4728), (0.1980, 0.2010, 0.1970))
MNIST = ((0.1307,), (0.3081,))
DIGITS = ((4.9 / 16,), (6.0 / 16,))  # of pixels from 0 to 16
# Labels of the first digits of each split.
TRAIN_DIGITS, TEST_DIGITS = [3, 9, 1, 3, 1, 9, 4, 4, 2, 8], [7, 6, 3, 7, 7, 3, 2, 8, 9, 3]


def cifar_images(files):
    return np.concatenate([images(4, 3072, seed=i) for i in files]).reshape(-1, 3, 32, 32)


def digits_of_sklearn():
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


# name -> (write, classes, statistics, white, training images and labels, test images and labels)
IMAGE_SETS = {
    "mnist": (
        write_mnist, 10, MNIST, 255,
        (images(30, 1, 28, 28, seed=0), np.arange(30) % 10), (images(10, 1, 28, 28, seed=1), np.arange(10)),
    ),
    "fashion_mnist": (
        lambda root: write_mnist(root, "FashionMNIST"), 10, MNIST, 255,
        (images(30, 1, 28, 28, seed=0), np.arange(30) % 10), (images(10, 1, 28, 28, seed=1), np.arange(10)),
    ),
    "cifar10": (
        lambda root: write_cifar(root, "cifar10"), 10, CIFAR, 255,
        (cifar_images(range(5)), [label for i in range(5) for label in (i, 1, 2, 3)]), (cifar_images([5]), [5, 1, 2, 3]),
    ),
    "cifar100": (
        lambda root: write_cifar(root, "cifar100"), 100, CIFAR, 255,
        (cifar_images([0]), [0, 1, 2, 3]), (cifar_images([1]), [1, 1, 2, 3]),
    ),
    "svhn": (
        write_svhn, 10, SVHN, 255,
        (images(6, 32, 32, 3, seed=0).transpose(0, 3, 1, 2), [0, 1, 9, 2, 0, 3]), (images(3, 32, 32, 3, seed=1).transpose(0, 3, 1, 2), [0, 1, 9]),
    ),
}  # fmt: skip


@pytest.fixture
def load(tiny, tmp_path):
    def build(name, **options):
        trainer = {"limit_train": 0, "limit_test": 0}
        return data.load(tiny(data={"name": name, "root": str(tmp_path), "augment": False, **options}, trainer=trainer))

    return build


def normalised(pixels, statistics, white=255):
    mean, std = (torch.tensor(numbers, dtype=torch.float64).view(-1, 1, 1) for numbers in statistics)
    return ((torch.from_numpy(np.ascontiguousarray(pixels)).double() / white - mean) / std).float()


def cropped_and_mirrored(pixels, generator, border=4, flip=True):
    """By loops: where each image is cut out of its zero border, then which are mirrored, in the order of the draws."""
    count, _, height, width = pixels.shape
    top, left = torch.randint(0, 2 * border + 1, (2, count), generator=generator).tolist()
    mirrored = (torch.randint(0, 2, (count, 1), generator=generator).view(-1).bool() & flip).tolist()
    padded = np.pad(pixels, ((0, 0), (0, 0), (border, border), (border, border)))
    cut = [image[:, t : t + height, x : x + width] for image, t, x in zip(padded, top, left)]
    return np.stack([image[:, :, ::-1] if m else image for image, m in zip(cut, mirrored)]), mirrored


@pytest.mark.parametrize("name", IMAGE_SETS)
@pytest.mark.parametrize("augment", [False, True])
def test_images_labels_and_statistics(load, tmp_path, name, augment):
    write, classes, statistics, white, *splits = IMAGE_SETS[name]
    write(tmp_path)
    dataset = load(name, augment=augment)
    assert dataset.classes == classes
    assert dataset.input_shape == splits[0][0].shape[1:]
    for split, (pixels, labels) in zip((dataset.train, dataset.test), splits):
        assert split.labels.tolist() == list(labels) and split.labels.dtype is torch.int64
        torch.testing.assert_close(
            split.batch(torch.arange(len(split))), normalised(pixels, statistics, white), rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("name", IMAGE_SETS)
def test_augmentation_is_of_training_images_alone_and_where_asked_for(load, tmp_path, name):
    write, _, statistics, white, (pixels, _), (test_pixels, _) = IMAGE_SETS[name]
    write(tmp_path)
    dataset, plain = load(name, augment=True), load(name, augment=False)
    index = torch.arange(len(pixels))
    drawn = dataset.train.batch(index, torch.Generator().manual_seed(4))
    expected, mirrored = cropped_and_mirrored(pixels, torch.Generator().manual_seed(4))
    assert any(mirrored) and not all(mirrored), "choose a seed that draws both"
    torch.testing.assert_close(drawn, normalised(expected, statistics, white), rtol=1e-5, atol=1e-5)
    for split, unchanged in ((plain.train, pixels), (dataset.test, test_pixels), (plain.test, test_pixels)):
        kept = split.batch(torch.arange(len(split)), torch.Generator().manual_seed(4))
        torch.testing.assert_close(kept, normalised(unchanged, statistics, white), rtol=1e-5, atol=1e-5)


def test_digits(load):
    """The split is part of the data set: 1,437 and 360 images, these."""
    pixels, labels = digits_of_sklearn()
    dataset = load("digits")
    assert (dataset.classes, dataset.input_shape) == (10, (1, 8, 8))
    assert dataset.train.labels[:10].tolist() == TRAIN_DIGITS and dataset.test.labels[:10].tolist() == TEST_DIGITS
    known = {image.tobytes(): label for image, label in zip(pixels, labels)}
    seen = []
    for split in (dataset.train, dataset.test):
        values = split.batch(torch.arange(len(split)))
        grey = (values.double() * 6.0 + 4.9).view(len(split), 64)
        whole = grey.round()
        assert (grey - whole).abs().max() < 1e-5  # normalised by 4.9 and 6.0, and nothing else
        rows = [row.numpy().tobytes() for row in whole]
        assert [known[row] for row in rows] == split.labels.tolist()
        seen += rows
    assert sorted(seen) == sorted(image.tobytes() for image in pixels)  # every image once


def test_digits_are_augmented(load):
    dataset = load("digits", augment=True)
    split = dataset.train
    index = torch.arange(360)
    assert torch.equal(dataset.test.batch(index, torch.Generator().manual_seed(4)), dataset.test.batch(index))
    pixels = split.images.numpy()[:40]
    drawn = split.batch(torch.arange(40), torch.Generator().manual_seed(4))
    expected, mirrored = cropped_and_mirrored(pixels, torch.Generator().manual_seed(4))
    assert any(mirrored) and not all(mirrored)
    torch.testing.assert_close(drawn, normalised(expected, DIGITS, 16), rtol=1e-5, atol=1e-5)


def test_pictures_in_folders(load, tmp_path):
    """Normalised by the training pictures' own statistics, the test pictures too."""
    write_pictures(tmp_path)
    for path in sorted((tmp_path / "test").rglob("*.png")):  # other colours than the training pictures
        from PIL import Image

        Image.fromarray(np.full((20, 20, 3), (200, 3, 9), np.uint8)).save(path)
    dataset = load("imagefolder", image_size=12, augment=True)
    train = np.array([(40 * i, 100, 10 * k) for i in range(3) for k in range(2)], np.uint8)
    mean, std = train.mean(0) / 255, np.maximum(train.std(0) / 255, 1e-3)
    for split, colours in ((dataset.train, train), (dataset.test, np.tile(np.uint8([200, 3, 9]), (6, 1)))):
        assert split.labels.tolist() == [0, 0, 1, 1, 2, 2]
        pixels = np.broadcast_to(colours[:, :, None, None], (6, 3, 12, 12))
        torch.testing.assert_close(split.batch(torch.arange(6)), normalised(pixels, (mean, std)), rtol=1e-5, atol=1e-4)
    pixels = np.broadcast_to(train[:, :, None, None], (6, 3, 12, 12))
    expected, _ = cropped_and_mirrored(pixels, torch.Generator().manual_seed(4))
    drawn = dataset.train.batch(torch.arange(6), torch.Generator().manual_seed(4))
    torch.testing.assert_close(drawn, normalised(expected, (mean, std)), rtol=1e-5, atol=1e-4)
    again = dataset.test.batch(torch.arange(6), torch.Generator().manual_seed(4))
    assert torch.equal(again, dataset.test.batch(torch.arange(6)))


def test_events_are_augmented_where_frames_are(load, tmp_path):
    """N-MNIST never, CIFAR10-DVS in training where asked for, and never mirrored."""
    write_nmnist(tmp_path, per_class=1)
    write_dvs(tmp_path, numbers=(0, 900), events=90)
    index = torch.arange(10)
    spikes = load("nmnist", augment=True)
    for split in (spikes.train, spikes.test):
        assert split.labels.tolist() == list(range(10))
        assert torch.equal(split.batch(index, torch.Generator().manual_seed(4)), split.batch(index))
    frames, plain = load("cifar10_dvs", augment=True, image_size=24), load("cifar10_dvs", image_size=24)
    assert frames.train.labels.tolist() == frames.test.labels.tolist() == list(range(10))
    pixels = plain.train.frames[:, :5].flatten(1, 2).numpy()
    expected, _ = cropped_and_mirrored(pixels, torch.Generator().manual_seed(4), flip=False)
    drawn = frames.train.batch(index, torch.Generator().manual_seed(4))
    assert torch.equal(drawn, torch.from_numpy(expected).view(10, 5, 2, 24, 24).transpose(0, 1).float() / 255)
    for split in (plain.train, plain.test, frames.test):
        assert torch.equal(split.batch(index, torch.Generator().manual_seed(4)), split.batch(index))


def test_surfaces(load):
    dataset = load("surfaces")
    points = 2 * torch.rand(1000, 2, generator=torch.Generator().manual_seed(0)) - 1
    assert torch.equal(dataset.train.batch(torch.arange(1000)), points)
    side = torch.tensor([i / 20 for i in range(-20, 21)])
    grid = torch.stack([side.repeat_interleave(41), side.repeat(41)], 1)
    torch.testing.assert_close(dataset.test.batch(torch.arange(1681)), grid)
    for split in (dataset.train, dataset.test):
        x1, x2 = split.batch(torch.arange(len(split))).unbind(1)
        torch.testing.assert_close(split.labels, torch.stack([x1**2 + x2**2, x1.abs() + x2.abs()], 1))


def test_paraboloid(load):
    """The published surface: the points of its figures for training and, the same ones, for testing."""
    dataset = load("paraboloid")
    assert (dataset.classes, dataset.input_shape) == (1, (2,))
    side = torch.tensor([-4 + 8 * i / 99 for i in range(100)])
    grid = torch.stack([side.repeat_interleave(100), side.repeat(100)], 1)
    for split in (dataset.train, dataset.test):
        torch.testing.assert_close(split.batch(torch.arange(10_000)), grid)
        torch.testing.assert_close(split.labels, 0.3 * (grid[:, :1] ** 2 + grid[:, 1:] ** 2), rtol=1e-5, atol=1e-6)
    coarse = dataset.test.over_grid(5)
    assert coarse.batch(torch.arange(25))[:6].tolist() == [[-4, -4], [-4, -2], [-4, 0], [-4, 2], [-4, 4], [-2, -4]]


@pytest.mark.parametrize("name, places", [
    ("fashion_mnist", {0: "T-shirt/top", 1: "trouser", 3: "dress", 4: "coat", 6: "shirt", 7: "sneaker", 8: "bag", 9: "ankle boot"}),
    ("cifar10", {0: "airplane", 1: "automobile", 3: "cat", 5: "dog", 7: "horse", 9: "truck"}),
    ("cifar100", {0: "apple", 1: "aquarium fish", 47: "maple tree", 99: "worm"}),
])  # fmt: skip
def test_classes_are_called_as_their_labels_say(load, tmp_path, name, places):
    IMAGE_SETS[name][0](tmp_path)
    dataset = load(name)
    assert len(dataset.class_names) == dataset.classes
    assert {label: dataset.class_names[label] for label in places} == places


@pytest.mark.parametrize("count, batch_size", [(23, 5), (24, 8), (9, 4), (6, 6), (3, 5)])
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
@pytest.mark.parametrize("shuffled", [True, False])
def test_every_process_gets_every_nth_sample_of_a_batch(count, batch_size, world_size, shuffled):
    split = ImageSplit(torch.arange(count, dtype=torch.uint8).view(count, 1, 1, 1), torch.arange(count), (0.0,), (1 / 255,))

    def epoch(rank):
        generator = torch.Generator().manual_seed(5) if shuffled else None
        return list(Batches(split, batch_size, generator, rank, world_size))

    order = torch.randperm(count, generator=torch.Generator().manual_seed(5)) if shuffled else torch.arange(count)
    for rank in range(world_size):
        drawn = epoch(rank)
        whole = order.split(batch_size)
        assert len(drawn) == len(whole)
        for (inputs, labels), batch in zip(drawn, whole):
            assert labels.tolist() == batch[rank::world_size].tolist()
            assert inputs.view(-1).tolist() == labels.tolist()


def test_each_epoch_is_augmented_anew():
    pixels = torch.from_numpy(images(16, 1, 9, 9))
    split = ImageSplit(pixels, torch.arange(16), (0.0,), (1 / 255,), augment=True)
    shuffling = torch.Generator().manual_seed(7)
    epochs = [next(iter(Batches(split, 16, shuffling))) for _ in range(2)]
    again = torch.Generator().manual_seed(7)
    for inputs, labels in epochs:
        order = torch.randperm(16, generator=again)
        seed = torch.randint(2**62, (), generator=again).item()
        assert labels.tolist() == order.tolist()
        expected, _ = cropped_and_mirrored(pixels[order].numpy(), torch.Generator().manual_seed(seed))
        torch.testing.assert_close(inputs, torch.from_numpy(expected).float())


def test_each_process_augments_by_a_seed_of_its_own():
    pixels = torch.from_numpy(images(16, 1, 9, 9))
    split = ImageSplit(pixels, torch.arange(16), (0.0,), (1 / 255,), augment=True)
    shuffling = torch.Generator().manual_seed(7)
    order, seed = torch.randperm(16, generator=shuffling), torch.randint(2**62, (), generator=shuffling).item()
    for rank in range(2):
        inputs, _ = next(iter(Batches(split, 16, torch.Generator().manual_seed(7), rank, world_size=2)))
        expected, _ = cropped_and_mirrored(pixels[order[rank::2]].numpy(), torch.Generator().manual_seed(seed + rank))
        torch.testing.assert_close(inputs, torch.from_numpy(expected).float())
