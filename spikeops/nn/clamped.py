"""Spiking neurons that stop at a threshold which they learn."""

from __future__ import annotations

import math

import torch
from torch import nn

from spikeops import functional as SF
from spikeops.functional import _checks
from spikeops.nn._repr import call_arguments


class ClampedLIF(nn.Module):
    """Neurons of the published spiking networks with local losses: :func:`spikeops.functional.clamped_lif` as a module, with its
    thresholds.

    Args:
        units: number of units, or of channels, that have a threshold each.
        time_steps, dt, leak, threshold_gain, threshold_drift: as in :func:`spikeops.functional.clamped_lif`.

    Attributes:
        threshold: (units,), learned. At first uniform between ``-1 / sqrt(units)`` and ``1 / sqrt(units)``, as published: half of
            them are negative.

    Shapes:
        x (N, units) or (N, units, ...) -> spike counts and membrane potentials of the same shape.

    Raises:
        TypeError: units that are no int. ValueError: no units.

    Example:
        >>> counts, v = snn.ClampedLIF(100)(torch.rand(32, 100))
    """

    def __init__(self, units: int, *, time_steps: int = 3, dt: float = 3e-5, leak: float = 2.0, threshold_gain: float = 1e7,
                 threshold_drift: float = 0.1):  # fmt: skip
        super().__init__()
        _checks.time_count("ClampedLIF", time_steps, "time_steps")
        if isinstance(units, bool) or not isinstance(units, int):
            raise TypeError(f"ClampedLIF: expected units to be an int, got {type(units).__name__}.")
        if units < 1:
            raise ValueError(f"ClampedLIF: expected units to be 1 or more, got {units}.")
        self.units, self.time_steps, self.dt, self.leak = units, time_steps, dt, leak
        self.threshold_gain, self.threshold_drift = threshold_gain, threshold_drift
        bound = 1 / math.sqrt(units)
        self.threshold = nn.Parameter(torch.empty(units).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self._after(self.time_steps, x)

    @torch.no_grad()
    def spike_train(self, x: torch.Tensor) -> torch.Tensor:
        """Which neurons fire in which time step, (T, N, units, ...), for pictures and statistics."""
        counts = [torch.zeros_like(x), *(self._after(t, x)[0] for t in range(1, self.time_steps + 1))]
        return torch.stack(counts).diff(dim=0)

    def _after(self, time_steps: int, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return SF.clamped_lif(
            x, self.threshold, time_steps=time_steps, dt=self.dt, leak=self.leak, threshold_gain=self.threshold_gain,
            threshold_drift=self.threshold_drift,
        )  # fmt: skip

    def extra_repr(self) -> str:
        return call_arguments(self, ClampedLIF.__init__)
