"""Derivatives of gradients: what autograd makes of the reference."""

import pytest
import torch
from torch.func import grad, vmap
from transform_tests.calls import CALLS, SURROGATES, WORKS, loss
from transform_tests.compare import by_reference, close, gradients, leaves, penalty

import spikeops.functional as SF
import spikeops.nn as snn

WITH_GRADIENT = pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.gradient == WORKS])


@WITH_GRADIENT
def test_second_derivative(name):
    call = CALLS[name]
    tensors = leaves(call)
    close(penalty(call.make(), tensors), by_reference(penalty, call.make(), tensors), call.second_rounding)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
@pytest.mark.parametrize("op", [SF.lif, SF.lif_rate])
@pytest.mark.parametrize("options", [dict(detach_reset=True), dict(strict=True, v_reset=-0.3, v_rest=0.1)], ids=["detach", "strict"])
def test_second_derivative_of_each_neuron(surrogate, reset, op, options):
    def neurons(x, decay, v_init):
        return op(x, 0.4 + decay / 4, 1.0, reset=reset, surrogate=surrogate, v_init=v_init, input_scale=1.2, **options)

    tensors = leaves(CALLS["lif/parameters"])
    second = penalty(neurons, tensors)
    close(second, by_reference(penalty, neurons, tensors))
    assert all(s.isfinite().all() for s in second)


def loop(x, decay, v_reset, surrogate):
    """LIF neurons with reset "to", as anybody would write them."""

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u >= 1).to(u.dtype)

        @staticmethod
        def backward(ctx, g):
            return g * surrogate.derivative(ctx.saved_tensors[0] - 1)

    v, spikes = torch.zeros_like(x[0]), []
    for x_t in x:
        u = decay * v + x_t
        s = Spike.apply(u)
        v = u + s * (v_reset - u)
        spikes.append(s)
    return torch.stack(spikes), v


def test_second_derivative_is_that_of_a_plain_loop():
    """Through the spike in the reset too: its derivative is the surrogate wherever it stands."""
    surrogate = SURROGATES[0]
    tensors = leaves(CALLS["lif"])
    expected = penalty(lambda x: loop(x, 0.9, -0.2, surrogate), tensors)
    close(penalty(lambda x: SF.lif(x, 0.9, reset="to", v_reset=-0.2, surrogate=surrogate), tensors), expected)


def test_second_derivative_of_tssl_bp_is_that_of_its_gradient():
    """By finite differences: the spikes stay where they are, and the gradient is a smooth function of the current."""
    (x,) = leaves(CALLS["tssl_bp"])
    upstream = torch.rand_like(x).requires_grad_()

    def gradient(x, upstream):
        return torch.autograd.grad(SF.tssl_bp(x), x, upstream, create_graph=True)[0]

    assert gradient(x, upstream).abs().sum() > 0.1
    assert torch.autograd.gradcheck(gradient, (x, upstream))


@pytest.mark.parametrize("name", ["lif/to", "lif_rate", "tssl_bp", "synaptic_filter"])
def test_third_derivative(name):
    call = CALLS[name]
    tensors = leaves(call)

    def third():
        first = gradients(loss(call.make()), tensors, create_graph=True)
        second = gradients(lambda *_: sum(g.pow(3).sum() for g in first), tensors, create_graph=True, allow_unused=True, materialize_grads=True)
        return gradients(lambda *_: sum(g.square().sum() for g in second), tensors, allow_unused=True, materialize_grads=True)

    close(third(), by_reference(third))


@pytest.mark.parametrize("output", [0, 1], ids=["spikes", "v_last"])
def test_second_derivative_of_one_output(output):
    call = CALLS["lif/parameters"]

    def one(*tensors):
        return call.function(*tensors)[output]

    tensors = leaves(call)
    close(penalty(one, tensors), by_reference(penalty, one, tensors))


@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("FeedbackRing")])
def test_second_derivative_of_rings_is_refused(name):
    call = CALLS[name]
    ring, (x,) = call.make(), leaves(call)
    with pytest.raises(RuntimeError, match="^FeedbackRing: .* no second derivative.*create_graph"):
        torch.autograd.grad(ring(x).sum(), x, create_graph=True)


@pytest.mark.parametrize("shape", [(6, 5), (6, 4, 3, 3)], ids=["features", "maps"])
def test_second_derivative_of_the_similarity_loss(shape):
    """Whose first ones are written by hand, those of maps by the spread of their channels."""
    labels = torch.arange(6) % 3
    x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradgradcheck(lambda x: snn.similarity_matching_loss(x, labels, 3), x)
    factors = torch.arange(1.0, 4, dtype=torch.float64)
    scaled = vmap(grad(lambda x, factor: factor * snn.similarity_matching_loss(x, labels, 3)), in_dims=(None, 0))(x.detach(), factors)
    (plain,) = torch.autograd.grad(snn.similarity_matching_loss(x, labels, 3), x)
    close(scaled, torch.stack([factor * plain for factor in factors]))
