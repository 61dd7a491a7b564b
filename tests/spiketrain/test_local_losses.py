"""local_ce, local_corr and local_ce_corr: what each layer learns from, and what it leaves alone."""

import csv

import pytest
import torch
from torch.nn import functional as F

from spikeops import nn as snn
from spiketrain import checkpoint, methods, presets
from spiketrain.config import load_config, merge
from spiketrain.errors import UserError
from spiketrain.rundir import RunDirectory
from spiketrain.trainer import Trainer

METHODS = ("local_ce", "local_corr", "local_ce_corr")
SMALL = {
    "network": {"layers": "4C3-P2-6C3-12-10", "padding": 1, "time_steps": 4},
    "method": {"name": "local_ce_corr", "decoder_size": 64},
    "optimizer": {"name": "adam", "lr": 0.002, "weight_decay": 0},
}


def make(input_shape=(1, 8, 8), **changes):
    config = load_config(merge(SMALL, changes))
    torch.manual_seed(3)
    return methods.get(config.method.name)(config, input_shape, 10, torch.device("cpu"))


def batch(seed=1, samples=20):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, 1, 8, 8, generator=generator), torch.arange(samples) % 10


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_one_adam_step_of_every_layer_on_its_own_loss(name):
    """Against the network written out: layer by layer, plain autograd, Adam."""
    method = make(method={"name": name})
    inputs, labels = batch()
    expected, reported = {}, {}
    x = inputs
    for layer_name, layer in method.network.items():
        layer.train()
        parameters = dict(layer.named_parameters())
        if layer_name == "output":
            logits = layer.linear(x.mean(0).flatten(1))
            loss = {"local_ce": 1, "local_corr": 1, "local_ce_corr": 1 - 0.99}[name] * F.cross_entropy(logits, labels)
        else:
            for pool in layer.pools:
                x = torch.stack([pool(step) for step in x])
            spikes = layer.block(x.flatten(2) if layer_name == "linear_1" else x)
            rate, losses = spikes.mean(0), []
            if name != "local_corr":
                logits = layer.block.classifier(layer.block.pool(rate))
                losses.append((1 if name == "local_ce" else 1 - 0.99) * F.cross_entropy(logits, labels))
            if name != "local_ce":
                similarity = snn.similarity_matrix(layer.block.projection(rate))
                wanted = snn.similarity_matrix(F.one_hot(labels, 10).float())
                losses.append((1 if name == "local_corr" else 0.99) * F.mse_loss(similarity, wanted))
            loss = sum(losses)
            x = spikes.detach()
        reported[layer_name] = (
            loss.detach(),
            (logits.argmax(1) == labels).sum() if name != "local_corr" or layer_name == "output" else None,
        )
        for key, gradient in zip(parameters, torch.autograd.grad(loss, parameters.values())):
            step = 0.002 * gradient / (gradient.abs() + 1e-8)
            # Where the gradient is not well above Adam's eps, its rounding decides on the step.
            expected[f"{layer_name}.{key}"] = parameters[key].detach() - step, gradient.abs() > 1e-5

    buffers = {key: value.clone() for key, value in method.network.named_buffers()}
    result = method.training_step(inputs, labels, len(labels))
    assert list(result.layers) == ["conv_1", "conv_2", "linear_1", "output"]
    for layer_name, (loss, correct) in reported.items():
        torch.testing.assert_close(result.layers[layer_name].loss, loss)
        assert result.layers[layer_name].correct == correct
    torch.testing.assert_close(result.loss, sum(loss for loss, _ in reported.values()))
    assert result.correct == result.layers["output"].correct
    moved = 0
    for key, parameter in method.network.named_parameters():
        value, is_certain = expected[key]
        torch.testing.assert_close(parameter[is_certain], value[is_certain], rtol=0, atol=2e-5)  # a hundredth of the step
        moved += is_certain.sum()
    assert moved > 500
    assert any(not torch.equal(value, buffers[key]) for key, value in method.network.named_buffers())


