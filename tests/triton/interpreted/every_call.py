"""Every call of the case files in Triton's interpreter against the reference: sizes, dtypes and layouts. Trials, which are slow in the
interpreter, are in convex.py."""

import op_cases
import pytest
import torch
from op_tests.compare import assert_same_results, run_call
from op_tests.inputs import Inputs
from op_tests.pairwise import pairwise

CALLS = [call for call in op_cases.CALLS.values() if not call.own_test and call.function not in op_cases.WITHOUT_TRITON]
# Not bfloat16: the interpreter cuts it off where devices round to nearest.
DTYPES = (torch.float32, torch.float64, torch.float16)
SIZES = pairwise(T=[1, 5, 17], shape=[(129,), (2, 3, 2, 5)], layout=["contiguous", "channels_last", "sliced"])


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"T{size['T']}-{'x'.join(map(str, size['shape']))}-{size['layout']}")
@pytest.mark.parametrize("call", CALLS, ids=str)
def test_matches_the_reference(call, size):
    dtypes = [dtype for dtype in DTYPES if dtype in call.dtypes]
    dtype = dtypes[SIZES.index(size) % len(dtypes)]
    assert_same_results(*run_call(call, call.make(Inputs(size["T"], size["shape"], dtype, size["layout"]))))
