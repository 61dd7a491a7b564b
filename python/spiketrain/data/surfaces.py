"""Two convex surfaces over the square [-1, 1]^2: the smooth x1^2 + x2^2 and |x1| + |x2|, which is not smooth.

Random points are for training; the points of a 41 x 41 grid are for testing.
"""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset, Split
from spiketrain.data.tasks import REGRESSION

TRAINING_POINTS = 1000
POINTS_SEED = 0  # the points are part of the data set: they stay the same whatever the seed of a run
GRID = 41  # points on a side
SURFACES = {
    "x1² + x2²": lambda points: points.square().sum(1),
    "|x1| + |x2|": lambda points: points.abs().sum(1),
}


class PointSplit(Split):
    """Points (N, 2), with the heights of the surfaces above them (N, surfaces) as labels."""

    def __init__(self, points: Tensor) -> None:
        self.points = points
        self.labels = torch.stack([surface(points) for surface in SURFACES.values()], dim=1)

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.points[index]

    def select(self, index: Tensor) -> PointSplit:
        part = copy.copy(self)
        part.points, part.labels = self.points[index], self.labels[index]
        return part


def grid(side: int = GRID) -> Tensor:
    """(side^2, 2): the points of a grid over the square, x2 running fastest."""
    coordinates = (2 * torch.arange(side) - (side - 1)) / (side - 1)  # unlike linspace exactly 0 in the middle
    return torch.cartesian_prod(coordinates, coordinates)


def load(name: str, root: Path, config: Config) -> Dataset:
    points = 2 * torch.rand(TRAINING_POINTS, 2, generator=torch.Generator().manual_seed(POINTS_SEED)) - 1
    return Dataset(name, PointSplit(points), PointSplit(grid()), (2,), len(SURFACES), REGRESSION)
