"""Methods and data sets that lie outside the package: their options are like the built-in ones', what they lack is named."""

import pytest
import torch
import yaml

from spiketrain import data, methods
from spiketrain.data import Dataset
from spiketrain.data.base import Batches, ImageSplit, Split
from spiketrain.data.tasks import REGRESSION
from spiketrain.errors import UserError
from spiketrain.methods import load_config
from spiketrain.plugins import allowed

HEAD = """
from __future__ import annotations
from dataclasses import dataclass, field
from typing import Literal
from spiketrain.config.fields import Count, UpToOne
from spiketrain.methods import bptt
from spiketrain.methods.base.method import Method
"""
OWN = HEAD + '''
@dataclass
class Options(bptt.Options):
    """Options of mine.

    Args:
        share: a share of something
        kind: what kind of it
        steps: how many, or for each layer
    """

    name: str = "mine"
    share: UpToOne = 0.25
    kind: Literal["red", "blue"] = "red"
    steps: Count | list[Count] = 3

class Mine(bptt.BPTT):
    Options = Options
    changeable = ("share",)
'''


def own_method(own_code, text=OWN):
    own_code.write("mine", text)
    with allowed(["mine"]):
        return methods.get("mine:Mine")


def test_options_are_read_checked_and_listed(own_code, cli, assert_error):
    own_code.write("mine", OWN)
    named = ("bptt-digits", "--method.name", "mine:Mine")
    help_text = " ".join(" ".join(cli("train", *named, "--help")[1]).split())
    for words in ("--method.share a share of something (a number in [0, 1]; default 0.25)", "--method.kind what kind of it (one of red, blue; default red)",
                  "--method.steps how many, or for each layer (an int above 0 or a list [...]", "--method.decay factor by which"):  # fmt: skip
        assert words in help_text
    assert_error(["field method.share: expected a number in [0, 1], got 1.5"], "train", *named, "--method.share", "1.5")
    assert_error(["method.kind", "one of red, blue"], "train", *named, "--method.kind", "green")
    assert_error(["unknown field 'method.shar'", "method.share"], "train", *named, "--method.shar", "0.5")
    with allowed(["mine"]):
        config = load_config({"method": {"name": "mine:Mine", "steps": "[2, 3]"}}, ["--method.share=1"])
        assert (config.method.name, config.method.share, config.method.steps) == ("mine:Mine", 1.0, [2, 3])
        assert load_config(yaml.safe_load(yaml.safe_dump(config.to_dict()))) == config


def test_a_run_may_go_on_with_what_the_method_calls_changeable(own_code, cli, assert_error, tmp_path):
    own_code.write("mine", OWN)
    small = ("--trainer.limit_train", "60", "--trainer.limit_test", "20", "--trainer.epochs", "1", "--trainer.out", tmp_path / "run")
    assert cli("train", "bptt-digits", "--method.name", "mine:Mine", *small)[0] == 0
    resume = ("resume", tmp_path / "run", "--plugin", "mine", "--trainer.epochs", "2")
    assert_error("field method.kind: the run was trained with red", *resume, "--method.kind", "blue")
    assert any("method.share: 0.5 from here on" in line for line in cli(*resume, "--method.share", "0.5")[1])


METHODS = {
    "a function": ("def Mine(): pass", "expected a subclass of spiketrain.methods.base.method.Method"),
    "another class": ("class Mine: pass", "expected a subclass of spiketrain.methods.base.method.Method, got Mine"),
    "nothing defined": ("class Mine(Method): pass", "Mine does not define __init__, load_state_dict, scores, spike_trains, start_epoch"),
    "no options": ("class Mine(bptt.BPTT):\n    Options = None", "Mine.Options is nothing, expected the dataclass of its options"),
    "a plain class": ("class Mine(bptt.BPTT):\n    class Options:\n        name: str = 'x'", "expected the dataclass of its options"),
}
FIELDS = {
    "x: int = 0": "Options has no field 'name'",
    "name: str": "Options.name: expected a default",
    "name: str = ''; x: dict = field(default_factory=dict)": "Options.x: expected int, float, bool, str, Literal",
    "name: str = ''; x: object = None": "Options.x: expected int",
    "name: str = ''; x: list = field(default_factory=list)": "Options.x: expected int",
    "name: str = ''; x: Literal[1, 2] = 1": "Options.x: expected int",
    "name: str = ''; x: int = field(default=1, init=False)": "Options.x: expected a field that is given when it is made",
    "name: str = ''; x: NoSuchThing = 1": "Options.__annotations__: NameError",
}


