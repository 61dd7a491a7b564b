"""What tonic is for: fetching event data sets, and a second opinion on what is read."""

import builtins
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import event_sets as small_sets
from data_files import event_writers as writers
from data_files.event_sets import COCHLEA, SETS, everything

from spiketrain.errors import UserError

load, root = small_sets.load, small_sets.root  # fixtures

@pytest.mark.parametrize("name", [name for name in SETS if name != "events"])
def test_tonic_reads_the_same_events(root, load, name, tmp_path, monkeypatch):
    """Its own readers on the same files, where it is installed; N-Caltech101's there begin at the first column and row with an event."""
    datasets = pytest.importorskip("tonic.datasets")
    folder = root(name)
    kind = {"shd": "SHD", "ssc": "SSC", "dvs-gesture": "DVSGesture", "ncaltech101": "NCALTECH101"}[name]
    monkeypatch.setattr(getattr(datasets, kind), "_check_exists", lambda self: True)
    parts = {"shd": ({"train": False},), "ssc": ({"split": "test"},), "dvs-gesture": ({"train": False},), "ncaltech101": ({},)}[name]
    theirs = getattr(datasets, kind)(str(folder), **parts[0])
    ours = load(name, folder, time_steps=7)
    whole = 1_400_000 if name in COCHLEA else None
    found = []
    for i in range(len(theirs)):
        events, label = theirs[i]
        x, y, p, t = (events[field].astype(np.int64) if field in events.dtype.names else 0 * events["x"] for field in "xypt")
        first = 0 if name in COCHLEA else t.min()
        length = whole or t.max() - first
        step = np.minimum((t - first) * 7 // length, 6)
        if name in COCHLEA:
            p = 0 * p
        frame = torch.zeros(7, *ours.input_shape)
        frame.index_put_(tuple(torch.from_numpy(np.asarray(part, np.int64)) for part in (step, p, y, x)), torch.tensor(1.0), accumulate=True)
        found.append((str(label), frame))
    if name == "ncaltech101":
        number = {title: i for i, title in enumerate(ours.class_names)}
        paths = [path.rsplit("/", 2)[1:] for path in theirs.data]
        tested = {number[title]: frame for (title, file), (_, frame) in zip(paths, found) if file == "image_0005.bin"}
        for label, batch in zip(ours.test.labels.tolist(), everything(ours.test).unbind(1)):
            inside = batch.sum((0, 1)).nonzero()
            batch = batch.roll((-inside[:, 0].min().item(), -inside[:, 1].min().item()), (2, 3))
            assert torch.equal(batch, tested[label])
        return
    order = range(len(found)) if name in COCHLEA else sorted(range(len(found)), key=lambda i: theirs.data[i])
    assert [int(found[i][0]) for i in order] == ours.test.labels.tolist()
    assert torch.equal(everything(ours.test), torch.stack([found[i][1] for i in order], 1))


class FakeSet:
    """In the place of tonic's class: writes the files where that does, and says so as that does."""

    write = None

    def __init__(self, save_to, train=True):
        print("Downloading")
        if train:
            type(self).write(save_to)


def test_tonic_is_asked_for_what_is_missing(root, load, tmp_path, monkeypatch, capsys):
    """Only with data.download, and not for what is there."""
    fake = types.ModuleType("tonic.datasets")
    fake.DVSGesture = FakeSet
    FakeSet.write = staticmethod(lambda save_to: writers.write_gestures(Path(save_to)))
    monkeypatch.setitem(sys.modules, "tonic", types.ModuleType("tonic"))
    monkeypatch.setitem(sys.modules, "tonic.datasets", fake)
    (tmp_path / "place").mkdir()
    with pytest.raises(UserError, match="add --data.download true"):
        load("dvs-gesture", tmp_path / "place")
    assert len(load("dvs-gesture", tmp_path / "place", download=True).train) == 6
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("Downloading") == 2
    load("dvs-gesture", tmp_path / "place", download=True)
    assert capsys.readouterr().err == ""

    def fail(save_to):
        raise OSError("no route to host")

    FakeSet.write = staticmethod(fail)
    (tmp_path / "other").mkdir()
    with pytest.raises(UserError, match="cannot download dvs-gesture into .*other: OSError: no route to host"):
        load("dvs-gesture", tmp_path / "other", download=True)


def test_tonic_may_be_missing(tmp_path, load, monkeypatch):
    monkeypatch.setitem(sys.modules, "tonic.datasets", None)
    with pytest.raises(UserError, match='data.download: shd is fetched with tonic, .* pip install "spikeops\\[events\\]"'):
        load("shd", tmp_path, download=True)


def test_reading_needs_no_tonic(root, load, monkeypatch):
    imported = builtins.__import__
    folder = root("dvs-gesture")

    def without(name, *arguments, **options):
        assert not name.startswith("tonic"), "tonic is for fetching"
        return imported(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    assert len(load("dvs-gesture", folder, download=True).train) == 6
