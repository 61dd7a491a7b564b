"""spikeops.convert itself: what it takes and gives back, and that nothing is half converted."""

import importlib.metadata
import pickle
import subprocess
import warnings

import pytest
import python_code
import torch
from conversion_tests import assert_refused, drawn
from torch import nn

import spikeops
from spikeops.conversion import Finding, NotExact, inspect


@pytest.fixture
def leaky():
    return pytest.importorskip("snntorch").Leaky


def test_a_model_without_such_neurons():
    net = nn.Sequential(nn.Linear(3, 2), spikeops.nn.LIF())
    report = []
    assert spikeops.convert(net, inplace=True, report=report) is net and report == []
    copied = spikeops.convert(net)
    assert copied is not net and torch.equal(copied[0].weight, net[0].weight) and inspect(net) == []


@pytest.mark.parametrize("model", [None, torch.zeros(3), nn.Linear, "net"], ids=str)
def test_no_model(model):
    for function in (spikeops.convert, inspect):
        with pytest.raises(TypeError, match=r"expected model to be a torch\.nn\.Module"):
            function(model)


def test_wrong_options():
    net = nn.Linear(2, 2)
    for name, value in (("inplace", 1), ("strict", None)):
        with pytest.raises(TypeError, match=f"expected {name} to be a bool"):
            spikeops.convert(net, **{name: value})
    with pytest.raises(TypeError, match="expected report to be a list"):
        spikeops.convert(net, report=())


