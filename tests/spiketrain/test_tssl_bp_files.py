"""TSSL-BP's own configuration files: the five published experiments are those of the presets; what cannot be expressed is named."""

import argparse
import copy

import pytest
import yaml

from spiketrain import presets
from spiketrain.cli.raw_config import raw_config
from spiketrain.config import read_yaml
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.presets import tssl_bp_files

SETTINGS = {
    **{
        "epochs": 100,
        "batch_size": 50,
        "n_steps": 5,
        "dataset": "MNIST",
        "rule": "TSSLBP",
        "data_path": "../../datasets/mnist",
        "lr": 0.0005,
    },
    **{"loss": "kernel", "n_class": 10, "desired_count": 4, "undesired_count": 1, "tau_m": 5, "tau_s": 3, "model": "LIF"},
}


def conv(before, channels, kernel, padding, scale=1):
    shape = {"in_channels": before, "out_channels": channels, "kernel_size": kernel}
    return {"type": "conv", **shape, "weight_scale": scale, "padding": padding, "threshold": 1}


def pooling(threshold=1):
    return {"type": "pooling", "kernel_size": 2, "threshold": threshold}


def linear(before, units):
    return {"type": "linear", "n_inputs": before, "n_outputs": units, "weight_scale": 1, "threshold": 1}


def dropout():
    return {"type": "dropout", "p": 0.2}


def named(*layers):
    return {f"layer_{i}": layer for i, layer in enumerate(layers, start=1)}


# Settings that differ from those above, and layers, of the five published files; the preset of the same experiment.
FILES = {
    "MNIST_CNN": (
        {"epochs": 200},
        [conv(1, 15, 5, 0), pooling(), conv(15, 40, 5, 0), pooling(), linear(640, 300), linear(300, 10)],
        "tsslbp-mnist-cnn",
    ),
    "FashionMNIST_CNN": (
        {"dataset": "FashionMNIST"},
        [conv(1, 32, 5, 2), pooling(), conv(32, 64, 5, 2), pooling(), linear(3136, 1024), linear(1024, 10)],
        "tsslbp-fashion-cnn",
    ),
    "FashionMNIST_400_400": (
        {"dataset": "FashionMNIST", "batch_size": 100, "desired_count": 5},
        [linear(784, 400), linear(400, 400), linear(400, 10)],
        "tsslbp-fashion-mlp",
    ),
    "NMNIST_CNN": (
        {
            "dataset": "NMNIST_Spiking",
            "n_steps": 30,
            "loss": "count",
            "desired_count": 15,
            "undesired_count": 3,
            "tau_m": 8,
            "tau_s": 4,
        },
        [conv(2, 12, 5, 1), pooling(0.5), conv(12, 64, 5, 0), pooling(0.5), linear(2304, 10)],
        "tsslbp-nmnist-cnn-t30",
    ),
    "CIFAR10": (
        {"dataset": "CIFAR10", "epochs": 150, "lr": 0.0002, "desired_count": 5},
        [
            *(
                conv(3, 96, 3, 1, 5),
                dropout(),
                conv(96, 256, 3, 1, 5),
                pooling(0.5),
                dropout(),
                conv(256, 384, 3, 1, 5),
                pooling(0.5),
            ),
            *(dropout(), conv(384, 384, 3, 1, 5), dropout(), conv(384, 256, 3, 1, 5), dropout(), linear(16384, 1024), dropout()),
            *(linear(1024, 1024), dropout(), linear(1024, 10)),
        ],
        "tsslbp-cifar10-cnn",
    ),
}
# What a preset may say otherwise than the file, beside what it says that it departs in: where data lies, how much is tested at once.
FREE = {"data.root", "trainer.eval_batch_size"}


def content(name):
    changes, layers, _ = FILES[name]
    return {"Network": {**SETTINGS, **changes}, "Layers": named(*layers)}


