"""Surrogate derivatives of the spike function.

A spike is ``s = Heaviside(u - threshold)``, whose derivative is zero almost everywhere. Training replaces the derivative by a
smooth bump around the threshold (Neftci, Mostafa & Zenke, IEEE Signal Processing Magazine 2019). Each class here is one bump,
written in terms of ``d = u - threshold``; all work in every backend.

>>> spikeops.surrogate.ATan(2.0).derivative(torch.tensor([0.0]))
tensor([1.])
"""

from __future__ import annotations

import dataclasses
import math

import torch

from spikeops._numbers import plain_number

__all__ = ["ATan", "Exponential", "FastSigmoid", "Gaussian", "Rectangle", "Sigmoid", "Surrogate", "Triangle"]


@dataclasses.dataclass(frozen=True)
class Surrogate:
    """Base class: a bump given by one positive parameter.

    Infinitely far from the threshold every bump is 0; that of NaN is NaN. The kernels take it for 0 where it is below 1e-38 of
    its peak in float32.

    Raises:
        ValueError: if the parameter is not a finite number above 0.
    """

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            value = plain_number(given)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{type(self).__name__}: expected {field.name} to be a number, got {type(given).__name__}.")
            if value is not given:
                object.__setattr__(self, field.name, value)  # frozen
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"{type(self).__name__}: expected {field.name} to be finite and above 0, got {value}.")

    @property
    def name(self) -> str:
        return type(self).__name__

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        """The surrogate of d spike / d membrane at ``distance = membrane - threshold``, in plain PyTorch: the definition."""
        raise NotImplementedError

    @property
    def coefficients(self) -> tuple[int, float, float]:
        """(kind, scale, peak) as the kernels take them: see ``kernels/math/surrogate.h``."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class ATan(Surrogate):
    """``alpha / 2 / (1 + (pi/2 * alpha * d)^2)`` (Fang et al., ICCV 2021)."""

    alpha: float = 2.0

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * distance) ** 2)

    @property
    def coefficients(self) -> tuple[int, float, float]:
        return 0, math.pi / 2 * self.alpha, self.alpha / 2


@dataclasses.dataclass(frozen=True)
class Sigmoid(Surrogate):
    """Derivative of ``sigmoid(alpha * d)``: ``alpha * sigmoid(alpha d) * (1 - sigmoid(alpha d))``."""

    alpha: float = 4.0

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        z = self.alpha * distance
        return self.alpha * torch.sigmoid(z) * torch.sigmoid(-z)  # 1 - sigmoid(z) would cancel above the threshold

    @property
    def coefficients(self) -> tuple[int, float, float]:
        return 1, self.alpha, self.alpha / 4


@dataclasses.dataclass(frozen=True)
class Exponential(Surrogate):
    """``exp(-alpha * |d|)`` (Shrestha & Orchard, NeurIPS 2018; alpha = 1 in ELL, FELL and BELL)."""

    alpha: float = 1.0

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        return torch.exp(-self.alpha * distance.abs())

    @property
    def coefficients(self) -> tuple[int, float, float]:
        return 2, self.alpha, 1.0


@dataclasses.dataclass(frozen=True)
class FastSigmoid(Surrogate):
    """``1 / (1 + slope * |d|)^2`` (Zenke & Ganguli, Neural Computation 2018)."""

    slope: float = 25.0

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        return 1 / (1 + self.slope * distance.abs()) ** 2

    @property
    def coefficients(self) -> tuple[int, float, float]:
        return 3, self.slope, 1.0


@dataclasses.dataclass(frozen=True)
class Triangle(Surrogate):
    """``max(0, 1 - |d| / width) / width``: unit area, zero beyond ``width`` (Bellec et al., NeurIPS 2018)."""

    width: float = 1.0

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        return (1 - distance.abs() / self.width).clamp(min=0) / self.width

    @property
    def coefficients(self) -> tuple[int, float, float]:
        return 4, 1 / self.width, 1 / self.width


@dataclasses.dataclass(frozen=True)
class Rectangle(Surrogate):
    """``1 / width`` where ``|d| <= width / 2``, else 0: unit area (Wu et al., Frontiers in Neuroscience 2018)."""

    width: float = 1.0

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        inside = (distance.abs() <= self.width / 2).to(distance.dtype) / self.width
        return torch.where(distance.isnan(), distance, inside)

    @property
    def coefficients(self) -> tuple[int, float, float]:
        return 5, self.width / 2, 1 / self.width


@dataclasses.dataclass(frozen=True)
class Gaussian(Surrogate):
    """Normal density of standard deviation ``sigma`` (Yin, Corradi & Bohte, Nature Machine Intelligence 2021)."""

    sigma: float = 0.5

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        return torch.exp(-(distance**2) / (2 * self.sigma**2)) / (self.sigma * math.sqrt(2 * math.pi))

    @property
    def coefficients(self) -> tuple[int, float, float]:
        return 6, 1 / (2 * self.sigma**2), 1 / (self.sigma * math.sqrt(2 * math.pi))


def from_coefficients(kind: int, scale: float, peak: float) -> Surrogate:
    """The inverse of :attr:`Surrogate.coefficients`, up to rounding."""
    makers = (
        lambda: ATan(2 * peak),
        lambda: Sigmoid(scale),
        lambda: Exponential(scale),
        lambda: FastSigmoid(scale),
        lambda: Triangle(1 / scale),
        lambda: Rectangle(2 * scale),
        lambda: Gaussian(math.sqrt(1 / (2 * scale))),
    )
    return makers[kind]()
