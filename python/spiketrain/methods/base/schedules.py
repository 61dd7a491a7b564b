"""Learning rates: functions of the epoch and of the step alone."""

from __future__ import annotations

import math

from spiketrain.config import OptimizerConfig


def learning_rate(options: OptimizerConfig, epoch: int, epochs: int) -> float:
    """Learning rate of an epoch (from 1 on). A function of the epoch alone, so that a resumed run cannot lose its place."""
    if options.schedule == "multistep":
        return options.lr * options.gamma ** sum(epoch > milestone for milestone in options.milestones)
    if options.schedule == "cosine":
        return options.lr * (1 + math.cos(math.pi * (epoch - 1) / epochs)) / 2
    return options.lr


def warm_up(options: OptimizerConfig, step: int) -> float:
    """Factor on the learning rate in a training step (from 1 on): a linear rise to 1 over the first `warmup_steps`."""
    return min(1.0, step / options.warmup_steps) if options.warmup_steps else 1.0
