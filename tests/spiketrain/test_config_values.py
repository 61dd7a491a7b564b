"""The command line, a YAML file and a program give the same values; paths, names and options with spaces."""

import pytest

from spiketrain import methods, presets
from spiketrain.config import read_yaml
from spiketrain.config.help import fields_help
from spiketrain.config.parser import schema
from spiketrain.errors import UserError
from spiketrain.methods import load_config

BPTT = {"method": {"name": "bptt"}}
# A field, what a user writes, what it means.
WRITTEN = [
    ("network.layers", "10", "10"), ("network.layers", "010", "010"), ("network.layers", "1_0", "1_0"), ("network.feedback", "40", "40"),
    ("trainer.progress", "off", "off"), ("trainer.progress", "on", "on"), ("trainer.out", "7", "7"), ("trainer.out", "7.50", "7.50"),
    ("trainer.out", "2024-01-01", "2024-01-01"), ("trainer.out", "off", "off"), ("trainer.out", "null", None), ("data.root", "~", None),
    ("about", "yes", "yes"), ("optimizer.lr", "1e-3", 1e-3), ("optimizer.lr", "1", 1.0), ("optimizer.lr", ".5", 0.5), ("seed", "007", 7),
    ("data.download", "yes", True), ("data.download", "Off", False), ("data.download", "TRUE", True), ("seed", "18446744073709551615", 2**64 - 1),
    ("network.padding", "[1, 2]", [1, 2]), ("network.padding", "2", 2), ("network.dropout", "[0, 0.5]", [0.0, 0.5]),
    ("optimizer.betas", "[0.8, 0.9]", (0.8, 0.9)), ("optimizer.milestones", "[]", []), ("data.mean", "[0.1307]", [0.1307]),
    ("trainer.checkpoint_minutes", "0.5", 0.5),
]  # fmt: skip


def value_of(config, name):
    for part in name.split("."):
        config = getattr(config, part)
    return config


@pytest.mark.parametrize("name, text, meant", WRITTEN)
def test_file_and_command_line_mean_the_same(tmp_path, name, text, meant):
    section, _, key = name.rpartition(".")
    (tmp_path / "a.yaml").write_text(f"method: {{name: bptt}}\n{section}:\n  {key}: {text}\n" if section else f"method: {{name: bptt}}\n{key}: {text}\n")
    for config in (load_config(read_yaml(tmp_path / "a.yaml")), load_config(BPTT, [f"--{name}", text]), load_config(BPTT, [f"--{name}={text}"])):
        found = value_of(config, name)
        assert found == meant and type(found) is type(meant)
    assert value_of(load_config({**BPTT, section: {key: meant}} if section else {**BPTT, key: meant}), name) == meant


def test_a_program_gives_what_yaml_makes_of_words():
    """`yaml.safe_load` reads 10 as a number and off as a truth value."""
    config = load_config({**BPTT, "network": {"layers": 10}, "trainer": {"progress": False, "out": 7}})
    assert (config.network.layers, config.trainer.progress, config.trainer.out) == ("10", "off", "7")


@pytest.mark.parametrize("name, text", [("seed", "1.0"), ("seed", "1e3"), ("seed", "0x10"), ("seed", "-1"), ("seed", str(2**64)),
    ("trainer.epochs", "true"), ("optimizer.lr", "nan"), ("optimizer.lr", "inf"), ("optimizer.lr", "1e19"), ("data.download", "1"),
    ("data.download", "maybe"), ("trainer.threads", "2000000"), ("network.time_steps", "1000000000"), ("optimizer.betas", "0.9"),
    ("optimizer.betas", "[0.9]"), ("optimizer.betas", "[0.9, 1.0]"), ("optimizer.milestones", "3"), ("network.padding", "[1, x]"),
    ("network.dropout", "1.0"), ("optimizer.momentum", "1.5"), ("data.std", "[0]"), ("data.bin_ms", "0"), ("method.decay", "1.5"),
    ("optimizer.lr", "null"), ("data.image_size", "0"), ("optimizer.name", "AdamW"), ("seed", "\u0663")])  # fmt: skip
def test_values_out_of_bounds_are_refused_where_they_are_not_used_too(name, text):
    with pytest.raises(UserError, match=f"field {name}: expected .*, got "):
        load_config(BPTT, [f"--{name}", text])


