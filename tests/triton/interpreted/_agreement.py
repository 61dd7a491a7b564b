"""Runs an op and the reference with the same inputs and upstream gradients, and compares."""

import torch

# Gradients: the same sums in another order, up to 100 steps in the precision of the state; 16-bit data then rounds once more on
# either side. bfloat16: the interpreter cuts bits off where devices round to nearest, so up to one unit in the last place (2^-7).
_TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-13, torch.float16: 2**-10, torch.bfloat16: 1.01 * 2**-7}


def assert_close(actual, expected):
    tolerance = _TOLERANCE[expected.dtype]
    # Terms cancel within a sum over time or neurons, so errors are measured against the largest value.
    scale = expected.abs().max().item() if expected.numel() else 0
    torch.testing.assert_close(actual, expected, rtol=tolerance, atol=tolerance * scale)


def outputs_and_gradients(function, tensors, summed=False):
    """function(**tensors) and the gradients of its floating outputs with respect to the tensors.

    Upstream gradients are random or, with ``summed``, those of a sum: expanded, without memory of their own."""
    leaves = {name: value.detach().requires_grad_() for name, value in tensors.items()}
    outputs = function(**leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    roots = [output for output in outputs if output.requires_grad]
    if summed:
        gradients = torch.autograd.grad(sum(root.sum() for root in roots), list(leaves.values()))
    else:
        generator = torch.Generator().manual_seed(5)
        upstream = [torch.randn(root.shape, generator=generator, dtype=torch.float64).to(root.dtype) for root in roots]
        gradients = torch.autograd.grad(roots, list(leaves.values()), upstream)
    return outputs, gradients


def assert_same(function, reference, tensors, summed=False, exact_outputs=True):
    """The outputs agree (bit for bit, unless told otherwise), the gradients within rounding. Returns the function's outputs."""
    outputs, gradients = outputs_and_gradients(function, tensors, summed)
    expected_outputs, expected_gradients = outputs_and_gradients(reference, tensors, summed)
    for actual, expected in zip(outputs, expected_outputs, strict=True):
        if exact_outputs:
            torch.testing.assert_close(actual, expected, rtol=0, atol=0)
        else:
            assert_close(actual, expected)
    for actual, expected in zip(gradients, expected_gradients, strict=True):
        assert_close(actual, expected)
    return outputs


def layouts(dtype):
    """Inputs (T, ...) in memory layouts that must not matter, by name. Values are multiples of 1/4: many sums are exact."""

    def values(*shape):
        return (torch.randint(-6, 10, shape, generator=torch.Generator().manual_seed(3)) / 4).to(dtype)

    return {
        "contiguous": values(5, 2, 3, 4, 3),
        "channels_last": values(5, 2, 4, 3, 3).permute(0, 1, 4, 2, 3),
        "sliced_neurons": values(5, 14)[:, ::2],
        "sliced_time": values(10, 17)[::2],
        "later_steps": values(7, 17)[2:],
        "time_last": values(9, 5).T,
        "expanded": values(5, 1, 4).expand(5, 3, 4),
    }


LAYOUTS = sorted(layouts(torch.float32))
