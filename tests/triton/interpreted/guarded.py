"""No Triton kernel touches anything outside the tensors that it is given: masked are all loads and stores of what may not be there. And
their numbers are those of the native ones, bit for bit: both mirror kernels/math. Not in float64, where exp is each platform's own, and
not in bfloat16, where the interpreter cuts off instead of rounding."""

import pytest
import torch
from op_tests.guarded import run_all
from op_tests.op_calls import SLOW_TRITON_CALLS, TRITON_CALLS

# Within a segment of a walk back and beyond one, with steps and neurons that fill neither segments nor blocks; several programs, of
# which the first alone could reach what lies in front of a tensor.
SMALL = dict(T=5, shape=(7,), dtype=torch.float16)
LARGE = dict(T=18, shape=(2, 70), dtype=torch.float32)


@pytest.mark.parametrize("name", [name for name in TRITON_CALLS if name not in SLOW_TRITON_CALLS])
def test_every_call(name):
    call = {name: TRITON_CALLS[name]}
    large = LARGE | {"shape": (2, 20)} if name.startswith("channel_statistics") else LARGE  # a program for each channel
    run_all(torch.ops.spikeops_triton, call, [SMALL], expected_of=torch.ops.spikeops)
    run_all(torch.ops.spikeops_triton, call, [large], expected_of=torch.ops.spikeops, guards=(True,))
