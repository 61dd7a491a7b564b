"""Gradients of FeedbackRing against what they stand for, computed directly in float64."""

import pytest
import torch
from feedback_tests.golden import relative_error
from torch import nn

import spikeops.nn as snn
from spikeops.nn.feedback import ide, spide

ONE_LAYER, TWO_LAYERS, CONVOLUTIONS = "one layer", "two layers", "convolutions"


def make_ring(kind, batch_norm=False, **options):
    """A small ring in float64, with its input."""
    torch.manual_seed(3)
    if kind == CONVOLUTIONS:
        layers = [nn.Conv2d(3, 4, 3, 2, 1), nn.AvgPool2d(2)]
        feedback, input_layer = nn.ConvTranspose2d(4, 3, 3, 4, 1, 3, bias=False), nn.Conv2d(2, 3, 3, padding=1)
        x = torch.randn(3, 2, 8, 8)
    else:
        layers = [] if kind == ONE_LAYER else [nn.Linear(7, 5)]
        feedback, input_layer = nn.Linear(7 if kind == ONE_LAYER else 5, 7, bias=False), nn.Linear(6, 7)
        x = torch.randn(3, 6)
    if batch_norm:
        layers = [nn.Sequential(layer, nn.BatchNorm1d(5)) for layer in layers]
    # Rates away from 0 and 1, a feedback well inside what converges.
    ring = snn.FeedbackRing(layers, feedback, input_layer, **options).double()
    with torch.no_grad():
        for p in ring.parameters():
            p.mul_(0.8 if p.dim() > 1 else 1)
        input_layer.bias.add_(0.8)
        for layer in layers:
            for module in layer.modules():
                if isinstance(module, (nn.Linear, nn.Conv2d)):
                    module.bias.add_(0.6)
    return ring, x.double()


def equilibrium_map(ring, x, z):
    """f(z) in plain PyTorch."""
    q = ((ring.feedback(z) + ring.input_layer(x)) / ring.threshold).clamp(0, 1)
    for layer in ring.layers:
        q = (layer(q) / ring.threshold).clamp(0, 1)
    return q


def implicit_gradients(ring, x, rate, grad):
    """(I - J^T)^-1 by a direct solve, then the gradient of f's parameters."""
    point = rate.detach()
    if len(ring.layers):
        point = equilibrium_map(ring, x, point).detach()
    jacobian = torch.autograd.functional.jacobian(lambda z: equilibrium_map(ring, x, z), point)
    n = rate.numel()
    matrix = torch.eye(n, dtype=rate.dtype) - jacobian.reshape(n, n)
    solution = torch.linalg.solve(matrix.T, grad.flatten()).view_as(rate)
    parameters = list(ring.parameters())
    return torch.autograd.grad(equilibrium_map(ring, x, rate.detach()), parameters, solution)


@pytest.mark.parametrize("solver, steps", [("broyden", 60), ("fixed_point", 300)])
@pytest.mark.parametrize("kind, batch_norm", [(ONE_LAYER, False), (TWO_LAYERS, False), (TWO_LAYERS, True), (CONVOLUTIONS, False)])
@pytest.mark.parametrize("training", [True, False])
def test_ide_is_the_implicit_gradient(kind, batch_norm, training, solver, steps):
    """Also of a batch-norm in train mode, through which samples depend on one another, and in evaluation mode."""
    ring, x = make_ring(kind, batch_norm, solver=solver, solver_steps=steps, time_steps=20)
    ring.train(training)
    rate = ring(x)
    assert 0.1 < rate.mean() < 0.9
    grad = torch.randn_like(rate)
    rate.backward(grad)
    # The order counts: the direct computation also updates batch-norm statistics, on which nothing depends any more.
    expected = implicit_gradients(ring, x, rate, grad)
    scale = max(gradient.abs().max() for gradient in expected)
    for (name, parameter), gradient in zip(ring.named_parameters(), expected):
        assert (parameter.grad - gradient).abs().max() < 1e-8 * scale, name


