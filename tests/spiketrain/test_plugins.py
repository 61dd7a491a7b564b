"""Code from outside is imported where the command line names it or a package that brings it is installed, and never because a file does."""

import json
import os
import shutil
import sys

import pytest
import torch
import yaml
from own_code import SMALL

from spiketrain import plugins
from spiketrain.cli import arguments
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.training import checkpoint

METHOD = """
    from dataclasses import dataclass
    from spiketrain.methods import bptt

    @dataclass
    class Options(bptt.Options):
        name: str = "marked"

    class Marked(bptt.BPTT):
        Options = Options
"""
NETWORK = """
    import torch
    from spikeops import nn as snn

    def network(config, input_shape, classes, neuron):
        flat = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 12))
        return torch.nn.Sequential(snn.TimeDistributed(flat), neuron((12,)), torch.nn.Linear(12, classes))
"""
DATA = """
    from spiketrain.data import digits

    def load(name, root, config):
        return digits.load("digits", root, config)
"""
# What names the module, in a file's words and on a command line.
KINDS = {
    "method": (METHOD, {"method": {"name": "marked:Marked"}}, ("--method.name", "marked:Marked")),
    "network": (NETWORK, {"network": {"model": "marked:network", "time_steps": 3}}, ("--network.model", "marked:network")),
    "data": (DATA, {"data": {"name": "marked:load"}}, ("--data.name", "marked:load")),
}


def raw_of(kind):
    raw = {**SMALL, **KINDS[kind][1]}
    return raw


@pytest.fixture(params=KINDS)
def run(request, own_code, cli, tmp_path):
    """(a run that names a module, the configuration as a file in a folder of presets, the kind); the module is not imported yet."""
    kind = request.param
    own_code.write("marked", KINDS[kind][0], marks=True)
    (tmp_path / "presets").mkdir()
    config = tmp_path / "presets" / "marked-preset.yaml"
    config.write_text(yaml.safe_dump({key: value for key, value in raw_of(kind).items() if key != "preset"}))
    status, _, errors = cli("train", "--config", config, "--trainer.out", tmp_path / "run", "--plugin", "marked")
    assert (status, errors) == (0, []) and own_code.mark("marked").exists()
    own_code.unmark()
    yield tmp_path / "run", config, kind
    assert own_code.folder == tmp_path


def commands(run, config, folder):
    """Every command by its name: words with which a file, and nothing else, names the module."""
    presets = ("--presets", folder / "presets")
    places = folder / "out"
    (places / "small").mkdir(parents=True)
    shutil.copytree(run, places / "small" / "seed-1")
    return {
        "train": [("--config", config), ("bptt-digits", "--config", config), ("marked-preset", *presets), ("--config", config, "--help")],
        "bench": [("--config", config), ("marked-preset", *presets)],
        "import": [(run, "--config", config), (run / "best.ckpt", "--preset", "marked-preset", *presets)],
        "reproduce": [("marked-preset", *presets, "--seeds", "1", "--out", folder / "none"), ("--config", config, "--seeds", "1", "--out", places)],
        "resume": [(run,), (run, "--trainer.epochs", "2")],
        "eval": [(run,), (run, "--data.root", folder)],
        "rates": [(run,)],
        "plot": [(run,)],
        "predict": [(run, folder)],
        "export": [(run, "--format", "state_dict", "--out", folder / "exported")],
        "report": [(run, "--out", folder / "report.html")],
        "compare": [(run,), (run, "--energy")],
        "sweep": [("marked-preset", *presets, "--over", "optimizer.lr=0.1,0.2", "--seeds", "1", "--out", folder / "swept")],
    }


