"""Convex surfaces over a square, for networks that fit them.

``surfaces``: two of our own over [-1, 1]^2, the smooth x1^2 + x2^2 and |x1| + |x2|, which is not smooth. Random points are for
training; the points of a 41 x 41 grid are for testing.

``paraboloid``: that of the published experiment (worden1/ICTAI_snn), 0.3 (x1^2 + x2^2) over [-4, 4]^2. The points of a 100 x 100
grid are for training; the published figures show the same ones, so they are those for testing too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spiketrain.config import Config
from spiketrain.data.base import Dataset, Split
from spiketrain.data.tasks import REGRESSION

TRAINING_POINTS = 1000
POINTS_SEED = 0  # the points are part of the data set: they stay the same whatever the seed of a run
GRID = 41  # points on a side, to test our own surfaces and to draw all of them
PUBLISHED_GRID = 100
Surfaces = dict[str, Callable[[Tensor], Tensor]]

OWN: Surfaces = {
    "x1² + x2²": lambda points: points.square().sum(1),
    "|x1| + |x2|": lambda points: points.abs().sum(1),
}
PARABOLOID: Surfaces = {"0.3 (x1² + x2²)": lambda points: 0.3 * points.square().sum(1)}


class PointSplit(Split):
    """Points (N, 2) of the square from -`half_side` to `half_side`, with the heights of the surfaces above them (N, surfaces) as
    labels."""

    def __init__(self, points: Tensor, surfaces: Surfaces, half_side: float) -> None:
        self.points, self.surfaces, self.half_side = points, surfaces, half_side
        self.labels = torch.stack([surface(points) for surface in surfaces.values()], dim=1)

    def __len__(self) -> int:
        return len(self.points)

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        return self.points[index]

    def preprocessing(self) -> dict[str, Any]:
        return {"kind": "points"}

    def select(self, index: Tensor) -> PointSplit:
        part = copy.copy(self)
        part.points, part.labels = self.points[index], self.labels[index]
        return part

    def over_grid(self, side: int = GRID) -> PointSplit:
        """The same surfaces over a grid of side x side points."""
        return PointSplit(grid(side, self.half_side), self.surfaces, self.half_side)


def grid(side: int = GRID, half_side: float = 1.0) -> Tensor:
    """(side^2, 2): the points of a grid over a square around 0, x2 running fastest."""
    coordinates = half_side * (2 * torch.arange(side) - (side - 1)) / (side - 1)  # unlike linspace exactly 0 in the middle
    return torch.cartesian_prod(coordinates, coordinates)


def load(name: str, root: Path, config: Config) -> Dataset:
    if name == "paraboloid":
        points = PointSplit(grid(PUBLISHED_GRID, half_side=4.0), PARABOLOID, 4.0)
        return Dataset(name, points, points.select(torch.arange(len(points))), (2,), len(PARABOLOID), REGRESSION)
    points = 2 * torch.rand(TRAINING_POINTS, 2, generator=torch.Generator().manual_seed(POINTS_SEED)) - 1
    return Dataset(name, PointSplit(points, OWN, 1.0), PointSplit(grid(), OWN, 1.0), (2,), len(OWN), REGRESSION)