@pytest.mark.parametrize("what", METHODS)
def test_what_is_no_method_is_named(own_code, what):
    text, words = METHODS[what]
    with pytest.raises(UserError) as refused:
        own_method(own_code, HEAD + text)
    assert words in str(refused.value) and "method mine:Mine" in str(refused.value) and len(str(refused.value)) <= 300


@pytest.mark.parametrize("fields", FIELDS)
def test_options_that_no_configuration_can_set_are_named(own_code, fields):
    text = HEAD + "@dataclass\nclass Options:\n" + "".join(f"    {field.strip()}\n" for field in fields.split(";")) + "class Mine(bptt.BPTT):\n    Options = Options\n"
    with pytest.raises(UserError) as refused:
        own_method(own_code, text)
    assert FIELDS[fields] in str(refused.value) and len(str(refused.value)) <= 300


def test_options_may_look_at_one_another(own_code, assert_error):
    check = "    def __post_init__(self):\n        if self.share > 0.5 and self.kind == 'blue':\n            raise ValueError('share: expected at most 0.5 of blue')\n"
    own_code.write("mine", OWN.replace("    steps: Count | list[Count] = 3\n", f"    steps: Count | list[Count] = 3\n{check}"))
    named = ("train", "bptt-digits", "--method.name", "mine:Mine", "--method.kind", "blue")
    assert_error("section method: share: expected at most 0.5 of blue", *named, "--method.share", "0.75")
    own_code.forget()
    own_code.write("mine", OWN.replace("@dataclass", "@dataclass(frozen=True)").replace("(bptt.Options)", ""))
    assert_error("Options is frozen", *named)


def test_outputs_of_a_network_that_does_not_say_them_are_counted(own_code):
    text = OWN + """
    def build(self, config, input_shape):
        from torch import nn
        return nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.Unflatten(1, (1, 9)))

    def logits(self, outputs):
        return outputs[:, 0]
"""
    with allowed(["mine"]):
        cls = own_method(own_code, text)
        config = load_config({"method": {"name": "mine:Mine"}})
    assert cls(config, (1, 8, 8), 9, torch.device("cpu")).network.training is False
    with pytest.raises(UserError, match="has 9 outputs, the data set has 10 classes"):
        cls(config, (1, 8, 8), 10, torch.device("cpu"))


def test_a_method_that_fails_when_it_is_built_is_named(own_code, cli):
    own_code.write("mine", OWN + "    def build(self, config, input_shape):\n        return config.no_such_section\n")
    status, _, errors = cli("train", "bptt-digits", "--method.name", "mine:Mine")
    assert status == 2 and "mine:Mine: AttributeError: 'Config' object has no attribute 'no_such_section' (mine.py, line" in errors[0]


# --- data sets


class Floats(Split):
    def __init__(self, samples, labels):
        self.samples, self.labels = samples, labels

    def batch(self, index, generator=None):
        return self.samples[index]

    def select(self, index):
        return Floats(self.samples[index], self.labels[index])


class Events(Floats):
    def batch(self, index, generator=None):
        return self.samples[index].movedim(1, 0)


def floats(count=8, shape=(1, 4, 4), classes=2, dtype=torch.float32, label_dtype=torch.int64, cls=Floats):
    return cls(torch.rand(count, *shape).to(dtype), (torch.arange(count) % classes).to(label_dtype))


def dataset(train=None, test=None, shape=(1, 4, 4), classes=2, **options):
    return Dataset("own", floats() if train is None else train, floats() if test is None else test, shape, classes, **options)


def read(monkeypatch, load, **changes):
    import sys
    import types

    monkeypatch.setitem(sys.modules, "own_data", types.SimpleNamespace(load=load))
    raw = {"method": {"name": "bptt"}, "data": {"name": "own_data:load"}, "network": {"time_steps": 3}, **changes}
    with allowed(["own_data"]):
        return data.load(load_config(raw))


def test_data_sets_of_all_kinds(monkeypatch):
    images = ImageSplit(torch.zeros(6, 1, 4, 4, dtype=torch.uint8), torch.arange(6) % 2, (0.1,), (0.3,))
    movies = floats(8, (3, 1, 4, 4), cls=Events)
    for train in (images, movies, floats()):
        read_set = read(monkeypatch, lambda name, root, config: dataset(train, train))  # noqa: B023
        assert len(read_set.train) == len(train) and read_set.input_shape == (1, 4, 4)
    limited = read(monkeypatch, lambda *_: dataset(), trainer={"limit_train": 3})
    assert len(limited.train) == 3 and len(limited.test) == 8
    real = Floats(torch.rand(5, 2), torch.rand(5, 1))
    assert read(monkeypatch, lambda *_: Dataset("own", real, real, (2,), 1, REGRESSION)).task is REGRESSION