def test_no_command_imports_what_a_file_names(run, own_code, cli, tmp_path):
    folder, config, kind = run
    tried = commands(folder, config, tmp_path)
    assert tried.keys() == set(arguments.WITH_FIELDS)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for command, calls in tried.items():
        for words in calls:
            status, _, errors = cli(command, *words)
            where = f"{command} {words}: {errors}"
            if kind != "method" and (words[-1] == "--help" or command in ("reproduce", "sweep")):
                # Help says what fields there are. Of a network or a data set the process of each run finds out.
                assert "marked" not in sys.modules, where
                continue
            if kind != "method" and command == "report":
                # Of what the run has written down; the page says what could not be measured.
                assert status == 0 and "marked" not in sys.modules, where
                assert "add --plugin marked" in words[-1].read_text(), where
                continue
            if kind != "method" and command == "compare":
                # The same: a table of what is written down, and a note.
                assert status == 0 and "marked" not in sys.modules, where
                assert "--energy" not in words or "add --plugin marked" in errors[-1], where
                continue
            if kind == "data" and command in ("predict", "export"):
                # What they must know of the data is in the checkpoint.
                assert "marked" not in sys.modules and "--plugin" not in " ".join(errors), where
                continue
            assert status == 2 and len(errors) == 1 and len(errors[0]) <= 300, where
            assert "add --plugin marked" in errors[0] and KINDS[kind][2][1] in errors[0], where
    assert "marked" not in sys.modules and not own_code.mark("marked").exists()
    assert not (tmp_path / "runs").exists()
    assert {path: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_lists_and_tables_import_nothing(run, own_code, cli, tmp_path):
    folder, config, kind = run
    commands(folder, config, tmp_path)
    status, lines, errors = cli("list", "--presets", tmp_path / "presets", "--verbose")
    assert (status, errors) == (0, []) and any(line.startswith("marked-preset ") for line in lines)
    cli("reproduce", "--table-only", "--out", tmp_path / "out")
    assert cli("cache")[0] == 0
    assert "marked" not in sys.modules and not own_code.mark("marked").exists()


def test_an_edited_copy_of_the_configuration_imports_nothing(own_code, cli, tmp_path):
    """config.yaml is a copy for people; what `resume` reads in it is a file's word, too."""
    own_code.write("marked", METHOD, marks=True)
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    assert cli("train", "--config", tmp_path / "small.yaml", "--trainer.out", tmp_path / "run")[0] == 0
    copy = tmp_path / "run" / "config.yaml"
    copy.write_text(copy.read_text().replace("name: bptt", "name: marked:Marked"))
    status, _, errors = cli("resume", tmp_path / "run")
    assert status == 0 and "config.yaml is not used" in errors[0]
    assert "marked" not in sys.modules and not own_code.mark("marked").exists()


def test_the_command_line_is_consent_and_a_run_goes_on_with_it(run, cli):
    folder, config, kind = run
    for command in ("eval", "rates"):
        assert cli(command, folder, "--plugin", "marked")[0] == 0
    status, lines, errors = cli("resume", folder, "--plugin=marked", "--trainer.epochs", "2")
    assert (status, errors) == (0, []) and "epoch" in lines[-1]
    content = checkpoint.load(folder / "last.ckpt")
    assert content["epoch"] == 2
    section, field = KINDS[kind][2][0].removeprefix("--").split(".")
    assert content["config"][section][field] == KINDS[kind][2][1]


def test_naming_it_in_a_field_is_consent(own_code, cli, tmp_path):
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(SMALL))
    for kind, (text, _, option) in KINDS.items():
        own_code.write("marked", text, marks=True)
        out = tmp_path / kind
        status, _, errors = cli("train", "--config", tmp_path / "small.yaml", *option, "--trainer.out", out)
        assert (status, errors) == (0, []) and own_code.mark("marked").exists()
        own_code.unmark()
        status, _, errors = cli("eval", out)
        assert status == 2 and "--plugin marked" in errors[0] and not own_code.mark("marked").exists()


def test_consent_is_for_one_module_and_one_command(own_code, tmp_path, assert_error, cli):
    own_code.write("pack.marked", METHOD, marks=True)
    own_code.write("pack.__init__", "")
    (tmp_path / "a.yaml").write_text(yaml.safe_dump({**SMALL, "method": {"name": "pack.marked:Marked"}}))
    assert_error("add --plugin pack.marked", "train", "--config", tmp_path / "a.yaml", "--plugin", "pack")
    assert not own_code.mark("pack.marked").exists()
    assert cli("train", "--config", tmp_path / "a.yaml", "--plugin", "pack.marked", "--trainer.out", tmp_path / "run")[0] == 0
    assert_error("add --plugin pack.marked", "eval", tmp_path / "run")  # though the module is loaded by now