def test_layers_below_do_not_feel_the_layers_above():
    """The first layer learns the same whatever stands above it."""
    short, long = make(network={"layers": "4C3-10"}), make(network={"layers": "4C3-P2-6C3-12-10"})
    long.network["conv_1"].load_state_dict(short.network["conv_1"].state_dict())
    for seed in (1, 2, 3):
        inputs, labels = batch(seed)
        for method in (short, long):
            method.training_step(inputs, labels, len(labels))
    for a, b in zip(short.network["conv_1"].state_dict().values(), long.network["conv_1"].state_dict().values()):
        assert torch.equal(a, b)


def test_prediction_is_the_readout_of_the_last_firing_rate():
    method = make()
    inputs, labels = batch()
    for _ in range(3):
        method.training_step(inputs, labels, len(labels))
    trains = method.spike_trains(inputs)
    assert list(trains) == ["conv_1", "conv_2", "linear_1"]
    assert all(set(spikes.unique().tolist()) <= {0.0, 1.0} and len(spikes) == 4 for spikes in trains.values())
    expected = method.network["output"].linear(trains["linear_1"].mean(0))
    torch.testing.assert_close(method.scores(inputs), expected)


def test_events_and_pooling_at_both_ends():
    """Sequences go in as they are; pooling may come first, and last."""
    method = make(input_shape=(2, 16, 16), network={"layers": "P2-4C3-P2-10"})
    events = torch.rand(6, 5, 2, 16, 16).round()
    labels = torch.arange(5)
    method.training_step(events, labels, 5)
    assert method.scores(events).shape == (5, 10)
    (spikes,) = method.spike_trains(events).values()
    assert spikes.shape == (6, 5, 4, 8, 8)
    pooled = F.max_pool2d(spikes.flatten(0, 1), 2).unflatten(0, (6, 5))
    torch.testing.assert_close(method.scores(events), method.network["output"].linear(pooled.mean(0).flatten(1)))


