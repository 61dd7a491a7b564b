"""The presets: every field against one table of the published experiments; which may show a figure; networks and steps of all."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from preset_table import PRESETS, UNKNOWN

from spiketrain import methods, presets
from spiketrain.methods import load_config

INPUT_SHAPES = {
    "digits": (1, 8, 8),
    "mnist": (1, 28, 28),
    "fashion_mnist": (1, 28, 28),
    "cifar10": (3, 32, 32),
    "svhn": (3, 32, 32),
    "nmnist": (2, 34, 34),
    "shd": (1, 1, 700),
    "ssc": (1, 1, 700),
    "dvs-gesture": (2, 32, 32),
}
OUTPUTS = {"shd": 20, "ssc": 35, "dvs-gesture": 11}  # of other data sets 10


TSSL_BP = [name for name in PRESETS if name.startswith("tsslbp-")]


def flat(config):
    """Fields by their dotted names."""
    named = {}
    for name, value in config.to_dict().items():
        named |= {f"{name}.{key}": item for key, item in value.items()} if isinstance(value, dict) else {name: value}
    return named


def test_the_table_has_a_row_for_every_preset():
    assert set(PRESETS) == set(presets.names())


@pytest.mark.parametrize("name", presets.names())
def test_every_field_is_that_of_the_table(name):
    """What is shown: field, (value of the preset, value in the table). A value that changes, also by a default, changes in both."""
    found, expected = flat(load_config(presets.load(name))), PRESETS[name].expected()
    assert found.pop("preset") == name
    found.pop("departs")
    assert found.keys() == expected.keys(), "a field without a value in the table, or the reverse"
    assert not {field: (value, expected[field]) for field, value in found.items() if value != expected[field]}


@pytest.mark.parametrize("name", presets.names())
def test_departures_from_the_published_experiment_are_named(name):
    """All of them and no others, each by its field, or by the section of what no field expresses; with the published value."""
    config = load_config(presets.load(name))
    row = PRESETS[name]
    texts = {}
    for departure in config.departs:
        names, _, text = departure.partition(": ")
        assert text and not texts.keys() & set(names.split(", ")), f"{departure!r} says nothing, or a field is named twice"
        texts |= dict.fromkeys(names.split(", "), text)
    assert set(texts) == row.departs()
    for field, text in texts.items():
        published = row.published[field]
        if field not in flat(config):
            assert field in config.to_dict(), f"{field} is neither a field nor a section"
        elif published is UNKNOWN:
            assert "not published" in text, f"{field}: {text}"
        else:
            shown = f"{published:g}" if isinstance(published, (int, float)) else str(published)
            assert shown in text, f"{field}: {text!r} does not say that it is {shown} in the published experiment"


@pytest.mark.parametrize("name", [name for name in presets.names() if name.startswith(("local", "convex-", "bptt-"))])
def test_experiments_of_our_own_or_without_a_known_figure_show_none(name):
    published = load_config(presets.load(name)).published
    assert (published.mean, published.std, published.best) == (None, None, None), "no such network was published, or no figure of it is known"


@pytest.mark.parametrize("name", TSSL_BP)
def test_bptt_twin_trains_the_same_network_on_the_same_data(name):
    config, twin = (load_config(presets.load(preset)) for preset in (name, name.replace("tsslbp", "bptt")))
    assert twin.method.name == "bptt"
    scales = {"conv_weight_scale": 1, "linear_weight_scale": 1}
    assert replace(twin.network, **scales) == replace(config.network, **scales)
    assert (twin.data, twin.trainer) == (config.data, config.trainer)


# Weights of the published networks.
WEIGHTS = {
    "mnist-cnn": 210_375,
    "nmnist-cnn-t30": 42_840,
    "nmnist-cnn-t100": 42_840,
    "fashion-mlp": 477_600,
    "fashion-cnn": 3_273_504,
    "cifar10-cnn": 21_156_384,
    "cifar10-cnn-large": 44_999_040,
    "cifar10-sewresnet18": 11_173_962,
    "cifar10-spikformer": 9_324_730,
}


@pytest.mark.parametrize("name", [name for name in presets.names() if name.startswith(("tsslbp-", "bptt-"))])
def test_network_can_be_built(name):
    config = load_config(presets.load(name))
    method = methods.get(config.method.name)
    outputs = OUTPUTS.get(config.data.name, 10)
    with torch.device("meta"):  # shapes without memory: the largest network has 46 million weights
        network = method.build(SimpleNamespace(classes=outputs), config, INPUT_SHAPES[config.data.name])
    assert network.outputs == outputs
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert weights == WEIGHTS.get(name.partition("-")[2], weights)


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


def test_list_shows_departures(cli):
    """Below its preset, each; without -v only that there are some."""
    _, lines, _ = cli("list")
    departing = {line.split()[0] for line in lines if line.endswith("; departs from the published experiment")}
    assert departing == {name for name in presets.names() if presets.load(name).get("departs")} != set()
    for option in ("-v", "--verbose"):
        _, lines, _ = cli("list", option, "--method", "spide", "--dataset", "mnist")
        fast = next(i for i, line in enumerate(lines) if line.startswith("spide-mnist-lenet-fast"))
        assert lines[fast + 1 :] == ["    departs: optimizer.lr: 0.1", "    departs: trainer.batch_size: 128"]
    _, lines, _ = cli("list", "-v")
    shown, last = {}, ""
    for line in lines[1:]:
        if line.startswith("    departs: "):
            shown[last].append(line.removeprefix("    departs: "))
        else:
            last = line.split()[0]
            shown[last] = []
    assert shown == {name: presets.load(name).get("departs", []) for name in presets.names()}


def test_list_filters(cli):
    _, lines, _ = cli("list", "--method", "bptt", "--dataset", "digits")
    assert [line.split()[0] for line in lines[1:]] == ["bptt-digits"]


def test_unknown_preset_names_the_nearest(assert_error):
    assert_error("Did you mean 'tsslbp-mnist-cnn'", "train", "tsslbp-mnist-cn")
