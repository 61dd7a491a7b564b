"""Modules do what their functions do, hold what they should, and train."""

import copy
import inspect

import op_cases
import pytest
import torch
from op_tests.op_calls import as_tuple

import spikeops.functional as SF
import spikeops.nn as snn

X = 0.4 + 0.7 * torch.randn(6, 4, 3, generator=torch.Generator().manual_seed(1))
V = torch.full((4, 3), 0.6)


# Modules that are a function with parameters, with no arguments, with all, and with some.
FUNCTIONS = [case for case in op_cases.MODULES.values() if case.function]
CASES = [(case, arguments) for case in FUNCTIONS for arguments in ({}, case.options, *case.samples)]


def with_argument(name, method="forward"):
    """Those whose forward pass takes it, or their constructor."""
    return [case for case in FUNCTIONS if name in inspect.signature(getattr(case.kind, method)).parameters]


@pytest.mark.parametrize("case, arguments", CASES, ids=[f"{case}({', '.join(arguments)})" for case, arguments in CASES])
def test_module_is_its_function(case, arguments):
    module, function = case.kind(**arguments), lambda x: case.function(x, **arguments)
    for requires_grad in (False, True):
        x = X.clone().requires_grad_(requires_grad)
        actual, expected = as_tuple(module(x)), as_tuple(function(x))
        for a, e in zip(actual, expected, strict=True):
            assert torch.equal(a, e)
    gradients = [torch.autograd.grad(outputs[0], x, torch.cos(X), retain_graph=True)[0] for outputs in (actual, expected)]
    # A parameter such as sigmoid(logit(0.8)) is 0.8 but for the last bits.
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("case", with_argument("return_state", "__init__"), ids=str)
def test_state_goes_in_and_out(case):
    module = case.kind(return_state=True)
    spikes, *last = module(X)
    first, *state = module(X[:2])
    second, *state = module(X[2:], *state)
    assert torch.equal(torch.cat([first, second]), spikes)
    assert all(map(torch.equal, state, last))
    assert not torch.equal(module(X, V)[0], spikes)


@pytest.mark.parametrize("case", with_argument("time_steps"), ids=str)
def test_a_current_that_is_the_same_in_all_time_steps(case):
    for arguments in ({}, *case.samples):
        module = case.kind(**arguments)
        assert torch.equal(module(X[0], time_steps=5), module(X[:1].expand(5, -1, -1)))


@pytest.mark.parametrize("case", FUNCTIONS, ids=str)
def test_no_hidden_state(case):
    module = case.kind()
    assert torch.equal(module(X), module(X))
    assert set(module.state_dict()) == set(case.state)


def test_tsslbp_returns_spikes():
    psc, spikes = snn.TSSLBP(return_spikes=True)(X)
    expected = SF.tssl_bp(X, return_spikes=True)
    assert torch.equal(psc, expected[0]) and torch.equal(spikes, expected[1])


@pytest.mark.parametrize("shape", [(), (3,), (4, 1), (4, 3)])
def test_parametric_lif_learns_its_decay(shape):
    module = snn.ParametricLIF(0.6, shape=shape)
    assert module.decay_logit.shape == shape
    torch.testing.assert_close(module.decay.detach(), torch.full(shape, 0.6))
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    module(X).sum().backward()
    optimizer.step()
    decay = module.decay.detach()
    assert ((decay > 0) & (decay < 1)).all() and not torch.allclose(decay, torch.full(shape, 0.6))


@pytest.mark.parametrize("decay", [0, 1, -0.1, 1.5, float("nan")])
def test_parametric_lif_refuses_decays_outside(decay):
    with pytest.raises(ValueError, match=f"ParametricLIF: expected decay between 0 and 1, got {decay}."):
        snn.ParametricLIF(decay)


def test_time_distributed_sees_each_step():
    convolution = torch.nn.Conv2d(2, 3, 3, padding=1)
    x = torch.randn(5, 4, 2, 7, 6, generator=torch.Generator().manual_seed(2))
    expected = torch.stack([convolution(step) for step in x])
    torch.testing.assert_close(snn.TimeDistributed(convolution)(x), expected)
    assert [name for name, _ in snn.TimeDistributed(convolution).named_parameters()] == ["module.weight", "module.bias"]


def test_time_distributed_keeps_channels_last():
    x = torch.randn(3, 2, 4, 5, 6).flatten(0, 1).to(memory_format=torch.channels_last).unflatten(0, (3, 2))
    seen = []
    identity = snn.TimeDistributed(torch.nn.Identity())
    identity.module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    identity(x)
    assert seen[0].is_contiguous(memory_format=torch.channels_last)


def test_time_distributed_needs_time_and_batch():
    with pytest.raises(ValueError, match=r"TimeDistributed: expected x to have shape \(T, B, ...\), got shape \(5,\)."):
        snn.TimeDistributed(torch.nn.Identity())(torch.zeros(5))


def network():
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        snn.SynapticFilter(3.0), snn.TimeDistributed(torch.nn.Linear(3, 16)), snn.ParametricLIF(0.8, shape=(16,)),
        snn.TimeDistributed(torch.nn.Linear(16, 8)), snn.TSSLBP(), snn.TimeDistributed(torch.nn.Linear(8, 2)),
    )  # fmt: skip
    with torch.no_grad():  # strong enough for every layer to fire
        for parameter in (*model[1].parameters(), *model[3].parameters()):
            parameter.mul_(4)
    assert model(X).std() > 0.01
    return model


def test_a_network_learns():
    """Two classes of input rates, told apart after a few steps."""
    draw = torch.Generator().manual_seed(3)
    labels = torch.arange(40) % 2
    x = SF.poisson_encode((0.2 + 0.5 * labels[:, None]).expand(40, 3).contiguous(), 12, draw)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    for _ in range(40):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(x).sum(0), labels)
        loss.backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert (model(x).sum(0).argmax(1) == labels).float().mean() > 0.9


def test_copies_and_state_dicts():
    model = network()
    twin = copy.deepcopy(model)
    assert torch.equal(model(X), twin(X))
    other = network()
    torch.nn.init.zeros_(other[1].module.weight)
    assert not torch.equal(other(X), model(X))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(X), model(X))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_modules_follow_the_dtype(dtype):
    model = network().to(dtype)
    assert model(X.to(dtype)).dtype == dtype
