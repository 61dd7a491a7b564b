"""A sequence of one time step may have any stride along time, as one cut out of a longer sequence has: its memory is walked as it
lies, and outputs keep the order of its neurons."""

import pytest
import torch
from op_tests.layouts import same_memory_order
from op_tests.op_calls import CALLS, Inputs, as_tuple, call, run_on_copies

from spikeops import _layout

pytestmark = pytest.mark.usefixtures("native")

STRIDES = (1, 7, 10_000)  # in the place of 2 * 3 * 4 * 5
SHAPE = (2, 3, 4, 5)


def with_time_stride(value, stride):
    """A copy of a sequence (1, ...) with another stride along time; of any other tensor as it is."""
    if not isinstance(value, torch.Tensor) or value.shape != (1, *SHAPE):
        return value.clone() if isinstance(value, torch.Tensor) else value
    memory = torch.empty(value.numel() + stride, dtype=value.dtype)
    return memory.as_strided(value.shape, (stride, *value.stride()[1:])).copy_(value)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("name", CALLS)
def test_any_stride_along_time(name, layout):
    op, arguments = call(name, Inputs(T=1, shape=SHAPE, layout=layout))
    expected = run_on_copies(op, arguments)
    schema = op.default._schema.arguments
    for stride in STRIDES:
        given = [with_time_stride(value, stride) for value in arguments]
        outputs = as_tuple(op(*given))
        written = [value for value, argument in zip(given, schema) if argument.is_write and value is not None]
        for actual, e in zip((*written, *outputs), expected, strict=True):
            assert actual.dtype == e.dtype and same_memory_order(actual, e), f"stride {stride}: {actual.stride()}, expected {e.stride()}"
            same = actual == e
            if e.is_floating_point():
                same |= actual.isnan() & e.isnan()
            assert same.all(), f"stride {stride}"


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("name", CALLS)
def test_fake_kernels_know_it(name, stride):
    op, arguments = call(name, Inputs(T=1, shape=SHAPE, layout="channels_last"))
    real, given = as_tuple(op(*arguments)), [with_time_stride(value, stride) for value in arguments]
    meta = as_tuple(op(*(value.to("meta") if isinstance(value, torch.Tensor) else value for value in given)))
    assert [(m.shape, m.dtype) for m in meta] == [(r.shape, r.dtype) for r in real]
    assert all(same_memory_order(m, r) for m, r in zip(meta, real))


@pytest.mark.parametrize("stride", STRIDES)
def test_it_is_walked_without_a_copy(stride):
    """In Python too, where Triton's kernels get their layout from."""
    step = torch.rand(1, *SHAPE).contiguous(memory_format=torch.contiguous_format)
    x = with_time_stride(step.movedim(2, -1).contiguous().movedim(-1, 2), stride)
    assert _layout.is_time_major(x)
    assert _layout.time_major(x) is x
    assert _layout.empty_sequence(x).stride()[1:] == x.stride()[1:]
