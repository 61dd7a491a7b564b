"""What the tests of transforms compare with: autograd through the reference, or a refusal."""

import pytest
import torch

import spikeops
import spikeops.functional as SF
from transform_tests.calls import as_tuple, loss


def close(actual, expected, rounding=0.0):
    """Both in float64, from sums in other orders. `rounding`: what may be lost besides, of the largest number."""
    for a, e in zip(as_tuple(actual), as_tuple(expected), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9 + rounding * e.abs().max().item())


# Modules whose refusal names a function that is not called as they are.
_OPS = {"IF": "lif", "ParametricLIF": "lif", "TSSLBP": "tssl_bp", "LocalBlock": "lif", "LocalLossBlock": "lif", "ConvexSNN": "convex_snn_trial"}
_FUNCTIONS = {name.replace("_", ""): name for name in SF.__all__}


def _op_of(name):
    """What an error calls a module: its function, CubaLIF's being cuba_lif, or itself."""
    return _OPS.get(name) or _FUNCTIONS.get(name.lower(), name)


def refused(name):
    """An error that names the op or module, and a way out."""
    name = name.split("/")[0]
    return pytest.raises(NotImplementedError, match=f"^{_op_of(name)}: .*(Use|outside|detach)")


def leaves(call, **sizes):
    return tuple(tensor.requires_grad_() for tensor in call.tensors(**sizes))


def places(call):
    return tuple(range(len(call.shapes)))


def by_reference(function, *args):
    """What autograd makes of the function through the reference backend."""
    with spikeops.backend("reference"):
        return function(*args)


def gradients(function, tensors, **options):
    return torch.autograd.grad(function(*tensors), tensors, **options)


def penalty(function, tensors):
    """The gradient of a gradient penalty."""
    first = gradients(loss(function), tensors, create_graph=True)
    return gradients(lambda *_: sum(g.square().sum() for g in first), tensors, allow_unused=True, materialize_grads=True)
