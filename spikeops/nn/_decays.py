"""Decays of modules: numbers, tensors as given, or parameters."""

from __future__ import annotations

import math

import torch
from torch import nn

from spikeops._numbers import plain_number
from spikeops.functional import _checks


def decay_parameter(module: str, name: str, decay: float, shape: tuple[int, ...]) -> tuple[float, nn.Parameter]:
    """The initial value of a learnable decay, and the parameter whose sigmoid it is."""
    decay = plain_number(decay)
    if isinstance(decay, bool) or not isinstance(decay, (float, int)):
        raise TypeError(f"{module}: expected {name} to be a number, got {type(decay).__name__}.")
    if not 0 < decay < 1:
        raise ValueError(
            f"{module}: expected {name} between 0 and 1, got {decay}. Hint: for a time constant use {name}=1 - 1/tau or exp(-1/tau)."
        )
    return decay, nn.Parameter(torch.full(shape, math.log(decay / (1 - decay))))


def given_decay(module: str, name: str, decay: float | torch.Tensor) -> float | torch.Tensor:
    """A decay that is not learned by the module itself: a number, or a tensor, whose values are looked at on the CPU."""
    if not isinstance(decay, torch.Tensor):
        return _checks.decay(module, name, decay)
    _checks.floating(module, name, decay)
    _checks.decay_tensor(module, name, decay)
    return decay
