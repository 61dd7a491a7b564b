"""The calls of spikeops.functional and of modules of spikeops.nn that the case files tell of (TRANSFORMED), and their losses."""

from __future__ import annotations

from collections.abc import Callable

import op_cases
import torch
from op_tests.transformed import NONE, REFUSED, WIDTH, WORKS, Call

from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = (ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(3.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5))


def op_of(name: str) -> str:
    """The function or module that a call is of."""
    return name.partition("/")[0]


OPS, MODULES = (
    {name: call for name, call in sorted(op_cases.TRANSFORMED.items(), key=lambda item: op_of(item[0])) if (call.module is not None) == of_module}
    for of_module in (False, True)
)
CALLS = OPS | MODULES


def as_tuple(outputs) -> tuple[torch.Tensor, ...]:
    return tuple(outputs) if isinstance(outputs, tuple) else (outputs,)


def loss(function) -> Callable:
    """A scalar of a call's floating outputs, not linear in them, whose gradients for all of them differ."""

    def of_output(output):
        factors = torch.cos(torch.arange(output.numel(), dtype=output.dtype) + 1).view(output.shape)
        return (output * factors + output.square()).sum()

    return lambda *tensors: sum(of_output(output) for output in as_tuple(function(*tensors)) if output.is_floating_point())


__all__ = ["CALLS", "MODULES", "NONE", "OPS", "REFUSED", "SURROGATES", "WIDTH", "WORKS", "Call", "as_tuple", "loss", "op_of"]
