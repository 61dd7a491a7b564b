"""No Triton kernel touches anything outside the tensors that it is given: masked are all loads and stores of what may not be there."""

import pytest
import torch
from op_tests.guarded import run_all
from op_tests.op_calls import TRITON_CALLS

# Within a segment of a walk back and beyond one, with steps and neurons that fill neither segments nor blocks.
CASES = [dict(T=5, shape=(7,), dtype=torch.float32), dict(T=18, shape=(3,), dtype=torch.float64)]


# Slow here, each beside another call of the same kernels.
SLOW = ("clamped_lif_backward/maps", "row_sum/long_rows")


@pytest.mark.parametrize("name", [name for name in TRITON_CALLS if name not in SLOW and not name.startswith("convex")])
def test_every_call(name):
    run_all(torch.ops.spikeops_triton, {name: TRITON_CALLS[name]}, CASES)