def test_home_is_expanded_in_every_path(monkeypatch, tmp_path, cli):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    config = load_config({**BPTT, "data": {"root": "~/data"}}, ["--trainer.out=~/my runs"])
    assert (config.data.root, config.trainer.out) == (f"{tmp_path}/home/data", f"{tmp_path}/home/my runs")
    for name in ("data.root", "trainer.out"):
        with pytest.raises(UserError, match=f"field {name}: .*no such home folder"):
            load_config(BPTT, [f"--{name}", "~nobody-of-that-name/x"])
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "c.yaml").write_text("trainer: {epochs: 0}")
    assert "trainer.epochs" in cli("train", "bptt-digits", "--config=~/c.yaml")[2][0]
    assert "home/none is no run directory" in cli("eval", "~/none")[2][0]


@pytest.mark.parametrize("name", ["tssl_bp", "tsslbp", "tssl-bp", "TSSLBP", "TSSL_BP"])
def test_a_method_is_found_as_presets_write_it(name, cli):
    assert load_config({"method": {"name": name}}).method.name == "tssl_bp"
    assert load_config(BPTT, ["--method.name", name]).method.name == "tssl_bp"
    assert {line.split()[1] for line in cli("list", "--method", name)[1][1:]} == {"tssl_bp"}


def test_every_prefix_of_a_preset_is_a_name_of_its_method():
    for preset in presets.names():
        assert methods.get(preset.partition("-")[0]) is methods.get(presets.load(preset)["method"]["name"])


def test_typing_errors_name_the_nearest(assert_error):
    assert_error("Did you mean 'tssl_bp'", "list", "--method", "tslbp")
    assert_error("Did you mean 'mnist'", "list", "--dataset", "minst")
    assert_error("Did you mean 'trainer.epochs'", "train", "bptt-digits", "--trainer.epoch", 3)
    assert_error("tsslbp-", "train", "tsslbp")
    assert_error("Did you mean 'bptt-digits'", "train", "bptt-digit")


def test_values_with_spaces_and_options_anywhere():
    from spiketrain.cli.arguments import split_fields

    out = ["--trainer.out", "my runs/first"]
    for words in (["train", *out, "preset"], ["train", "preset", *out], [*out, "train", "preset"]):
        assert split_fields(words) == (["train", "preset"], out)
    assert split_fields(["train", "--trainer.out=my runs/first", "--config", "my runs/c.yaml"]) == (
        ["train", "--config", "my runs/c.yaml"],
        ["--trainer.out=my runs/first"],
    )
    assert split_fields(["resume", "my run", "--optimizer.lr", "-1"]) == (["resume", "my run"], ["--optimizer.lr", "-1"])


def test_command_lines_that_are_none(assert_error):
    assert_error("expected a value", "train", "bptt-digits", "--trainer.out")
    assert_error("unrecognized arguments: two", "train", "bptt-digits", "two")
    assert_error("unrecognized arguments: --trainer.epochs 3", "list", "--trainer.epochs", 3)
    assert_error("invalid choice", "teach", "bptt-digits")
    assert_error("COMMAND")
    assert_error("RUN_DIR", "eval")
    assert_error("section data", "train", "bptt-digits", "--data", "mnist")


@pytest.mark.parametrize("words", [["train", "--help"], ["bench", "--help"], ["train", "-h", "--method.name", "spide"], ["train", "spide-digits", "-h"]])
def test_help_needs_no_preset(cli, words):
    status, lines, _ = cli(*words)
    text = "\n".join(lines)
    assert status == 0 and "--trainer.checkpoint_minutes" in text and "--seed" in text
    assert ("--method.norm_range" in text) == ("spide" in " ".join(words))
    assert all(name in text for name in methods.names()) or "spide" in " ".join(words)


@pytest.mark.parametrize("method", methods.names())
def test_help_describes_every_field(method):
    options = methods.get(method).Options
    assert all(field.text for field in schema(options).values()), "a field is missing from the docstring of its dataclass"
    assert all(f"--{name}\n" in fields_help(options) for name in schema(options))


def test_version(cli, capsys):
    import spikeops
    from spiketrain.cli import main

    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0 and capsys.readouterr().out.startswith(f"spiketrain {spikeops.__version__} (torch ")