def test_no_solver_steps_give_one_step_of_the_map():
    ring, x = make_ring(TWO_LAYERS, solver_steps=0)
    rate = ring(x)
    grad = torch.randn_like(rate)
    rate.backward(grad)
    expected = torch.autograd.grad(equilibrium_map(ring, x, rate.detach()), list(ring.parameters()), grad)
    for parameter, gradient in zip(ring.parameters(), expected):
        torch.testing.assert_close(parameter.grad, gradient)


def spike_equilibrium(ring, rate, active, grad):
    """What SPIDE's backward rates of the last layer tend to: beta = grad + J^T beta, with J the ring of masked sub-networks without
    biases, divided by threshold - u_rest."""

    def around_the_ring(z):
        q = ring.feedback(z) / ring.reset_amount * active[0]
        for layer, mask in zip(ring.layers, active[1:]):
            q = layer(q) / ring.reset_amount * mask
        return q

    jacobian = torch.autograd.functional.jacobian(around_the_ring, torch.zeros_like(rate))
    n = rate.numel()
    return torch.linalg.solve((torch.eye(n, dtype=rate.dtype) - jacobian.reshape(n, n)).T, grad.flatten()).view_as(rate)


@pytest.mark.parametrize("kind", [ONE_LAYER, TWO_LAYERS, CONVOLUTIONS])
def test_spide_approaches_the_implicit_gradient(kind, monkeypatch):
    """The error of the backward rates falls like 1 / backward time steps."""
    seen, run = [], spide.BackwardPass.run
    monkeypatch.setattr(spide.BackwardPass, "run", lambda self, grad: seen.append((self.active, run(self, grad))) or seen[-1][1])
    errors = []
    for steps in (30, 300, 3000):
        ring, x = make_ring(kind, method="spide", backward_time_steps=steps, time_steps=20)
        rate = ring(x)
        # Below the largest gradient that one spike per step can carry, the amplitude 1.
        grad = 0.2 * torch.randn(rate.shape, dtype=rate.dtype, generator=torch.Generator().manual_seed(1))
        rate.backward(grad)
        active, gradients = seen[-1]
        assert active[-1].mean() > 0.3 and ring.last_backward_rates[-1] > 0.1
        beta = spike_equilibrium(ring, rate.detach(), active, grad)
        errors.append(relative_error(gradients[-1] * ring.reset_amount, beta * active[-1]).item())
    assert errors[1] < 0.3 * errors[0] and errors[2] < 0.3 * errors[1] and errors[2] < 3e-3, errors


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_gradient_of_the_input(method):
    """An input sub-network gets the same gradients outside of the ring as inside."""
    inside, x = make_ring(CONVOLUTIONS, method=method)
    outside, _ = make_ring(CONVOLUTIONS, method=method)
    convolution, outside.input_layer = outside.input_layer, nn.Identity()
    rates = inside(x), outside(convolution(x))
    assert torch.equal(*rates)
    for rate in rates:
        rate.square().sum().backward()
    for a, b in zip(inside.parameters(), [*outside.parameters(), *convolution.parameters()]):
        torch.testing.assert_close(a.grad, b.grad)


