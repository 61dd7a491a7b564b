"""LIF neurons by what they keep for their backward pass."""

import torch

import spikeops.functional as SF
from op_tests.compare import assert_identical


def run(x, v_init, save, upstream, **options):
    """spikes, v_last and the gradients of x and v_init."""
    leaves = [tensor.detach().requires_grad_() for tensor in (x, v_init)]
    outputs = SF.lif(leaves[0], v_init=leaves[1], save=save, **options)
    used = [(output, g) for output, g in zip(outputs, upstream) if g is not None]
    gradients = torch.autograd.grad([output for output, _ in used], leaves, [g for _, g in used])
    return *(output.detach() for output in outputs), *gradients


def assert_same_as_of_input(save, x, v_init, upstream, **options):
    """All of `run` in every bit, and strides. Returns it."""
    names = ("spikes", "v_last", "gradient of x", "gradient of v_init")
    found = run(x, v_init, save, upstream, **options)
    for name, kept, whole in zip(names, found, run(x, v_init, "input", upstream, **options), strict=True):
        assert_identical(kept, whole.cpu(), name)
        assert kept.stride() == whole.stride(), name
    return found
