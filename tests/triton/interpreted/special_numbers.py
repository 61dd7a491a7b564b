"""Inputs that hold numbers which are not ordinary: Triton's kernels do with them what the native ones do, bit for bit. Not in float64
and bfloat16, see twins.py."""

import pytest
import torch
from op_tests.compare import assert_identical
from op_tests.op_calls import CALLS, Inputs, run_on_copies
from op_tests.special_numbers import MODES, SHARES, special_call, special_modes

# numpy says where a result is not finite.
pytestmark = [pytest.mark.filterwarnings(f"ignore::RuntimeWarning:{module}") for module in ("triton.runtime", "numpy")]


def assert_same(op, arguments):
    expected, actual = (run_on_copies(getattr(ops, op), arguments) for ops in (torch.ops.spikeops, torch.ops.spikeops_triton))
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert_identical(a, e, f"{op}, result {i}")


# Calls take turns at the share of each data type.
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize("name", CALLS)
def test_every_op(name, dtype):
    # A program for each row of a sum, channel, layer or trial.
    shape = (2, 6) if name.startswith(("row_sum", "channel_statistics", "recurrent", "convex")) else (2, 64)
    share = SHARES[([*CALLS].index(name) + (dtype == torch.float16)) % len(SHARES)]
    assert_same(*special_call(name, Inputs(T=6, shape=shape, dtype=dtype), share))


@pytest.mark.parametrize(("reset", "surrogate"), MODES, ids=str)
def test_every_mode(reset, surrogate):
    for op, arguments in special_modes(Inputs(T=6, shape=(120,)), SHARES[-1], reset, surrogate):
        assert_same(op, arguments)
