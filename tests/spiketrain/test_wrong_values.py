"""Every section and field of every method's configuration, with values of every wrong kind: one short line, soon, nothing imported."""

import os
import sys
import time
import typing

import pytest

from spiketrain import methods
from spiketrain.config import read_yaml
from spiketrain.config.parser import schema
from spiketrain.errors import UserError
from spiketrain.methods import load_config

DEEP = []
for _ in range(5000):
    DEEP = [DEEP]
LAUGHS = ["x"] * 10
for _ in range(30):
    LAUGHS = [LAUGHS] * 10  # 10^31 values, in memory as 31 lists

# What no field takes, whatever its type.
ALWAYS_WRONG = {
    "a section": {"a": 1},
    "a class path": {"class_path": "payload.X"},
    "an import": {"__import__": "payload"},
    "deep": DEEP,
    "aliases": LAUGHS,
    "a class": UserError,
    "bytes": b"x",
    "a digit too many": 10**5000,
    "nul": "\0",
    "two lines": "1\n2",
    "a long text": "9" * 100_000,
    "infinite": float("inf"),
    "not a number": float("nan"),
    "1e300": 1e300,
}  # fmt: skip
TEXTS = ("preset", "about", "data.name", "network.layers", "network.feedback", "trainer.device", "data.root", "trainer.out", "init")


def wrong_for(name, kind):
    """More values that are wrong for this field."""
    inner = set(typing.get_args(kind)) | {kind}
    is_optional = type(None) in inner
    words = {"nothing": None} if not is_optional else {}
    if name in TEXTS or kind is str:
        return {**words, "truth": True, "a list": ["a"]}
    is_truth = kind is bool or "on" in inner  # progress: on
    return {**words, "words": "no such thing", "an open list": "[" * 4000, **({} if is_truth else {"truth": True}), "a list of lists": [[1]], "-1e19": -1e19}


def refused_quickly(read, *arguments):
    """What the error says, after no more than two seconds of work: once in three times, since what other tests left behind in the process
    may come in between."""
    for last in (False, False, True):
        started = time.process_time()
        with pytest.raises(UserError) as caught:
            read(*arguments)
        seconds = time.process_time() - started
        if seconds < 2:
            break
        assert not last, f"{seconds:.1f} s"
    return str(caught.value)


def refusal(raw, *options):
    """The one line of the error."""
    line = refused_quickly(load_config, raw, list(options))
    assert len(line) <= 300 and "\n" not in line and line.isprintable()
    return line


@pytest.mark.parametrize("method", methods.names())
def test_every_field_refuses_every_wrong_kind_by_its_name(method, monkeypatch):
    monkeypatch.setitem(sys.modules, "payload", None)  # importing it would raise another error
    fields = schema(methods.get(method).Options)
    assert {"seed", "data.name", "optimizer.betas", "trainer.out", "method.name"} <= fields.keys()
    for name, field in fields.items():
        if method != "bptt" and not name.startswith("method."):
            continue  # all methods have the other sections in common
        section, _, key = name.rpartition(".")
        for what, value in {**ALWAYS_WRONG, **wrong_for(name, field.kind)}.items():
            raw = {"method": {"name": method}}
            raw = {**raw, section: {**raw.get(section, {}), key: value}} if section else {**raw, key: value}
            line = refusal(raw)
            assert name in line or name == "method.name", f"{name}, {what}: {line}"


@pytest.mark.parametrize("section", ["data", "network", "method", "optimizer", "trainer", "published"])
@pytest.mark.parametrize("value", [None, [], 3, True, "text", float("nan"), DEEP, [{"name": "x"}]])
def test_every_section_refuses_what_is_no_section(section, value):
    line = refusal({"method": {"name": "bptt"}, section: value})
    assert section in line
    if isinstance(value, str):
        assert section in refusal({"method": {"name": "bptt"}}, f"--{section}", value) or section == "method"