@pytest.mark.parametrize("name", ["os:system", "subprocess:run", "builtins:exec", "torch:load", "spiketrain.methods.bptt:BPTT"])
def test_modules_that_are_loaded_anyway_need_consent_as_well(name):
    for raw in ({"method": {"name": name}}, {"method": {"name": "bptt"}, "network": {"model": name}}, {"method": {"name": "bptt"}, "data": {"name": name}}):
        with pytest.raises(UserError, match="--plugin"):
            config = load_config(raw)
            from spiketrain.training.trainer import Trainer

            Trainer(config)


def test_programs_say_what_is_allowed(own_code):
    own_code.write("marked", METHOD)
    raw = {"method": {"name": "marked:Marked"}}
    with pytest.raises(UserError, match="--plugin marked"):
        load_config(raw, ["--method.name", "marked:Marked"])
    with plugins.allowed(["marked"]):
        assert load_config(raw).method.name == "marked:Marked"
    with pytest.raises(UserError, match="--plugin marked"):
        load_config(raw)


@pytest.mark.parametrize("text, words", [
    ("import no_such_package_of_anyone", ["cannot import own", "No module named 'no_such_package_of_anyone'", "(own.py, line 1)"]),
    ("x = 1\n1 / 0", ["ZeroDivisionError", "(own.py, line 2)"]),
    ("def f(:", ["SyntaxError"]),
    ("import sys\nsys.exit('bye')", ["SystemExit: bye", "(own.py, line 2)"]),
    ("raise ValueError('x' * 5000)", ["ValueError: xxx"]),
    ("class Netwrk: pass", ["unknown name in own 'Network'", "Did you mean 'Netwrk'?"]),
    ("Network = 3", ["method own:Network: expected a subclass of", "got 3"]),
    ("def __getattr__(name): raise ValueError(name)", ["own:Network: ValueError: Network (own.py, line 1)"]),
    ("class Odd(Exception):\n def __str__(self): return 1 / 0\nraise Odd", ["cannot import own: Odd (own.py, line 3)"]),
])  # fmt: skip
def test_faults_of_a_module_are_one_line(own_code, assert_error, cli, text, words):
    own_code.write("own", text)
    assert_error(words, "train", "bptt-digits", "--method.name", "own:Network")
    assert len(cli("train", "bptt-digits", "--method.name", "own:Network")[2][0]) <= 320
    assert not (own_code.folder / "runs").exists()


@pytest.mark.parametrize("option, word", [
    ("--plugin=no_such_module_of_anyone", "there is no module no_such_module_of_anyone"),
    ("--plugin=no_such.module", "there is no module no_such.module"),
    ("--plugin=../up", "such as package.module, got ../up"),
    ("--plugin=", "such as package.module"),
    ("--plugin=a b", "such as package.module"),
    ("--plugin=own:f", "such as package.module, got own:f"),
    ("--method.name=:f", "expected package.module:name"),
    ("--method.name=own:", "expected package.module:name"),
    ("--method.name=own:f:g", "expected package.module:name"),
    ("--method.name=no_such_module_of_anyone:f", "there is no module no_such_module_of_anyone"),
    ("--network.model=nothing-of-that-name", "unknown network 'nothing-of-that-name'"),
    ("--data.name=nothing-of-that-name", "unknown data set 'nothing-of-that-name'"),
    ("--presets=nowhere", "--presets: cannot read the folder nowhere"),
])  # fmt: skip
def test_wrong_names_are_one_line(assert_error, option, word):
    assert_error(word, "train", "bptt-digits", option)


@pytest.mark.parametrize("name, words", [
    ("os:__builtins__.eval", "unknown name in os.__builtins__ 'eval'. There are none."),
    ("os:path.dirnam", "unknown name in os.path 'dirnam'. Did you mean 'dirname'?"),
    ("os:sep.x.y", "unknown name in os.sep 'x'. There are none."),
])  # fmt: skip
def test_a_name_within_a_name_is_looked_for_where_it_is(assert_error, name, words):
    assert_error(words, "train", "bptt-digits", "--network.model", name)


