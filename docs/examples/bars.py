"""A data set of one's own: a bar that moves to the right, to the left, down or up, as events."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data import Dataset
from spiketrain.data.base import Split

SIDE = 12  # pixels


class Movies(Split):
    """Movies (samples, T, 1, SIDE, SIDE) of zeros and ones, in bytes."""

    def __init__(self, frames: Tensor, labels: Tensor) -> None:
        self.frames, self.labels = frames, labels

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.frames[index].movedim(1, 0).float()  # time first: (T, N, 1, SIDE, SIDE)

    def select(self, index: Tensor) -> Movies:
        return Movies(self.frames[index], self.labels[index])


def load(name: str, root: Path, config: Config) -> Dataset:
    """The data set: its files would lie in `root`, and `config.data` has the options of the section `data`."""
    steps = config.network.time_steps
    draw = torch.Generator().manual_seed(0)  # the data is the same whatever the seed of a run

    def split(samples: int) -> Movies:
        labels = torch.arange(samples) % 4
        begin = torch.randint(SIDE, (samples, 1), generator=draw)
        place = (begin + torch.arange(steps) * (1 - 2 * (labels % 2)).view(-1, 1)) % SIDE
        across = torch.nn.functional.one_hot(place, SIDE).bool().unsqueeze(2).expand(-1, -1, SIDE, -1)
        frames = torch.where(labels.view(-1, 1, 1, 1) < 2, across, across.transpose(2, 3))
        noise = torch.rand(frames.shape, generator=draw) < 0.02
        return Movies((frames ^ noise).to(torch.uint8).unsqueeze(2), labels)

    names = ("right", "left", "down", "up")
    return Dataset(name, split(600), split(200), (1, SIDE, SIDE), len(names), class_names=names)
