"""IDE: implicit differentiation on the equilibrium state (Xiao et al., NeurIPS 2021, arXiv:2109.14247).

The firing rates of a ring with feedback settle at the solution of an equation, and the gradient is that of the solution: the
simulation is not differentiated. What follows the published code, and what is mended, says `spikeops.nn.FeedbackRing`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops.nn.feedback.ide import FAILED_RESIDUAL, SolverError
from spiketrain.config import Config
from spiketrain.config.fields import CountOrNone, Positive, UpToOneNotZero
from spiketrain.errors import UserError
from spiketrain.methods.base.feedback import FeedbackMethod, input_kind
from spiketrain.methods.base.method import StepResult
from spiketrain.models.feedback import FeedbackNetwork


@dataclass
class Options:
    """Options of IDE.

    Args:
        name: ide
        leak: factor by which the membrane potential decays in one time step, in (0, 1]; 1 for neurons that do not leak
        threshold: firing threshold, and what a spike subtracts from the membrane potential
        norm_range: largest spectral norm of the feedback weight (estimated by power iteration)
        solver: of the implicit gradient: broyden, or fixed_point (damped iteration)
        solver_steps: at most so many steps of the solver; 0 takes the gradient as it is
        on_solver_failure: where its residual stays large: warn and use the best iterate, or raise to stop the run
    """

    name: str = "ide"
    leak: UpToOneNotZero = 1.0
    threshold: Positive = 2.0
    norm_range: Positive = 1.0
    solver: Literal["broyden", "fixed_point"] = "broyden"
    solver_steps: CountOrNone = 30
    on_solver_failure: Literal["warn", "raise"] = "warn"


class IDE(FeedbackMethod):
    Options = Options
    changeable = ("solver", "solver_steps", "on_solver_failure")

    def build(self, config: Config, input_shape: tuple[int, int, int]) -> nn.Module:
        options: Options = config.method
        return FeedbackNetwork(
            config.network,
            input_shape,
            batch_norm=True,
            initialise=snn.init_unit_norm_,
            restrict=partial(snn.restrict_spectral_norm, norm_range=options.norm_range),
            method="ide",
            input=input_kind(config),
            leak=options.leak,
            threshold=options.threshold,
            solver=options.solver,
            solver_steps=options.solver_steps,
            on_solver_failure=options.on_solver_failure,
        )

    def training_step(self, inputs: Tensor, labels: Tensor, batch_size: int) -> StepResult:
        try:
            return super().training_step(inputs, labels, batch_size)
        except SolverError as error:
            raise UserError(f"training step {self.steps + 1}: {error} The checkpoints are intact") from None

    def step_measures(self) -> dict[str, Tensor]:
        residual = torch.tensor(self.network.ring.last_residual, device=self.device)
        failed = (~(residual <= FAILED_RESIDUAL)).float()  # NaN is a failure
        return {**super().step_measures(), "solver_residual": residual, "solver_failures": failed}


METHOD = IDE