def test_errors_of_ours_are_not_called_errors_of_others(own_code, monkeypatch):
    own_code.write("marked", NETWORK)
    monkeypatch.setattr("spiketrain.cli.commands.begin_to_compute", json.loads)
    from spiketrain.cli.program import main

    with pytest.raises(TypeError, match="must be str"):
        main(["bench", "bptt-digits", "--plugin", "marked"])


def test_an_installed_module_comes_before_one_in_the_working_folder(own_code, assert_error):
    """A file in the folder of somebody else's run cannot take the place of a package."""
    own_code.write("json", "open('taken', 'w').close()")
    own_code.names.discard("json")
    assert_error("unknown name in json", "train", "bptt-digits", "--method.name", "json:Method")
    assert not (own_code.folder / "taken").exists()


def test_installed_packages_are_found_by_name(own_code, cli, tmp_path):
    site = own_code.install("own-pack", methods={"own-method": "marked:Marked", "bptt": "taken:X"}, networks={"own-net": "marked_net:network"},
                            datasets={"own-set": "marked_data:load"})  # fmt: skip
    for name, (text, _, _) in zip(("marked", "marked_net", "marked_data"), KINDS.values()):
        own_code.write(name, text)
        shutil.move(own_code.folder / f"{name}.py", site)
    raw = {**SMALL, "network": {"model": "own-net", "time_steps": 3}, "data": {"name": "own-set"}, "method": {"name": "own_method"}}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(raw))
    status, _, errors = cli("train", "--config", tmp_path / "a.yaml", "--trainer.out", tmp_path / "run")
    assert (status, errors) == (0, [])
    assert checkpoint.load(tmp_path / "run" / "last.ckpt")["config"]["method"]["name"] == "own-method"
    assert cli("eval", tmp_path / "run")[0] == 0
    assert "own-method" in "\n".join(cli("train", "--help")[1])
    assert load_config({"method": {"name": "bptt"}}).method.name == "bptt" and "taken" not in sys.modules


def test_what_lies_in_the_working_folder_is_not_installed(own_code, assert_error, monkeypatch):
    """Where Python looks for modules there, somebody else's folder could bring entry points along."""
    site = own_code.install("folder-pack", methods={"of-the-folder": "marked:Marked"}, presets={"x": "marked"})
    own_code.write("marked", METHOD, marks=True)
    own_code.folder.joinpath("marked.py").rename(site / "marked.py")
    monkeypatch.chdir(site)
    assert_error("unknown method 'of-the-folder'", "train", "bptt-digits", "--method.name", "of-the-folder")
    assert not own_code.mark("marked").exists()


def test_faults_of_installed_packages_are_one_line(own_code, assert_error, cli):
    own_code.install("first-pack", methods={"twice": "first:M", "broken": "broken_own:M", "gone": "gone_own:M"}, presets={"x": "gone_own.presets"})
    own_code.install("second-pack", methods={"twice": "second:M"})
    own_code.write("broken_own", "1 / 0")
    own_code.folder.joinpath("broken_own.py").rename(own_code.folder / "site" / "broken_own.py")
    assert_error(["first-pack and second-pack", "first:M or second:M"], "train", "bptt-digits", "--method.name", "twice")
    assert_error(["cannot import broken", "broken_own:M", "ZeroDivisionError", "line 1"], "train", "bptt-digits", "--method.name", "broken")
    assert_error("No module named 'gone_own'", "train", "bptt-digits", "--method.name", "gone")
    assert cli("list")[0] == 0


