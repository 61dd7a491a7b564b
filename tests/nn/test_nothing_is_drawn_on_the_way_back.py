"""What a pass draws, such as dropout masks, it draws once: the backward pass goes on with it, whatever the generator is at by then."""

import pytest
import torch
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn


def dense_ring(method, dropout, solver="broyden"):
    feedback = (snn.restrict_spectral_norm if method == "ide" else snn.restrict_frobenius_norm)(nn.Linear(5, 7, bias=False))
    return snn.FeedbackRing([nn.Linear(7, 6), nn.Linear(6, 5)], feedback, nn.Linear(6, 7), method=method, time_steps=12, threshold=0.4,
                            backward_time_steps=20, backward_threshold=0.05, dropout=dropout, solver=solver)  # fmt: skip


def conv_ring(method, dropout):
    back = nn.ConvTranspose2d(3, 4, 3, 2, 1, 1, bias=False)
    layers = [nn.Conv2d(4, 3, 3, 1, 1), nn.AvgPool2d(2)]
    return snn.FeedbackRing(layers, back, nn.Conv2d(1, 4, 3, padding=1), method=method, time_steps=6, dropout=dropout, threshold=0.4,
                            backward_time_steps=12, backward_threshold=0.05)  # fmt: skip


X, IMAGES = torch.rand(8, 6, generator=torch.Generator().manual_seed(1)), torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(2))
# Dropout on each sub-network alone, too: [input_layer, *layers, feedback].
RATES = {"all": 0.4, "input": [0.4, 0, 0, 0], "layers": [0, 0.4, 0.4, 0], "feedback": [0, 0, 0, 0.7]}
MAKES = {f"{method}, {name}": (lambda method=method, rate=rate: dense_ring(method, rate), X) for method in ("ide", "spide") for name, rate in RATES.items()}
MAKES["ide, fixed point"] = (lambda: dense_ring("ide", 0.4, "fixed_point"), X)
MAKES |= {f"{method}, maps": (lambda method=method: conv_ring(method, [0.3, 0.3, 0.3, 0.3]), IMAGES) for method in ("ide", "spide")}
MAKES["poisson, lif"] = (lambda: Encoded(), X)


class Encoded(nn.Module):
    """Neurons on random spikes, whose weights learn."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        return SF.lif_rate(self.linear(SF.poisson_encode(x, 10)), 0.5)


def gradients(make, x, between):
    """All gradients where ``between()`` happens between the passes."""
    torch.manual_seed(3)
    module = make()
    module.train()
    x = x.clone().requires_grad_(x.dim() < 4)
    torch.manual_seed(5)
    loss = module(x).square().sum()
    between()
    before = torch.get_rng_state()
    loss.backward()
    assert torch.equal(torch.get_rng_state(), before), "the backward pass draws random numbers"
    return {name: p.grad for name, p in module.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", MAKES)
def test_backward_passes_draw_nothing(name):
    make, x = MAKES[name]
    plain = gradients(make, x, lambda: None)
    assert sum(gradient.abs().sum().item() > 0 for gradient in plain.values()) > len(plain) // 2, "choose weights that learn"
    others = gradients(make, x, lambda: torch.manual_seed(77))
    for key, gradient in plain.items():
        assert torch.equal(gradient, others[key]), key


@pytest.mark.parametrize("name", [name for name in MAKES if "," in name])
def test_two_passes_draw_anew(name):
    """So that the test above can fail: the numbers matter."""
    make, x = MAKES[name]
    torch.manual_seed(3)
    module = make()
    module.train()
    first = module(x)
    assert any(not torch.equal(module(x), first) for _ in range(5))
