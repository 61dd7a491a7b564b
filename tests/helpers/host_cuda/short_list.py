"""Every call of every op, for runs under sanitizers, which are slow."""

import torch
from op_tests.op_calls import CALLS

from host_cuda import convex, ops
from host_cuda.calls import DTYPES, SPIKE_DTYPES, Case, assert_same, build

# One step into the second segment of a backward pass; neurons handled one a thread, because their number is odd or their memory is
# misaligned, and 16 bytes a thread.
WAYS = [(T, N, misaligned) for T in (5, 49) for N, misaligned in ((67, False), (80, True), (80, False))]


def cases(dtypes):
    return [Case(dtype, *way) for dtype in dtypes for way in WAYS]


def calls():
    for turn, name in enumerate(CALLS):
        for place, way in enumerate(WAYS):
            case = Case(DTYPES[(turn + place) % len(DTYPES)], *way)
            yield case, build(name, case)
    for case in cases(DTYPES):
        for reset in range(3):
            yield case, ops.lif_backward(case, ops.ROUND | {"reset": reset}, True)
            yield case, ops.lif_rate_backward(case, ops.ROUND | {"reset": reset}, True, weighting=1)
        yield case, ops.local_learning_step(case)
    for case in cases(SPIKE_DTYPES):
        for op in ops.OF_SPIKES:
            yield case, op(case)
    for dtype in (torch.float32, torch.float64):
        # One warp and several; more inputs than a tile holds; the state in shared memory and, for many neurons, in scratch memory.
        for case in (convex.Trials(dtype, 5, 2, 20), convex.Trials(dtype, 3, 2, 67, inputs=300), convex.Trials(dtype, 2, 1, 6000)):
            for noise in ("given", "drawn"):
                yield case, convex.trials(case, noise, decodes=True)
        yield case, convex.trials(convex.Trials(dtype, 3, 2, 67, inputs=300), learns=True)
        for rows, columns in ((3, 50), (2, 4097)):
            yield case, ("row_sum", (torch.randn(rows, columns, generator=torch.Generator().manual_seed(1), dtype=dtype),))


def run() -> dict[str, int]:
    """Runs the CUDA kernels and the CPU kernels; returns the number of calls of each op whose results agree (all, or it raises)."""
    agreed: dict[str, int] = {}
    for case, (op, arguments) in calls():
        assert_same(op, arguments, str(case), getattr(case, "misaligned", False))
        agreed[op] = agreed.get(op, 0) + 1
    return agreed
