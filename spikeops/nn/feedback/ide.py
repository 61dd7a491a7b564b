"""IDE: the gradient of a feedback network by implicit differentiation at its equilibrium (Xiao et al., 2021)."""

from __future__ import annotations

import math

import torch

from spikeops import _backend
from spikeops.nn.feedback.forward_pass import ForwardPass
from spikeops.nn.feedback.implicit_equation import ImplicitEquation, TransposedJacobian, dropped
from spikeops.nn.feedback.solvers import TOLERANCE, Broyden, DampedFixedPoint, Solution, Solver

SOLVERS = {"broyden": Broyden, "fixed_point": DampedFixedPoint}
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
        drive = None if network is None else dropped(network.apply(q, weights), forward.masks[index])
        if index == 0:
            from_input = dropped(forward.input_drive, forward.input_mask)
            drive = from_input if drive is None else drive + from_input
        potential = drive / ring.threshold
        q = potential.clamp(0, 1)
        passes.append((potential == q).any())
    return q, passes


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
        with torch.autocast(grad.device.type, enabled=False), _backend.backend(ctx.solve.forward.backend):
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
            jacobian, finite, sending = TransposedJacobian.at(self.point, self.forward)
            equation = ImplicitEquation.of(jacobian, grad)
            scale = torch.linalg.vector_norm(equation.right)
            finite, *sending, scale = torch.stack([self.forward.finite(finite), *sending, scale]).tolist()
            ring.report(finite, sending, NO_SLOPE)
            # The published tolerance is out of reach of float32, where the last steps only move rounding errors around.
            eps = torch.finfo(equation.right.dtype).eps
            tolerance = max(TOLERANCE * math.sqrt(equation.right.numel()), eps * scale)
            solution = ring.graphs.run(self._solver(equation), tolerance)
            self._report(solution, scale)
            return equation.from_rows(solution.value)

    def _solver(self, equation: ImplicitEquation) -> Solver:
        ring, right = self.forward.ring, equation.right
        start = torch.zeros_like(right) if ring.solver == "broyden" else right
        return SOLVERS[ring.solver](equation, start, ring.solver_steps)

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
