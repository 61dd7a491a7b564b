"""Training steps of presets, replayed as CUDA graphs: what they compute is what launched ones do."""

import copy

import pytest
import torch

pytest.importorskip("spiketrain")

import spikeops
from spiketrain import methods, presets
from spiketrain.config import Config, DataConfig, NetworkConfig, OptimizerConfig, Published, TrainerConfig
from spiketrain.training.captured_steps import WARM_UP_STEPS, CapturedSteps

DEVICE = torch.device("cuda", 0)
STEPS = WARM_UP_STEPS + 4
PRESETS = {
    "tsslbp-mnist-cnn": (1, 28, 28), "bell-mnist-dnn": (1, 28, 28), "ell-mnist-cnn": (1, 28, 28), "fell-mnist-dnn": (1, 28, 28),
    "localce-mnist-mlp": (1, 28, 28), "localcorr-mnist-mlp": (1, 28, 28), "localce-mnist-snn1m": (1, 28, 28),
    "bptt-cifar10-sewresnet18-small": (3, 32, 32),
}  # fmt: skip


def method_of(preset, **network):
    raw = presets.load(preset)
    kind = methods.get(raw["method"]["name"])
    config = Config(
        preset=preset, published=Published(), seed=1, data=DataConfig(name=raw["data"]["name"]),
        network=NetworkConfig(**{**raw["network"], **network}), method=kind.Options(**raw["method"]),
        optimizer=OptimizerConfig(**raw["optimizer"]), trainer=TrainerConfig(),
    )  # fmt: skip
    torch.manual_seed(1)
    with spikeops.backend("auto"):  # Triton's kernels do not serve the CPU, where networks are built
        return kind(config, PRESETS[preset], 10, DEVICE)


def batches(shape, count, samples=16):
    draw = torch.Generator().manual_seed(2)
    for _ in range(count):
        ink = (torch.rand(samples, *shape, generator=draw) < 0.3) * torch.rand(samples, *shape, generator=draw)
        yield ink.to(DEVICE), torch.randint(10, (samples,), generator=draw).to(DEVICE)


@pytest.fixture
def deterministic(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", True)


@pytest.mark.parametrize("preset", PRESETS)
def test_replays_compute_what_launched_steps_do(preset, deterministic):
    """The same losses, and the same weights in the end, as far as the sums of the device's libraries are alike from run to run."""
    launched, said = method_of(preset), []
    method = copy.deepcopy(launched)
    steps = CapturedSteps(method, DEVICE, "auto", said.append)
    for number, (inputs, labels) in enumerate(batches(PRESETS[preset], STEPS)):
        torch.manual_seed(number)  # of dropout
        expected = launched.training_step(inputs, labels, len(labels))
        torch.manual_seed(number)
        actual = steps.step(inputs, labels, len(labels))
        torch.testing.assert_close(actual.loss, expected.loss, rtol=1e-4, atol=0, msg=f"step {number}: {actual.loss} instead of {expected.loss}")
        assert actual.layers.keys() == expected.layers.keys()
    assert not said
    assert len(steps._graphs) == 1 and method.steps == launched.steps == STEPS
    weights = dict(launched.network.state_dict())
    for name, weight in method.network.state_dict().items():
        # Adam takes the sign of a gradient near 0 for as much as that of any other, so that single weights may part by a step.
        far = (weight.float() - weights[name].float()).abs() > 1e-4 * weights[name].float().abs().max().clamp_min(1e-3)
        assert far.float().mean() <= 0.01, name


def test_dropout_draws_anew():
    """And what launched steps would draw."""
    launched = method_of("tsslbp-mnist-cnn", dropout=0.5)
    method, said = copy.deepcopy(launched), []
    steps = CapturedSteps(method, DEVICE, "auto", said.append)
    inputs, labels = next(batches((1, 28, 28), 1))
    losses = {}
    for name, step in (("launched", launched.training_step), ("replayed", steps.step)):
        torch.manual_seed(3)
        losses[name] = [step(inputs, labels, 16).loss.item() for _ in range(STEPS)]
    assert not said and len(steps._graphs) == 1
    assert losses["replayed"] == pytest.approx(losses["launched"], rel=1e-3)


def test_another_learning_rate_and_a_shorter_batch():
    launched = method_of("bell-mnist-dnn")
    method, said = copy.deepcopy(launched), []
    steps = CapturedSteps(method, DEVICE, "auto", said.append)
    for number, (inputs, labels) in enumerate(batches((1, 28, 28), 24)):
        if number % 6 == 5:
            inputs, labels = inputs[:7], labels[:7]
        if number == 12:
            launched.rate = method.rate = 10 * method.rate
        expected = launched.training_step(inputs, labels, len(labels))
        actual = steps.step(inputs, labels, len(labels))
        torch.testing.assert_close(actual.loss, expected.loss, rtol=1e-4, atol=0, msg=f"step {number}: {actual.loss} instead of {expected.loss}")
    assert not said
    assert method.steps == 24


def test_what_cannot_be_captured_is_launched():
    """A step that waits for the device, whose state is then that of a method without graphs."""
    launched = method_of("bell-mnist-dnn")
    method, said = copy.deepcopy(launched), []
    plain = method.training_step

    def waits(inputs, labels, batch_size):
        labels.sum().item()
        return plain(inputs, labels, batch_size)

    method.training_step = waits
    steps = CapturedSteps(method, DEVICE, "auto", said.append)
    for inputs, labels in batches((1, 28, 28), STEPS):
        expected = launched.training_step(inputs, labels, len(labels))
        actual = steps.step(inputs, labels, len(labels))
        torch.testing.assert_close(actual.loss, expected.loss, rtol=1e-4, atol=0)
    (line,) = said
    assert "not replayed as CUDA graphs" in line
    assert method.steps == launched.steps == STEPS
    torch.rand(4, device=DEVICE)  # the generator is not left in a capture
