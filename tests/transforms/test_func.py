"""Each op and module under torch.func and in forward mode: what the reference gives, or an error that names it."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch._dynamo.compiled_autograd
from torch.autograd import forward_ad
from torch.func import functionalize, grad, jacrev, jvp, vjp
from transform_tests.calls import CALLS, MODULES, NONE, OPS, REFUSED, WORKS, as_tuple, loss, op_of
from transform_tests.compare import by_reference, close, gradients, leaves, penalty, places, refused
from transform_tests.table import table

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

BY_NAME = pytest.mark.parametrize("name", CALLS)
WITH_GRADIENT = pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.gradient == WORKS])


def test_the_table_has_every_op_and_module():
    assert set(map(op_of, OPS)) == set(SF.__all__)
    functions = {name for name in snn.__all__ if not isinstance(getattr(snn, name), type)}
    assert set(map(op_of, MODULES)) == set(snn.__all__) - functions


def test_the_table_of_the_documentation():
    page = Path(__file__).parents[2] / "docs" / "transforms.md"
    assert table() in page.read_text(), f"docs/transforms.md should have this table:\n{table()}"


@BY_NAME
def test_func_grad(name):
    call = CALLS[name]
    function, tensors = call.make(), call.tensors()
    gradient = grad(loss(function), places(call))
    if call.gradient == REFUSED:
        with refused(name):
            gradient(*tensors)
        return
    plain = leaves(call)
    if call.gradient == NONE:
        value = grad(lambda x: x.sum() + sum(output.sum() for output in as_tuple(function(x))))(*tensors)
        return close(value, torch.ones_like(value))
    close(gradient(*tensors), by_reference(gradients, loss(function), plain))
    second = grad(lambda *t: sum(g.square().sum() for g in gradient(*t)), places(call))
    close(second(*tensors), penalty(function, plain))


@WITH_GRADIENT
def test_jacobian(name):
    call = CALLS[name]
    function, tensors = call.make(), call.tensors(batch=2, width=6 if name == "spike_conv2d" else 5)

    def first_output(*t):
        return as_tuple(function(*t))[0].flatten()[:7]

    close(jacrev(first_output, places(call))(*tensors), by_reference(torch.autograd.functional.jacobian, first_output, tensors))


@BY_NAME
def test_forward_mode(name):
    call = CALLS[name]
    function, tensors = call.make(), call.tensors()
    tangents = tuple(torch.cos(9 * t) for t in tensors)

    def dual():
        with forward_ad.dual_level():
            outputs = as_tuple(function(*map(forward_ad.make_dual, tensors, tangents)))
            return tuple(forward_ad.unpack_dual(output).tangent for output in outputs)

    ways = (lambda: as_tuple(jvp(function, tensors, tangents)[1]), dual)
    for way in ways:
        if call.forward == REFUSED:
            with refused(name):
                way()
        elif call.forward == NONE:
            assert all(tangent is None or not tangent.any() for tangent in way())
        else:
            # What carries gradients back, transposed.
            outputs, pull = vjp(function, *tensors)
            _, push = vjp(pull, outputs)
            close(way(), push(tangents)[0])


def test_tangents_of_the_reference_pass_through_the_surrogate():
    """The way out that the refusal names: the transpose of the gradient."""
    call = CALLS["lif/to"]
    tensors = call.tensors()
    tangents = tuple(torch.cos(9 * t) for t in tensors)
    outputs, pull = vjp(call.function, *tensors)
    with spikeops.backend("reference"):
        actual = jvp(call.function, tensors, tangents)[1]
    close(actual, vjp(pull, outputs)[1](tangents)[0])


def test_learning_of_local_blocks_is_refused():
    block, optimizer = CALLS["LocalBlock"].make(torch.float32), None

    def learn(x):
        return block.learn(x, torch.zeros(3, dtype=torch.int64), optimizer).loss

    with pytest.raises(NotImplementedError, match="^LocalBlock.learn: .*outside the transform"):
        grad(learn)(torch.rand(4, 3, 5))


# --- other ways to the same -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lif/parameters", "tssl_bp"])
def test_batched_backward_passes(name):
    """What torch.autograd.functional does with vectorize=True, where kernels run under vmap in a backward pass."""
    call = CALLS[name]
    tensors = call.tensors()

    def output(*t):
        return as_tuple(call.function(*t))[0]

    close(
        torch.autograd.functional.jacobian(output, tensors, vectorize=True),
        by_reference(torch.autograd.functional.jacobian, output, tensors),
    )


def test_functionalize():
    """Alone, and on either side of a gradient."""
    call = CALLS["lif/parameters"]
    function, tensors = call.function, call.tensors()
    gradient = grad(loss(function), places(call))
    close(functionalize(function)(*tensors), function(*tensors))
    close(functionalize(gradient)(*tensors), gradient(*tensors))
    close(grad(functionalize(loss(function)), places(call))(*tensors), gradient(*tensors))


def test_compiled_autograd():
    """The backward pass of plain calls, compiled."""
    network = torch.nn.Sequential(torch.nn.Linear(5, 6), snn.ParametricLIF(0.5, shape=(6,)), snn.TSSLBP())
    x = torch.rand(4, 2, 5)
    gradients = []
    for context in (nullcontext(), torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager"))):
        network.zero_grad()
        with context:
            network(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    for compiled, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, plain)


@pytest.mark.parametrize("decay", [False, True])
def test_tensors_that_outlive_their_transform(decay):
    """They wrap a tensor still, of a level that is over: plain calls take what is inside."""
    outlived, x, decays = [], torch.rand(4, 5), torch.rand(5)

    def function(tensor):
        outlived.append(tensor * 1.0)
        return tensor.sum()

    grad(function)(decays if decay else x)
    (wrapped,) = outlived
    assert torch._C._functorch.is_functorch_wrapped_tensor(wrapped)
    for context in (nullcontext(), torch.no_grad()):
        with context:
            given = x.clone().requires_grad_()
            actual, expected = (SF.lif(given, wrapped), SF.lif(given, decays)) if decay else (SF.lif(wrapped), SF.lif(x))
            assert torch.equal(actual[0], expected[0]) and actual[0].requires_grad == expected[0].requires_grad
            if actual[0].requires_grad:
                found = [torch.autograd.grad(spikes.sum(), given)[0] for spikes, _ in (actual, expected)]
                assert torch.equal(*found)