def test_presets_of_a_folder(own_code, cli, assert_error, tmp_path):
    folder = tmp_path / "mine"
    folder.mkdir()
    assert_error("there is no preset, a file NAME.yaml, in", "list", "--presets", folder)
    (folder / "mine-1.yaml").write_text("about: my words\npublished: {mean: 91.5, std: 0.25}\n" + yaml.safe_dump({k: SMALL[k] for k in SMALL if k != "preset"}))
    (folder / "damaged.yaml").write_text("method: [")
    (folder / "pythonic.yaml").write_text("method: !!python/object/apply:os.mkdir [harmed]")
    (folder / ".hidden.yaml").write_text("")
    os.mkfifo(folder / "pipe.yaml")
    (folder / "folder.yaml").mkdir()
    status, lines, errors = cli("list", "--presets", folder, "--method", "bptt", "--dataset", "digits")
    assert status == 0 and not (tmp_path / "harmed").exists()
    (line,) = [line for line in lines if line.startswith("mine-1")]
    assert "91.50 +- 0.25 mean" in line and "my words" in line and "bptt-digits" in "\n".join(lines)
    assert len(errors) == 2 and "preset damaged:" in errors[0] and "preset pythonic:" in errors[1]
    assert_error("unknown preset 'pipe'", "train", "pipe", "--presets", folder)
    for nowhere in ("~nobody-of-this-name/presets", "no\0folder"):
        assert_error("--presets: cannot read the folder", "list", "--presets", nowhere)
    assert_error("tags", "train", "pythonic", "--presets", folder)
    assert_error("Did you mean 'mine-1'?", "train", "mine-2", "--presets", folder)
    assert_error("unknown preset 'mine-1'", "train", "mine-1")
    assert cli("train", "mine-1", "--presets", folder, "--trainer.out", tmp_path / "run")[0] == 0
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["preset"] == "mine-1"
    (folder / "bptt-digits.yaml").write_text("seed: 2")
    assert_error(["bptt-digits.yaml", "has the name of a preset of spiketrain"], "train", "mine-1", "--presets", folder)


def test_presets_of_an_installed_package(own_code, cli):
    site = own_code.install("preset-pack", presets={"x": "own_presets"})
    own_code.write("own_presets.__init__", "")
    (own_code.folder / "own_presets" / "of-a-package.yaml").write_text("about: theirs\nmethod: {name: bptt}\n")
    shutil.move(own_code.folder / "own_presets", site)
    assert any("of-a-package" in line and "theirs" in line for line in cli("list")[1])


LAYERWISE = """
    from dataclasses import dataclass
    from spiketrain.methods import ell

    @dataclass
    class Options(ell.Options):
        name: str = "own"

    class Own(ell.ELL):
        Options = Options
"""


def test_processes_get_the_consent_along(own_code, cli, tmp_path):
    """Those of `reproduce`, and from them those of `trainer.pipeline`."""
    folder = tmp_path / "mine"
    folder.mkdir()
    own_code.write("layerwise", LAYERWISE)
    raw = {**SMALL, "network": {"layers": "12-10", "time_steps": 3}, "method": {"name": "layerwise:Own"}}
    raw["trainer"] = {**SMALL["trainer"], "pipeline": 2}
    (folder / "own.yaml").write_text(yaml.safe_dump({key: value for key, value in raw.items() if key != "preset"}))
    status, lines, errors = cli("reproduce", "own", "--presets", folder, "--plugin", "layerwise", "--seeds", "1", "--out", tmp_path / "out")
    assert (status, errors) == (0, []), lines
    content = checkpoint.load(tmp_path / "out" / "own" / "seed-1" / "last.ckpt")
    assert content["epoch"] == 1
    assert all(weight.isfinite().all() for weight in content["method"]["network"].values() if isinstance(weight, torch.Tensor))


def test_runs_that_reproduce_goes_on_with_get_the_consent_along(own_code, tmp_path):
    from spiketrain.cli import seeds
    from spiketrain.training.reproduction.places import Found, Places

    own_code.write("layerwise", LAYERWISE)
    with plugins.allowed(["layerwise", "another.module"]):
        config = load_config({"method": {"name": "layerwise:Own"}})
        request = seeds.Request({}, ["own", "--presets", "mine"], [], 1)
        for found in (None, Found(config.to_dict(), [], [], 2)):
            words = seeds._job(Places(tmp_path), request, "own", 1, config, found, 0).words
            assert words[0] == ("resume" if found else "train")
            assert "--plugin=layerwise" in words and "--plugin=another.module" in words
