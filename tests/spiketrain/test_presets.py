"""The presets: those of TSSL-BP are the published experiments but for what they name; which experiments may show a figure."""

import pytest
import torch

from spiketrain import methods, presets
from spiketrain.methods import load_config

# Network, time steps, epochs, batch, published mean, standard deviation and best, as in the README of the published code (TSSL-BP).
PUBLISHED = {
    "tsslbp-mnist-cnn": ("15C5-P2-40C5-P2-300-10", 5, 100, 50, 99.50, 0.02, 99.53),
    "tsslbp-nmnist-cnn-t100": ("12C5-P2-64C5-P2-10", 100, 100, 50, 99.35, 0.03, 99.40),
    "tsslbp-nmnist-cnn-t30": ("12C5-P2-64C5-P2-10", 30, 100, 50, 99.23, 0.05, 99.28),
    "tsslbp-fashion-mlp": ("400-400-10", 5, 100, 100, 89.75, 0.03, 89.92),
    "tsslbp-fashion-cnn": ("32C5-P2-64C5-P2-1024-10", 5, 100, 50, 92.69, 0.09, 92.83),
    "tsslbp-cifar10-cnn": ("96C3-256C3-P2-384C3-P2-384C3-256C3-1024-1024-10", 5, 150, 50, 88.98, 0.27, 89.37),
    "tsslbp-cifar10-cnn-large": ("128C3-256C3-P2-512C3-P2-1024C3-512C3-1024-512-10", 5, 150, 50, None, None, 91.41),
}
INPUT_SHAPES = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "svhn": (3, 32, 32),
    "nmnist": (2, 34, 34),
    "shd": (1, 1, 700),
    "dvs-gesture": (2, 32, 32),
}
OUTPUTS = {"shd": 20, "dvs-gesture": 11}  # of other data sets 10


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_experiment(name):
    config = load_config(presets.load(name))
    shown = config.network.layers, config.network.time_steps, config.trainer.epochs, config.trainer.batch_size
    assert (*shown, config.published.mean, config.published.std, config.published.best) == PUBLISHED[name]
    assert (config.optimizer.name, config.optimizer.weight_decay) == ("adamw", 0.01)
    assert (config.optimizer.clip_norm, config.optimizer.weight_clamp, config.optimizer.schedule) == (1, 4, "constant")


# Fields of which the published experiments had, or may have had, another value. Where nothing is said of a preset it is known to
# agree in every field.
DEPARTURES = {
    "convex-surface-multilayer": ["method", "method.between"],
    "ide-nmnist-if": ["network.padding", "data", "method.solver"],
    "ide-nmnist-lif": ["network.padding", "data", "method.solver", "method"],
    "spide-mnist-lenet": ["optimizer.lr", "trainer.batch_size"],
    "tsslbp-cifar10-cnn": ["network.dropout"],
    "tsslbp-cifar10-cnn-large": ["method", "optimizer", "trainer", "network.dropout"],
    "tsslbp-mnist-cnn": ["trainer.epochs"],
    "tsslbp-nmnist-cnn-t30": ["data"],
    "tsslbp-nmnist-cnn-t100": ["data", "method.desired_count", "method.undesired_count"],
}


@pytest.mark.parametrize("name", presets.names())
def test_departures_from_the_published_experiment_are_named(name):
    config = load_config(presets.load(name))
    named = [field for departure in config.published.departures for field in departure.partition(": ")[0].split(", ")]
    assert named == DEPARTURES.get(name, [])
    for field in named:  # each is one of the configuration
        place = config.to_dict()
        for key in field.split("."):
            place = place[key]


@pytest.mark.parametrize("name", [name for name in presets.names() if name.startswith(("local", "convex-", "bptt-"))])
def test_experiments_of_our_own_or_without_a_known_figure_show_none(name):
    published = load_config(presets.load(name)).published
    assert (published.mean, published.std, published.best) == (None, None, None), "no such network was published, or no figure of it is known"


