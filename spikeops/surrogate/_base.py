"""What all surrogates share."""

from __future__ import annotations

import dataclasses
import math
from typing import ClassVar, NamedTuple

import torch

from spikeops._numbers import plain_number


class Coefficients(NamedTuple):
    """A surrogate as the kernels take it: see ``kernels/math/surrogate.h`` and, for all but kind, scale and peak,
    ``kernels/math/surrogate_of_lif.h``."""

    kind: int
    scale: float
    peak: float
    center: float = 0.0
    a: float = 0.0
    b: float = 0.0
    c: float = 0.0
    in_thresholds: int = 0  # DISTANCE | HEIGHT


# The unit of distances, and that of heights, is the threshold, or one over it.
DISTANCE, HEIGHT = 1, 2
RECTANGLE, STEP, MULTI_GAUSSIAN, PERIODIC, WINDOW = 5, 7, 8, 9, 10


@dataclasses.dataclass(frozen=True, repr=False)
class Surrogate:
    """Base class: a bump given by one positive parameter.

    Args:
        height: factor on the bump.
        center: distance from the threshold at which the bump lies.

    Infinitely far from the threshold every bump is 0; that of NaN is NaN. The kernels take it for 0 where it is below 1e-38 of
    its peak in float32.

    Raises:
        ValueError: if the parameter is not a finite number above 0, or another number is not finite.
    """

    # Without a type: no fields here, which would stand before those of the subclasses. There they are fields.
    height = 1.0
    center = 0.0
    _of_any_sign: ClassVar[tuple[str, ...]] = ("height", "center")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            given = getattr(self, field.name)
            value = plain_number(given)
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise TypeError(f"{type(self).__name__}: expected {field.name} to be a number, got {type(given).__name__}.")
            if value is not given:
                object.__setattr__(self, field.name, value)  # frozen
            any_sign = field.name in self._of_any_sign
            # Unlike math.isfinite, also for the symbolic numbers of torch.compile, in all versions of torch.
            if not (-math.inf < value < math.inf and (any_sign or value > 0)):
                wanted = "finite" if any_sign else "finite and above 0"
                raise ValueError(f"{type(self).__name__}: expected {field.name} to be {wanted}, got {value}.")

    def __repr__(self) -> str:
        shown = (f for f in dataclasses.fields(self) if not f.kw_only or getattr(self, f.name) != f.default)
        return f"{type(self).__name__}({', '.join(f'{f.name}={getattr(self, f.name)!r}' for f in shown)})"

    @property
    def name(self) -> str:
        return type(self).__name__

    def bump(self, distance: torch.Tensor) -> torch.Tensor:
        """The derivative for a height of 1 and a center of 0."""
        raise NotImplementedError

    def derivative(self, distance: torch.Tensor) -> torch.Tensor:
        """The surrogate of d spike / d membrane at ``distance = membrane - threshold``, in plain PyTorch: the definition."""
        return self.height * self.bump(distance - self.center)

    def at_distance(self, distance: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        """The same for a threshold that it may be measured in."""
        return self.derivative(distance)

    def at(self, u: torch.Tensor, threshold: float | torch.Tensor) -> torch.Tensor:
        """The same at a membrane potential."""
        return self.at_distance(u - threshold, threshold)

    @property
    def scale_and_peak(self) -> tuple[int, float, float]:
        """(kind, scale, peak) for a height of 1."""
        raise NotImplementedError

    @property
    def coefficients(self) -> tuple[int, float, float]:
        """(kind, scale, peak) as the kernels take them: see ``kernels/math/surrogate.h``. Of all but its center."""
        kind, scale, peak = self.scale_and_peak
        return kind, scale, peak * self.height

    @property
    def all_coefficients(self) -> Coefficients:
        return Coefficients(*self.coefficients, center=self.center)

    @property
    def suits_every_op(self) -> bool:
        """Whether kind, scale and peak are all that there is to it."""
        return self.center == 0

    @property
    def has_two_values(self) -> bool:
        """Whether it is one number inside of a window or above a level, and another one elsewhere."""
        return self.all_coefficients.kind in (RECTANGLE, STEP, WINDOW)

    @property
    def bears_rounding(self) -> bool:
        """Whether a distance that is rounded by a factor changes little of it: it has no jumps, and fades away."""
        return not self.has_two_values and self.all_coefficients.kind != PERIODIC
