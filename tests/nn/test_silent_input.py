"""Blocks whose layer adds up the weights of the neurons that fired learn what they would with the dense product."""

import copy

import pytest
import torch
from op_tests.beside_dense import counted

import spikeops.nn as snn
from spikeops.functional._event_matmul import Events

STEPS, SAMPLES, INPUTS, UNITS, CLASSES = 4, 200, 200, 80, 4


class Recorder:
    """Remembers the gradients of each step, and changes the weights by them."""

    def __init__(self, block):
        self.block, self.gradients = block, []

    @torch.no_grad()
    def step(self):
        self.gradients.append({name: p.grad.clone() for name, p in self.block.named_parameters()})
        for parameter in self.block.parameters():
            parameter -= parameter.grad


def twins(rule, **options):
    """Two blocks with the same weights: with a layer of spikes, and with PyTorch's own."""
    torch.manual_seed(0)
    block = snn.LocalBlock(
        snn.SpikeLinear(INPUTS, UNITS, bias=False), snn.LocalClassifier((UNITS,), CLASSES), rule, time_steps=STEPS, **options
    ).double()
    with torch.no_grad():  # enough to fire now and then
        block.encoder.weight.mul_(10)
        block.classifier.weight.mul_(4)
    other = copy.deepcopy(block)
    other.encoder = torch.nn.Linear(INPUTS, UNITS, bias=False).double()
    other.encoder.load_state_dict(block.encoder.state_dict())
    return block, other


def batch(is_static, density=0.05):
    draw = torch.Generator().manual_seed(1)
    x = torch.rand(*([] if is_static else [STEPS]), SAMPLES, INPUTS, generator=draw, dtype=torch.float64)
    silent = torch.rand(x.shape, generator=draw, dtype=torch.float64) >= density
    return x.masked_fill(silent, 0), torch.randint(CLASSES, (SAMPLES,), generator=draw)


@pytest.fixture
def found():
    """How often rows and columns were looked through."""
    with counted(Events, rows="of_rows", columns="of_columns") as counts:
        yield counts


@pytest.mark.parametrize("update", ["step", "window"])
@pytest.mark.parametrize("is_static", [True, False], ids=["static", "sequence"])
@pytest.mark.parametrize("rule", ["ell", "fell", "bell"])
def test_learns_the_same(found, rule, is_static, update):
    block, other = twins(rule, update=update)
    x, labels = batch(is_static)
    recorders = Recorder(block), Recorder(other)
    step, expected = block.learn(x, labels, recorders[0]), other.learn(x, labels, recorders[1])
    assert 0 < expected.spikes.mean().item() < 1 and 0 < expected.count.mean().item() < STEPS
    assert torch.equal(step.spikes, expected.spikes) and torch.equal(step.count, expected.count)
    for actual, wanted in zip(*(recorder.gradients for recorder in recorders), strict=True):
        for name, gradient in wanted.items():
            # Sums of up to 800 numbers in another order.
            torch.testing.assert_close(actual[name], gradient, rtol=0, atol=1e-13 * gradient.abs().max().item())
    assert found["rows"] and found["columns"]


@pytest.mark.parametrize("rule", ["ell", "fell", "bell"])
def test_a_still_input_is_looked_through_once(found, rule):
    block, _ = twins(rule)
    x, labels = batch(is_static=True)
    block.learn(x, labels, Recorder(block))
    assert found == {"rows": 1, "columns": 1}


@pytest.mark.parametrize("rule", ["ell", "fell", "bell"])
def test_gradients_lie_in_memory_as_their_weights_do(found, rule):
    block, _ = twins(rule)
    with torch.no_grad():
        block.encoder.weight.data = block.encoder.weight.t().contiguous().t()
    x, labels = batch(is_static=True)
    block.learn(x, labels, torch.optim.Adam(block.parameters(), fused=True))
    assert block.encoder.weight.grad.stride() == block.encoder.weight.stride() and found["columns"]
