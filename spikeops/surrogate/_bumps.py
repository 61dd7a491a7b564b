"""Bumps that every op knows."""

from __future__ import annotations

import dataclasses
import math

import torch

from spikeops.surrogate._base import Surrogate


@dataclasses.dataclass(frozen=True, repr=False)
class ATan(Surrogate):
    """``alpha / 2 / (1 + (pi/2 * alpha * d)^2)`` (Fang et al., ICCV 2021)."""

    alpha: float = 2.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * distance) ** 2)

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        return 0, math.pi / 2 * self.alpha, self.alpha / 2


@dataclasses.dataclass(frozen=True, repr=False)
class Sigmoid(Surrogate):
    """Derivative of ``sigmoid(alpha * d)``: ``alpha * sigmoid(alpha d) * (1 - sigmoid(alpha d))``."""

    alpha: float = 4.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        z = self.alpha * distance
        return self.alpha * torch.sigmoid(z) * torch.sigmoid(-z)  # 1 - sigmoid(z) would cancel above the threshold

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        return 1, self.alpha, self.alpha / 4


@dataclasses.dataclass(frozen=True, repr=False)
class Exponential(Surrogate):
    """``exp(-alpha * |d|)`` (Shrestha & Orchard, NeurIPS 2018; alpha = 1 in ELL, FELL and BELL)."""

    alpha: float = 1.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        return torch.exp(-self.alpha * distance.abs())

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        return 2, self.alpha, 1.0


@dataclasses.dataclass(frozen=True, repr=False)
class FastSigmoid(Surrogate):
    """``1 / (1 + slope * |d|)^2`` (Zenke & Ganguli, Neural Computation 2018)."""

    slope: float = 25.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + self.slope * distance.abs()) ** 2

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        return 3, self.slope, 1.0


@dataclasses.dataclass(frozen=True, repr=False)
class Triangle(Surrogate):
    """``max(0, 1 - |d| / width) / width``: unit area, zero beyond ``width`` (Bellec et al., NeurIPS 2018)."""

    width: float = 1.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        return (1 - distance.abs() / self.width).clamp(min=0) / self.width

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        return 4, 1 / self.width, 1 / self.width


@dataclasses.dataclass(frozen=True, repr=False)
class Rectangle(Surrogate):
    """``1 / width`` where ``|d| <= width / 2``, else 0: unit area (Wu et al., Frontiers in Neuroscience 2018)."""

    width: float = 1.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        inside = (distance.abs() <= self.width / 2).to(distance.dtype) / self.width
        return torch.where(distance.isnan(), distance, inside)

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        return 5, self.width / 2, 1 / self.width


@dataclasses.dataclass(frozen=True, repr=False)
class Gaussian(Surrogate):
    """Normal density of standard deviation ``sigma`` (Yin, Corradi & Bohte, Nature Machine Intelligence 2021)."""

    sigma: float = 0.5
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        return torch.exp(-(distance**2) / (2 * self.sigma**2)) / (self.sigma * math.sqrt(2 * math.pi))

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        return 6, 1 / (2 * self.sigma**2), 1 / (self.sigma * math.sqrt(2 * math.pi))


@dataclasses.dataclass(frozen=True, repr=False)
class SuperSpike(Surrogate):
    """``alpha / (1 + |d|)^2``, as SpikingJelly has it (and Norse, where alpha is 1 whatever it is set to); after Zenke & Ganguli, Neural
    Computation 2018, whose own has a slope: :class:`FastSigmoid`."""

    alpha: float = 1.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        return self.alpha / (1 + distance.abs()) ** 2

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        return 3, 1.0, self.alpha
