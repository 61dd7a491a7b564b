"""spike_linear, and what stands on it, where outputs are few: kernels for the product and both gradients, the numbers of `linear`."""

import pytest
import torch
import torch.nn.functional as F
from op_tests.beside_dense import TOLERANCE, assert_close, counted, evaluate

import spikeops
import spikeops.functional as SF
from spikeops import nn as snn
from spikeops.functional import _events

ALL = {"out": 1, "weight": 1, "x": 1}
NONE = dict.fromkeys(ALL, 0)


def operands(outputs=10, samples=480, inputs=300, density=0.05, dtype=torch.float32):
    draw = torch.Generator().manual_seed(3)
    spikes = (torch.rand(samples, inputs, generator=draw) < density).to(dtype)
    weight = torch.randn(outputs, inputs, generator=draw, dtype=torch.float64).to(dtype)
    return spikes, weight, torch.randn(outputs, generator=draw, dtype=torch.float64).to(dtype)


@pytest.fixture
def calls():
    """How often each kernel is called."""
    with counted(torch.ops.spikeops, out="narrow_matmul", weight="narrow_matmul_weight", x="narrow_matmul_input") as counts:
        yield counts


@pytest.fixture
def nobody_looks(monkeypatch):
    """Who fires is of no account."""
    monkeypatch.setattr(_events, "density", None)


@pytest.mark.parametrize("outputs", [1, 3, 10, 11, 16])
@pytest.mark.parametrize("shape", [(480,), (4, 120), (2, 2, 120)], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_is_linear(calls, nobody_looks, dtype, shape, outputs):
    x, weight, bias = operands(outputs, dtype=dtype)
    x = x.unflatten(0, shape)
    actual = evaluate(SF.spike_linear, x, weight, bias)
    assert calls == ALL
    assert_close(actual, evaluate(F.linear, x, weight, bias))


def test_only_what_is_asked_for(calls, nobody_looks):
    x, weight, bias = operands()
    assert not SF.spike_linear(x, weight, bias).requires_grad and calls == {**NONE, "out": 1}
    SF.spike_linear(x, weight.requires_grad_(), bias).sum().backward()
    assert calls == {"out": 2, "weight": 1, "x": 0}
    with torch.no_grad():
        assert SF.spike_linear(x, weight, bias).grad_fn is None


def test_many_outputs_are_left_to_pytorch(calls):
    x, weight, bias = operands(100, density=0.9)
    assert_close(evaluate(SF.spike_linear, x, weight, bias), evaluate(F.linear, x, weight, bias))
    assert calls == NONE


@pytest.mark.parametrize("where", ["x", "weight", "upstream"])
@pytest.mark.parametrize("number", [torch.inf, torch.nan])
def test_numbers_that_are_not_finite(where, number):
    x, weight, bias = operands()
    given = {"x": x, "weight": weight, "upstream": torch.ones(480, 10)}
    given[where][7, 5] = number
    results = []
    for function in (SF.spike_linear, F.linear):
        leaves = [tensor.clone().requires_grad_() for tensor in (x, weight)]
        out = function(*leaves, bias)
        results.append((out.detach(), *torch.autograd.grad(out, leaves, given["upstream"])))
    for actual, expected in zip(*results):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-4, equal_nan=True)


def test_gradients_of_any_layout(calls):
    whole, weight, _ = operands(samples=960, inputs=600)
    weight = weight[:, :300]
    for x in (whole[::2, ::2], whole[:480, 300:], whole[:1, :300].expand(480, 300)):
        found = []
        for function in (SF.spike_linear, F.linear):
            leaves = [tensor.detach().requires_grad_() for tensor in (x, weight)]
            function(*leaves).sum().backward()  # a gradient of ones that are one in memory
            found.append([leaf.grad for leaf in leaves])
        torch.testing.assert_close(*found, rtol=1e-5, atol=1e-5)
    assert calls == {"out": 3, "weight": 3, "x": 3}


