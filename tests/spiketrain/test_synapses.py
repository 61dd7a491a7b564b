"""Counting synapses, against a count of the non-zero entries of the matrix that a chain of layers stands for."""

import pytest
import torch
from torch import nn

from spikeops import nn as snn
from spiketrain.models.layers import FullyConnected, SumPool2d
from spiketrain.models.synapses import count_synapses, shape_after

CHAINS = {
    "conv": ([nn.Conv2d(2, 5, 3, padding=1)], (2, 4, 4)),
    "conv with stride": ([nn.Conv2d(3, 4, 5, 2, 2)], (3, 7, 6)),
    "conv without padding": ([nn.Conv2d(1, 2, 3)], (1, 5, 4)),
    "grouped conv": ([nn.Conv2d(4, 6, 3, groups=2)], (4, 5, 5)),
    "transposed conv": ([nn.ConvTranspose2d(3, 2, 3, 2, 1, output_padding=1)], (3, 4, 3)),
    "linear": ([nn.Linear(7, 5)], (7,)),
    "flatten and linear": ([nn.Sequential(nn.Flatten(), nn.Linear(18, 4))], (2, 3, 3)),
    "fully connected": ([snn.TimeDistributed(FullyConnected(18, 4))], (2, 3, 3)),
    "conv and batch-norm": ([nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3))], (2, 4, 4)),
    "average pooling": ([nn.AvgPool2d(2)], (2, 5, 4)),
    "pooling before conv": ([SumPool2d(2, 1.1), nn.Conv2d(2, 3, 3, padding=1)], (2, 5, 4)),
    "conv before pooling": ([nn.Conv2d(2, 3, 3, padding=1), nn.AvgPool2d(2)], (2, 4, 4)),
}


def ways_by_hand(modules, shape):
    """All weights 1 and pooling as a sum: then an output is the number of ways to it."""
    x = torch.ones(1, *shape, dtype=torch.float64)
    for module in modules:
        for leaf in module.modules():
            if isinstance(leaf, (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)):
                leaf.double()
                nn.init.ones_(leaf.weight)
                nn.init.zeros_(leaf.bias)
            if isinstance(leaf, nn.AvgPool2d):
                leaf.divisor_override = 1
            if isinstance(leaf, SumPool2d):
                leaf.gain = 1.0
            if isinstance(leaf, nn.BatchNorm2d):
                leaf.double().eval()
                leaf.eps = 0.0
        x = module(x[None])[0] if isinstance(module, snn.TimeDistributed) else module(x)
    return x


@pytest.mark.parametrize("name", CHAINS)
def test_synapses_and_shape(name):
    modules, shape = CHAINS[name]
    output = ways_by_hand(modules, shape)
    assert count_synapses(modules, shape) == output.sum().item()
    assert shape_after(modules, shape) == (*output.shape[1:], 1, 1)[:3]