WRONG = {
    "no data set": (lambda *_: (1, 2), "expected a spiketrain.data.Dataset, got [1, 2]"),
    "raises": (lambda *_: {}["x"], "KeyError: 'x' (test_outside.py, line"),
    "other arguments": (lambda root: dataset(), "TypeError"),
    "a missing file": (lambda name, root, config: (root / "none").read_bytes(), "cannot read data set own_data:load"),
    "no split": (lambda *_: dataset(train=[1]), "train: expected a subclass of spiketrain.data.base.Split"),
    "no samples": (lambda *_: dataset(test=floats(0)), "holds no test samples"),
    "labels of floats": (lambda *_: dataset(floats(label_dtype=torch.float32)), "expected labels of int64 (samples,), got float32 (8,)"),
    "labels beyond the classes": (lambda *_: dataset(floats(classes=3)), "expected labels from 0 to 1, sample 2 has 2"),
    "bytes": (lambda *_: dataset(floats(dtype=torch.uint8)), "expected a batch of 2 as float32 of shape (2, 1, 4, 4)"),
    "another shape": (lambda *_: dataset(floats(shape=(1, 4, 5))), "got float32 (2, 1, 4, 5)"),
    "batch before time": (lambda *_: dataset(floats(8, (3, 1, 4, 4))), "or with time (3, 2, 1, 4, 4) (network.time_steps 3), got float32 (2, 3, 1, 4, 4)"),
    "other time steps": (lambda *_: dataset(floats(8, (5, 1, 4, 4), cls=Events)), "got float32 (5, 2, 1, 4, 4)"),
    "a list as shape": (lambda *_: dataset(shape=[1, 4, 4]), "expected as input_shape a tuple (C, H, W), such as (1, 28, 28)"),
    "one axis for classes": (lambda *_: dataset(floats(shape=(16,)), floats(shape=(16,)), shape=(16,)), "or (1, 1, 40) for 40 features, got [16]"),
    "no classes": (lambda *_: dataset(classes=0), "expected 1 or more as classes, got 0"),
    "names missing": (lambda *_: dataset(class_names=("a",)), "expected 2 class_names, one for each class, got 1"),
    "names of numbers": (lambda *_: dataset(class_names=(1, 2)), "expected class_names to be a tuple of texts, got [1, 2]"),
    "names in one word": (lambda *_: dataset(class_names="ab"), "expected class_names to be a tuple of texts, got ab"),
    "NaN": (lambda *_: dataset(Floats(torch.full((8, 1, 4, 4), torch.nan), torch.arange(8) % 2)), "train: expected finite numbers"),
    "no function": (3, "expected a function of (name, root, config), got 3"),
}


@pytest.mark.parametrize("what", WRONG)
def test_what_is_no_data_set_is_named(monkeypatch, what):
    load, words = WRONG[what]
    with pytest.raises(UserError) as refused:
        read(monkeypatch, load)
    assert words in str(refused.value) and "own_data:load" in str(refused.value) and len(str(refused.value)) <= 300


class Fails(Floats):
    def batch(self, index, generator=None):
        if 5 in index:
            raise KeyError("no sample 5")
        return super().batch(index)


@pytest.mark.parametrize("split, words", [
    (Fails(torch.rand(8, 1, 4, 4), torch.arange(8) % 2), "data set of Fails: KeyError: 'no sample 5' (test_outside.py, line"),
    (Floats(torch.rand(8, 1, 4, 4).index_fill_(0, torch.tensor([5]), torch.inf), torch.arange(8) % 2), "data set of Floats: a batch holds numbers"),
], ids=["raises", "infinite"])  # fmt: skip
def test_what_goes_wrong_in_a_later_batch_is_named(split, words):
    """Not only in the first samples, which are tried out before a run."""
    batches = iter(Batches(split, 4))
    next(batches)
    with pytest.raises(UserError) as refused:
        next(batches)
    assert words in str(refused.value)


def test_options_of_event_sets_are_refused(monkeypatch):
    with pytest.raises(UserError, match="data.downsample: only for"):
        read(monkeypatch, lambda *_: dataset(), data={"name": "own_data:load", "downsample": 2})


@pytest.mark.parametrize("name", ["ide", "spide"])
def test_rings_refuse_events_of_data_sets_from_outside(name):
    config = load_config({"method": {"name": name}, "network": {"layers": "6-2", "time_steps": 3}, "data": {"name": "own_data:load"}})
    method = methods.get(name)(config, (1, 4, 4), 2, torch.device("cpu"))
    with pytest.raises(UserError, match=f"{name}: the data set own_data:load holds events"):
        method.scores(torch.rand(3, 2, 1, 4, 4))