@pytest.mark.parametrize("name", METHODS)
def test_run_and_resume(tiny, tmp_path, cli, name):
    """Four epochs straight, or two and two: the same, in every layer's columns too."""

    def config(out, epochs):
        changed = tiny(
            method={"name": name},
            network={"layers": "4C3-P2-12-10", "dropout": 0.0},
            trainer={"out": str(tmp_path / out), "epochs": epochs},
        )
        return changed

    for out, epochs in (("straight", 4), ("stopped", 2)):
        trainer = Trainer(config(out, epochs))
        trainer.fit(RunDirectory.create(trainer.config))
    status, _, errors = cli("resume", tmp_path / "stopped", "--trainer.epochs", 4)
    assert status == 0, errors
    straight, resumed = (checkpoint.load(tmp_path / out / "last.ckpt") for out in ("straight", "stopped"))
    for key, value in straight["method"]["network"].items():
        assert torch.equal(value, resumed["method"]["network"][key]), key
    tables = []
    for out in ("straight", "stopped"):
        with open(tmp_path / out / "metrics.csv", newline="") as file:
            tables.append([{key: value for key, value in row.items() if "seconds" not in key} for row in csv.DictReader(file)])
    assert tables[0] == tables[1] and len(tables[0]) == 4
    assert {"loss_conv_1", "loss_linear_1", "loss_output", "error_output"} <= tables[0][0].keys()
    assert ("error_conv_1" in tables[0][0]) == (name != "local_corr")  # similarity matching has no classifier
    assert float(tables[0][3]["train_loss"]) < float(tables[0][0]["train_loss"])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"network": {"layers": "10"}}, "10 has no layer of neurons before its outputs"),
        ({"network": {"layers": "P2-10"}}, "no layer of neurons"),
        ({"network": {"layers": "12-9"}}, "12-9 has 9 outputs, the data set has 10 classes"),
        ({"network": {"dropout": 0.5}}, "network.dropout: networks with local losses have none, got 0.5"),
        ({"network": {"feedback": "12"}}, "network.feedback: networks with local losses have none, got 12"),
    ],
)
def test_networks_that_cannot_be(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


def test_last_batch_may_be_one_sample(tiny, tmp_path):
    """Batch norm has one value per unit of the linear layer then."""
    limits = {"limit_train": 65, "batch_size": 32, "out": str(tmp_path / "run")}
    trainer = Trainer(tiny(method={"name": "local_ce"}, network={"layers": "12-10", "dropout": 0.0}, trainer=limits))
    trainer.fit(RunDirectory.create(trainer.config))
    assert len(trainer.history) == 2


def test_bad_options_end_in_one_line(assert_error):
    assert_error(["decoder_size", "number of channels, 16, got 8"], "train", "localce-digits", "--method.decoder_size", 8)
    assert_error(["beta in [0, 1], got 2"], "train", "localcecorr-digits", "--method.beta", 2)
    assert_error(["network.time_steps"], "train", "localce-digits", "--network.time_steps", 0)


def test_bfloat16_keeps_weights_in_float32(tiny, tmp_path):
    trainer = Trainer(
        tiny(
            method={"name": "local_ce_corr"},
            network={"dropout": 0.0},
            trainer={"precision": "bfloat16", "out": str(tmp_path / "run")},
        )
    )
    trainer.fit(RunDirectory.create(trainer.config))
    assert trainer.history[1]["train_loss"] < trainer.history[0]["train_loss"]
    assert all(p.dtype is torch.float32 for p in trainer.method.network.parameters())


# Our networks: layers, and weights without the local classifiers and projections. The published spiking networks after which some
# are named have other ones: mlp 2,919,434 (with learned thresholds), snn1m 684,222, snn2m 1,114,186, vgg8a 11,522,570.
NETWORKS = {
    "localce-mnist-mlp": ("1024-1024-1024-10", 2_916_362),
    "localcorr-mnist-mlp": ("1024-1024-1024-10", 2_916_362),
    "localcecorr-mnist-mlp": ("1024-1024-1024-10", 2_916_362),
    "localce-mnist-snn1m": ("64C3-P2-128C3-P2-256C3-P2-256-10", 963_018),
    "localce-fashion-snn2m": ("64C3-128C3-P2-256C3-P2-256C3-P2-512-10", 2_146_250),
    "localce-mnist-vgg8a": ("128C3-256C3-P2-256C3-512C3-P2-512C3-P2-512C3-1024-10", 11_519_370),
    "localce-fashion-vgg8a": ("128C3-256C3-P2-256C3-512C3-P2-512C3-P2-512C3-1024-10", 11_519_370),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_own_network_with_the_published_optimiser(name):
    config = load_config(presets.load(name))
    layers, expected = NETWORKS[name]
    assert config.network.layers == layers
    assert config.data.name == ("mnist" if "mnist" in name else "fashion_mnist")
    assert (
        config.method.name == {"localce": "local_ce", "localcorr": "local_corr", "localcecorr": "local_ce_corr"}[name.split("-")[0]]
    )
    assert getattr(config.method, "beta", 0.99) == 0.99
    assert (config.trainer.epochs, config.trainer.batch_size) == (100, 128)
    options = config.optimizer
    assert (options.name, options.lr, options.weight_decay) == ("adam", 5e-4, 0)
    assert (options.schedule, options.milestones, options.gamma) == ("multistep", [50, 75, 89, 94], 0.25)
    method = methods.get(config.method.name)
    with torch.device("meta"):
        network = method.build(object.__new__(method), config, (1, 28, 28), 10)
    weights = sum(p.numel() for key, p in network.named_parameters() if "classifier" not in key and "projection" not in key)
    assert weights == expected
