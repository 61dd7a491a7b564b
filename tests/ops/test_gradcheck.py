"""Gradients against finite differences, in float64, where ops are differentiable in the usual sense: the linear ones, and the
membrane and the rate of neurons whose membrane stays away from the threshold, with a surrogate that is 0 there."""

import pytest
import torch
from op_tests.layouts import channels_last
from torch.autograd import gradcheck, gradgradcheck

import spikeops.functional as SF
from spikeops.surrogate import Triangle

T, SHAPE = 5, (2, 3)
ONLY_AT_THE_THRESHOLD = Triangle(0.1)


def leaf(values):
    return values.double().requires_grad_()


@pytest.fixture
def x(draw, device):
    return leaf(torch.randn(T, *SHAPE, generator=draw, dtype=torch.float64).to(device))


@pytest.fixture
def clear_cut(draw, device):
    """Input on which every neuron is either far above or far below the threshold 1, at every step."""
    far = torch.tensor([-20.0, 20.0])[torch.randint(2, (T, *SHAPE), generator=draw)]
    return leaf((far + torch.rand(T, *SHAPE, generator=draw)).to(device))


PARAMETERS = [
    pytest.param((), id="shared"),
    pytest.param((3,), id="per_channel"),
    pytest.param((2, 1), id="leading"),
    pytest.param(SHAPE, id="per_neuron"),
]


def parameters(shape, draw, device):
    decay = leaf((0.2 + 0.2 * torch.rand(shape, generator=draw)).to(device))
    return decay, leaf(torch.randn(shape, generator=draw).to(device))


def test_synaptic_filter(x):
    assert gradcheck(lambda x: SF.synaptic_filter(x, 3.0), x)
    assert gradgradcheck(lambda x: SF.synaptic_filter(x, 3.0) ** 2, x)
    assert gradcheck(lambda x: SF.synaptic_filter(channels_last(x), 3.0), x)


def test_spike_count(x):
    assert gradcheck(SF.spike_count, x)
    assert gradgradcheck(lambda x: SF.spike_count(x) ** 2, x)


@pytest.mark.parametrize("options", [
    dict(reset="subtract"), dict(reset="subtract", reset_amount=0.4), dict(reset="to", v_reset=-0.3), dict(reset="none"),
    dict(reset="subtract", v_rest=0.2, input_scale=1.5),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("shape", PARAMETERS)
def test_membrane_of_lif(clear_cut, draw, device, options, shape):
    decay, v_init = parameters(shape, draw, device)

    def v_last(x, decay, v_init):
        spikes, v = SF.lif(x, decay, v_init=v_init, surrogate=ONLY_AT_THE_THRESHOLD, **options)
        assert 0 < spikes.mean() < 1
        return v

    assert gradcheck(v_last, (clear_cut, decay, v_init))


@pytest.mark.parametrize("shape", PARAMETERS)
def test_decay_weights_of_lif_rate(clear_cut, draw, device, shape):
    """The spikes do not move here; what the decay changes is their weights in the rate."""
    decay, v_init = parameters(shape, draw, device)

    def rate(decay, v_init):
        return SF.lif_rate(clear_cut.detach(), decay, v_init=v_init, weighting="decay", surrogate=ONLY_AT_THE_THRESHOLD)

    assert gradcheck(rate, (decay, v_init))
    assert torch.autograd.grad(rate(decay, v_init).sum(), decay)[0].abs().sum() > 0.01

