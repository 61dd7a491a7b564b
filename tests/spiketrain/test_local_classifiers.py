"""ELL, FELL and BELL in the pipeline: presets, options, what is reported of every layer, resuming."""

import csv

import pytest
import torch

from spiketrain import methods, presets
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.training import checkpoint
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

RULES = ("ell", "fell", "bell")
SMALL = {"layers": "4C3-P2-12", "dropout": 0.0}
PLAIN = {"augment": False, "normalize": False}

# Network, padding, whether pixels stay in 0..1; then epochs, learning rate, factor and milestones of BELL, and of ELL and FELL.
PUBLISHED = {
    "mnist-dnn": ("800", 0, True, (150, 5e-4, 0.2, [60, 120]), (50, 5e-4, 0.2, [15, 30, 45])),
    "mnist-cnn": ("12C5-P2-64C5", 0, True, (150, 5e-4, 0.2, [60, 120]), (50, 5e-4, 0.2, [15, 30, 45])),
    "fashion-dnn": ("6400", 0, True, (150, 5e-4, 0.2, [60, 120]), (50, 5e-4, 0.2, [15, 30, 45])),
    "fashion-cnn": ("32C5-P2-64C5-P2-1024", 0, True, (150, 3e-3, 0.1, [80, 120]), (50, 5e-4, 0.2, [15, 30, 45])),
    "svhn-cnn": (
        "64C3-64C3-P2-128C3-128C3-128C3-P2-1024", 1, False, (100, 3e-3, 0.2, [30, 60, 90]), (100, 5e-4, 0.2, [40, 80])
    ),
    "cifar10-cnn": (
        "96C3-256C3-P2-384C3-P2-384C3-256C3-1024-1024", 1, False, (400, 1e-3, 0.1, [400]), (200, 5e-4, 0.1, [100, 200])
    ),
}  # fmt: skip


@pytest.mark.parametrize("network", PUBLISHED)
@pytest.mark.parametrize("rule", RULES)
def test_published_experiment(rule, network):
    config = load_config(presets.load(f"{rule}-{network}"))
    layers, padding, plain, of_bell, of_others = PUBLISHED[network]
    optimizer = config.optimizer
    assert (config.network.layers, config.network.padding, not config.data.normalize) == (layers, padding, plain)
    normalization = {
        "cifar10-cnn": ([0.424, 0.415, 0.384], [0.283, 0.278, 0.284]),
        "svhn-cnn": ([0.431, 0.43, 0.446], [0.197, 0.198, 0.199]),
    }
    assert (config.data.mean, config.data.std) == normalization.get(network, (None, None))
    shown = (config.trainer.epochs, optimizer.lr, optimizer.gamma, optimizer.milestones)
    assert shown == (of_bell if rule == "bell" else of_others)
    assert (optimizer.name, optimizer.weight_decay, optimizer.schedule) == ("adam", 0, "multistep")
    assert (config.network.time_steps, config.trainer.batch_size, config.data.augment) == (10, 100, network == "cifar10-cnn")
    method = config.method
    assert (method.name, method.tau, method.threshold, method.decoder_size) == (rule, 1, 1, 1024)
    assert (method.feedback, method.frozen_classifiers, method.update) == ("transpose", False, "step")


def small(tiny, rule="ell", network=SMALL, data=PLAIN, **method):
    return tiny(
        method={"name": rule, **method}, network=network, data=data, optimizer={"name": "adam", "weight_decay": 0.0, "lr": 0.02}
    )


def method_of(config):
    return methods.get(config.method.name)(config, (1, 8, 8), 10, torch.device("cpu"))


def train(config, folder):
    trainer = Trainer(config)
    run = RunDirectory(folder)
    folder.mkdir()
    trainer.fit(run)
    return checkpoint.load(run.last)


