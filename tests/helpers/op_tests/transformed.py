"""Calls for the tests of PyTorch's transforms (tests/transforms), as functions of tensors: what a case file says in TRANSFORMED.

Every sequence has T = 4 time steps, a batch of 3 as its second axis and 5 neurons, or maps (2, 6, 6), behind it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

T, BATCH, WIDTH = 4, 3, 5
# How a transform ends.
WORKS, REFUSED, NONE = "works", "refused", "no derivative"


@dataclass(frozen=True)
class Call:
    """A call as a function of its tensors.

    Attributes:
        function: of tensors; returns a tensor or a tuple of them. None if a module is called.
        shapes: of its tensors, drawn with ``low`` and ``high``; "T", "B" and "N" are the sizes of a case.
        batched: the axis of each tensor that is the batch; None for one without.
        gradient: whether the outputs have derivatives: WORKS, REFUSED or NONE (the outputs are constants).
        forward: the same in forward mode.
        module: makes the module that is called; its name in the table is the class's.
        trace, export, compile, vmap: how these end.
    """

    function: Callable | None
    shapes: tuple
    batched: tuple
    gradient: str = WORKS
    forward: str = REFUSED
    vmap: str = WORKS
    compile: str = WORKS
    export: str = WORKS
    trace: str = WORKS
    second_rounding: float = 0.0  # of second derivatives, which may pass through numbers of few digits
    low: float = 0.0
    high: float = 1.6
    steps_are_fixed: bool = False  # T is an argument, or an input has none
    module: Callable | None = None

    def tensors(self, dtype=torch.float64, T=T, batch=BATCH, width=WIDTH, seed=0) -> tuple[torch.Tensor, ...]:
        draw = torch.Generator().manual_seed(seed)
        sizes = {"T": T, "B": batch, "N": width}
        made = []
        for shape in self.shapes:
            shape = tuple(sizes.get(size, size) for size in shape)
            made.append((self.low + (self.high - self.low) * torch.rand(shape, generator=draw, dtype=torch.float64)).to(dtype))
        return tuple(made)

    def make(self, dtype=torch.float64) -> Callable:
        """The function, or the module with weights that are the same each time."""
        if self.module is None:
            return self.function
        with torch.random.fork_rng():
            torch.manual_seed(3)
            return self.module().to(dtype)


X, STEP = ("T", "B", "N"), ("B", "N")
# Options of calls of a kind.
LINEAR = dict(forward=WORKS, low=-1.0)
CONSTANT = dict(gradient=NONE, forward=NONE)
IN_PLACE = dict(gradient=REFUSED, forward=REFUSED, vmap=REFUSED)


def of_x(function, **options):
    return Call(function, (X,), (1,), **options)


def of_module(module, shapes=(X,), batched=(1,), **options):
    return Call(None, shapes, batched, module=module, **options)
