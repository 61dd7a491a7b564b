"""Typed configuration: presets, files and command line options, and what is refused."""

import pytest
import yaml

from spiketrain import methods, presets
from spiketrain.config import merge
from spiketrain.errors import UserError
from spiketrain.methods import load_config


def test_command_line_wins_over_file_wins_over_preset(tmp_path):
    raw = merge(presets.load("tsslbp-mnist-cnn"), {"trainer": {"epochs": 7, "batch_size": 9}})
    config = load_config(raw, ["--trainer.epochs", "3", "--method.tau_m=8", "--network.padding", "[1, 2]"])
    assert (config.trainer.epochs, config.trainer.batch_size) == (3, 9)
    assert (config.method.tau_m, config.method.tau_s) == (8.0, 3.0)
    assert config.network.padding == [1, 2]


@pytest.mark.parametrize("preset", presets.names())
def test_a_saved_configuration_is_the_same_configuration(preset):
    config = load_config(presets.load(preset))
    assert load_config(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"trainer": {"epoch": 3}}, ["trainer.epoch", "Did you mean 'trainer.epochs'"]),
        ({"trainers": {"epochs": 3}}, ["trainers", "Did you mean 'trainer"]),
        ({"trainer": {"epochs": "many"}}, ["trainer.epochs", "int", "many"]),
        ({"trainer": {"epochs": 1.5}}, ["trainer.epochs", "1.5"]),
        ({"method": {"loss": "kernal"}}, ["method.loss", "kernal"]),
        ({"method": {"name": "tssl_pb"}}, ["method", "Did you mean 'tssl_bp'"]),
        ({"method": {"decay": 0.5}}, ["method.decay"]),
        ({"trainer": {"batch_size": 0}}, ["trainer.batch_size", "above 0"]),
        ({"network": {"dropout": 1.0}}, ["network.dropout"]),
        ({"optimizer": {"lr": -1.0}}, ["optimizer.lr"]),
    ],
)
def test_wrong_fields_are_named(changes, words):
    with pytest.raises(UserError) as error:
        load_config(merge(presets.load("tsslbp-digits"), changes))
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("option", ["--trainer.epoch", "--method.tau", "--unknown"])
def test_wrong_options_are_named(option):
    with pytest.raises(UserError, match=option.removeprefix("--")):
        load_config(presets.load("tsslbp-digits"), [option, "3"])


def test_each_method_is_found_by_its_name():
    for name in methods.names():
        assert methods.get(name).Options().name == name


def test_scripts_find_load_config_where_it_lay_before():
    from spiketrain import config, methods

    assert config.load_config is methods.load_config
    with pytest.raises(ImportError, match="load_configuration"):
        from spiketrain.config import load_configuration  # noqa: F401


def test_departures_of_older_runs_are_read():
    """In their configurations they stand among the published figures."""
    old = merge(presets.load("ell-mnist-dnn"), {"published": {"departures": ["trainer.epochs: 200"]}})
    assert load_config(old).departs == ["trainer.epochs: 200"]
