"""All training steps that are measured, and whether their opponents compute the same."""

from __future__ import annotations

from functools import cache

import torch

from steps.feedback_step import FeedbackStep
from steps.local_step import LocalStep
from steps.training_step import TrainingStep
from steps.tssl_bp_step import TSSLBPStep


def settings() -> dict[str, type[TrainingStep]]:
    """Everything that is measured, by name."""
    return {name: kind for kind in (TSSLBPStep, FeedbackStep, LocalStep) for name in kind.settings}


def make(name: str, device: str, **options) -> TrainingStep:
    return settings()[name](name, device, **options)


@cache
def disagreement(name: str, device: str) -> str:
    """How the published formulation differs from the trainer; empty if it does not."""
    return make(name, device, batch=8, dtype=torch.float64, compared=True).difference()
