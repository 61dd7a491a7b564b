"""Calls of ops on the CUDA kernels compiled for the host, beside the same calls on the CPU kernels.

Both are torch ops with the schemas of torch.ops.spikeops. What they allocate begins as NaN; every argument lies in memory of its own
that ends where the tensor ends, so that a sanitizer sees an overrun."""

from __future__ import annotations

import dataclasses
import itertools

import torch
from op_tests.layouts import lay_out
from op_tests.neurons import DTYPES, STEPS
from op_tests.op_calls import CALLS, Inputs

SPIKE_DTYPES = (*DTYPES, torch.uint8, torch.int32, torch.int64)
# None, one, odd (one neuron a thread), and several blocks that every dtype handles 16 bytes a thread.
NEURONS = (0, 1, 129, 1288)


class OnGrid(Inputs):
    """Draws currents that are multiples of 1/8, so that many membrane potentials lie exactly at a threshold."""

    def x(self):
        eighths = torch.randint(-8, 17, (self.T, *self.shape), generator=self.draw) / 8
        return lay_out(eighths.to(self.dtype), self.layout, self.device)


@dataclasses.dataclass(frozen=True)
class Case:
    dtype: torch.dtype
    T: int
    N: int
    misaligned: bool = False  # tensors begin one element behind a 16-byte border

    def __str__(self):
        return f"{str(self.dtype).removeprefix('torch.')}-T{self.T}-N{self.N}" + ("-misaligned" if self.misaligned else "")


def cases(dtypes=DTYPES, steps=STEPS, neurons=NEURONS, misaligned=(False, True)):
    return [Case(dtype, T, N, off) for dtype in dtypes for T in steps for N in neurons for off in misaligned]


def taking_turns(turn, steps=STEPS, neurons=NEURONS, misaligned=(False, True)):
    """Each number of steps with each number of neurons and alignment, in one data type: any four turns in a row have them all. For calls of
    which many walk through memory in the same way."""
    ways = itertools.product(enumerate(steps), enumerate(itertools.product(neurons, misaligned)))
    return [Case(DTYPES[(turn + i + j) % len(DTYPES)], T, N, off) for (i, T), (j, (N, off)) in ways]


# Ops whose threads wait for each other, which takes the stand-in long. They have tests of their own, with sizes that suit them.
WAITING = {"batch_norm_lif_backward", "channel_statistics", "clamped_lif_backward", "convex_snn_trial", "local_learning_step_", "row_sum"}
# More neurons than threads of a block, of layers whose neurons all see each other.
LAYER = 545


def build(name, case):
    """(op, arguments) of a call of op_calls.CALLS."""
    T, N = (min(case.T, 9), min(case.N, 5)) if name.partition("/")[0] in WAITING else (case.T, case.N)
    if name.startswith("recurrent"):
        N = min(N, LAYER)
    return CALLS[name](OnGrid(T, (N,), case.dtype))


def cuda():
    return torch.ops.spikeops_testing_cuda


def cpu():
    return torch.ops.spikeops_testing_cpu


def run(ops, op, arguments, misaligned=False):
    """Results of an op of a namespace by name: what it wrote in place, and what it returned. The arguments stay as they are.

    Args:
        misaligned: whether all tensors begin one element behind a 16-byte border; or the one that does: an argument's name, or the
            place among the tensors that the op allocates.
    """
    import spikeops_testing

    function = getattr(ops, op)
    given = {
        a.name: placed(value, misaligned is True or a.name == misaligned)
        for a, value in zip(function.default._schema.arguments, arguments, strict=True)
    }
    if isinstance(misaligned, bool):
        spikeops_testing.set_memory_offset(int(misaligned))
    elif isinstance(misaligned, int):
        spikeops_testing.set_memory_offset(1, only=misaligned)
    try:
        outputs = function(**given)
    finally:
        spikeops_testing.set_memory_offset(0)
    schema = function.default._schema
    results = {a.name: given[a.name] for a in schema.arguments if a.is_write and given[a.name] is not None}
    outputs = outputs if isinstance(outputs, tuple) else () if outputs is None else (outputs,)
    named = {returned.name or str(i): output for i, (returned, output) in enumerate(zip(schema.returns, outputs))}
    return results | {name: output for name, output in named.items() if output is not None}  # which was not asked for


def placed(value, misaligned):
    """A copy of a tensor, of the same strides."""
    if not isinstance(value, torch.Tensor):
        return value
    extent = 1 + sum((size - 1) * stride for size, stride in zip(value.shape, value.stride())) if value.numel() else 0
    offset = int(misaligned and extent > 0)
    memory = torch.empty(offset + extent, dtype=value.dtype)
    assert extent == 0 or (memory.data_ptr() + offset * memory.element_size()) % 16 == 0 or misaligned
    return memory.as_strided(value.shape, value.stride(), offset).copy_(value)


def assert_same(op, arguments, what="", misaligned=False, finite=True):
    """The CUDA kernels' results are those of the CPU kernels, byte for byte. Returns them by name.

    Args:
        finite: that all are numbers, none of which were left unwritten. If not, any NaN is the same as any other.
    """
    actual, expected = (run(ops, op, arguments, misaligned) for ops in (cuda(), cpu()))
    assert actual.keys() == expected.keys()
    for name, e in expected.items():
        a = actual[name]
        assert (a.dtype, a.shape, a.stride()) == (e.dtype, e.shape, e.stride()), f"{op} {what} {name}"
        differs = bits(a) != bits(e)
        if e.is_floating_point():
            if finite:
                assert e.isfinite().all(), f"{op} {what}: {name} of the CPU kernels is not finite everywhere"
            else:
                differs &= ~(a.isnan() & e.isnan()).reshape(-1)
        count = int(differs.sum())
        assert count == 0, f"{op} {what}: {count} of {e.numel()} elements of {name} differ"
    return actual


def bits(tensor):
    kind = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}[tensor.element_size()]
    return tensor.reshape(-1).view(kind)
