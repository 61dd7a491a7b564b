"""The presets of IDE and SPIDE: sizes of the networks, learning rates, a step of each."""

import math

import pytest
import torch

from spiketrain import data, methods, presets
from spiketrain.methods import load_config
from spiketrain.methods.base.schedules import learning_rate, warm_up

# Neurons, those of the input included, and weights, as the published code builds the networks: the results give them in thousands.
IDE = {
    "ide-mnist": (13_328, 229_643),
    "ide-fashion": (1_184, 478_811),
    "ide-nmnist": (20_808, 290_763),
    "ide-cifar10-alexnetf": (158_720, 3_709_515),
    "ide-cifar10-cifarnetf": (232_448, 11_840_011),
    "ide-cifar100-alexnetf": (158_720, 5_184_165),
    "ide-cifar100-cifarnetf": (232_448, 14_789_221),
}
SPIDE = {
    "spide-mnist-lenet": 606_740,
    "spide-mnist-convnetf": 274_826,
    "spide-cifar10-alexnetf": 3_706_762,
    "spide-cifar100-cifarnetf": 14_784_356,
    "spide-cifar10dvs-convnetf": 9_586_186,
}
SAMPLES = {
    "mnist": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "cifar100": (3, 32, 32),
    "nmnist": (2, 34, 34),
    "cifar10_dvs": (2, 48, 48),
}


def preset(name, *overrides):
    return load_config(presets.load(name), overrides)


def built(name):
    config = preset(name)
    return methods.get(config.method.name).build(None, config, SAMPLES[config.data.name])


@pytest.mark.parametrize("name", [name for name in presets.names() if name.startswith("ide-") and name != "ide-digits"])
def test_size_of_ide(name):
    network = built(name)
    neurons = math.prod(network.input_shape) + sum(math.prod(shape) for shape in network.shapes)
    key = next(key for key in IDE if name.startswith(f"{key}-"))
    assert (neurons, sum(p.numel() for p in network.parameters())) == IDE[key]


@pytest.mark.parametrize("name", SPIDE)
def test_size_of_spide(name):
    assert sum(p.numel() for p in built(name).parameters()) == SPIDE[name]


def test_schedule_and_warm_up_as_published():
    """Per epoch, counted from 0 in the script: a tenth from epoch 50 on, a hundredth from 75 on; (i + 1) / 400 in iteration i."""
    options = preset("spide-cifar10-alexnetf").optimizer
    rates = [learning_rate(options, epoch + 1, 100) for epoch in range(100)]
    assert rates == pytest.approx([0.05] * 50 + [0.005] * 25 + [0.0005] * 25)
    assert [warm_up(options, i + 1) for i in (0, 1, 199, 399, 400, 10_000)] == [1 / 400, 2 / 400, 0.5, 1, 1, 1]
    assert warm_up(preset("ide-mnist-if").optimizer, 1) == 1


# One of each network but CIFARNet-F, which differs from AlexNet-F in its widths only.
STEPS = ["ide-mnist-lif", "ide-fashion-if", "ide-nmnist-lif", "ide-cifar10-alexnetf-lif-t30", "ide-digits", *SPIDE, "spide-digits"]


@pytest.mark.parametrize("name", [name for name in STEPS if "cifarnetf" not in name])
def test_a_small_step_reaches_the_weights(name):
    """One training step on three small random samples, with few time steps in both passes."""
    config = preset(name)
    config.network.time_steps = 30
    config.method.solver_steps = config.method.backward_time_steps = 40
    config.optimizer.weight_decay = 0.0  # what moves then has a gradient
    config.optimizer.warmup_steps = 0
    sample = (SAMPLES.get(config.data.name, (1,))[0], 8, 8)
    torch.manual_seed(0)
    classes = int(config.network.layers.rpartition("-")[2])
    method = methods.get(config.method.name)(config, sample, classes, torch.device("cpu"))
    inputs = torch.rand(3, *sample) * 4
    if config.data.name in data.EVENT_DATA:
        inputs = (torch.rand(30, 3, *sample) < 0.5).float()
    weights = {key: p.detach().clone() for key, p in method.network.named_parameters() if p.dim() > 1}
    method.start_epoch(1)
    result = method.training_step(inputs, torch.tensor([0, 1, 2]), 3)
    moved = [key for key, p in method.network.named_parameters() if key in weights and not torch.equal(weights[key], p)]
    assert torch.isfinite(result.loss)
    # At first hardly any neuron of AlexNet-F's last layers fires, and the gradient does not reach all others.
    assert len(moved) >= (3 if "alexnetf" in name else len(weights)), sorted(weights.keys() - set(moved))
    measured = method.finish_epoch()
    assert measured.keys() >= {f"forward_rate_{layer}" for layer in method.network.names}
    assert 0 < measured["forward_rate_conv_1" if "fashion" not in name else "forward_rate_linear_1"] < 1
