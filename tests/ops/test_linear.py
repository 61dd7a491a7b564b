"""spike_linear and SpikeLinear against PyTorch's linear."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from op_tests.beside_dense import TOLERANCE, assert_close, counted, evaluate

import spikeops
import spikeops.functional as SF
from spikeops import nn as snn
from spikeops.functional._event_matmul import Events
from spikeops.functional.linear import SilentRows


def spikes(samples=400, inputs=300, density=0.05, dtype=torch.float32):
    return (torch.rand(samples, inputs, generator=torch.Generator().manual_seed(3)) < density).to(dtype)


def weights(inputs=300, outputs=130, dtype=torch.float32):
    draw = torch.Generator().manual_seed(4)
    weight = torch.randn(outputs, inputs, generator=draw, dtype=torch.float64).to(dtype)
    return weight, torch.randn(outputs, generator=draw, dtype=torch.float64).to(dtype)


@pytest.fixture
def calls():
    """How often events were added up: those of rows, forward, and of columns, for the gradient of the weights."""
    with counted(Events, forward="of_rows", gradient="of_columns") as counts:
        yield counts


# The share of neurons that fire -> where events are added up.
@pytest.mark.parametrize("density, expected", [(0.0, (1, 1)), (0.05, (1, 1)), (0.5, (0, 0)), (0.9, (0, 0))])
@pytest.mark.parametrize("shape", [(400,), (4, 100), (2, 2, 100)], ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_is_linear(calls, dtype, shape, density, expected):
    x, (weight, bias) = spikes(density=max(density, 0.001), dtype=dtype).unflatten(0, shape), weights(dtype=dtype)
    actual = evaluate(SF.spike_linear, x, weight, bias)
    assert (calls["forward"], calls["gradient"]) == expected
    assert_close(actual, evaluate(F.linear, x, weight, bias))


@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan])
def test_weights_and_gradients_that_are_not_finite(number):
    """0 times infinity is NaN, of silent neurons too."""
    x, (weight, _) = spikes(), weights()
    upstream = torch.ones(400, 130)
    upstream[7, 5] = number
    broken = weight.clone()
    broken[10, 3] = number
    for w in (weight, broken):
        results = []
        for function in (SF.spike_linear, F.linear):
            leaf = w.clone().requires_grad_()
            out = function(x, leaf)
            results.append((out.detach(), *torch.autograd.grad(out, leaf, upstream)))
        for actual, expected in zip(*results):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
        assert results[1][1][5].isnan().any() and (w is weight or results[1][0][:, 10].isnan().any())


@pytest.mark.parametrize("number", [torch.inf, torch.nan, 1e-45, 3e38])
def test_spikes_of_any_size(calls, number):
    x, (weight, bias) = spikes(), weights()
    weight.clamp_(-0.02, 0.02)
    x[x != 0] = number
    actual, expected = SF.spike_linear(x, weight, bias), F.linear(x, weight, bias)
    if number == 3e38:
        # Whether a sum of them leaves float32 on its way hangs on the order.
        within = (x.double().abs() @ weight.double().abs().t()) < 3e38
        assert within.float().mean() > 0.9
        actual, expected = actual[within], expected[within]
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e33 if number == 3e38 else 1e-5, equal_nan=True)
    assert calls["forward"] == 1


@pytest.mark.parametrize("order", [torch.clone, lambda weight: weight.t().contiguous().t()], ids=["rows", "columns"])
def test_gradient_in_the_memory_order_of_the_weight(calls, order):
    """Fused optimizers walk both as they lie in memory."""
    x, (weight, bias) = spikes(), weights()
    actual = evaluate(SF.spike_linear, x, order(weight), bias)
    assert actual[2].stride() == order(weight).stride() and calls == {"forward": 1, "gradient": 1}
    assert_close(actual, evaluate(F.linear, x, weight, bias))


def test_spikes_and_gradients_of_any_layout(calls):
    whole, (weight, _) = spikes(800, 600), weights()
    for x in (whole[::2, ::2], whole[:400, 300:], spikes(300, 400).t(), whole[:1, :300].expand(400, 300)):
        leaf = weight.clone().requires_grad_()
        SF.spike_linear(x, leaf).sum().backward()  # a gradient of ones that are one in memory
        expected = weight.clone().requires_grad_()
        F.linear(x, expected).sum().backward()
        torch.testing.assert_close(leaf.grad, expected.grad)
    assert calls["gradient"] >= 3


def test_only_the_gradients_that_are_needed(calls):
    x, (weight, bias) = spikes(), weights()
    out = SF.spike_linear(x, weight, bias.requires_grad_())
    out.sum().backward()
    torch.testing.assert_close(bias.grad, torch.full((130,), 400.0))
    assert weight.grad is None and calls == {"forward": 1, "gradient": 0}


def test_second_derivatives(calls):
    results = []
    for function in (SF.spike_linear, F.linear):
        x, (weight, bias) = spikes(dtype=torch.float64).requires_grad_(), weights(dtype=torch.float64)
        out = function(x, weight.requires_grad_(), bias)
        gradients = torch.autograd.grad(out.square().sum(), (x, weight), create_graph=True)
        results.append(torch.autograd.grad(sum(g.square().sum() for g in gradients), (x, weight)))
    for actual, expected in zip(*results):
        torch.testing.assert_close(actual, expected)
    assert calls["forward"] == 1


def test_spikes_that_were_changed_before_the_backward_pass():
    x, (weight, _) = spikes(), weights()
    out = SF.spike_linear(x, weight.requires_grad_())
    x[0, 0] = 1
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("function", (SF.spike_linear, F.linear))
def test_a_weight_that_changes_before_the_backward_pass(function):
    x, (weight, _) = spikes(), weights()
    out = function(x, weight.requires_grad_())
    with torch.no_grad():
        weight.add_(1)  # of no account to its own gradient
    out.sum().backward()
    torch.testing.assert_close(weight.grad, x.flatten(0, -2).sum(0).expand_as(weight))
    out = function(x.requires_grad_(), weight)
    with torch.no_grad():
        weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        out.sum().backward()


@pytest.mark.parametrize("learns", ("x", "weight"))
def test_keeps_what_the_gradient_asks_for(calls, learns):
    x, (weight, _) = spikes(), weights()
    wanted = {"x": x, "weight": weight}[learns].requires_grad_()
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        SF.spike_linear(x, weight)
    assert calls["forward"] == 1
    assert [tensor.data_ptr() for tensor in kept] == [(weight if wanted is x else x).data_ptr()]


def test_same_for_any_number_of_threads(threads):
    results = []
    for count in (1, 2):
        threads(count)
        out, _, gradient, _ = evaluate(SF.spike_linear, spikes(), *weights())
        results.append((out, gradient))
    assert all(torch.equal(one, two) for one, two in zip(*results))


def test_where_there_is_no_kernel(calls):
    x, (weight, _) = spikes(), weights()
    with spikeops.backend("reference"):
        torch.testing.assert_close(SF.spike_linear(x, weight), F.linear(x, weight), rtol=0, atol=0)
    for dtype in (torch.bfloat16, torch.float16):
        assert SF.spike_linear(x.to(dtype), weight.to(dtype)).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert SF.spike_linear(x, weight).dtype == torch.bfloat16
    assert SF.spike_linear(x.to("meta"), weight.to("meta")).shape == (400, 130)
    assert SF.spike_linear(x[:0], weight).shape == (0, 130)
    assert SF.spike_linear(x[0], weight).shape == (130,)
    assert SF.spike_linear(x, weight[0]).shape == (400,)
    torch.compile(SF.spike_linear, backend="eager", fullgraph=True)(x, weight)
    assert calls == {"forward": 0, "gradient": 0}


def test_transforms_of_functions(calls):
    x, (weight, _) = spikes(), weights()
    mapped = torch.func.vmap(lambda one: SF.spike_linear(one, weight))(x[None])
    torch.testing.assert_close(mapped[0], F.linear(x, weight))
    gradient = torch.func.grad(lambda w: SF.spike_linear(x, w).square().sum())(weight)
    torch.testing.assert_close(gradient, torch.func.grad(lambda w: F.linear(x, w).square().sum())(weight))
    assert calls == {"forward": 0, "gradient": 0}


@pytest.mark.parametrize("change", [
    {"weight": torch.zeros(5, 299)}, {"weight": torch.zeros(5, 300, 1)}, {"bias": torch.zeros(4)}, {"weight": torch.zeros(5, 300).double()},
    {"bias": torch.zeros(5).double()}, {"spikes": torch.zeros(())}, {"spikes": torch.zeros(4, 300).int()},
], ids=str)  # fmt: skip
def test_errors_are_those_of_linear(change):
    arguments = {"spikes": spikes(), "weight": torch.zeros(5, 300), "bias": torch.zeros(5), **change}
    with pytest.raises(RuntimeError) as expected:
        F.linear(*arguments.values())
    with pytest.raises(RuntimeError) as actual:
        SF.spike_linear(**arguments)
    assert str(actual.value).splitlines()[0] == str(expected.value).splitlines()[0]


@pytest.mark.parametrize("name", ["spikes", "weight"])
def test_what_is_no_tensor(name):
    arguments = {"spikes": spikes(), "weight": weights()[0], name: [1.0]}
    with pytest.raises(TypeError, match=f"spike_linear: expected {name} to be a tensor, got list"):
        SF.spike_linear(**arguments)


def test_events_of_a_still_input_are_found_once(calls):
    x, (weight, bias) = spikes(), weights()
    rows = SilentRows(x)
    for factor in (1, 2):
        changed, upstream = factor * weight, torch.randn(400, 130, generator=torch.Generator().manual_seed(factor))
        torch.testing.assert_close(rows.times(changed, bias), F.linear(x, changed, bias), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(rows.weight_gradient(upstream, changed), upstream.t() @ x, rtol=1e-5, atol=1e-5)
    assert calls == {"forward": 1, "gradient": 1}


def test_module_is_a_linear(calls):
    torch.manual_seed(0)
    ours, dense = snn.SpikeLinear(300, 130), torch.nn.Linear(300, 130)
    ours.load_state_dict(dense.state_dict())
    ours = pickle.loads(pickle.dumps(ours))
    x = spikes()
    torch.testing.assert_close(ours(x), dense(x), rtol=1e-5, atol=1e-5)
    assert calls["forward"] == 1


def test_in_time(calls):
    layer = snn.SpikeLinear(300, 130, bias=False)
    x = spikes().unflatten(0, (4, 100))
    fired, _ = SF.lif(layer(x))
    fired.sum().backward()
    assert layer.weight.grad.shape == (130, 300)
    assert fired.shape == (4, 100, 130) and calls == {"forward": 1, "gradient": 1}
