"""scikit-learn's embedded digits: 1,797 real 8x8 images with 17 grey levels, in a fixed stratified 80/20 split."""

from __future__ import annotations

from pathlib import Path

import torch

from spiketrain.config import Config
from spiketrain.data.base import Dataset, ImageSplit

SPLIT_SEED = 0  # the split is part of the data set: it stays the same whatever the seed of a run


def load(name: str, root: Path, config: Config) -> Dataset:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(images).round().to(torch.uint8).view(-1, 1, 8, 8)
    labels = torch.from_numpy(labels).long()
    train, test = train_test_split(range(len(labels)), test_size=0.2, stratify=labels, random_state=SPLIT_SEED)

    def split(index: list[int], augment: bool) -> ImageSplit:
        # Grey levels run from 0 to 16; mean 4.9 and standard deviation 6.0 over the whole set.
        return ImageSplit(images[index], labels[index], mean=(4.9 / 255,), std=(6.0 / 255,), augment=augment, white=16)

    return Dataset(name, split(train, config.data.augment), split(test, False), (1, 8, 8), 10)
