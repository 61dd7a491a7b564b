"""N-MNIST, read from .bin files that the tests write in the true format."""

import numpy as np
import pytest
import torch
from data_files.writers import nmnist_events, nmnist_text, write_nmnist, write_nmnist_text

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


@pytest.mark.filterwarnings("error")  # NumPy warns of a cast that int64 does not hold, whatever comes of it
@pytest.mark.parametrize("bin_us", [1e-3, 1e-12, 1e-18, 1e-307])
def test_events_after_the_last_of_very_small_bins_are_left_out(tmp_path, bin_us):
    write_events(tmp_path / "1.bin", [(5, 6, 0, 0), (8, 7, 1, 150)])
    assert nmnist.bin_events(tmp_path / "1.bin", 3, bin_us).tolist() == [6 * 34 + 5]


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


def test_overflows_of_the_clock(tmp_path):
    """An event with y = 240 is none; all that follow are 8,192 us later, whatever its other bits say."""
    events = [(5, 6, 1, 1000), (7, 240, 0, 0), (9, 20, 1, 1000), (200, 240, 1, 2**23 - 1), (1, 240, 1, 5), (9, 21, 0, 3)]
    write_events(tmp_path / "a.bin", events)
    read = np.stack(nmnist.read_events(tmp_path / "a.bin"), 1).tolist()
    assert read == [[5, 6, 1, 1000], [9, 20, 1, 8192 + 1000], [9, 21, 0, 3 * 8192 + 3]]


@pytest.mark.parametrize("event", [(34, 3, 0, 5), (3, 34, 0, 5), (255, 255, 1, 5), (3, 241, 1, 5)])
def test_events_outside_of_the_sensor_are_damage(tmp_path, event):
    write_events(tmp_path / "a.bin", [(3, 4, 1, 0), event])
    with pytest.raises(UserError, match=f"a.bin is damaged: .* got one at x {event[0]}, y {event[1]}"):
        nmnist.read_events(tmp_path / "a.bin")


def test_a_recording_of_overflows_alone_holds_nothing(tmp_path):
    write_events(tmp_path / "a.bin", [(3, 240, 1, 0)])
    with pytest.raises(UserError, match="a.bin holds no events"):
        nmnist.read_events(tmp_path / "a.bin")


def load_events(tiny, root, time_steps=30, **options):
    section = {"name": "nmnist", "root": str(root), **options}
    return data.load(tiny(data=section, network={"time_steps": time_steps}, trainer={"limit_train": 0, "limit_test": 0}))


def test_empty_last_step(tiny, tmp_path):
    """As the published readers of TSSL-BP and IDE have it."""
    write_nmnist(tmp_path, per_class=1)
    index = torch.arange(10)
    full, empty = (load_events(tiny, tmp_path, empty_last_step=flag).train.batch(index) for flag in (False, True))
    assert full.shape == empty.shape == (30, 10, 2, 34, 34)
    assert full[29].sum() > 0 and empty[29].sum() == 0
    assert torch.equal(full[:29], empty[:29])


