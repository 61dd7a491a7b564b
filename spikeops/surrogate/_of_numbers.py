"""Surrogates by their coefficients."""

from __future__ import annotations

import math

import torch

from spikeops.surrogate._base import DISTANCE, HEIGHT, MULTI_GAUSSIAN, PERIODIC, STEP, WINDOW, Coefficients, Surrogate
from spikeops.surrogate._bumps import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle
from spikeops.surrogate._of_lif import PeriodicExponential, Window, step


class OfNumbers(Surrogate):
    """The surrogate that has these coefficients, up to rounding."""

    def __init__(self, coefficients: Coefficients):
        object.__setattr__(self, "numbers", coefficients)

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        kind, scale, peak, center, a, b, c, _ = self.numbers
        d = distance - center
        if kind == MULTI_GAUSSIAN:
            sides = torch.exp(-b * (d - c) ** 2) + torch.exp(-b * (d + c) ** 2)
            return peak * torch.exp(-scale * d**2) - a * sides
        makers = (
            lambda: ATan(2 * scale / math.pi), lambda: Sigmoid(scale), lambda: Exponential(scale), lambda: FastSigmoid(scale),
            lambda: Triangle(1 / scale), lambda: Rectangle(2 * scale), lambda: Gaussian(math.sqrt(1 / (2 * scale))),
        )  # fmt: skip
        bump = makers[kind]()
        return peak / bump.scale_and_peak[2] * bump.bump(d)

    def at_distance(self, distance: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        in_thresholds = self.numbers.in_thresholds
        value = self.derivative(distance / threshold if in_thresholds & DISTANCE else distance)
        return value / threshold if in_thresholds & HEIGHT else value

    def at(self, u: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        kind, scale, peak, center, a, b, _, in_thresholds = self.numbers
        if kind == STEP:
            value = step(u, threshold + center, a, peak)
        elif kind == PERIODIC:
            return PeriodicExponential(1 / scale, height=peak, center=center).at(u, threshold)
        elif kind == WINDOW:
            return Window(a, b, height=peak, center=center).at(u, threshold)
        else:
            return self.at_distance(u - threshold, threshold)
        return value / threshold if in_thresholds & HEIGHT else value


def from_coefficients(kind: int, scale: float, peak: float, *others: float) -> Surrogate:
    """The inverse of :attr:`Surrogate.coefficients` and of :attr:`Surrogate.all_coefficients`, up to rounding."""
    return OfNumbers(Coefficients(kind, scale, peak, *others))  # type: ignore[arg-type]
