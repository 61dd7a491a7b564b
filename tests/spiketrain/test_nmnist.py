"""N-MNIST, read from .bin files that the tests write in the true format."""

import numpy as np
import pytest
import torch
from data_files.writers import nmnist_events, write_nmnist

from spiketrain import data
from spiketrain.data import nmnist
from spiketrain.errors import UserError


def write_events(path, events):
    path.write_bytes(nmnist_events(events))


def test_events_are_read_as_written(tmp_path):
    events = [(0, 33, 1, 1), (33, 0, 0, 70_000), (5, 6, 1, 2**23 - 1)]
    write_events(tmp_path / "a.bin", events)
    assert np.stack(nmnist.read_events(tmp_path / "a.bin"), 1).tolist() == [list(event) for event in events]


def test_binning(tmp_path):
    # At time 0 nothing drifts. The first 3 ms, 3,000 us included, are step 0; two events in a bin are one spike.
    events = [(3, 4, 1, 0), (3, 4, 1, 0), (20, 10, 0, 3000), (20, 10, 0, 3001), (20, 10, 0, 90_001)]
    write_events(tmp_path / "a.bin", events)
    spikes = nmnist.bin_events(tmp_path / "a.bin", time_steps=30, bin_us=3000)
    place = [np.unravel_index(k, (30, 2, 34, 34)) for k in spikes]
    assert [tuple(map(int, p)) for p in place] == [(0, 0, 10, 20), (0, 1, 4, 3), (1, 0, 10, 20)]


def test_drift_of_the_camera_is_taken_out():
    # Corners of the triangle: 3.5 pixels left and 7 up after the first movement, 7 left after the second, back after the third.
    time = np.array([0, 105_000, 210_000, 315_000])
    x, y = nmnist.stabilise(np.full(4, 20), np.full(4, 20), time)
    assert x.tolist() == [20, 17, 13, 20]
    assert y.tolist() == [20, 13, 20, 20]


def test_batches_are_dense_spike_trains(tiny, tmp_path):
    write_nmnist(tmp_path)
    config = tiny(
        data={"name": "nmnist", "root": str(tmp_path), "bin_ms": 10.0}, network={"time_steps": 30}, trainer={"limit_train": 0}
    )
    dataset = data.load(config)
    assert (len(dataset.train), len(dataset.test), dataset.input_shape) == (20, 20, (2, 34, 34))
    index = torch.tensor([7, 0, 19])
    batch = dataset.train.batch(index)
    assert batch.shape == (30, 3, 2, 34, 34) and batch.dtype is torch.float32
    for position, i in enumerate(index.tolist()):
        path = tmp_path / "N-MNIST" / "Train" / str(i // 2) / f"{i % 2 + 1:05d}.bin"
        expected = torch.zeros(30 * nmnist.PIXELS)
        expected[nmnist.bin_events(path, 30, 10_000).astype(np.int64)] = 1
        assert torch.equal(batch[:, position].flatten(), expected)
        assert expected.sum() > 100
    part = dataset.train.select(index)
    assert torch.equal(part.batch(torch.arange(3)), batch) and part.labels.tolist() == [3, 0, 9]


def test_binned_events_are_cached(tiny, tmp_path, monkeypatch):
    write_nmnist(tmp_path, per_class=1)
    config = tiny(data={"name": "nmnist", "root": str(tmp_path)})
    before = data.load(config).test.batch(torch.arange(10))
    monkeypatch.setattr(nmnist, "bin_events", None)
    assert torch.equal(data.load(config).test.batch(torch.arange(10)), before)
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for cached in (tmp_path / "cache").rglob("*.cache"):
        cached.write_bytes(cached.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="is damaged .*: the data set is read anew"):
        assert torch.equal(data.load(config).test.batch(torch.arange(10)), before)


@pytest.mark.parametrize("content", [b"", b"123456"])
def test_damaged_file(tiny, tmp_path, content):
    write_nmnist(tmp_path, per_class=1)
    (tmp_path / "N-MNIST" / "Test" / "4" / "00001.bin").write_bytes(content)
    with pytest.raises(UserError, match="00001.bin is truncated or damaged"):
        data.load(tiny(data={"name": "nmnist", "root": str(tmp_path)}))


def test_preset_trains_on_events(tmp_path, cli):
    write_nmnist(tmp_path)
    for method in ("tsslbp", "bptt"):
        preset = f"{method}-nmnist-cnn-t30"
        status, lines, errors = cli("train", preset, "--data.root", tmp_path, "--trainer.epochs", 1, "--trainer.batch_size", 5)
        assert status == 0, errors
        assert lines[-1].startswith("best_test_accuracy=")


@pytest.mark.parametrize("neuron", ["if", "lif"])
def test_ide_trains_on_events(tmp_path, cli, neuron):
    """The preset's network but for its size."""
    write_nmnist(tmp_path)
    fields = ("--network.layers", "4C5s-10", "--network.feedback", "4C5", "--trainer.batch_size", 5)
    status, lines, errors = cli("train", f"ide-nmnist-{neuron}", "--data.root", tmp_path, "--trainer.epochs", 1, *fields)
    assert status == 0, errors
    assert lines[-1].startswith("best_test_accuracy=")
