"""Modules whose batch norm and neurons spikeops.fuse leaves, each with the reason."""

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
