"""spikeops.fuse: which batch norms it finds, that networks go on as they were, and what is left and named."""

import copy
import re
import warnings
from collections import OrderedDict

import pytest
import torch
from fuse_tests import assert_alike
from torch import nn
from torch.nn.utils import parametrizations, prune

import spikeops
import spikeops.nn as snn
from spikeops.surrogate import Rectangle, Window

T, B = 4, 3
X = torch.randn(T, B, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def conv(inputs=2, outputs=5):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def fold(*modules):
    return snn.TimeDistributed(modules[0] if len(modules) == 1 else nn.Sequential(*modules))


NETWORKS = {
    "alone": lambda: nn.Sequential(fold(conv()), fold(nn.BatchNorm2d(5)), snn.LIF(0.7)),
    "behind_a_convolution": lambda: nn.Sequential(fold(conv(), nn.BatchNorm2d(5)), snn.LIF(0.7, threshold=0.5, reset="to", v_reset=-0.1)),
    "blocks": lambda: nn.Sequential(
        nn.Sequential(fold(conv(), nn.Sequential(nn.BatchNorm2d(5, momentum=None)))), nn.Identity(), nn.Sequential(snn.IF(0.8), fold(conv(5, 4))),
        nn.Sequential(OrderedDict(norm=fold(nn.BatchNorm2d(4, affine=False)), neurons=snn.LIF(0.9, input_scale=2.0))),
    ),
    "linear": lambda: nn.Sequential(fold(nn.Flatten(), nn.Linear(72, 8)), fold(nn.BatchNorm1d(8, eps=0.1)), snn.LIF(0.5),
                                    fold(nn.Linear(8, 6), nn.BatchNorm1d(6, track_running_stats=False)), snn.LIF(0.5)),
    "inside_a_module": lambda: Residual(),
}  # fmt: skip


class Residual(nn.Module):
    """A network whose forward pass is its own, with known parts."""

    def __init__(self):
        super().__init__()
        self.first = nn.Sequential(fold(conv()), fold(nn.BatchNorm2d(5)), snn.LIF(0.7))
        self.branch = nn.Sequential(fold(conv(5, 5), nn.BatchNorm2d(5)), snn.LIF(0.7))

    def forward(self, x):
        spikes = self.first(x)
        return spikes + self.branch(spikes)


def make(name):
    torch.manual_seed(0)
    network = NETWORKS[name]().double()
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


def norms(model):
    return [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]


@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_goes_on_as_it_was(name):
    """In float64, through two steps of training and in evaluation; the model that was given is as before."""
    network = make(name)
    before, report = copy.deepcopy(network.state_dict()), []
    fused = spikeops.fuse(network, report=report)
    assert not norms(fused) and len(norms(network)) == len(report) and not any(pair.reason for pair in report)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert_alike(fused, network, report, X)


def test_names_in_the_state_dict():
    """They stay, but where the batch norm was the end of a longer chain."""
    report = []
    network = make("alone")
    assert list(spikeops.fuse(network, report=report).state_dict()) == list(network.state_dict())
    assert report[0].renamed == {} and str(report[0]) == "1.module and 2: fused"
    spikeops.fuse(make("behind_a_convolution"), report=report)
    kept = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    assert report[1].renamed == {f"0.module.1.{name}": f"1.{name}" for name in kept}
    assert "0.module.1.weight is 1.weight now" in str(report[1])


def test_parameters_are_the_same_objects_in_place():
    network = make("blocks")
    parameters = list(network.parameters())
    assert spikeops.fuse(network, inplace=True) is network
    assert {id(parameter) for parameter in network.parameters()} == {id(parameter) for parameter in parameters}


def test_what_changes_gradients_is_copied():
    """Hooks on parameters, as of masks of pruned weights: torch's copies lose them."""
    net = nn.Sequential(snn.TimeDistributed(nn.Conv2d(1, 2, 1)), snn.TimeDistributed(nn.BatchNorm2d(2)), snn.LIF())
    for parameter in (net[0].module.weight, net[1].module.weight):
        parameter.register_hook(lambda gradient: torch.zeros_like(gradient))
    fused = spikeops.fuse(net)
    fused(torch.rand(3, 2, 1, 4, 4)).sum().backward()
    masked = {name for name, parameter in fused.named_parameters() if not parameter.grad.any()}
    assert {"0.module.weight", "1.module.weight"} <= masked and fused.get_parameter("1.module.bias").grad.any()


def test_what_torch_does_not_copy_is_copied():
    """Pruned weights, which are worked out anew in each call, and states that belong to a graph; frozen ones stay frozen."""
    network = make("alone")
    prune.l1_unstructured(network[0].module, "weight", 0.5)
    network[1].module.bias.requires_grad_(False)
    network.state = network(X)[-1]
    fused = spikeops.fuse(network)
    assert torch.equal(fused(X), network(X)) and not fused[1].module.bias.requires_grad
    assert torch.equal(fused.state, network.state) and fused.state.grad_fn is None


def test_what_cannot_be_copied_can_be_changed_in_place():
    network = make("alone")
    network.lines = (line for line in ())
    with pytest.raises(RuntimeError, match="fuse: the model cannot be copied: .* Hint: inplace=True"):
        spikeops.fuse(network)
    assert not norms(spikeops.fuse(network, inplace=True))


def test_options_and_mode_come_along():
    norm = nn.SyncBatchNorm(5, eps=0.25, momentum=0.5)
    neurons = snn.LIF(0.7, 0.5, input_scale=2.0, reset="to", v_reset=-0.1, v_rest=0.1, strict=True, detach_reset=True, surrogate=Rectangle(0.7))
    fused = spikeops.fuse(nn.Sequential(fold(norm), neurons).eval())[0].module
    expected = snn.BatchNormLIF(5, 0.7, 0.5, eps=0.25, momentum=0.5, synchronized=True, **neurons.options._asdict())
    assert str(fused) == str(expected) and not fused.training
    assert fused.process_group is norm.process_group


class Scaled(nn.BatchNorm2d):
    def forward(self, x):
        return 2 * super().forward(x)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.neurons = nn.BatchNorm2d(5), snn.LIF()


def hooked(module):
    module.register_forward_hook(lambda module, inputs, output: None)
    return module


def forwarded(module):
    """With a function in the place of its class's, as libraries put one there."""
    given = module.forward
    module.forward = lambda x: 2 * given(x)
    return module


def with_buffer(module):
    module.register_buffer("calls", torch.zeros(()))
    return module


def with_decay(neurons):
    neurons.decay = torch.tensor(0.5)
    return neurons


def renaming(module):
    module.register_state_dict_post_hook(lambda module, state, prefix, metadata: None)
    return module


SHARED = nn.Sequential(snn.LIF(0.5))
NORM = fold(nn.BatchNorm2d(5))
LEFT = {
    "nothing follows it": lambda: nn.Sequential(fold(nn.BatchNorm2d(5))),
    "what follows it is TimeDistributed, not": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), hooked(fold(conv(5))), snn.LIF()),
    "what follows it is ReLU, not": lambda: nn.Sequential(fold(nn.BatchNorm2d(5), nn.ReLU()), snn.LIF()),
    "are ParametricLIF: the op knows": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), snn.ParametricLIF()),
    "it is not in snn.TimeDistributed: its batch would be the time steps": lambda: nn.Sequential(nn.BatchNorm1d(5), snn.LIF()),
    "1.module, are in snn.TimeDistributed": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), fold(snn.LIF())),
    "nothing is known to call it": Own,
    "it is a subclass of torch's, Scaled": lambda: nn.Sequential(fold(Scaled(5)), snn.LIF()),
    "it or its neurons have hooks": lambda: nn.Sequential(fold(hooked(nn.BatchNorm2d(5))), snn.LIF()),
    "hooks": lambda: nn.Sequential(fold(renaming(nn.BatchNorm2d(5))), snn.LIF()),
    "what follows it is Identity, not": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), hooked(nn.Identity()), snn.LIF()),
    "what follows it is Identity": lambda: nn.Sequential(fold(nn.BatchNorm2d(5), forwarded(nn.Identity())), snn.LIF()),
    "what follows it is Sequential": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), forwarded(nn.Sequential(snn.LIF()))),
    "it or its neurons have a forward that is not that of their class": lambda: nn.Sequential(fold(forwarded(nn.BatchNorm2d(5))), snn.LIF()),
    "have a forward that is not": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), forwarded(snn.LIF())),
    "the forward of 0 (TimeDistributed) is not known: a forward was put over that of its class": lambda: nn.Sequential(forwarded(fold(nn.BatchNorm2d(5))), snn.LIF()),
    "the forward of Sequential is not known: a forward was put over": lambda: forwarded(nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF())),
    "it holds more than a batch norm: calls": lambda: nn.Sequential(fold(with_buffer(nn.BatchNorm2d(5))), snn.LIF()),
    "the op does not know: calls": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), with_buffer(snn.LIF())),
    "a tensor as decay": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), with_decay(snn.LIF())),
    "it is parametrized": lambda: nn.Sequential(fold(parametrizations.spectral_norm(nn.BatchNorm2d(5))), snn.LIF()),
    "its momentum is 2.0": lambda: nn.Sequential(fold(nn.BatchNorm2d(5, momentum=2.0)), snn.LIF()),
    "in more than one place": lambda: nn.Sequential(NORM, snn.LIF(), NORM, snn.LIF()),
    "what holds its neurons, is used in more than one place": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), SHARED, SHARED),
    "reset_timing='late'": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF(reset_timing="late")),
    "max_spikes=3": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF(max_spikes=3)),
    "a tensor as threshold": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF(threshold=nn.Parameter(torch.ones(5, 1, 1)))),
    "a tensor as input_scale": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF(input_scale=torch.ones(5, 1, 1))),
    "return_trace='after'": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF(return_trace="after")),
    "save='bits'": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF(surrogate=Rectangle(), save="bits")),
    "surrogate=Window(": lambda: nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF(surrogate=Window())),
}  # fmt: skip


