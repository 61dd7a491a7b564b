"""local_ce, local_corr and local_ce_corr: what each layer learns from, and what it leaves alone.

`test_golden_local_snn_training.py` compares networks of clamped neurons with the published code.
"""

import csv

import pytest
import torch
from torch.nn import functional as F
from trained_runs import OF_THE_MACHINE

from spikeops import nn as snn
from spiketrain import methods, presets
from spiketrain.config import merge
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.training import checkpoint
from spiketrain.training.run_directory import RunDirectory
from spiketrain.training.trainer import Trainer

METHODS = ("local_ce", "local_corr", "local_ce_corr")
NEURONS = ("clamped", "lif")
SMALL = {
    "network": {"layers": "4C3-P2-6C3-12-10", "padding": 1, "time_steps": 4},
    "method": {"name": "local_ce_corr", "neuron": "lif", "decoder_size": 64},
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


@pytest.mark.parametrize("neuron", NEURONS)
def test_layers_below_do_not_feel_the_layers_above(neuron):
    """The first layer learns the same whatever stands above it."""
    short, long = (make(network={"layers": layers}, method={"neuron": neuron}) for layers in ("4C3-10", "4C3-P2-6C3-12-10"))
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


def test_clamped_layers_hand_on_counts_and_relu_layers_their_output():
    """Loss on the membrane potential, counts to the next layer; behind convolutions ReLUs with a bias, without convolutions spikes."""
    method = make(method={"neuron": "clamped"})
    assert [layer.block.kind for layer in list(method.layers.values())[:-1]] == ["clamped", "clamped", "relu"]
    biases = {name for name, _ in method.network.named_parameters() if name.endswith("bias") and "norm" not in name}
    assert biases == {"linear_1.block.encoder.bias", "linear_1.block.classifier.bias", "output.linear.bias"}
    inputs, labels = batch()
    for _ in range(3):
        method.training_step(inputs, labels, len(labels))
    method.network.eval()
    with torch.no_grad():
        x = inputs
        for name in ("conv_1", "conv_2"):
            layer = method.layers[name]
            counts, v = layer(x)
            assert {0.0, 4.0} <= set(counts.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0, 4.0}
            assert torch.equal(layer.spike_train(x, (counts, v)).sum(0), counts)
            x = counts
        x = method.layers["linear_1"](x)
        torch.testing.assert_close(method.scores(inputs), method.layers["output"].linear(x))
    trains = method.spike_trains(inputs)
    assert {name: train.shape for name, train in trains.items()} == {"conv_1": (4, 20, 4, 8, 8), "conv_2": (4, 20, 6, 4, 4)}
    assert all(set(train.unique().tolist()) == {0.0, 1.0} for train in trains.values())

    mlp = make(network={"layers": "20-12-10"}, method={"neuron": "clamped"})
    assert [layer.block.kind for layer in list(mlp.layers.values())[:-1]] == ["clamped", "clamped"]
    assert {name for name, _ in mlp.network.named_parameters() if name.endswith("bias") and "norm" not in name} == {"output.linear.bias"}


@pytest.mark.parametrize("neuron, layers, is_zero", [
    ("clamped", "4C3-12-10", True), ("clamped", "12-10", True), ("clamped", "4C3-P2-10", False), ("lif", "4C3-P2-10", True)
])  # fmt: skip
def test_readout_starts_at_zero_but_on_published_convolutions(neuron, layers, is_zero):
    method = make(network={"layers": layers}, method={"neuron": neuron})
    assert bool((method.network["output"].linear.weight == 0).all()) == is_zero


def test_events_are_not_for_clamped_neurons():
    method = make(method={"neuron": "clamped"})
    with pytest.raises(ValueError, match=r"expected x to have shape \(N, C, H, W\) for clamped neurons, got shape \(6, 5, 1, 8, 8\)"):
        method.scores(torch.rand(6, 5, 1, 8, 8))


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


@pytest.mark.parametrize("neuron", NEURONS)
@pytest.mark.parametrize("name", METHODS)
def test_run_and_resume(tiny, tmp_path, cli, name, neuron):
    """Four epochs straight, or two and two: the same, in every layer's columns too."""

    def config(out, epochs):
        changed = tiny(
            method={"name": name, "neuron": neuron},
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
            tables.append([{key: value for key, value in row.items() if key not in OF_THE_MACHINE} for row in csv.DictReader(file)])
    assert tables[0] == tables[1] and len(tables[0]) == 4
    assert {"loss_conv_1", "loss_linear_1", "loss_output", "error_output"} <= tables[0][0].keys()
    assert ("error_conv_1" in tables[0][0]) == (name != "local_corr")  # similarity matching has no classifier
    # Of clamped neurons the sum may rise at first: the readout's loss is what falls.
    falling = "train_loss" if neuron == "lif" else "loss_output"
    assert float(tables[0][3][falling]) < float(tables[0][0][falling])


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"network": {"layers": "10"}}, "10 has no layer of neurons before its outputs"),
        ({"network": {"layers": "P2-10"}}, "no layer of neurons"),
        ({"network": {"layers": "12-9"}}, "12-9 has 9 outputs, the data set has 10 classes"),
        ({"network": {"dropout": 0.5}}, "network.dropout: networks with local losses have none, got 0.5"),
        ({"method": {"decay": 0.9, "neuron": "clamped"}}, "method.decay: belongs to method.neuron lif, .* are clamped"),
        ({"method": {"leak": 3.0}}, "method.leak: belongs to method.neuron clamped, .* are lif"),
        ({"network": {"feedback": "12"}}, "network.feedback: networks with local losses have none, got 12"),
    ],
)
def test_networks_that_cannot_be(changes, message):
    with pytest.raises(UserError, match=message):
        make(**changes)