def test_no_library_is_imported_for_a_model_without_it():
    code = (
        "import sys, torch, spikeops; spikeops.convert(torch.nn.Linear(2, 2)); "
        "print([n for n in ('norse', 'sinabs', 'snntorch', 'spikingjelly') if n in sys.modules])"
    )
    found = subprocess.run(python_code.command(code), capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_report(leaky):
    net = nn.Sequential(nn.Linear(3, 3), leaky(0.9, init_hidden=True), leaky(0.9, init_hidden=True, inhibition=True))
    report = []
    converted = spikeops.convert(net, strict=False, report=report)
    assert [(finding.name, bool(finding.reason)) for finding in report] == [("1", False), ("2", True)]
    assert isinstance(report[0], Finding) and report[0].kind == "snntorch._neurons.leaky.Leaky"
    assert type(converted[2]) is leaky and type(converted[1]) is not leaky and isinstance(converted[1], leaky)
    assert type(net[1]) is leaky, "the model itself was changed"
    assert inspect(net) == report


def test_what_is_left_is_told(leaky):
    net = nn.Sequential(leaky(0.9, inhibition=True))
    with pytest.warns(UserWarning, match=r"left these neurons as they are: 0 \(snntorch.*inhibition"):
        spikeops.convert(net, strict=False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        spikeops.convert(net, strict=False, report=[])


def test_converted_models_are_left_alone(leaky):
    converted = spikeops.convert(nn.Sequential(leaky(0.9)))
    again = spikeops.convert(converted)
    assert type(again[0]) is type(converted[0]) and inspect(again)[0].reason == ""


def test_copies_of_all_neurons_are_known_to_their_library(leaky):
    """Those that were converted before, and those that are left, are reset with the others."""
    from snntorch import utils

    x = drawn(2, 3, high=0.9)
    net = spikeops.convert(nn.Sequential(leaky(0.9, init_hidden=True)))
    left = nn.Sequential(leaky(0.9, init_hidden=True, inhibition=True), nn.Identity())
    left[1].neurons = {"a": [leaky(0.9, init_hidden=True)]}
    left[1].neurons["a"][0](x)
    for copied in (spikeops.convert(net), spikeops.convert(left, strict=False, report=[])):
        neurons = [copied[0], *(copied[1].neurons["a"] if len(copied) > 1 else [])]
        for neuron in neurons:
            neuron(x)
        utils.reset(copied)
        assert not any(neuron.mem.any() for neuron in neurons)


@pytest.mark.parametrize("held", [lambda n: [n], lambda n: (0, [n]), lambda n: {"a": n}, lambda n: {"a": ({1: n},)}, lambda n: [nn.Sequential(n)]])
def test_neurons_that_torch_does_not_see_are_refused(leaky, held):
    net = nn.Sequential(nn.Linear(3, 3), nn.Identity())
    net[1].others = held(leaky(0.9, init_hidden=True))
    (finding,) = inspect(net)
    assert finding.name.startswith("1.others[") and "nn.ModuleList or nn.ModuleDict" in finding.reason
    with pytest.raises(NotExact, match=r"1\.others\[.*in a plain list or dict"):
        spikeops.convert(net)


def test_lists_of_modules_that_torch_sees_are_none_of_its_business(leaky):
    net = nn.Sequential(leaky(0.9), nn.Linear(3, 3))
    net.order = [net[1], net[0], net]
    net.order.append(net.order)
    assert [finding.reason for finding in inspect(net)] == [""]
    assert type(spikeops.convert(net).order[1]) is not leaky


def test_the_model_itself_may_be_a_neuron(leaky):
    neuron = leaky(0.9)
    assert isinstance(spikeops.convert(neuron), leaky) and type(neuron) is leaky
    assert inspect(neuron)[0].name == "" and "the model itself" in str(inspect(neuron)[0])


def test_a_module_in_two_places_stays_one(leaky):
    shared = leaky(0.9)
    converted = spikeops.convert(nn.ModuleList([shared, nn.Sequential(shared)]))
    assert converted[0] is converted[1][0] and type(converted[0]) is not leaky


def test_hidden_states_that_belong_to_a_graph_are_copied(leaky):
    net = nn.Sequential(nn.Linear(3, 3), leaky(0.9, init_hidden=True))
    net(drawn(2, 3))
    assert net[1].mem.grad_fn is not None
    converted = spikeops.convert(net)
    assert torch.equal(converted[1].mem, net[1].mem) and converted[1].mem.grad_fn is None


def test_what_changes_gradients_is_copied(leaky):
    """A hook on a parameter, as of a mask of pruned weights, which torch's copies lose; once, though two modules share it, and on one
    that is frozen and learned again."""
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    second.weight = first.weight
    first.weight.register_hook(lambda gradient: gradient * torch.eye(3) / 2)
    net = nn.Sequential(first, leaky(0.9, init_hidden=True), second)
    first.weight.requires_grad_(False)
    copied = spikeops.convert(net)
    assert not copied[0].weight.requires_grad
    for model in (net, copied):
        model[0].weight.requires_grad_()
        model(drawn(2, 3)).sum().backward()
        assert model[0].weight.grad.any()
    assert torch.equal(model[0].weight.grad, net[0].weight.grad), "the hook was lost, or comes twice"


@pytest.mark.parametrize("module, name", [("spikingjelly.activation_based.neuron", "LIFNode"), ("sinabs.layers", "IAF")])
def test_converted_models_are_saved_whole(module, name):
    """Their classes are found by name, so pickle knows them. (snnTorch's neurons hold surrogates that are closures, as before.)"""
    converted = spikeops.convert(getattr(pytest.importorskip(module), name)())
    assert type(pickle.loads(pickle.dumps(converted))) is type(converted)


@pytest.mark.parametrize("version", ["0.9.4", "1.1.0", "1.00", "2.0.0", "10.0"])
def test_other_versions_are_refused(leaky, monkeypatch, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    assert_refused(leaky(0.9), f"snnTorch {version}", "1.0 is known")


@pytest.mark.parametrize("version", ["1.0", "1.0.0", "1.0.7", "1.0.1.dev3"])
def test_patches_of_a_known_version_are_known(leaky, monkeypatch, version):
    monkeypatch.setattr(importlib.metadata, "version", lambda name: version)
    spikeops.convert(leaky(0.9))


def test_an_unknown_version_is_refused(leaky, monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    assert_refused(leaky(0.9), "unknown version")


@pytest.mark.parametrize("register", [
    "register_forward_hook", "register_forward_pre_hook", "register_full_backward_hook", "register_full_backward_pre_hook",
])  # fmt: skip
def test_hooks_are_refused(leaky, register):
    neuron = leaky(0.9)
    handle = getattr(neuron, register)(lambda *_: None)
    assert_refused(nn.Sequential(nn.Linear(2, 2), neuron), "1 (snntorch", "hooks")
    handle.remove()
    spikeops.convert(neuron)


def test_a_parametrised_neuron_is_refused(leaky):
    """Its class is another one, whose numbers are made anew at each use."""
    neuron = leaky(0.9, learn_beta=True)
    nn.utils.parametrize.register_parametrization(neuron, "beta", nn.Sigmoid())
    assert_refused(neuron, "subclass")


def test_the_refusal_names_all(leaky):
    with pytest.raises(NotExact, match="2 of 3 neurons") as refusal:
        spikeops.convert(nn.ModuleDict(dict(a=leaky(0.9, inhibition=True), b=leaky(0.9), c=leaky(0.9, state_quant=abs))))
    assert "a (snntorch" in str(refusal.value) and "c (snntorch" in str(refusal.value) and "strict=False" in str(refusal.value)
