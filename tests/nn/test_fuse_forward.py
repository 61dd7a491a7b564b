"""spikeops.fuse on modules with a forward of their own: which pairs it finds, and that networks go on as they were."""

import copy
import pickle

import pytest
import torch
import torch.nn.functional as F
from fuse_tests import assert_alike
from torch import nn

import spikeops
import spikeops.nn as snn
from spiketrain.models.residual_block import ResidualBlock
from spiketrain.models.sew_resnet import sew_resnet18
from spiketrain.models.spikformer import spikformer

X = torch.randn(4, 3, 2, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def conv(inputs=5, outputs=5):
    return nn.Conv2d(inputs, outputs, 3, padding=1)


def fold(*modules):
    return snn.TimeDistributed(modules[0] if len(modules) == 1 else nn.Sequential(*modules))


class Layers(nn.Module):
    """Two layers, whose norm is in a fold of its own in the first, at the end of one in the second."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.neurons = fold(conv(2)), fold(nn.BatchNorm2d(5)), snn.LIF(0.7)
        self.second, self.last = fold(conv(), nn.BatchNorm2d(5)), snn.LIF(0.8, reset="to")


class Residual(Layers):
    """A block of SEW-ResNet, whose connection is chosen by an attribute, as its authors' code has it."""

    shortcut, connect = None, "ADD"

    def forward(self, x):
        x = self.neurons(self.norm(self.conv(x)))
        out = self.second(x)
        out = self.last(out)
        if self.shortcut is not None:
            x = self.shortcut(x)
        if self.connect == "ADD":
            out += x
        elif self.connect == "AND":
            out *= x
        return out


class Membrane(nn.Module):
    """A block of MS-ResNet: neurons come first, and currents are added."""

    def __init__(self):
        super().__init__()
        self.first = fold(conv(2), nn.BatchNorm2d(5))
        self.neurons = nn.ModuleList([snn.LIF(0.7), snn.LIF(0.7), snn.IF()])
        self.layers = nn.ModuleList([fold(conv(), nn.BatchNorm2d(5)), fold(conv(), nn.BatchNorm2d(5))])

    def forward(self, x):
        x = current = self.neurons[0](self.first(x))
        for neurons, layer in zip(list(self.neurons)[1:], self.layers):
            x = layer(neurons(x))
        return current + x


class Helped(Layers):
    """With helpers, dropout by mode, attributes by name, and results that are put away."""

    def block(self, x):
        for name in ("conv", "norm", "neurons"):
            x = getattr(self, name)(x)
        return x

    def forward(self, x):
        self.spikes = F.dropout(self.block(x), 0.0, self.training)
        for layer in [self.second, self.last]:
            x = layer(self.spikes if layer is self.second else x)
        return x

    def firing(self):
        return {name: getattr(self, name) for name in ("neurons", "last")}


class Unfolded(nn.Module):
    """Time is folded by hand, as in networks of SpikingJelly."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.neurons = conv(2), nn.BatchNorm2d(5), snn.LIF(0.7)
        self.second, self.last = nn.Sequential(conv(), nn.BatchNorm2d(5)), snn.IF(0.5)

    def forward(self, x):
        steps, batch = x.shape[0], x.shape[1]
        x = self.norm(self.conv(x.flatten(0, 1)))
        x = self.neurons(x.unflatten(0, (steps, batch)))
        x = self.second(x.flatten(0, 1)).unflatten(0, (steps, batch))
        return self.last(x)


class Sub(nn.Sequential):
    """Named, as blocks are, with the forward of nn.Sequential."""


class Nested(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.block = Sub(fold(conv(2)), fold(nn.BatchNorm2d(5)), snn.LIF(0.7)), Sub(fold(conv()), fold(nn.BatchNorm2d(5)))
        self.neurons, self.inner = snn.LIF(0.7), nn.ModuleDict({"a": Sub(fold(conv(5, 2)), snn.LIF(0.7)), "b": Residual()})

    def forward(self, x):
        x = self.neurons(self.block(self.first(x)))
        for block in self.inner.values():
            x = block(x)
        return x


class Unknown(nn.Module):
    """Its own forward is not known, but the order in which those parts are called that are in an nn.Sequential."""

    def __init__(self):
        super().__init__()
        self.conv, self.layers = fold(conv(2)), nn.Sequential(nn.Sequential(fold(nn.BatchNorm2d(5)), snn.LIF(0.7)), fold(conv()))
        self.rest = Sub(fold(conv()), fold(nn.BatchNorm2d(5)), snn.LIF(0.7))

    def forward(self, x, scale=None):
        x = self.conv(x if scale is None else scale * x)
        for layer in self.layers:
            x = layer(x)
        return self.rest(x)


def of_pipeline(adds):
    def layer(inputs):
        return "conv", conv(inputs), nn.BatchNorm2d(5), snn.LIF(0.7)

    shortcut = ([conv(2), nn.BatchNorm2d(5)], snn.LIF(0.7)) if adds == "spikes" else ([conv(2)], None)
    return ResidualBlock([layer(2), layer(5)], *shortcut, adds)


FOUND = {
    "residual": (Residual, 2), "membrane": (Membrane, 2), "helped": (Helped, 2), "unfolded": (Unfolded, 2), "nested": (Nested, 4),
    "unknown": (lambda: nn.Sequential(Unknown()), 2), "parallel": (lambda: nn.DataParallel(Residual()), 2), "block of spikes": (lambda: of_pipeline("spikes"), 3),
    "block of currents": (lambda: of_pipeline("currents"), 1),
}  # fmt: skip


def make(kind):
    torch.manual_seed(0)
    network = kind().double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.uniform_(module.bias, -0.5, 0.5)
    return network


@pytest.mark.parametrize("name", FOUND)
def test_pairs_are_found_and_the_network_goes_on_as_it_was(name):
    kind, count = FOUND[name]
    network, report = make(kind), []
    before = str(network)
    fused = spikeops.fuse(network, report=report)
    assert sum(isinstance(module, snn.BatchNormLIF) for module in fused.modules()) == count, list(map(str, report))
    assert sum(not pair.reason for pair in report) == count and str(network) == before
    assert_alike(fused, network, report, X)


@pytest.mark.parametrize("build", [sew_resnet18, spikformer])
def test_networks_of_the_pipeline(build):
    options = {"width": 8} if build is sew_resnet18 else {"width": 24, "heads": 2}
    network, report = make(lambda: build(4, (2, 16, 16), 3, lambda shape, factor: snn.LIF(0.5, factor), depth=1, **options)), []
    fused = spikeops.fuse(network, report=report)
    assert report and not any(pair.reason for pair in report)
    assert_alike(fused, network, report, torch.rand(4, 2, 2, 16, 16, dtype=torch.float64).round())


def test_a_fused_model_is_copied_saved_and_compiled():
    fused = spikeops.fuse(make(Residual))
    expected = fused.eval()(X)
    for other in (copy.deepcopy(fused), pickle.loads(pickle.dumps(fused)), torch.compile(fused, backend="eager", fullgraph=True)):
        assert torch.equal(other(X), expected)
    report = []
    assert spikeops.fuse(fused, report=report) is not fused and report == []


@pytest.mark.parametrize("how", ["module", "function"])
def test_a_model_that_was_compiled(how):
    network = make(Residual)
    twin = copy.deepcopy(network)
    if how == "module":
        network.compile(backend="eager")
    run = network if how == "module" else torch.compile(network, backend="eager")
    assert torch.equal(run(X), twin(X))
    report = []
    spikeops.fuse(network, inplace=True, report=report)
    assert not any(pair.reason for pair in report)
    assert torch.equal(run(X), twin(X))


def test_an_attribute_by_which_forward_decides_is_watched():
    fused = spikeops.fuse(make(Residual))
    fused.connect = "AND"
    with pytest.raises(RuntimeError, match="Residual decides by connect, which was 'ADD' .* and is 'AND' now. Hint"):
        fused(X)
    fused.connect = "ADD"
    fused(X)


class Chosen(Layers):
    """By a number, from a tuple."""

    chosen = 0

    def forward(self, x):
        current = self.conv(x)
        y = self.norm(current)
        return self.neurons((y, current)[self.chosen])


def test_a_number_by_which_forward_chooses_is_watched():
    fused = spikeops.fuse(make(Chosen), report=[])
    assert isinstance(fused.norm, nn.Sequential), "not fused"
    fused(X)
    fused.chosen = 1
    with pytest.raises(RuntimeError, match="Chosen decides by chosen, which was 0"):
        fused(X)
