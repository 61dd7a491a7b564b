"""``snn.checkpoint`` of neurons that keep a state between calls."""

import pytest
import torch
from torch import nn

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

X = 1.2 * torch.rand(4, 3, 4, 6, 6, generator=torch.Generator().manual_seed(1))


def plain(module, spikes):
    return module(spikes)


def assert_same(actual, expected):
    for i, (a, e) in enumerate(zip(actual, expected, strict=True)):
        assert torch.equal(a, e), f"number {i} of all that was compared differs"


class Stateful(nn.Module):
    """Neurons that keep their potential between calls: as an attribute, in a dictionary, in a buffer, replaced or written to."""

    def __init__(self, where):
        super().__init__()
        self.layer, self.where = nn.Linear(6, 6), where
        self.v, self.memories, self.written = 0.0, {}, torch.zeros(())
        self.register_buffer("potential", torch.zeros(()))
        self.register_buffer("count", torch.zeros(()))

    def forward(self, spikes):
        before = {"attribute": self.v, "dictionary": self.memories.get("v", 0.0), "buffer": self.potential, "in place": self.count.clone(),
                  "attribute, in place": self.written.clone()}  # fmt: skip
        before = before[self.where]
        current = self.layer(spikes) * (1 + before)
        v = current.mean(0).tanh()
        if self.where == "attribute":
            self.v = v
        elif self.where == "dictionary":
            self.memories["v"] = v
        elif self.where == "buffer":
            self.potential = v
        else:
            (self.count if self.where == "in place" else self.written).add_(1)
        return current.exp()


@pytest.mark.parametrize("where", ["attribute", "dictionary", "buffer", "in place", "attribute, in place"])
def test_stateful_neurons(where):
    """The second pass begins with the state of the first, and leaves the state that is there."""
    results = []
    for call in (snn.checkpoint, plain):
        torch.manual_seed(0)
        module, x = Stateful(where), X.clone().requires_grad_()
        spikes = SF.lif(x, 0.9)[0]
        loss = sum(call(module, part).sum() for part in (spikes, spikes.flip(0), spikes))
        state = [module.v, module.memories.get("v"), module.potential, module.count]
        loss.backward()
        after = [module.v, module.memories.get("v"), module.potential, module.count]
        assert all(b is a for b, a in zip(state, after))
        results.append([loss.detach(), x.grad, module.layer.weight.grad, module.layer.bias.grad, module.count, module.written])
    assert_same(*results)


def test_converted_neurons_of_spikingjelly():
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    results = []
    for call in (snn.checkpoint, plain):
        torch.manual_seed(0)
        module = spikeops.convert(nn.Sequential(nn.Linear(6, 6), neuron.LIFNode(step_mode="m"), nn.Linear(6, 2)))
        x = X.clone().requires_grad_()
        spikes = SF.lif(x, 0.9)[0]
        loss = (call(module, spikes).exp() + call(module, spikes).exp()).sum()
        loss.backward()
        results.append([loss.detach(), x.grad, module[0].weight.grad, module[2].weight.grad, module[1].v.detach()])
    assert_same(*results)