def test_second_derivatives(calls):
    results = []
    for function in (SF.spike_linear, F.linear):
        x, weight, bias = (tensor.requires_grad_() for tensor in operands(dtype=torch.float64))
        gradients = torch.autograd.grad(function(x, weight, bias).square().sum(), (x, weight), create_graph=True)
        results.append(torch.autograd.grad(sum(g.square().sum() for g in gradients), (x, weight)))
    for actual, expected in zip(*results):
        torch.testing.assert_close(actual, expected)
    assert calls == ALL, "gradients to be differentiated again are PyTorch's own, those of these are not"


def test_same_for_any_number_of_threads(threads):
    results = []
    for count in (1, 2):
        threads(count)
        results.append(evaluate(SF.spike_linear, *operands()))
    assert all(torch.equal(one, two) for one, two in zip(*results))


def test_where_there_is_no_kernel(calls):
    x, weight, _ = operands()
    with spikeops.backend("reference"):
        assert torch.equal(SF.spike_linear(x, weight), F.linear(x, weight))
    for dtype in (torch.bfloat16, torch.float16):
        assert SF.spike_linear(x.to(dtype), weight.to(dtype)).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert SF.spike_linear(x, weight).dtype == torch.bfloat16
    assert SF.spike_linear(x.to("meta"), weight.to("meta")).shape == (480, 10)
    torch.compile(SF.spike_linear, backend="eager", fullgraph=True)(x, weight)
    torch.jit.trace(SF.spike_linear, (x, weight), check_trace=False)
    assert calls == NONE


def test_transforms_of_functions(calls):
    x, weight, _ = operands()
    mapped = torch.func.vmap(lambda one: SF.spike_linear(one, weight))(x[None])
    torch.testing.assert_close(mapped[0], F.linear(x, weight))
    gradient = torch.func.grad(lambda w: SF.spike_linear(x, w).square().sum())(weight)
    torch.testing.assert_close(gradient, torch.func.grad(lambda w: F.linear(x, w).square().sum())(weight))
    _, tangent = torch.func.jvp(lambda w: SF.spike_linear(x, w), (weight,), (weight,))
    torch.testing.assert_close(tangent, F.linear(x, weight))
    assert calls == NONE


def test_many_gradients_at_once(calls):
    x, weight, _ = operands()
    out = SF.spike_linear(x, weight.requires_grad_())
    upstream = torch.stack([torch.ones_like(out), torch.arange(10.0).expand_as(out)])
    (together,) = torch.autograd.grad(out, weight, upstream, is_grads_batched=True)
    for one, gradient in zip(together, upstream):
        torch.testing.assert_close(one, gradient.t() @ x)
    assert calls == {**NONE, "out": 1}


@pytest.mark.parametrize("feedback", ["transpose", "alignment"])
def test_local_classifiers(calls, feedback):
    """With maps, which are pooled by spreading the weights over them."""
    torch.manual_seed(0)
    classifier = snn.LocalClassifier((6, 8, 8), 10, decoder_size=100, feedback=feedback)
    spikes = (torch.rand(100, 6, 8, 8) < 0.1).float().requires_grad_()
    parameters = [spikes, *classifier.parameters()]
    found = []
    for backend in ("native", "reference"):
        with spikeops.backend(backend):
            out = classifier(spikes)
            found.append([out, *torch.autograd.grad(out.square().sum(), parameters)])
        assert calls == ALL
    for actual, expected in zip(*found):
        torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule, expected", [("ell", 5), ("fell", 5), ("bell", 1)])
def test_local_blocks(calls, rule, expected):
    """ELL and FELL have a kernel of their own for the rest of a time step."""
    torch.manual_seed(0)
    block = snn.LocalBlock(torch.nn.Linear(40, 300, bias=False), snn.LocalClassifier((300,), 10), rule, time_steps=5)
    block.learn(torch.rand(80, 40), torch.arange(80) % 10, torch.optim.SGD(block.parameters(), 0.1))
    assert calls["weight"] == expected
