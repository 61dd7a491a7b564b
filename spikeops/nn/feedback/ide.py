"""IDE: the gradient of a feedback network by implicit differentiation at its equilibrium (Xiao et al., 2021)."""

from __future__ import annotations

import math

import torch

from spikeops.nn.feedback.forward_pass import ForwardPass
from spikeops.nn.feedback.linearise import linearise
from spikeops.nn.feedback.operators import loop_order
from spikeops.nn.feedback.solvers import TOLERANCE, Solution, broyden, damped_fixed_point

SOLVERS = {"broyden": broyden, "fixed_point": damped_fixed_point}
# A solution whose residual stays above this part of the right-hand side counts as failed.
FAILED_RESIDUAL = 0.1
NO_SLOPE = "each is at rate 0 or 1 in the equilibrium equation, or is dropped"


class SolverError(RuntimeError):
    """The implicit gradient was not found, and the ring was told to stop then."""


def differentiable_rate(forward: ForwardPass) -> torch.Tensor:
    """The last layer's rate; its gradient is the implicit one of the equilibrium a = f(a)."""
    rate = forward.rates[-1]
    updates_statistics = forward.training and any(n.has_batch_norm for n in forward.networks if n is not None)
    if not (torch.is_grad_enabled() or updates_statistics):
        return rate
    value, passes = _equilibrium_map(forward)
    return _ImplicitGradient.apply(ImplicitSolve(forward, value.detach(), passes), rate, value) if torch.is_grad_enabled() else rate


def _equilibrium_map(forward: ForwardPass) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """f(a) at the last layer's simulated rate a, in the sub-networks' own mode; per layer, whether any neuron passes a gradient."""
    q, ring, passes = forward.rates[-1], forward.ring, []
    for index, (network, weights) in enumerate(zip(forward.networks, forward.weights)):
        drive = None if network is None else _dropped(network.apply(q, weights), forward.masks[index])
        if index == 0:
            from_input = _dropped(forward.input_drive, forward.input_mask)
            drive = from_input if drive is None else drive + from_input
        potential = drive / ring.threshold
        q = potential.clamp(0, 1)
        passes.append((potential == q).any())
    return q, passes


def _dropped(drive: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    return drive if mask is None else drive * mask


class _ImplicitGradient(torch.autograd.Function):
    """The simulated rate in value; f(a) for the gradient, with the implicit solution in place of the incoming gradient."""

    @staticmethod
    def forward(ctx, solve, rate, value):
        ctx.solve = solve
        ctx.save_for_backward(*solve.forward.tensors())
        return rate.clone()

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled():
            raise RuntimeError("FeedbackRing: the implicit gradient has no second derivative here. Leave out create_graph=True.")
        ctx.saved_tensors  # noqa: B018 - an error if one was changed in place
        with torch.autocast(grad.device.type, enabled=False):
            return None, None, ctx.solve(grad)


class ImplicitSolve:
    """Solves (I - J^T) v = g for one forward pass, J the derivative of f at f(a), or at a for a ring of a single layer."""

    def __init__(self, forward: ForwardPass, value: torch.Tensor, passes: list[torch.Tensor]):
        self.forward, self._passes = forward, passes
        self.point = forward.rates[-1] if len(forward.networks) == 1 else value

    def __call__(self, grad: torch.Tensor) -> torch.Tensor:
        ring = self.forward.ring
        ring.backward_passes += 1
        if self.forward.networks[0] is None or ring.solver_steps == 0:
            finite, *passes = torch.stack([self.forward.finite(grad.isfinite().all()), *self._passes]).tolist()
            ring.report(finite, passes, NO_SLOPE)
            return grad
        with torch.no_grad():
            grad = loop_order(grad)
            jacobian = TransposedJacobian(self.forward, self.point)
            # The solvers want one row per sample.
            right = _rows(grad)

            def residual(v):
                return _rows(jacobian(_from_rows(v, grad.shape))) - v + right

            start = torch.zeros_like(right) if ring.solver == "broyden" else right
            # The published tolerance is out of reach of float32, where the last steps only move rounding errors around.
            scale = torch.linalg.vector_norm(right).item()
            tolerance = max(TOLERANCE * math.sqrt(right.numel()), torch.finfo(right.dtype).eps * scale)
            solution = SOLVERS[ring.solver](residual, start, ring.solver_steps, tolerance)
            self._report(solution, scale)
            return _from_rows(solution.value, grad.shape)

    def _report(self, solution: Solution, scale: float) -> None:
        ring = self.forward.ring
        ring.last_residual = solution.residual / scale if scale else 0.0
        if solution.residual <= FAILED_RESIDUAL * scale:
            return
        message = (
            f"the {ring.solver} solver of the implicit gradient failed: residual {solution.residual:.3g} after {solution.steps} "
            f"steps, of a right-hand side of norm {scale:.3g}{' (diverged)' if solution.diverged else ''}, in backward pass {ring.backward_passes}."
        )
        if ring.on_solver_failure == "raise":
            raise SolverError(f"FeedbackRing: {message}")
        ring.warn("solver", f"{message} Its best iterate is used.")


class TransposedJacobian:
    """v -> J^T v, with J the derivative of f at a point; weights, masks and input are constants. Linearised once, when made."""

    def __init__(self, forward: ForwardPass, point: torch.Tensor):
        self._steps = []
        q, threshold = point, forward.ring.threshold
        for index, (network, mask) in enumerate(zip(forward.networks, forward.masks)):
            if network.affine:
                drive, transpose = forward.operators[index].apply(q), forward.operators[index].transposed(q).apply
            else:
                drive, transpose = linearise(network.parts(forward.weights[index]), q)
            drive = _dropped(drive, mask)
            if index == 0:
                drive = drive + _dropped(forward.input_drive.detach(), forward.input_mask)
            potential = drive / threshold
            q = potential.clamp(0, 1)
            slope = (potential == q) / torch.tensor(threshold, dtype=q.dtype)
            self._steps.append((_dropped(slope, mask), transpose))
        finite, *sending = torch.stack([forward.finite(q.isfinite().all()), *(slope.any() for slope, _ in self._steps)]).tolist()
        forward.ring.report(finite, sending, NO_SLOPE)

    def __call__(self, v: torch.Tensor) -> torch.Tensor:
        for slope, transpose in reversed(self._steps):
            v = transpose(slope * v)
        return v


def _rows(x: torch.Tensor) -> torch.Tensor:
    """(B, C, H, W) in channels-last order, or (B, ...), as (B, n): a view."""
    return x.permute(0, 2, 3, 1).flatten(1) if x.dim() == 4 else x.flatten(1)


def _from_rows(rows: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    if len(shape) != 4:
        return rows.view(shape)
    batch, channels, height, width = shape
    return rows.view(batch, height, width, channels).permute(0, 3, 1, 2)
