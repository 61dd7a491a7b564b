"""What is measured at which sizes: the ops that the case files (tests/helpers/op_cases) tell of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import zip_longest

import op_cases
import torch
from op_tests.measured import BACKWARD, FORWARD, FORWARD_GRAD, FULL, MODES, SEQUENCES, STEPS, TRIALS, VARIANTS, Op

from ops import published_tssl_bp

OVERHEAD_SIZE = (1, 4)  # so small that a call costs Python and dispatch only

# (T, N) by the kind of device and the way in which an op is used.
SIZES = {
    "cpu": {
        SEQUENCES: (OVERHEAD_SIZE, (5, 40_000), (10, 100_000), (30, 200_000)),
        # Steps of feedback networks are taken one at a time in a ring of layers, and several at once where nothing feeds back.
        STEPS: (OVERHEAD_SIZE, (1, 40_000), (1, 1_000_000), (10, 1_000_000)),
        # Trials are long, and N is the number of neurons of all trials together.
        TRIALS: (OVERHEAD_SIZE, (100, 40_000), (400, 200_000)),
        VARIANTS: ((10, 100_000),),
    },
    "cuda": {
        # The most telling one first: many times larger than any cache. Down to calls that cost a launch only.
        SEQUENCES: ((32, 4_194_304), (4, 16_777_216), (128, 1_048_576), (32, 131_072), (8, 8_388_608), (4, 4_096), OVERHEAD_SIZE),
        STEPS: ((1, 16_777_216), (10, 4_194_304), (1, 1_000_000), (10, 1_000_000), (1, 40_000), OVERHEAD_SIZE),
        TRIALS: ((400, 200_000), (100, 40_000), (400, 4_000_000), OVERHEAD_SIZE),
        VARIANTS: ((32, 1_048_576),),
    },
}
CUDA_HALF_SIZES = ((32, 4_194_304),)
LONG = {"cpu": {"tssl_bp": ((100, 20_000),)}, "cuda": {}}  # sizes of single ops: the O(T^2) formulation suffers from long T
# In the formulation of the paper, where that is another one: input (N, 1, 1, 1, T) -> output.
PUBLISHED = {"tssl_bp": published_tssl_bp.tssl_bp}

# What people train with first, variants last: time may run out.
_BY_WEIGHT = sorted(op_cases.MEASURED.values(), key=lambda op: (op.is_variant, not op.has_gradient))
OPS = {op.name: replace(op, published=PUBLISHED.get(op.name)) for op in _BY_WEIGHT}


def is_variant(name: str) -> bool:
    """Whether rows with this name are of an op with other options than those that it is measured with by itself: "lif ATan to"."""
    return name.partition(" ")[0] in OPS and " " in name


@dataclass(frozen=True)
class Case:
    """An op at one size."""

    op: Op
    T: int
    N: int
    dtype: torch.dtype = torch.float32

    @property
    def dtype_name(self) -> str:
        return str(self.dtype).removeprefix("torch.")

    @property
    def label(self) -> str:
        return f"{self.op.name}-T{self.T}-N{self.N}-{self.dtype_name}"


def cases(device: str) -> list[Case]:
    """All that is measured on a kind of device (cpu or cuda): by op on the CPU, on a GPU, where time is short, by size."""
    listed = []
    for op in OPS.values():
        of_op = [Case(op, T, N) for T, N in (*SIZES[device][op.sizes], *LONG[device].get(op.name, ()))]
        if device == "cuda" and not (op.is_packed or op.is_trial or op.is_variant):
            of_op[1:1] = [Case(op, T, N, dtype) for T, N in CUDA_HALF_SIZES for dtype in (torch.bfloat16, torch.float16)]
        listed.append(of_op)
    if device == "cpu":
        return [case for of_op in listed for case in of_op]
    return [case for rank in zip_longest(*listed) for case in rank if case is not None]


def compile_is_worth_it(case: Case, device: str) -> bool:
    """torch.compile unrolls the loop and takes up to minutes for long T, so that only some sizes are compiled."""
    if case.dtype != torch.float32 or (case.T, case.N) == OVERHEAD_SIZE or case.op.is_variant:
        return False
    if device == "cpu":
        return case.T <= 5 or (case.T <= 10 and (case.op.is_stepwise or case.op.name in ("lif", "tssl_bp")))
    return case.N > 10_000 and (case.T <= 10 if case.op.is_stepwise else case.T <= 4 and case.op.has_gradient)


__all__ = ["BACKWARD", "FORWARD", "FORWARD_GRAD", "FULL", "MODES", "OPS", "OVERHEAD_SIZE", "Case", "Op", "cases", "compile_is_worth_it",
           "is_variant"]  # fmt: skip