class Mirror(nn.Module):
    """A module that the rings do not know."""

    def forward(self, x):
        return x.flip(-1)


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_modules_that_are_not_known(method):
    """Affine ones, as part of a sub-network or alone, do as a linear layer with its outputs in the other order does; so does nothing."""
    known, x = make_ring(TWO_LAYERS, method=method)
    rings = [known]
    for wrap in (lambda linear: nn.Sequential(linear, Mirror()), lambda linear: nn.Sequential(nn.Identity(), linear, Mirror())):
        ring, _ = make_ring(TWO_LAYERS, method=method)
        (linear,) = ring.layers
        with torch.no_grad():
            linear.weight.copy_(linear.weight.flip(0))
            linear.bias.copy_(linear.bias.flip(0))
        ring.layers[0] = wrap(linear)
        rings.append(ring)
    rates = [ring(x) for ring in rings]
    for ring, rate in zip(rings, rates):
        assert torch.equal(rate, rates[0])
        rate.square().sum().backward()
        for a, b in zip(ring.feedback.parameters(), known.feedback.parameters()):
            torch.testing.assert_close(a.grad, b.grad)
        for a, b in zip(ring.layers.parameters(), known.layers.parameters()):
            torch.testing.assert_close(a.grad if ring is known else a.grad.flip(0), b.grad)


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_layers_joined_by_nothing(method):
    """An identity between two spiking layers, and for a feedback."""
    torch.manual_seed(3)
    ring = snn.FeedbackRing([nn.Identity()], nn.Identity(), nn.Linear(6, 7), method=method, threshold=1.5).double()
    with torch.no_grad():
        ring.input_layer.bias.add_(0.8)
    rate = ring(torch.rand(3, 6, dtype=torch.float64))
    rate.sum().backward()
    assert rate.any() and all(p.grad.isfinite().all() and p.grad.any() for p in ring.parameters())


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_second_derivatives_are_an_error(method):
    ring, x = make_ring(TWO_LAYERS, method=method)
    loss = ring(x).square().sum()
    with pytest.raises(RuntimeError, match="has no second derivative.*create_graph=True"):
        torch.autograd.grad(loss, list(ring.parameters()), create_graph=True)


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_gradients_accumulate(method):
    ring, x = make_ring(CONVOLUTIONS, method=method)
    gradients = []
    for _ in range(2):
        ring(x).sum().backward()
        gradients.append([p.grad.clone() for p in ring.parameters()])
    for once, twice in zip(*gradients):
        torch.testing.assert_close(2 * once, twice)


def test_backward_twice_through_one_graph():
    ring, x = make_ring(TWO_LAYERS)
    rate = ring(x)
    first = torch.autograd.grad(rate.sum(), list(ring.parameters()), retain_graph=True)
    second = torch.autograd.grad(rate.sum(), list(ring.parameters()))
    assert all(torch.equal(a, b) for a, b in zip(first, second))


def test_a_switch_to_evaluation_before_the_backward_pass_changes_nothing():
    gradients = []
    for switch in (False, True):
        ring, x = make_ring(TWO_LAYERS, True)
        rate = ring(x)
        ring.train(not switch)
        rate.sum().backward()
        gradients.append([p.grad for p in ring.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


@pytest.mark.parametrize("solver", list(ide.SOLVERS))
def test_a_solver_that_fails(solver):
    """J = -4 I: the fixed point is passed over further at each step; and one step is not enough for Broyden's method."""
    ring, x = make_ring(ONE_LAYER, solver=solver, solver_steps=1 if solver == "broyden" else 60)
    with torch.no_grad():
        ring.feedback.weight.copy_(torch.eye(7) * -4 * ring.threshold)
        ring.input_layer.weight.zero_()
        ring.input_layer.bias.fill_(0.9 * ring.threshold)
    rate = ring(x)
    message = f"{solver} solver of the implicit gradient failed: residual .* after .* steps, .* in backward pass 1"
    with pytest.warns(RuntimeWarning, match=message):
        rate.sum().backward(retain_graph=True)
    assert ring.last_residual > ide.FAILED_RESIDUAL
    assert all(p.grad.isfinite().all() for p in ring.parameters())
    ring.on_solver_failure = "raise"
    with pytest.raises(RuntimeError, match=f"FeedbackRing: the {solver} solver"):
        rate.sum().backward()


def test_a_gradient_that_is_nan_is_reported():
    ring, x = make_ring(ONE_LAYER)
    with pytest.warns(RuntimeWarning, match="solver of the implicit gradient failed: residual inf"):
        ring(x).backward(torch.full((3, 7), float("nan"), dtype=torch.float64))
    assert not ring.last_residual <= ide.FAILED_RESIDUAL


def test_warnings_do_not_flood():
    ring, x = make_ring(ONE_LAYER)
    with pytest.warns(RuntimeWarning) as warned:
        for _ in range(30):
            ring(x).backward(torch.full((3, 7), float("nan"), dtype=torch.float64))
    assert len(warned) == 2 and "10th time" in str(warned[1].message)