@pytest.mark.parametrize("neuron", NEURONS)
def test_last_batch_may_be_one_sample(tiny, tmp_path, neuron):
    """Batch norm has one value per unit of the linear layer then."""
    limits = {"limit_train": 65, "batch_size": 32, "out": str(tmp_path / "run")}
    network = {"layers": "12-10", "dropout": 0.0}
    trainer = Trainer(tiny(method={"name": "local_ce", "neuron": neuron}, network=network, trainer=limits))
    trainer.fit(RunDirectory.create(trainer.config))
    assert len(trainer.history) == 2


def test_bad_options_end_in_one_line(assert_error):
    assert_error(["decoder_size", "number of channels, 16, got 8"], "train", "localce-digits", "--method.decoder_size", 8)
    assert_error(["method.beta", "in [0, 1], got 2"], "train", "localcecorr-digits", "--method.beta", 2)
    assert_error(["network.time_steps"], "train", "localce-digits", "--network.time_steps", 0)
    assert_error(["dt", "above 0", "got 0"], "train", "localce-digits", "--method.dt", 0)
    assert_error(["method.neuron", "adaptive"], "train", "localce-digits", "--method.neuron", "adaptive")


@pytest.mark.parametrize("neuron", NEURONS)
def test_bfloat16_keeps_weights_in_float32(tiny, tmp_path, neuron):
    trainer = Trainer(
        tiny(
            method={"name": "local_ce_corr", "neuron": neuron},
            network={"dropout": 0.0},
            trainer={"precision": "bfloat16", "out": str(tmp_path / "run")},
        )
    )
    trainer.fit(RunDirectory.create(trainer.config))
    assert trainer.history[1]["train_loss"] < trainer.history[0]["train_loss"]
    assert all(p.dtype is torch.float32 for p in trainer.method.network.parameters())


