"""Those that we are compared with compute the same, and what does not is not measured."""

from dataclasses import replace

import pytest
import torch

import spikeops

from ops import gate
from ops.providers import COMPILED, EAGER, FUSED, PUBLISHED, Bench, LeftOut, time_last
from ops.registry import OPS, Case
from steps import catalogue, training_step, tssl_bp_step

CASES = [(op, provider) for op in OPS.values() for provider in (FUSED, EAGER, *([PUBLISHED] if op.published else []))]


@pytest.mark.parametrize("op, provider", CASES, ids=[f"{op.name}-{provider}" for op, provider in CASES])
def test_agrees_with_the_reference(op, provider):
    assert gate.disagreement(Case(op, 10, 1000), provider, "cpu") == ""


def test_a_wrong_output_is_noticed():
    wrong = replace(OPS["lif"], eager=lambda x, T: 1 - OPS["lif"].eager(x, T))
    assert "its output differs" in gate.disagreement(Case(wrong, 5, 100), EAGER, "cpu")


def test_a_wrong_gradient_is_noticed():
    def doubled(x, T):
        output = OPS["tssl_bp"].eager(x, T)
        return output + (output - output.detach())

    wrong = replace(OPS["tssl_bp"], eager=doubled)
    assert "its gradient differs" in gate.disagreement(Case(wrong, 5, 100), EAGER, "cpu")


def test_wrong_random_spikes_are_noticed():
    wrong = replace(OPS["poisson_encode"], eager=lambda p, T: torch.ones(T, *p.shape))
    assert "its output differs" in gate.disagreement(Case(wrong, 5, 100), EAGER, "cpu")


def test_time_last_is_what_published_networks_see():
    x = torch.randn(7, 11)
    assert time_last(x).shape == (11, 1, 1, 1, 7) and time_last(x).is_contiguous()
    assert torch.equal(time_last(x)[3, 0, 0, 0], x[:, 3])


@pytest.mark.parametrize("name", catalogue.settings())
def test_the_published_training_step_is_ours(name):
    pytest.importorskip("yaml")
    assert catalogue.disagreement(name, "cpu") == ""


@pytest.mark.parametrize("name", catalogue.settings())
def test_opponents_have_no_kernels_of_ours(name, monkeypatch):
    pytest.importorskip("yaml")
    problem = catalogue.make(name, "cpu", batch=2, compared=True)
    step = problem.step(PUBLISHED)
    called = []

    class Calls(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            called.append(str(function))
            return function(*args, **(kwargs or {}))

    for pays in ("_event_matmul.pays", "_events.have_kernel"):
        monkeypatch.setattr(f"spikeops.functional.{pays}", lambda *_, pays=pays, **__: called.append(pays) or True)
    with spikeops.backend(training_step.backend(PUBLISHED)), Calls():
        step()
    assert [name for name in called if name.startswith(("spikeops", "_event"))] == []


@pytest.mark.parametrize("name, kind", catalogue.settings().items())
def test_training_steps_name_ops_that_are_measured(name, kind):
    assert set(kind.proven_by) <= set(OPS)


def test_another_training_step_is_noticed(monkeypatch):
    pytest.importorskip("yaml")
    monkeypatch.setattr(tssl_bp_step.published, "SURROGATE_WIDTH", 0.5)
    assert "differs" in catalogue.disagreement.__wrapped__("tsslbp-mnist-cnn", "cpu")


def test_what_cannot_be_compiled_is_left_out(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no compiler found\nmore")

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(LeftOut, match="torch.compile failed: no compiler found$"):
        Bench(Case(OPS["lif"], 5, 10), "cpu").call(COMPILED, "full")
