"""Neurons with an adaptive threshold in other libraries, against those of them that are installed (docs/neurons_elsewhere.md)."""

import pytest
import torch

import spikeops.functional as SF
from spikeops import surrogate

STEPS, NEURONS = 60, 256


def drawn(low, high):
    generator = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(STEPS, NEURONS, generator=generator)
    return x, torch.randn(STEPS, NEURONS, generator=generator)


def run(neuron, x, weights):
    x = x.clone().requires_grad_()
    spikes = neuron(x)
    (gradient,) = torch.autograd.grad((spikes * weights).sum(), x)
    return spikes.detach(), gradient


def assert_same_spikes(spikes, ours):
    assert 0.03 < spikes.mean() < 0.95, f"they fire in {spikes.mean():.0%} of the steps"
    assert torch.equal(spikes, ours), f"{(spikes != ours).sum()} spikes differ"


@pytest.mark.parametrize("reset", ["subtract", "to"])
@pytest.mark.parametrize("tau_syn", [None, 5.0])
def test_sinabs_alif(tau_syn, reset):
    """Spikes alone: of the threshold that adapts, its spike functions have no gradient."""
    layers, activation = pytest.importorskip("sinabs.layers"), pytest.importorskip("sinabs.activation")
    # What it normalises with a synapse is the state of the current itself, in every step.
    layer = layers.ALIF(
        20.0, 50.0, tau_syn, adapt_scale=1.8, norm_input=tau_syn is None,
        reset_fn=activation.MembraneSubtract() if reset == "subtract" else activation.MembraneReset(),
    )  # fmt: skip
    decay, adaptation_decay, current_decay = (torch.exp(torch.tensor(-1 / tau)).item() for tau in (20.0, 50.0, tau_syn or 1.0))
    x, weights = drawn(-4.0, 8.0) if tau_syn is None else drawn(-0.2, 0.3)
    adaptation = dict(adaptation_decay=adaptation_decay, beta=1.8 * (1 - adaptation_decay))  # theirs grows by 1 - decay

    def ours(x):
        if tau_syn is None:
            return SF.alif(x, decay, **adaptation, input_scale=1 - decay, reset=reset)[0]
        return SF.recurrent_lif(
            x, torch.zeros(NEURONS), decay, **adaptation, current_decay=current_decay, order="input_decay_membrane", reset=reset
        )[0]

    theirs, gradient = run(lambda x: layer(x.unsqueeze(0))[0], x, weights)
    spikes, our_gradient = run(ours, x, weights)
    assert_same_spikes(theirs, spikes)
    assert (gradient - our_gradient).abs().max() > 1e-3 * gradient.abs().max(), "the gradient is expressible, the page need not deny it"


def lsnn(norse):
    numbers = dict(tau_syn_inv=200.0, tau_mem_inv=100.0, tau_adapt_inv=20.0, v_leak=0.0, v_th=1.0, v_reset=0.0, beta=0.5)
    return norse.LSNNParameters(**{name: torch.tensor(value) for name, value in numbers.items()})


# In a step of 1 ms. Their threshold decays before it is compared.
LSNN = dict(decay=0.9, current_decay=0.8, order="membrane_decay_input", current_scale=0.1, adaptation_decay=0.98, beta=0.5 * 0.98,
            reset="to", strict=True, surrogate=surrogate.FastSigmoid(1.0))  # fmt: skip


def test_norse_lsnn():
    norse, functional = pytest.importorskip("norse.torch"), pytest.importorskip("norse.torch.functional.lsnn")
    x, weights = drawn(-1.0, 7.0)
    p = lsnn(norse)

    def theirs(x):
        zeros = torch.zeros(NEURONS)
        state = functional.LSNNFeedForwardState(v=zeros, i=zeros, b=zeros + p.v_th)  # as long silent
        spikes = []
        for current in x.unbind():
            fired, state = functional.lsnn_feed_forward_step(current, state, p)
            spikes.append(fired)
        return torch.stack(spikes)

    spikes, gradient = run(theirs, x, weights)
    our_spikes, our_gradient = run(lambda x: SF.recurrent_lif(x, torch.zeros(NEURONS), **LSNN)[0], x, weights)
    assert_same_spikes(spikes, our_spikes)
    # Theirs holds its rates in float32, and each of 60 steps rounds.
    assert (gradient - our_gradient).abs().max() <= 2e-5 * gradient.abs().max()


def test_norse_recurrent_lsnn():
    """Spikes alone: the gradient of its adaptation is detached from the spikes."""
    norse, functional = pytest.importorskip("norse.torch"), pytest.importorskip("norse.torch.functional.lsnn")
    generator = torch.Generator().manual_seed(1)
    N = 16
    weight = torch.randint(-24, 25, (N, N), generator=generator) / 16
    x, weights = (value.unflatten(1, (-1, N)) for value in drawn(-1.0, 7.0))
    p = lsnn(norse)

    def theirs(x):
        zeros = torch.zeros(x.shape[1:])
        state = functional.LSNNState(z=zeros, v=zeros, i=zeros, b=zeros + p.v_th)
        spikes = []
        for current in x.unbind():
            fired, state = functional.lsnn_step(current, state, torch.eye(N), weight, p)
            spikes.append(fired)
        return torch.stack(spikes)

    spikes, gradient = run(theirs, x, weights)
    our_spikes, our_gradient = run(lambda x: SF.recurrent_lif(x, weight, **LSNN, detach_reset=True)[0], x, weights)
    assert_same_spikes(spikes, our_spikes)
    assert (gradient - our_gradient).abs().max() > 1e-3 * gradient.abs().max(), "the gradient is expressible, the page need not deny it"