MLP = "1024-1024-1024-10"
VGG8A = "128C3-256C3-P2-256C3-512C3-P2-512C3-P2-512C3-1024-10"
# The seven published commands (torch_snn.py): data set, layers, padding, all parameters (of convolutions without the 3 x 3 ones that
# the published code never uses), parameters without those of local classifiers and projections.
COMMANDS = {
    "localce-mnist-mlp": ("mnist", MLP, 0, 2_950_154, 2_919_434),
    "localcorr-mnist-mlp": ("mnist", MLP, 0, 6_065_162, 2_919_434),
    "localcecorr-mnist-mlp": ("mnist", MLP, 0, 6_095_882, 2_919_434),
    "localce-mnist-snn1m": ("mnist", "15C5-P2-40C5-P2-1024-10", 0, 741_672, 684_222),
    "localce-mnist-vgg8a": ("mnist", VGG8A, 1, 11_763_220, 11_522_570),
    "localce-fashion-snn2m": ("fashion_mnist", "32C5-P2-64C5-P2-1024-10", 0, 1_188_436, 1_114_186),
    "localce-fashion-vgg8a": ("fashion_mnist", VGG8A, 1, 11_763_220, 11_522_570),
}
# Our variants of them, with LIF neurons: layers, parameters without those of local classifiers and projections.
VARIANTS = {
    "localce-lif-mnist-mlp": (MLP, 2_916_362),
    "localcorr-lif-mnist-mlp": (MLP, 2_916_362),
    "localcecorr-lif-mnist-mlp": (MLP, 2_916_362),
    "localce-lif-mnist-snn1m": ("64C3-P2-128C3-P2-256C3-P2-256-10", 963_018),
    "localce-lif-fashion-snn2m": ("64C3-128C3-P2-256C3-P2-256C3-P2-512-10", 2_146_250),
    "localce-lif-mnist-vgg8a": (VGG8A, 11_519_370),
    "localce-lif-fashion-vgg8a": (VGG8A, 11_519_370),
}


def loaded(name):
    """The configuration of a preset with the published optimiser, and its network without memory."""
    config = load_config(presets.load(name))
    wanted = {"localce": "local_ce", "localcorr": "local_corr", "localcecorr": "local_ce_corr"}
    assert config.method.name == wanted[name.split("-")[0]]
    assert getattr(config.method, "beta", 0.99) == 0.99
    assert (config.trainer.epochs, config.trainer.batch_size) == (100, 128)
    options = config.optimizer
    assert (options.name, options.lr, options.weight_decay) == ("adam", 5e-4, 0)
    assert (options.schedule, options.milestones, options.gamma) == ("multistep", [50, 75, 89, 94], 0.25)
    method = methods.get(config.method.name)
    with torch.device("meta"):
        return config, method.build(object.__new__(method), config, (1, 28, 28), 10)


def count(network, without=("classifier", "projection")):
    return sum(p.numel() for key, p in network.named_parameters() if not any(word in key for word in without))


@pytest.mark.parametrize("name", COMMANDS)
def test_published_commands(name):
    data, layers, padding, everything, without_classifiers = COMMANDS[name]
    config, network = loaded(name)
    assert (config.data.name, config.network.layers, config.network.padding, config.network.time_steps) == (data, layers, padding, 3)
    options = config.method
    assert (options.neuron, options.batch_norm, options.decoder_size, options.similarity_std) == ("clamped", True, 4096, True)
    assert (options.dt, options.leak, options.threshold_gain, options.threshold_drift) == (3e-5, 2, 1e7, 0.1)
    assert (config.data.augment, config.data.augment_border, config.data.augment_flip) == (True, 2, data == "fashion_mnist")
    assert (config.data.mean, config.data.std) == (([0.286], [0.353]) if data == "fashion_mnist" else (None, None))
    assert (count(network, without=()), count(network)) == (everything, without_classifiers)
    assert config.departs == []


@pytest.mark.parametrize("name", VARIANTS)
def test_own_variants_of_the_published_commands(name):
    layers, without_classifiers = VARIANTS[name]
    config, network = loaded(name)
    assert (config.network.layers, config.method.neuron, config.network.time_steps) == (layers, "lif", 10)
    assert config.data.name == ("mnist" if "mnist" in name else "fashion_mnist")
    assert count(network) == without_classifiers
    assert "our own variant" in config.about


def test_published_pools_before_the_classifiers():
    """Of the vgg8a network, kernel and padding; what the classifiers see."""
    _, network = loaded("localce-mnist-vgg8a")
    blocks = [layer.block for name, layer in network.items() if name.startswith("conv")]
    kernels = [(8, 4), (8, 8), (4, 4), (8, 4), (4, 2), (2, 1)]
    assert [block.pool.kernel_size for block in blocks] == kernels
    assert [block.pool.padding for block in blocks] == [(4, 0), (4, 4), (2, 2), (4, 2), (2, 1), (1, 0)]
    assert [block.classifier.in_features for block in blocks] == [3584, 4096, 4096, 4096, 4096, 3072]
