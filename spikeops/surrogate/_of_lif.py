"""Those for :func:`spikeops.functional.lif` alone: no bumps, or measured in thresholds."""

from __future__ import annotations

import dataclasses
from typing import ClassVar

import torch

from spikeops.surrogate._base import DISTANCE, HEIGHT, MULTI_GAUSSIAN, PERIODIC, STEP, WINDOW, Coefficients, Surrogate
from spikeops.surrogate._bumps import Gaussian


@dataclasses.dataclass(frozen=True, repr=False)
class OfLif(Surrogate):
    """Base class of those that only :func:`spikeops.functional.lif` knows. Their ``derivative`` is that at a threshold of 1."""

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        return self.at(distance + 1, 1.0)

    @property
    def suits_every_op(self) -> bool:
        return False

    @property
    def coefficients(self) -> tuple[int, float, float]:
        return self.all_coefficients[:3]


@dataclasses.dataclass(frozen=True, repr=False)
class SingleExponential(OfLif):
    """``exp(-|d| / w) / w`` with ``w = width * threshold`` (Shrestha & Orchard, NeurIPS 2018, as sinabs has it)."""

    width: float = 0.5
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def at_distance(self, distance: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        distance = distance / threshold - self.center
        return self.height / self.width * torch.exp(-distance.abs() / self.width) / threshold

    @property
    def all_coefficients(self) -> Coefficients:
        return Coefficients(2, 1 / self.width, self.height / self.width, self.center, in_thresholds=DISTANCE | HEIGHT)


@dataclasses.dataclass(frozen=True, repr=False)
class PeriodicExponential(OfLif):
    """``exp(-|d| / width)`` below the threshold, and above it the same of the distance from the nearest multiple of the threshold, times
    two: for neurons that may spike several times in a step (Weidel & Sheik, 2021, arXiv:2111.01456, as sinabs has it)."""

    width: float = 0.5
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def at(self, u: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        phase = u / threshold - 0.5
        above = threshold * (2 * (phase - torch.floor(phase)) - 1)
        distance = u - threshold - self.center
        return self.height * torch.exp(-torch.where(distance < 0, distance, above).abs() / self.width)

    @property
    def all_coefficients(self) -> Coefficients:
        return Coefficients(PERIODIC, 1 / self.width, self.height, self.center)


@dataclasses.dataclass(frozen=True, repr=False)
class MultiGaussian(OfLif):
    """``(1 + h) * g(d, sigma) - h * g(d - sigma, s * sigma) - h * g(d + sigma, s * sigma)``, g a normal density (Yin, Corradi & Bohte,
    Nature Machine Intelligence 2021)."""

    sigma: float = 0.5
    h: float = 0.15
    s: float = 6.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0
    _of_any_sign: ClassVar[tuple[str, ...]] = ("height", "center", "h")

    def at_distance(self, distance: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        wide = Gaussian(self.s * self.sigma)
        d = distance - self.center
        sides = wide.bump(d - self.sigma) + wide.bump(d + self.sigma)
        return self.height * ((1 + self.h) * Gaussian(self.sigma).bump(d) - self.h * sides)

    @property
    def all_coefficients(self) -> Coefficients:
        (_, scale, peak), (_, b, a) = (Gaussian(sigma).scale_and_peak for sigma in (self.sigma, self.s * self.sigma))
        return Coefficients(
            MULTI_GAUSSIAN, scale, self.height * (1 + self.h) * peak, self.center, self.height * self.h * a, b, self.sigma
        )


@dataclasses.dataclass(frozen=True, repr=False)
class Step(OfLif):
    """``below`` under the threshold, ``above`` from there on: a leaky rectifier. There is nothing that ends it far away."""

    below: float = 0.0
    above: float = 1.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0
    _of_any_sign: ClassVar[tuple[str, ...]] = ("height", "center", "below", "above")

    def at(self, u: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        return step(u, threshold + self.center, self.height * self.below, self.height * self.above)

    @property
    def all_coefficients(self) -> Coefficients:
        return Coefficients(STEP, 0.0, self.height * self.above, self.center, self.height * self.below)


@dataclasses.dataclass(frozen=True, repr=False)
class StraightThrough(OfLif):
    """1 everywhere: the straight-through estimator (Bengio, Leonard & Courville, 2013)."""

    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0

    def at(self, u: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        return step(u, threshold + self.center, self.height, self.height)

    @property
    def all_coefficients(self) -> Coefficients:
        return Coefficients(STEP, 0.0, self.height, self.center, self.height)


@dataclasses.dataclass(frozen=True, repr=False)
class Heaviside(OfLif):
    """``1 / threshold`` where ``u >= threshold - window``, else 0, as sinabs has it: for neurons that may spike several times in a step."""

    window: float = 1.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0
    _of_any_sign: ClassVar[tuple[str, ...]] = ("height", "center", "window")

    def at(self, u: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        return step(u, threshold + (self.center - self.window), 0.0, self.height) / threshold

    @property
    def all_coefficients(self) -> Coefficients:
        return Coefficients(STEP, 0.0, self.height, self.center - self.window, in_thresholds=HEIGHT)


@dataclasses.dataclass(frozen=True, repr=False)
class Window(OfLif):
    """``1 / threshold`` where ``low <= u / threshold <= high``, else 0: straight through where a count of spikes is not clipped (Luo et
    al., "Integer-Valued Training and Spike-Driven Inference", ECCV 2024: low 0 and high the most spikes of a step)."""

    low: float = 0.0
    high: float = 1.0
    _: dataclasses.KW_ONLY
    height: float = 1.0
    center: float = 0.0
    _of_any_sign: ClassVar[tuple[str, ...]] = ("height", "center", "low", "high")

    def at(self, u: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        spikes = u / threshold - self.center
        inside = ((spikes >= self.low) & (spikes <= self.high)).to(u.dtype) * self.height
        return torch.where(spikes.isnan(), spikes, inside) / threshold

    @property
    def all_coefficients(self) -> Coefficients:
        return Coefficients(WINDOW, 0.0, self.height, self.center, self.low, self.high, in_thresholds=HEIGHT)


def step(u, level, below, above):
    d = u - level
    return torch.where(u >= level, torch.full_like(d, above), torch.where(u < level, torch.full_like(d, below), d))
