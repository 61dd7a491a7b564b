"""Layers that add up the weights of the neurons that fired, beside PyTorch's dense ones."""

import contextlib
from unittest import mock

import torch

# Sums of up to some hundred numbers in another order.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-14}


def evaluate(function, x, weight, bias, *geometry):
    """Output and the gradients of all inputs."""
    leaves = [t.detach().requires_grad_() for t in (x, weight, bias)]
    out = function(*leaves, *geometry)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(x.dtype)
    return out.detach(), *torch.autograd.grad(out, leaves, upstream)


def assert_close(actual, expected):
    for name, a, e in zip(("output", "spikes", "weight", "bias"), actual, expected):
        assert a.shape == e.shape and a.dtype == e.dtype, name
        error = ((a - e).abs().max() / e.abs().max()).item()
        assert error <= TOLERANCE[e.dtype], f"{name}: off by {error:.1e}"


@contextlib.contextmanager
def counted(owner, **attributes):
    """How often functions of a class are called: {name of the count: name of the attribute} -> {name of the count: calls so far}."""
    counts = dict.fromkeys(attributes, 0)

    def count(name, function):
        def call(*args):
            counts[name] += 1
            return function(*args)

        return call

    with contextlib.ExitStack() as stack:
        for name, attribute in attributes.items():
            stack.enter_context(mock.patch.object(owner, attribute, count(name, getattr(owner, attribute))))
        yield counts
