"""What autograd keeps between forward and backward: what the case files say, such as x alone, whatever T."""

import op_cases
import pytest
import torch
from op_tests.inputs import Inputs
from op_tests.neurons import currents
from op_tests.saved import saved_bytes

from spikeops import reference


@pytest.mark.parametrize("call", [call for call in op_cases.CALLS.values() if call.differentiable], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_what_is_kept(device, call, layout):
    arguments = call.make(Inputs(30, (2, 3, 8, 9), layout=layout, device=device, grad=True))
    kept = [arguments[name] for name in call.keeps if isinstance(arguments.get(name), torch.Tensor)]
    outputs = call(arguments)
    kept += [outputs[i] for i in call.keeps_outputs]
    saved, expected = saved_bytes(call, arguments), sum(tensor.untyped_storage().nbytes() for tensor in kept)
    assert saved == expected, f"{call} keeps {saved} bytes; it should keep {call.keeps} and the outputs {call.keeps_outputs}"


def test_the_hooks_see_what_is_saved(draw):
    """Otherwise the test above would pass on nothing: the reference keeps several tensors of x's size."""
    x = currents(draw, 30, (100,), torch.float32).requires_grad_()
    assert saved_bytes(lambda x: reference.lif(x, reset="to"), x) >= 2 * x.nbytes