def published_reader(text, n_steps):
    """What TSSL-BP's own reader makes of a text file, (polarity, x, y, step): read from its source, by the same loops."""
    dense = np.zeros((2, 34, 34, n_steps))
    for line in text.splitlines():
        position, *times = map(int, line.split())
        position -= 1
        channel, position = (1, position - 1156) if position >= 1156 else (0, position)
        for time in times:
            if time >= n_steps:
                break
            dense[channel, position // 34, position % 34, time - 1] = 1
    return dense


@pytest.mark.parametrize("of_classes", [False, True])
@pytest.mark.parametrize("named", ["root", "folder", "N-MNIST"])
def test_published_text_files(tiny, tmp_path, of_classes, named):
    write_nmnist_text(tmp_path, of_classes=of_classes)
    folder, root = tmp_path / "2312_3000_stable", tmp_path
    if named == "folder":
        root = folder
    elif named == "N-MNIST":
        (tmp_path / "N-MNIST").mkdir()
        folder = folder.rename(tmp_path / "N-MNIST" / folder.name)
    if named == "folder" and not of_classes:
        (folder / "Train" / "0" / "._1.dat").write_bytes(b"\0\5\x16\7")
    dataset = load_events(tiny, root, empty_last_step=True)
    for part, split in (("Train", dataset.train), ("Test", dataset.test)):
        assert split.labels.tolist() == [label for label in range(10) for _ in range(2)]
        batch = split.batch(torch.arange(20))
        for i in range(20):
            if of_classes:
                text = (folder / f"{part}_{i // 2}.dat").read_text().split("#\n")[i % 2]
            else:
                text = (folder / part / str(i // 2) / f"{i % 2 + 1}.dat").read_text()
            expected = torch.from_numpy(published_reader(text, 30)).float().permute(3, 0, 2, 1)  # ours is (step, polarity, y, x)
            assert torch.equal(batch[:, i], expected) and expected.sum() > 50
    assert load_events(tiny, root).train.batch(torch.arange(20))[29].sum() > 0


def test_text_and_recordings_agree(tiny, tmp_path):
    """The same events, as a recording and as the published preprocessing (with its own way to take out the drift) writes them."""
    rng = np.random.default_rng(2)
    times = np.sort(rng.integers(1, 315_000, 400))
    events = list(zip(*rng.integers(0, 34, (2, 400)).tolist(), rng.integers(0, 2, 400).tolist(), times.tolist()))
    stable = []
    for x, y, polarity, time in events:
        if time <= 105e3:
            x, y = x - 3.5 * time / 105e3, y - 7 * time / 105e3
        elif time <= 210e3:
            x, y = x - 3.5 - 3.5 * (time - 105e3) / 105e3, y - 7 + 7 * (time - 105e3) / 105e3
        else:
            x = x - 7 + 7 * (time - 210e3) / 105e3
        x, y = (int(np.floor(place + 1 + 0.5)) - 1 for place in (x, y))  # its positions count from 1, and halves are rounded up
        if 0 <= x < 34 and 0 <= y < 34:
            stable.append((x, y, polarity, time))
    for part in ("Train", "Test"):
        for root, name, content in (
            ("bin", "1.bin", nmnist_events(events)),
            ("text/2312_3000_stable", "1.dat", nmnist_text(stable).encode()),
        ):
            folder = tmp_path / root / part / "7"
            folder.mkdir(parents=True)
            (folder / name).write_bytes(content)
    recordings, text = (load_events(tiny, tmp_path / root, time_steps=100).train for root in ("bin", "text"))
    assert recordings.labels.tolist() == text.labels.tolist() == [7]
    assert torch.equal(recordings.batch(torch.tensor([0])), text.batch(torch.tensor([0])))


def test_time_steps_of_text_files_have_their_own_length(tiny, tmp_path):
    write_nmnist_text(tmp_path, per_class=1)
    with pytest.raises(UserError, match="2312_3000_stable holds time steps of 3 ms: expected data.bin_ms 3, got 10"):
        load_events(tiny, tmp_path, bin_ms=10.0)
    with pytest.raises(UserError, match="expected data.bin_ms 3, got 1"):
        load_events(tiny, tmp_path / "2312_3000_stable", bin_ms=1.0)
    (tmp_path / "2312_3000_stable").rename(tmp_path / "N-MNIST")  # nothing says it now, but that recordings take 0.3 s
    load_events(tiny, tmp_path)
    with pytest.warns(UserWarning, match="up to 100 time steps, 1000 ms at data.bin_ms 10, but recordings take some 300 ms"):
        load_events(tiny, tmp_path, bin_ms=10.0)


@pytest.mark.parametrize(
    "content, words",
    [
        ("", "holds no events before line 1"),
        ("3\t4\t5\t\n7\t", "expected a pixel and its time steps in line 2"),
        ("3\t4\t5\t\n7\t1", "is truncated: it ends within a line"),
        ("0\t4\t\n", "pixels from 1 to 2312, got 0 in line 1"),
        ("2313\t4\t\n", "pixels from 1 to 2312, got 2313 in line 1"),
        ("3\t-4\t\n", "expected numbers alone"),
        ("3\t4.5\t\n", "expected numbers alone"),
        ("3\t4\t\n\0", "expected numbers alone"),
        ("3\t12345678901\t\n", "in line 1"),
        ("3\t4\t\n#\n3\t4\t\n#\n", "expected one recording, got 2"),
        ("#\n", "holds no events before line 1"),
    ],
)
def test_damaged_text(tiny, tmp_path, content, words):
    write_nmnist_text(tmp_path, per_class=1)
    path = tmp_path / "2312_3000_stable" / "Test" / "4" / "1.dat"
    path.write_text(content)
    with pytest.raises(UserError, match=f"{path}.*{words}"):
        load_events(tiny, tmp_path)


def test_text_of_a_class_that_is_cut_off(tiny, tmp_path):
    write_nmnist_text(tmp_path, of_classes=True)
    path = tmp_path / "2312_3000_stable" / "Test_4.dat"
    path.write_text(path.read_text()[:-2])
    with pytest.raises(UserError, match=f"{path} is truncated: expected a line with # after each recording"):
        load_events(tiny, tmp_path)


def test_both_kinds_of_files(tiny, tmp_path):
    """Recordings go before text beside them; a part of each is refused."""
    write_nmnist(tmp_path, per_class=1)
    (tmp_path / "N-MNIST" / "Train" / "3" / "1.dat").write_text("3\t4\t\n")
    with pytest.warns(UserWarning, match="left out of .*Train: 1 ending in .dat"):
        assert len(load_events(tiny, tmp_path).train) == 10
    for path in (tmp_path / "N-MNIST" / "Test").rglob("*.bin"):
        path.unlink()
    (tmp_path / "N-MNIST" / "Test" / "3" / "1.dat").write_text("3\t4\t\n")
    with (
        pytest.warns(UserWarning),
        pytest.raises(UserError, match="expected files of one kind, got .bin in Train and .dat in Test"),
    ):
        load_events(tiny, tmp_path)


@pytest.mark.parametrize("bin_ms", [0.0, -3.0, float("nan"), float("inf")])
def test_bins_that_are_no_time(tiny, tmp_path, bin_ms):
    write_nmnist(tmp_path, per_class=1)
    with pytest.raises(UserError, match="data.bin_ms"):
        load_events(tiny, tmp_path, bin_ms=bin_ms)