@pytest.mark.parametrize("raw", [None, [], "text", 3, {1: 2}, {None: None}, {"method": {1: 2, "name": "bptt"}}, {"method": {"name": ["bptt"]}}])
def test_what_is_no_configuration_is_refused(raw):
    refusal(raw)


@pytest.mark.parametrize("text, words", [
    ("a: &a [x, x]\nb: &b [*a, *a]\n" + "".join(f"k{i}: &k{i} [{', '.join([f'*{before}'] * 9)}]\n" for i, before in
     enumerate(["b", *(f"k{i}" for i in range(30))])), "aliases"),
    ("a: &a [*a]", "repeats what it stands in, line 1"),
    ("data: {name: &n [*n]}", "repeats"),
    ("[" * 60_000, "deeper"),
    ("{a: " * 15_000, "deeper"),
    ("\n".join(" " * i + "a:" for i in range(300)), "deeper"),
    ("a: 1\n" * 12_000, "more than"),
    ("a: " + "x" * 70_000, "larger than 64 KiB"),
    ("seed: 1\nseed: 2", "'seed' is given twice, in line 1 and in line 2"),
    ("optimizer:\n  lr: 0.1\ndata: {}\noptimizer:\n  eps: 1", "'optimizer' is given twice, in line 1 and in line 4"),
    ("trainer: {epochs: 1, epochs: 2}", "'epochs' is given twice"),
    ("data: !!python/object/apply:os.mkdir [harmed]", "tags"),
    ("data: !local {}", "tags"),
    ("? [a, b]\n: 1", "name of a field"),
    ("seed: 1\n---\nseed: 2", "line 2"),
    ("trainer: [", "line 1"),
    ("seed: \0", "special characters"),
    ("", "holds no fields"), ("# nothing", "holds no fields"), ("just words", "holds no fields"), ("- a", "holds no fields"),
])  # fmt: skip
def test_files_that_are_no_configuration(tmp_path, text, words):
    (tmp_path / "a.yaml").write_text(text)
    line = refused_quickly(read_yaml, tmp_path / "a.yaml")
    assert words in line and len(line) <= 300
    assert not os.path.exists("harmed")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    for path in (tmp_path, tmp_path / "none.yaml", tmp_path / ("x" * 300), "\0", "~nobody-of-that-name/a.yaml"):
        with pytest.raises(UserError, match="cannot read the configuration"):
            read_yaml(path)
    (tmp_path / "a.yaml").write_bytes(b"seed: \xff\xfe")
    with pytest.raises(UserError, match="a.yaml"):
        read_yaml(tmp_path / "a.yaml")


def test_names_lead_nowhere():
    for name in ("../up", "/root/x", "a/b", "..", ".hidden", "a\\b", "x" * 101, ""):
        assert "preset" in refusal({"method": {"name": "bptt"}, "preset": name})


def test_nothing_is_imported_that_a_configuration_names(tmp_path, cli, monkeypatch):
    (tmp_path / "payload.py").write_text("open('ran', 'w').close()\n")
    monkeypatch.syspath_prepend(tmp_path)
    texts = ["data: {class_path: payload.X}", "data: payload.X", "optimizer: {name: payload.X}", "trainer: {init_args: {a: 1}}",
             "network: {layers: {class_path: payload.X, init_args: {}}}", "seed: {class_path: payload.X}"]  # fmt: skip
    for text in [*texts, "method: {class_path: payload.X}", "method: {name: payload}", "method: {name: ../payload}"]:
        (tmp_path / "a.yaml").write_text(text if text.startswith("method") else f"method: {{name: bptt}}\n{text}\n")
        status, _, errors = cli("train", "--config", tmp_path / "a.yaml")
        assert (status, len(errors)) == (2, 1) and len(errors[0]) <= 300
    for option in ("--data=payload.X", "--method.name=payload", "--optimizer.class_path=payload.X", "--data.help=payload.X"):
        assert cli("train", "bptt-digits", option)[0] == 2
    assert "payload" not in sys.modules and not (tmp_path / "ran").exists()
