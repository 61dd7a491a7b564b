"""The linear equation of the implicit gradient."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from spikeops.nn.feedback.forward_pass import ForwardPass
from spikeops.nn.feedback.linearise import linearise
from spikeops.nn.feedback.operators import Operator, loop_order


@dataclass(frozen=True)
class ImplicitEquation:
    """(I - J^T) v = g, as the residual J^T v - v + g of v. The solvers want one row per sample: v, g and residual are (B, n).

    Attributes:
        right: g.
        shape: of g before it was put into rows, (B, ...).
    """

    jacobian: TransposedJacobian
    right: torch.Tensor
    shape: tuple[int, ...]

    @staticmethod
    def of(jacobian: TransposedJacobian, grad: torch.Tensor) -> ImplicitEquation:
        return ImplicitEquation(jacobian, _rows(loop_order(grad)), tuple(grad.shape))

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        return _rows(self.jacobian.apply(self.from_rows(v))) - v + self.right

    def from_rows(self, rows: torch.Tensor) -> torch.Tensor:
        if len(self.shape) != 4:
            return rows.view(self.shape)
        batch, channels, height, width = self.shape
        return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) in channels-last order, or (B, ...), as (B, n): a view."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x.flatten(1)


@dataclass(frozen=True)
class TransposedJacobian:
    """v -> J^T v, with J the derivative at a point of the equilibrium map f; weights, masks and input are constants.

    Attributes:
        slopes: derivative of each layer's rate with respect to the output of the sub-network that leads to it, (B, ...).
        transposes: of the derivatives of these sub-networks.
    """

    slopes: tuple[torch.Tensor, ...]
    transposes: tuple[Operator, ...]

    def apply(self, v: torch.Tensor) -> torch.Tensor:
        for slope, transpose in zip(self.slopes[::-1], self.transposes[::-1]):
            v = transpose.apply(slope * v)
        return v

    @staticmethod
    def at(point: torch.Tensor, forward: ForwardPass) -> tuple[TransposedJacobian, torch.Tensor, list[torch.Tensor]]:
        """Also whether f is finite there, and per layer whether any neuron passes a gradient: 0-d bool."""
        slopes, transposes, sending = [], [], []
        q, threshold = point, forward.ring.threshold
        for index, (network, mask) in enumerate(zip(forward.networks, forward.masks)):
            if network.affine:
                drive, transpose = forward.operators[index].apply(q), forward.operators[index].transposed(q)
            else:
                drive, transpose = linearise(network.parts(forward.weights[index]), q)
            drive = dropped(drive, mask)
            if index == 0:
                drive = drive + dropped(forward.input_drive.detach(), forward.input_mask)
            potential = drive / threshold
            q = potential.clamp(0, 1)
            slope = dropped((potential == q) / torch.tensor(threshold, dtype=q.dtype), mask)
            slopes.append(slope)
            transposes.append(transpose)
            sending.append(slope.any())
        return TransposedJacobian(tuple(slopes), tuple(transposes)), q.isfinite().all(), sending


def dropped(drive: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return drive if mask is None else drive * mask
