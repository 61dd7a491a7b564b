"""Gradients against finite differences, in float64, where ops are differentiable in the usual sense: the linear ones, and the
membrane and the rate of neurons whose membrane stays away from the threshold, with a surrogate that is 0 there."""

import op_cases
import pytest
import torch
from op_tests.inputs import Inputs
from op_tests.layouts import channels_last
from torch.autograd import gradcheck, gradgradcheck

SHAPE = (2, 3)
DIFFERENTIABLE = [call for call in op_cases.CALLS.values() if call.differentiable]


def split(call, device):
    """(leaves of the call, the call as a function of them that returns a tuple)."""
    arguments = call.make(Inputs(5, SHAPE, torch.float64, device=device))
    names = [name for name in call.differentiable if isinstance(arguments.get(name), torch.Tensor)]
    leaves = tuple(arguments[name].detach().requires_grad_() for name in names)
    return leaves, lambda *values: call(arguments | dict(zip(names, values)))


@pytest.mark.parametrize("call", [call for call in DIFFERENTIABLE if call.is_linear], ids=str)
def test_linear(device, call):
    leaves, function = split(call, device)
    assert gradcheck(function, leaves)
    assert gradgradcheck(lambda *values: tuple(output**2 for output in function(*values)), leaves)
    assert gradcheck(lambda *values: function(*map(channels_last, values)), leaves)


@pytest.mark.parametrize("case", op_cases.SMOOTH.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (3,), (2, 1), SHAPE], ids=["shared", "per_channel", "leading", "per_neuron"])
def test_away_from_the_threshold(device, draw, case, shape):
    leaves = [tensor.to(device).requires_grad_() for tensor in case.tensors(draw, shape)]
    # What the function does not depend on has no gradient to compare.
    gradients = torch.autograd.grad(case.function(*leaves).sum(), leaves, allow_unused=True)
    used = [i for i, gradient in enumerate(gradients) if gradient is not None]
    assert any(gradients[i].abs().sum() > 0.01 for i in used)
    assert gradcheck(lambda *some: case.function(*(some[used.index(i)] if i in used else leaf for i, leaf in enumerate(leaves))),
                     [leaves[i] for i in used])  # fmt: skip