@pytest.mark.parametrize("name", [*PUBLISHED, "tsslbp-digits"])
def test_bptt_twin_trains_the_same_network_on_the_same_data(name):
    config, twin = (load_config(presets.load(preset)) for preset in (name, name.replace("tsslbp", "bptt")))
    assert twin.method.name == "bptt"
    assert twin.network.layers == config.network.layers
    assert twin.network.padding == config.network.padding
    assert (twin.data, twin.network.time_steps, twin.trainer) == (config.data, config.network.time_steps, config.trainer)


@pytest.mark.parametrize("name", [name for name in presets.names() if name.startswith(("tsslbp-", "bptt-"))])
def test_network_can_be_built(name):
    config = load_config(presets.load(name))
    method = methods.get(config.method.name)
    with torch.device("meta"):  # shapes without memory: the largest network has 46 million weights
        network = method.build(method, config, INPUT_SHAPES[config.data.name])
    assert list(network.parameters())[-1].shape[0] == OUTPUTS.get(config.data.name, 10)


LAYERWISE = ("ell-", "fell-", "bell-", "localce-", "localcorr-", "localcecorr-", "convex-")


@pytest.mark.parametrize("name", [name for name in presets.names() if name.startswith(LAYERWISE)])
def test_layers_that_learn_alone_take_a_step(name):
    """On two random samples, and for two time steps: the largest networks have 21 million weights."""
    config = load_config(presets.load(name))
    if config.method.name != "convex":
        config.network.time_steps = 2
    torch.manual_seed(0)
    is_surface = config.data.name in ("surfaces", "paraboloid")
    heights = 1 if config.data.name == "paraboloid" else 2
    shape, outputs = ((2,), heights) if is_surface else (INPUT_SHAPES[config.data.name], 10)
    method = methods.get(config.method.name)(config, shape, outputs, torch.device("cpu"))
    inputs, labels = torch.randn(2, *shape), torch.rand(2, heights) if is_surface else torch.tensor([3, 1])
    before = [parameter.detach().clone() for parameter in method.network.parameters()]
    assert method.start_epoch(1) > 0
    assert method.training_step(inputs, labels, 2).loss.isfinite()
    assert any(not torch.equal(parameter, old) for parameter, old in zip(method.network.parameters(), before))
    scores = method.scores(inputs)
    assert scores.shape == (2, outputs) and scores.isfinite().all()


def test_nmnist_network_has_the_published_shapes():
    config = load_config(presets.load("tsslbp-nmnist-cnn-t30"))
    network = methods.get("tssl_bp").build(None, config, (2, 34, 34))
    assert [tuple(p.shape) for p in network.parameters()] == [(12, 2, 5, 5), (64, 12, 5, 5), (10, 2304)]


def test_list_shows_every_preset_with_its_published_figure(cli):
    status, lines, _ = cli("list")
    assert status == 0
    assert {line.split()[0] for line in lines[2:] + lines[1:2]} == set(presets.names())
    (mnist,) = (line for line in lines if line.startswith("tsslbp-mnist-cnn"))
    assert "99.50" in mnist and "99.53" in mnist


def test_list_shows_departures_beside_the_figure(cli):
    _, lines, _ = cli("list", "--method", "spide", "--dataset", "mnist")
    (lenet,) = (line for line in lines if line.startswith("spide-mnist-lenet"))
    assert lenet.endswith("100 backward; published optimizer.lr: 0.1; published trainer.batch_size: 128")


def test_list_filters(cli):
    _, lines, _ = cli("list", "--method", "bptt", "--dataset", "digits")
    assert [line.split()[0] for line in lines[1:]] == ["bptt-digits"]


def test_unknown_preset_names_the_nearest(assert_error):
    assert_error("Did you mean 'tsslbp-mnist-cnn'", "train", "tsslbp-mnist-cn")
