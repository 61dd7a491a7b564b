"""scikit-learn's embedded digits: 1,797 real 8x8 images with 17 grey levels, in a fixed stratified 80/20 split.

They are read from its package, which is not imported: it brings along so much of SciPy that a short run would take a second longer.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import torch

from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit

SPLIT_SEED = 0  # the split is part of the data set: it stays the same whatever the seed of a run
TEST_SHARE = 0.2


def load(name: str, root: Path, config: Config) -> Dataset:
    pixels, labels = read()
    images = torch.from_numpy(pixels).view(-1, 1, 8, 8)
    train, test = split_indices(labels)

    def split(index: np.ndarray, augment: bool) -> ImageSplit:
        # Grey levels run from 0 to 16; mean 4.9 and standard deviation 6.0 over the whole set.
        return ImageSplit(images[index], torch.from_numpy(labels[index]), mean=(4.9 / 255,), std=(6.0 / 255,), augment=augment, white=16)

    return Dataset(name, split(train, config.data.augment), split(test, False), (1, 8, 8), 10)


def read() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (samples, 64), uint8, and labels (samples,), int64.

    Raises:
        ModuleNotFoundError: scikit-learn is not installed.
    """
    found = importlib.util.find_spec("sklearn")
    if found is None:
        raise ModuleNotFoundError("No module named 'sklearn'", name="sklearn")
    numbers = np.loadtxt(Path(found.submodule_search_locations[0]) / "datasets" / "data" / "digits.csv.gz", delimiter=",", dtype=np.int64)
    return numbers[:, :-1].astype(np.uint8), numbers[:, -1]


def split_indices(labels: np.ndarray, seed: int = SPLIT_SEED) -> tuple[np.ndarray, np.ndarray]:
    """Which samples are for training and which for testing: those of scikit-learn's train_test_split(..., test_size=0.2, stratify=labels,
    random_state=seed), whose draws these are, one after the other."""
    draw = np.random.RandomState(seed)
    counts = np.bincount(labels)
    tested = int(np.ceil(TEST_SHARE * len(labels)))
    for_training = _in_proportion(counts, len(labels) - tested, draw)
    for_testing = _in_proportion(counts - for_training, tested, draw)
    train, test = [], []
    for label, count in enumerate(counts):
        shuffled = np.flatnonzero(labels == label)[draw.permutation(count)]
        train.append(shuffled[: for_training[label]])
        test.append(shuffled[for_training[label] : for_training[label] + for_testing[label]])
    return draw.permutation(np.concatenate(train)), draw.permutation(np.concatenate(test))


def _in_proportion(counts: np.ndarray, wanted: int, draw: np.random.RandomState) -> np.ndarray:
    """How many of each class make `wanted`: rounded down, and one more where most was cut off; equals draw for it."""
    shares = counts / counts.sum() * wanted
    taken = np.floor(shares)
    remainders = shares - taken
    left = int(wanted - taken.sum())
    for remainder in np.unique(remainders)[::-1]:
        if left == 0:
            break
        equals = np.flatnonzero(remainders == remainder)
        more = min(len(equals), left)
        taken[draw.choice(equals, size=more, replace=False)] += 1
        left -= more
    return taken.astype(np.int64)