def rows(folder):
    with open(folder / "metrics.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("rule", RULES)
def test_reports_every_layer(tiny, tmp_path, rule, capsys):
    train(small(tiny, rule), tmp_path / "run")
    for row in rows(tmp_path / "run"):
        losses = [float(row[f"loss_{name}"]) for name in ("conv_1", "linear_1")]
        assert sum(losses) == pytest.approx(float(row["train_loss"]))
        # The last layer's classifier predicts.
        assert float(row["error_linear_1"]) == pytest.approx(1 - float(row["train_accuracy"]))
        assert 0 <= float(row["error_conv_1"]) <= 1
    assert "linear_1: loss" in capsys.readouterr().out


@pytest.mark.parametrize("rule", RULES)
def test_resumes_bit_for_bit(tiny, tmp_path, cli, rule):
    config = small(tiny, rule, data={"augment": True, "normalize": True})
    whole = train(config, tmp_path / "whole")
    config.trainer.epochs = 1
    config.trainer.out = str(tmp_path / "parts")
    Trainer(config).fit(RunDirectory.create(config))
    assert cli("resume", tmp_path / "parts", "--trainer.epochs", 2)[0] == 0
    parts = checkpoint.load(tmp_path / "parts" / "last.ckpt")
    for name, weight in whole["method"]["network"].items():
        assert torch.equal(parts["method"]["network"][name], weight), name


@pytest.mark.parametrize("rule", RULES)
def test_options_reach_the_blocks(tiny, rule):
    method = method_of(
        small(
            tiny,
            rule,
            tau=2.0,
            threshold=0.5,
            decoder_size=16,
            feedback="alignment",
            frozen_classifiers=True,
            update="window",
        )
    )
    for block in method.network.blocks().values():
        assert (block.rule, block.tau, block.threshold, block.update, block.time_steps) == (rule, 2.0, 0.5, "window", 5)
        assert block.classifier.feedback_weight is not None and block.classifier.frozen
    assert method.network.stages["conv_1"].classifier.weight.shape == (10, 16)
    x, labels = torch.rand(6, 1, 8, 8), torch.arange(6)
    before = {name: p.clone() for name, p in method.network.named_parameters()}
    method.training_step(x, labels, 6)
    changed = {name for name, p in method.network.named_parameters() if not torch.equal(p, before[name])}
    assert changed <= {name for name in before if "encoder" in name} and changed


def test_latency_encoding(tiny):
    method = method_of(small(tiny, encoding="latency"))
    pixels = torch.tensor([0.0, 0.1, 0.4, 0.5, 0.6, 0.9, 1.0, 1 / 255]).repeat(8, 1).view(1, 1, 8, 8)
    spikes = method._encode(pixels)
    assert spikes.shape == (5, 1, 1, 8, 8)
    assert torch.equal(spikes.sum(0), torch.ones(1, 1, 8, 8))
    assert spikes[:, 0, 0, 0].argmax(0).tolist() == [round(4 * (1 - p)) for p in pixels[0, 0, 0].tolist()]
    assert method.scores(pixels).shape == (1, 10)
    method.training_step(pixels, torch.tensor([3]), 1)


def test_weights_are_updated_per_layer_as_the_optimizer_options_say(tiny):
    config = tiny(method={"name": "bell"}, network=SMALL, data=PLAIN,
                  optimizer={"name": "sgd", "lr": 1.0, "momentum": 0.0, "weight_decay": 0.0, "clip_norm": 0.01, "weight_clamp": 0.0,
                             "warmup_steps": 2})  # fmt: skip
    method = method_of(config)
    x, labels = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6)
    with torch.no_grad():
        for p in method.network.parameters():
            p.mul_(6)
    assert method.start_epoch(1) == 1.0
    for expected in (0.005, 0.01):  # the clipped gradient of each layer, in warm-up and after it
        before = {name: [p.detach().clone() for p in block.trainable()] for name, block in method.network.blocks().items()}
        method.training_step(x, labels, 6)
        for name, block in method.network.blocks().items():
            moved = torch.cat([(p - b).detach().flatten() for p, b in zip(block.trainable(), before[name])]).norm().item()
            assert moved == pytest.approx(expected, rel=1e-3), name


@pytest.mark.parametrize("rule", RULES)
def test_number_of_threads_makes_no_difference_without_convolutions(tiny, rule):
    found = []
    before = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        torch.manual_seed(0)
        method = method_of(small(tiny, rule, network={"layers": "40-20", "dropout": 0.0}))
        x, labels = torch.rand(32, 1, 8, 8), torch.arange(32) % 10
        for _ in range(3):
            method.training_step(x, labels, 32)
        found.append(method.network.state_dict())
    torch.set_num_threads(before)
    for name, weight in found[0].items():
        assert torch.equal(found[1][name], weight), name


@pytest.mark.parametrize("rule", RULES)
def test_bfloat16(tiny, rule):
    """Matrix products in bfloat16, membrane potentials and weights in float32."""
    config = small(tiny, rule, network={"layers": "64", "dropout": 0.0})
    config.trainer.precision = "bfloat16"
    method = method_of(config)
    x, labels = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0)), torch.arange(20) % 10
    for _ in range(15):
        step = method.training_step(x, labels, 20)
    assert step.correct >= 10  # 2 by chance
    assert all(p.dtype is torch.float32 for p in method.network.parameters())


def test_errors(tiny, assert_error):
    base = ("train", "ell-digits")
    assert_error(["field network.time_steps", "got 0"], *base, "--network.time_steps", 0)
    assert_error(["expected decoder_size to be at least the number of channels, 16", "got 8"], *base, "--method.decoder_size", 8)
    assert_error(["method.encoding", "data.normalize"], *base, "--method.encoding", "latency", "--data.normalize", "true")
    assert_error("network.dropout", *base, "--network.dropout", 0.5)
    assert_error("must not end with pooling", *base, "--network.layers", "16C3-P2")
    assert_error(["method.tau", "above 0"], *base, "--method.tau", 0)
    method = method_of(small(tiny))
    with pytest.raises(ValueError, match="expected labels in 0 .. 9, the classes of the classifier, got 10"):
        method.training_step(torch.rand(1, 1, 8, 8), torch.tensor([10]), 1)
    with pytest.raises(UserError, match="method.encoding: latency is for images"):
        method_of(small(tiny, encoding="latency")).scores(torch.rand(5, 1, 1, 8, 8))


def test_events_are_fed_step_by_step(tiny):
    method = method_of(small(tiny, "fell"))
    events = (torch.rand(5, 6, 1, 8, 8) < 0.3).float()
    method.training_step(events, torch.arange(6), 6)
    assert method.scores(events).shape == (6, 10)


def test_pixels_without_normalisation(tiny):
    config = tiny(data={"augment": False, "normalize": False})
    dataset = Trainer(config).dataset
    images = dataset.train.batch(torch.arange(len(dataset.train)))
    assert images.min() == 0 and images.max() == 1
