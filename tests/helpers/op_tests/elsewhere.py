"""Neurons of other libraries beside ours: the same spikes and gradients."""

from __future__ import annotations

import torch

STEPS, NEURONS = 16, 512


def drawn(dtype, low, high, steps=STEPS, neurons=NEURONS):
    """Currents (T, N), and the weights of the spikes in a loss."""
    generator = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(steps, neurons, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.randn(steps, neurons, generator=generator, dtype=torch.float64).to(dtype)


def stepwise(cell, first_state=lambda x: None):
    """Layers that take one time step: ``cell(current, state) -> (spikes, state)``."""

    def run(x):
        state, spikes = first_state(x), []
        for current in x.unbind():
            fired, state = cell(current, state)
            spikes.append(fired)
        return torch.stack(spikes)

    return run


def with_gradients(neuron, x, weights, parameters=()):
    """Outputs of ``neuron(x)``, a tensor or several, and the gradients of x and the parameters of a weighted sum of them."""
    x = x.clone().requires_grad_()
    outputs = neuron(x)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    loss = sum((output * weights).sum() for output in outputs)
    return [output.detach() for output in outputs], torch.autograd.grad(loss, [x, *parameters])


def assert_same(theirs, ours, dtype, low=-0.5, high=3.5, parameters=((), ()), steps=STEPS, tolerance=2e-6):
    """Spikes, and whatever else is put out, equal in every bit; gradients up to rounding. Theirs may hold numbers of float64 neurons
    as float32."""
    x, weights = drawn(dtype, low, high, steps)
    (outputs, gradients), (our_outputs, our_gradients) = (
        with_gradients(neuron, x, weights, of) for neuron, of in zip((theirs, ours), parameters, strict=True)
    )
    assert 0.05 < (outputs[0] > 0).to(dtype).mean() < 0.98
    for output, our_output in zip(outputs, our_outputs, strict=True):
        assert torch.equal(output, our_output), f"{(output != our_output).sum()} of {output.numel()} numbers differ"
    for gradient, our_gradient in zip(gradients, our_gradients, strict=True):
        difference, largest = (gradient - our_gradient).abs().max(), gradient.abs().max()
        assert difference <= tolerance * largest, f"off by {difference:.1e}, the largest is {largest:.1e}"