@pytest.mark.parametrize("reason", LEFT)
def test_what_is_left_is_named(reason):
    torch.manual_seed(0)
    model = LEFT[reason]()
    before = str(model)
    report = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fused = spikeops.fuse(model, report=report)
    assert str(fused) == before and all(reason in pair.reason for pair in report) and report
    with pytest.warns(UserWarning, match=f"(?s)fuse: some batch norms are as they were.*{re.escape(reason)}"):
        spikeops.fuse(model)


def test_neurons_that_are_shared_by_several_norms():
    """They have no state, so that the one module may be in many places."""
    neurons = snn.LIF(0.7)
    model = nn.Sequential(fold(nn.BatchNorm2d(2)), neurons, fold(conv(), nn.BatchNorm2d(5)), neurons).double()
    fused = spikeops.fuse(model)
    assert not norms(fused) and torch.equal(fused(X), model(X))


@pytest.mark.parametrize("model", [None, "net", nn.BatchNorm2d])
def test_what_is_no_module(model):
    with pytest.raises(TypeError, match="fuse: expected a module, got"):
        spikeops.fuse(model)


@pytest.mark.parametrize("option", [{"inplace": "no"}, {"report": ()}, {"report": {}}])
def test_wrong_options(option):
    network = make("alone")
    with pytest.raises(TypeError, match=f"fuse: expected {next(iter(option))} to be "):
        spikeops.fuse(network, **({"inplace": True} | option))
    assert norms(network)
