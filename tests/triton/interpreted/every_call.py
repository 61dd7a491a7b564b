"""Every call of the case files in Triton's interpreter against the reference: sizes, dtypes and layouts. Trials, which are slow in the
interpreter, are in convex.py."""

import op_cases
import pytest
import torch
from op_tests.compare import assert_same_results, run_call
from op_tests.inputs import Inputs

CALLS = [call for call in op_cases.CALLS.values() if not call.own_test and call.function not in op_cases.WITHOUT_TRITON]
# Not bfloat16: the interpreter cuts it off where devices round to nearest.
DTYPES = (torch.float32, torch.float64, torch.float16)
SHAPES = ((129,), (2, 3, 2, 5))
LAYOUTS = ("contiguous", "channels_last", "sliced")


# A whole segment, parts of one, and several. Calls take turns at the rest: shapes and layouts are the same code for all of them.
@pytest.mark.parametrize("turn, T", enumerate((1, 5, 17)), ids=["T1", "T5", "T17"])
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_matches_the_reference(call, turn, T):
    place = CALLS.index(call) + turn
    dtypes = [dtype for dtype in DTYPES if dtype in call.dtypes]
    inputs = Inputs(T, SHAPES[place % 2], dtypes[(place + turn) % len(dtypes)], LAYOUTS[place % 3])
    assert_same_results(*run_call(call, call.make(inputs)))