def translated(raw, tmp_path):
    """As the command line reads it."""
    (tmp_path / "file.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return tssl_bp_files.translate(read_yaml(tmp_path / "file.yaml"))


@pytest.mark.parametrize("name", FILES)
def test_published_files_are_the_presets(name, tmp_path):
    ours = load_config(translated(content(name), tmp_path)).to_dict()
    preset = load_config(presets.load(FILES[name][2])).to_dict()
    free = FREE | {departure.partition(": ")[0] for departure in preset["departs"]}
    for section in ("seed", "data", "network", "method", "optimizer", "trainer"):
        if not isinstance(ours[section], dict):
            assert ours[section] == preset[section]
            continue
        for field, value in ours[section].items():
            # One padding for all convolutions may stand there once.
            expected = preset[section][field]
            assert value == expected or f"{section}.{field}" in free, f"{section}.{field}"
    assert ours["trainer"]["epochs"] == content(name)["Network"]["epochs"]
    assert ours["data"]["empty_last_step"] == (name == "NMNIST_CNN")
    assert (ours["network"]["dropout"], ours["network"]["dropout_kind"]) == ((0.2, "rows") if name == "CIFAR10" else (0, "units"))


def test_layers_that_differ_where_fields_can(tmp_path):
    raw = content("MNIST_CNN")
    raw["Layers"] = named(
        {**conv(1, 4, 5, 2, 1.5), "stride": [2, 2]}, {**pooling(), "theta": 1.2, "stride": 2}, {**conv(4, 6, [3, 3], 0, 1.5), "threshold": 2},
        {**linear(150, 10), "weight_scale": 0.5},
    )  # fmt: skip
    config = load_config(translated(raw, tmp_path))
    assert (config.network.layers, config.network.padding) == ("4C5s-P2-6C3-10", [2, 0])
    assert (config.network.conv_weight_scale, config.network.linear_weight_scale) == (1.5, 0.5)
    assert (config.method.threshold, config.method.pool_gain) == ([1, 2, 1], 1.2)


def put(*path):
    *places, name, value = path

    def apply(raw):
        for place in places:
            raw = raw[place]
        raw[name] = value

    return apply


def drop(*path):
    def apply(raw):
        for place in path[:-1]:
            raw = raw[place]
        del raw[path[-1]]

    return apply


L1, L2 = ("Layers", "layer_1"), ("Layers", "layer_2")
WRONG = {
    "unknown layer": (put(*L1, "type", "batchnorm"), "unknown layer in Layers.layer_1.type: 'batchnorm'"),
    "unknown key of a layer": (put(*L1, "groups", 2), "unknown key 'Layers.layer_1.groups'"),
    "unknown setting": (put("Network", "patience", 5), "unknown key 'Network.patience'"),
    "unknown section": (put("Extras", {}), "unknown section 'Extras'"),
    "no layers": (drop("Layers"), "Layers: expected a section of fields, got nothing"),
    "a layer of no fields": (put("Layers", "layer_1", 5), "Layers.layer_1: expected a section of fields, got 5"),
    "data path": (put("Network", "data_path", ["a"]), "Network.data_path: expected a value, got [a]"),
    "a huge number": (put(*L1, "out_channels", "9" * 4000), "Layers.layer_1.out_channels: expected an integer, got 999"),
    "kernel": (put(*L1, "kernel_size", 29), "Layers.layer_1: nothing is left of maps of 28 x 28"),
    "missing key": (drop(*L1, "threshold"), "Layers.layer_1.threshold: expected a value, got nothing"),
    "missing setting": (drop("Network", "tau_m"), "Network.tau_m: expected a value, got nothing"),
    "no number": (put(*L1, "out_channels", "many"), "Layers.layer_1.out_channels: expected an integer, got many"),
    "oblong kernel": (put(*L1, "kernel_size", [5, 3]), "Layers.layer_1.kernel_size: expected one number for both directions, got [5, 3]"),
    "dilation": (put(*L1, "dilation", 2), "Layers.layer_1: expected a stride of 1 or 2 and no dilation"),
    "stride": (put(*L1, "stride", 3), "Layers.layer_1: expected a stride of 1 or 2"),
    "overlapping pooling": (put(*L2, "stride", 1), "Layers.layer_2: expected windows that do not overlap"),
    "padded pooling": (put(*L2, "padding", 1), "Layers.layer_2: expected windows that do not overlap"),
    "weight scales": (put("Layers", "layer_3", "weight_scale", 2), "Layers.layer_3.weight_scale is 2, that of Layers.layer_1 1"),
    "thetas": (put("Layers", "layer_4", "theta", 1), "Layers.layer_4.theta is 1, that of Layers.layer_2 1.1"),
    "channels": (put("Layers", "layer_3", "in_channels", 16), "Layers.layer_3.in_channels is 16, the layer before has 15 outputs"),
    "inputs": (put("Layers", "layer_5", "n_inputs", 641), "Layers.layer_5.n_inputs is 641, the layer before has 640 outputs"),
    "classes": (put("Network", "n_class", 11), "Network.n_class is 11, the last layer has 10 units"),
    "rule": (put("Network", "rule", "BP"), "Network.rule: expected TSSLBP, got BP"),
    "data set": (put("Network", "dataset", "SVHN"), "Network.dataset: 'SVHN'"),
    "convolution after fully connected": (put("Layers", "more", conv(10, 2, 1, 0)), "Layers.more: conv cannot follow"),
    "one dropout": (put("Layers", "layer_5", dropout()), "dropout after every layer"),
    "dropout first": (lambda raw: raw.update(Layers={"d": dropout(), **raw["Layers"]}), "Layers.d: dropout has to follow a layer"),
    "pooling last": (lambda raw: [raw["Layers"].pop(f"layer_{i}") for i in (5, 6)], "Layers.layer_4: expected a linear layer as the last"),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG)
def test_what_cannot_be_expressed_is_named(fault, tmp_path, assert_error):
    spoil, message = WRONG[fault]
    raw = copy.deepcopy(content("MNIST_CNN"))
    if fault == "one dropout":
        raw["Layers"] = named(*list(raw["Layers"].values())[:4], dropout(), linear(640, 300), linear(300, 10))
    spoil(raw)
    (tmp_path / "wrong.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    assert_error(["wrong.yaml", message], "train", "--config", tmp_path / "wrong.yaml")


def test_dropout_rates_that_differ(tmp_path):
    raw = content("CIFAR10")
    raw["Layers"]["layer_5"]["p"] = 0.3
    with pytest.raises(UserError, match=r"Layers.layer_5.p is 0.3, that of Layers.layer_2 0.2"):
        translated(raw, tmp_path)


def test_a_file_over_a_preset_departs_in_nothing(tmp_path):
    """What the preset says of itself is not said of the file."""
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(content("MNIST_CNN"), sort_keys=False))
    named = argparse.Namespace(preset="tsslbp-mnist-cnn", config=str(tmp_path / "net.yaml"))
    config = load_config(raw_config(named))
    assert presets.load("tsslbp-mnist-cnn")["departs"] and config.departs == []
    assert (config.trainer.epochs, config.published.mean) == (200, None)


def test_the_command_line_reads_them(tmp_path, cli, assert_error):
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(content("MNIST_CNN"), sort_keys=False))
    # Alone, and over a preset.
    for words in (("train",), ("train", "tsslbp-mnist-cnn")):
        status, _, errors = cli(*words, "--config", tmp_path / "net.yaml", "--data.root", tmp_path)
        assert status == 2 and "Network.data_path: there is no folder ../../datasets/mnist" in errors[0]
        assert len(errors) == 2 and "data set not found" in errors[1] and str(tmp_path / "MNIST") in errors[1]
    changed = content("MNIST_CNN") | {"Network": {**SETTINGS, "data_path": str(tmp_path)}}
    (tmp_path / "net.yaml").write_text(yaml.safe_dump(changed, sort_keys=False))
    assert_error(["data set not found", str(tmp_path / "MNIST")], "train", "--config", tmp_path / "net.yaml")
    assert_error(
        "net.yaml is a configuration of tssl_bp, the preset ide-mnist-lif one of ide",
        "train",
        "ide-mnist-lif",
        "--config",
        "net.yaml",
    )
    # A field on the command line is checked as in any other configuration.
    assert_error("field trainer.epochs", "train", "--config", tmp_path / "net.yaml", "--trainer.epochs", "soon")
