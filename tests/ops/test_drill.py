"""The drill of all ops (tests/drills/random_ops.py) in a short form."""

import pytest
import torch
from op_tests import random_draws

import spikeops.functional as SF
from spikeops import reference


@pytest.mark.parametrize("function", random_draws.functions())
def test_random_draws(native, function):
    faults = list(random_draws.faults(function, 40, seed=11))
    assert not faults, "\n".join(faults)


def test_every_function_is_drawn():
    assert random_draws.functions() == sorted(SF.__all__)


def test_the_drill_sees_faults(native, monkeypatch):
    """A result that differs in one bit, and a call that fails."""
    right = reference.lif

    def wrong(*args, **kwargs):
        spikes, v = right(*args, **kwargs)
        return 1 - spikes, v

    monkeypatch.setattr(reference, "lif", wrong)
    found = list(random_draws.faults("lif", 20, seed=11))
    assert len(found) > 10 and all(fault.startswith("lif ") and "layout=" in fault for fault in found)


@pytest.mark.parametrize("function, parameters", [(SF.lif, {}), (SF.lif_rate, {}), (SF.alif, {"adaptation_decay": 0.9, "beta": 0.1})])
def test_parameters_shared_by_no_neurons(function, parameters):
    """Their gradients are sums over nothing, whether it is the parameter that has no elements or the axes that are summed over."""
    for shape, shared in (((0, 3), (0, 1)), ((0, 3), (3,)), ((3, 0), (3, 1)), ((0,), ())):
        x, decay = torch.rand(4, *shape, requires_grad=True), torch.full(shared, 0.5, requires_grad=True)
        v_init = torch.zeros(shared, requires_grad=True)
        outputs = function(x, decay=decay, v_init=v_init, **parameters)
        outputs = outputs if isinstance(outputs, tuple) else (outputs,)
        for leaf, gradient in zip((decay, v_init), torch.autograd.grad(sum(o.sum() for o in outputs), (decay, v_init))):
            assert torch.equal(gradient, torch.zeros_like(leaf))
