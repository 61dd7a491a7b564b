"""What spikeops.fuse has to keep, and modules whose batch norm and neurons it leaves, each with the reason."""

import copy
import re
import warnings

import pytest
import torch
from torch import nn

import spikeops
import spikeops.nn as snn


class Layer(nn.Module):
    calls = 0

    def __init__(self):
        super().__init__()
        self.conv, self.norm, self.neurons = (
            snn.TimeDistributed(nn.Conv2d(2, 5, 3, padding=1)), snn.TimeDistributed(nn.BatchNorm2d(5)), snn.LIF(0.7)
        )  # fmt: skip
        self.log = []


class Known(Layer):
    def forward(self, x):
        return self.neurons(self.norm(self.conv(x)))


class Refused(dict):
    """{name: (class, reason)}"""

    def __call__(self, reason):
        def add(kind):
            self[kind.__name__] = (kind, reason)
            return kind

        return add


def assert_left(kind, reason):
    """It is named with the reason, and stays as it was, without a mark of the trace."""
    torch.manual_seed(0)
    model = kind().double()
    before, attributes = str(model), copy.deepcopy(vars(model))
    report = []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fused = spikeops.fuse(model, inplace=True, report=report)
    assert str(fused) == before and report and all(reason in pair.reason for pair in report), report
    assert {key: str(value) for key, value in vars(model).items()} == {key: str(value) for key, value in attributes.items()}
    assert not any(module._forward_pre_hooks for module in model.modules())
    with pytest.warns(UserWarning, match=f"(?s)fuse: some batch norms are as they were.*{re.escape(reason)}"):
        spikeops.fuse(model)


def assert_alike(fused, network, report, x):
    """Outputs, gradients, running statistics, through two steps of training and in evaluation."""
    optimizers = [torch.optim.SGD(model.parameters(), lr=0.1) for model in (network, fused)]
    for _ in range(2):
        actual, expected = fused(x), network(x)
        assert torch.equal(actual, expected)
        assert expected.mean() > 0
        for output, optimizer in zip((actual, expected), optimizers):
            optimizer.zero_grad()
            (output * torch.arange(output.numel(), dtype=output.dtype).cos().view_as(output)).sum().backward()
            optimizer.step()
    renamed = {old: new for pair in report for old, new in pair.renamed.items()}
    state = fused.state_dict()
    assert {renamed.get(key, key) for key in network.state_dict()} == set(state)
    for key, value in network.state_dict().items():
        torch.testing.assert_close(state[renamed.get(key, key)], value, rtol=1e-8, atol=1e-10, msg=lambda text, key=key: f"{key}: {text}")
    assert torch.equal(fused.eval()(x), network.eval()(x))
