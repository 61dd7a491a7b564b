"""Every kernel once in each of its ways, for runs under sanitizers, which are slow."""

from host_cuda import convex, ops
from host_cuda.arrays import FLOATING, INTEGER, Case, assert_same_bytes


def cases(dtypes):
    """One step into the second segment of a backward pass; neurons handled one a thread, because their number is odd or their
    memory is misaligned, and 16 bytes a thread."""
    return [
        Case(dtype, T, N, misaligned)
        for dtype in dtypes
        for T in (5, 49)
        for N, misaligned in ((67, False), (80, True), (80, False))
    ]


def calls():
    for case in cases(FLOATING):
        for op in ops.OF_FLOATS:
            yield op, case, {}
        for reset in range(3):
            yield ops.lif_backward, case, {"options": ops.ROUND | {"reset": reset}, "per_neuron": True}
            yield ops.lif_rate_backward, case, {"options": ops.ROUND | {"reset": reset}, "per_neuron": True, "weighting": 1}
        for op in (ops.feedback_step, ops.ternary_step):
            yield op, case, {"given": ()}
            yield op, case, {"current_per_step": True}
        yield ops.local_learning_step, case, {"optional": False}
    for case in cases(FLOATING + INTEGER):
        for op in ops.OF_SPIKES:
            yield op, case, {}
    for case in cases(("uint16",)):
        yield ops.packed_spike_count, case, {}
    for dtype in ("float32", "float64"):
        # One warp and several; more inputs than a tile holds; the state in shared memory and, for many neurons, in scratch memory.
        for case in (convex.Trials(dtype, 5, 2, 20), convex.Trials(dtype, 3, 2, 67, inputs=300), convex.Trials(dtype, 2, 1, 6000)):
            for noise in ("given", "drawn"):
                yield convex.trials, case, {"noise": noise, "decodes": True}
        yield convex.trials, convex.Trials(dtype, 3, 2, 67, inputs=300), {"learns": True}


def run(kernels) -> int:
    """Runs the CUDA kernels and the CPU kernels; returns the number of calls whose results agree (all, or it raises)."""
    agreed = 0
    for op, case, options in calls():
        assert_same_bytes(op(kernels.cuda, case, **options)[1], op(kernels.cpu, case, **options)[1], f"{op.__name__} {case}")
        agreed += 1
    for rows, columns in ((3, 50), (2, 4097)):
        for dtype in ("float32", "float64"):
            outputs = [ops.row_sum(backend, rows, columns, dtype)[1] for backend in (kernels.cuda, kernels.cpu)]
            assert_same_bytes(*outputs, f"row_sum {rows} {columns}")
            agreed += 1
    return agreed
