"""A current that is the same in all time steps gives what its repetition gives, forward and backward, in its memory order."""

import op_cases
import pytest
import torch

import spikeops.nn as snn
from spikeops.nn.time import at_all_steps

T = 5
# With the first arguments that the case files tell of besides none.
NEURONS = [*(case.kind(**(case.samples or ({},))[0]) for case in op_cases.MODULES.values() if case.function), torch.nn.Identity()]


def current(layout=torch.contiguous_format, dtype=torch.float32):
    x = 1.5 * torch.rand(2, 3, 4, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return x.to(dtype).contiguous(memory_format=layout).requires_grad_()


@pytest.mark.parametrize("gain", [None, [0.5, 0.8, 1.0, 1.25, 2.0]], ids=["", "gain"])
@pytest.mark.parametrize("module", NEURONS, ids=lambda module: type(module).__name__)
def test_is_what_its_repetition_gives(module, gain):
    gain = None if gain is None else torch.tensor(gain, dtype=torch.float64)  # taken in the dtype of the current
    factors = torch.ones(T) if gain is None else gain.float()
    x, repeated = current(), current()
    outputs = at_all_steps(module, x, T, gain), module(factors.view(-1, 1, 1, 1, 1) * repeated)
    assert torch.equal(*outputs) and outputs[0].abs().sum() > 0
    upstream = torch.randn(outputs[0].shape, generator=torch.Generator().manual_seed(2))
    gradients = [torch.autograd.grad(y, leaf, upstream)[0] for y, leaf in zip(outputs, (x, repeated))]
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-5)  # float32 sums over T in another order
    assert gradients[0].abs().sum() > 0


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("gain", [None, torch.tensor([0.5, 2.0, 3.0], dtype=torch.float64)], ids=["", "gain"])
def test_repetition_keeps_the_memory_order_and_is_differentiable(layout, gain):
    x = current(layout, torch.float64)
    assert torch.autograd.gradcheck(lambda x: at_all_steps(torch.nn.Identity(), x, 3, gain), x)
    repeated = at_all_steps(torch.nn.Identity(), x, 3, gain)
    assert all(step.is_contiguous(memory_format=layout) for step in repeated)
    torch.testing.assert_close(repeated[2], x if gain is None else 3 * x)


def test_state_of_neurons_that_return_it():
    x = current()
    spikes, v = at_all_steps(snn.LIF(0.9, return_state=True), x, T)
    expected = snn.LIF(0.9, return_state=True)(x.expand(T, *x.shape))
    assert torch.equal(spikes, expected[0]) and torch.equal(v, expected[1])


def test_a_gain_for_other_time_steps():
    with pytest.raises(ValueError, match=r"at_all_steps: expected gain to have shape \(5,\), one for each time step, got \(4,\)\."):
        at_all_steps(torch.nn.Identity(), current(), 5, torch.ones(4))
