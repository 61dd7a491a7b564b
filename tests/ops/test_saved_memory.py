"""What autograd keeps between forward and backward: what the case files say, such as x alone, whatever T."""

import math

import op_cases
import pytest
import torch
from op_tests.inputs import Inputs
from op_tests.neurons import currents
from op_tests.saved import saved_bytes

from spikeops import reference

SHAPE = (2, 3, 8, 9)


@pytest.mark.parametrize("call", [call for call in op_cases.CALLS.values() if call.differentiable], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_what_is_kept(device, call, layout):
    arguments = call.make(Inputs(30, SHAPE, layout=layout, device=device, grad=True))
    kept = [arguments[name] for name in call.keeps if isinstance(arguments.get(name), torch.Tensor)]
    outputs = call(arguments)
    kept += [outputs[i] for i in call.keeps_outputs]
    saved, expected = saved_bytes(call, arguments), sum(tensor.untyped_storage().nbytes() for tensor in kept)
    if call.kept_bytes:
        expected += call.kept_bytes(30) * math.prod(SHAPE)
    expected += call.kept_of_channel * SHAPE[1]
    assert saved == expected, f"{call} keeps {saved} bytes, not {expected}: {call.keeps}, the outputs {call.keeps_outputs} and what kept_bytes says"


def test_the_hooks_see_what_is_saved(draw):
    """Otherwise the test above would pass on nothing: the reference keeps several tensors of x's size."""
    x = currents(draw, 30, (100,), torch.float32).requires_grad_()
    assert saved_bytes(lambda x: reference.lif(x, reset="to"), x) >= 2 * x.nbytes
