"""SHD, SSC, DVS-Gesture, N-Caltech101 and own recordings in their true formats: what is read, cached and refused, and runs on them."""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from data_files import event_sets as small_sets
from data_files import event_writers as writers
from data_files.event_sets import COCHLEA, SETS, everything
from data_files.event_writers import random_events, write_recording, write_words

from spiketrain.data import cache, event_files, event_sets
from spiketrain.errors import UserError

load, root = small_sets.load, small_sets.root  # fixtures

SHAPES = {
    "shd": ((1, 1, 700), 20, 12, 12),
    "ssc": ((1, 1, 700), 35, 12, 12),
    "dvs-gesture": ((2, 128, 128), 11, 6, 6),
    "ncaltech101": ((2, 180, 240), 3, 12, 3),
    "events": ((2, 30, 40), 2, 4, 4),
}


@pytest.mark.parametrize("name", SETS)
def test_every_event_is_in_the_batch(root, load, name):
    """By default all polarities and pixels, and all of a recording (of words what fits into 1.4 s)."""
    dataset = load(name, root(name))
    shape, classes, train, test = SHAPES[name]
    assert (dataset.input_shape, dataset.classes, len(dataset.train), len(dataset.test)) == (shape, classes, train, test)
    events = 100 if name == "events" else 200
    for split in (dataset.train, dataset.test):
        batch = everything(split)
        assert batch.shape == (10, len(split), *shape)
        assert batch.sum((0, 2, 3, 4)).tolist() == [events] * len(split)


@pytest.mark.parametrize("name", SETS)
def test_the_next_run_reads_the_cache(root, load, name, monkeypatch):
    folder = root(name)
    before = load(name, folder)
    assert len(list((cache.cache_dir() / name).glob("*.cache"))) == 2
    monkeypatch.setattr(event_sets.Binning, "bin", None)
    after = load(name, folder)
    for one, other in ((before.train, after.train), (before.test, after.test)):
        assert torch.equal(everything(one), everything(other)) and torch.equal(one.labels, other.labels)
    assert before.class_names == after.class_names and before.input_shape == after.input_shape
    assert torch.equal(everything(load(name, folder, counts=False).test), everything(before.test).clamp(max=1))  # the same copy


@pytest.mark.parametrize("name", ["shd", "events"])
@pytest.mark.parametrize("damage", ["cut", "of other contents", "of other samples"])
def test_a_copy_that_is_of_no_use_is_made_again(root, load, name, damage):
    folder = root(name)
    before = everything(load(name, folder).test)
    for path in (cache.cache_dir() / name).glob("*.cache"):
        content = path.read_bytes()
        slot, key = path.stem.split("-")
        copy = cache.Copy(name, folder, slot, key)
        if damage == "cut":
            path.write_bytes(content[:-1])
        elif damage == "of other contents":
            copy.write(images=np.zeros((1, 2), np.uint8))
        else:
            arrays = copy.read()
            copy.write(**{**arrays, "start": arrays["start"][:-1]})
    if damage == "cut":
        with pytest.warns(UserWarning, match="is damaged .*: the data set is read anew"):
            assert torch.equal(everything(load(name, folder).test), before)
    assert torch.equal(everything(load(name, folder).test), before)


@pytest.mark.parametrize("name", SETS)
def test_changed_files_are_read_anew(root, load, name):
    """And the copies of the old ones go."""
    folder = root(name)
    before = everything(load(name, folder).train)
    for path in [path for path in folder.rglob("*") if path.is_file()]:
        stamp = path.stat().st_mtime_ns
        os.utime(path, ns=(stamp, stamp + 10**9))
    old = set((cache.cache_dir() / name).glob("*.cache"))
    assert torch.equal(everything(load(name, folder).train), before)
    new = set((cache.cache_dir() / name).glob("*.cache"))
    assert len(new) == 2 and not old & new


def test_shd(tmp_path, load):
    """Channels, steps of 14 ms, what lies behind 1.4 s, labels, names; a word without a spike is a silent one."""
    pytest.importorskip("h5py")
    words = [([0.0, 0.0139, 0.0142, 0.5, 1.39, 1.41], [0, 1, 2, 699, 5, 6]), ([], []), ([0.25, 0.25], [7, 7])]
    for part in ("train", "test"):
        write_words(tmp_path / "SHD" / f"shd_{part}.h5", words, [19, 0, 3], writers.KEYS)
    dataset = load("shd", tmp_path, time_steps=100)
    spikes = everything(dataset.train)[:, :, 0, 0]
    assert spikes[:, 0].nonzero().tolist() == [[0, 0], [0, 1], [1, 2], [35, 699], [99, 5]]  # 0.0142 is 0.01420 in float16
    assert spikes[:, 1].sum() == 0 and spikes[:, 2].nonzero().tolist() == [[17, 7]] and spikes.max() == 2
    assert dataset.train.labels.tolist() == [19, 0, 3] and dataset.class_names[15] == "fünf"
    pooled = everything(load("shd", tmp_path, time_steps=100, downsample=5).train)[:, :, 0, 0]
    assert pooled.shape[2] == 140 and torch.equal(pooled, spikes.view(100, 3, 140, 5).sum(3))
    longer = everything(load("shd", tmp_path, time_steps=100, duration_ms=1500.0).train)
    assert longer[:, 0].sum() == 6


def test_dvs_gesture(tmp_path, load):
    """Milliseconds from the first event on; labels are the files' names, and other files are left out."""
    for part in ("Train", "Test"):
        folder = tmp_path / "DVSGesture" / f"ibmGesture{part}" / "user09_natural"
        folder.mkdir(parents=True)
        for number in (2, 10):
            np.save(folder / f"{number}.npy", np.array([[5, 6, 1, 70_000], [7, 8, 0, 70_999], [127, 0, 1, 71_000]]))
        np.save(folder / "11.npy", np.zeros((3, 4)))
    with pytest.warns(UserWarning, match="left out of .*ibmGestureTrain: 1 not named as a gesture"):
        dataset = load("dvs-gesture", tmp_path, duration_ms=1000)
    assert dataset.train.labels.tolist() == [10, 2] and dataset.class_names[10] == "other gestures"
    assert everything(dataset.train)[:, 0].nonzero().tolist() == [[0, 1, 6, 5], [9, 0, 8, 7]]


def test_caltech_is_split_alike_each_time(root, load):
    folder = root("ncaltech101")
    dataset = load("ncaltech101", folder)
    assert dataset.class_names == ("BACKGROUND_Google", "accordion", "zebra")
    assert dataset.train.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4 and dataset.test.labels.tolist() == [0, 1, 2]
    fifth = event_files.read_bin(folder / "NCALTECH101/Caltech101/zebra/image_0005.bin")
    frame = everything(dataset.test)[:, 2].sum(0)
    assert all(frame[p, y, x] > 0 for x, y, p in zip(fifth.x, fifth.y, fifth.polarity)) and frame.sum() == len(fifth.x)


@pytest.mark.parametrize("suffix", event_files.READERS)
def test_own_recordings_of_every_format(tmp_path, load, suffix):
    """Are the same data set."""
    if suffix in (".h5", ".hdf5"):
        pytest.importorskip("h5py")
    writers.write_own(tmp_path / "one", ".npy")
    writers.write_own(tmp_path / "other", suffix)
    one, other = load("events", tmp_path / "one"), load("events", tmp_path / "other")
    assert one.class_names == other.class_names == ("left", "right") and one.input_shape == other.input_shape
    for part in ("train", "test"):
        assert torch.equal(everything(getattr(one, part)), everything(getattr(other, part)))


def test_sensors_of_own_recordings(tmp_path, load):
    """Found in the training part; one that is given may be larger."""
    writers.write_own(tmp_path)
    assert load("events", tmp_path).input_shape == (2, 30, 40)
    given = load("events", tmp_path, sensor=[64, 48])
    assert given.input_shape == (2, 48, 64)
    assert torch.equal(everything(given.test)[..., :30, :40], everything(load("events", tmp_path).test))
    assert load("events", tmp_path, sensor=[64, 48], crop=[40, 20], downsample=4, merge_polarities=True).input_shape == (1, 5, 10)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("part", ["train", "test"])
def test_a_file_of_another_sensor_is_named_and_nothing_is_kept(root, load, assert_error, name, part):
    """Neither of the part it is in, nor a run directory."""
    folder = root(name)
    columns = random_events(20, 250, 190, seed=7)
    columns[0][5] = 245
    if name in COCHLEA:
        path = folder / writers.WORDS[name][0] / f"{name}_{part}.h5"
        write_words(path, [([0.1], [699]), ([0.1], [700])], [0, 1], [])
    elif name == "dvs-gesture":
        path = folder / f"DVSGesture/ibmGesture{part.title()}/user02_fluorescent/3.npy"
        np.save(path, np.stack(columns, 1))
    elif name == "ncaltech101":
        path = folder / f"NCALTECH101/Caltech101/zebra/image_000{2 if part == 'train' else 5}.bin"
        write_recording(path, columns)
    else:
        path = folder / part / "right" / "1.npz"
        write_recording(path, columns)
    label = f"{path}, word 1" if name in COCHLEA else str(path)
    options = ["--data.sensor", "[40, 30]"] if name == "events" else []
    words = [label, "pixels, got one at x ", "or it is of another sensor"]
    assert_error(words, "train", "bptt-digits", "--data.name", name, "--data.root", folder, *options)
    assert not list(folder.parent.glob("runs/*"))
    assert len(list(cache.cache_dir().rglob("*.cache"))) == (part == "test")  # the training part is in order then


def test_a_test_recording_beyond_the_training_recordings(tmp_path, load):
    writers.write_own(tmp_path)
    write_recording(tmp_path / "test/left/0.npz", random_events(30, 60, 30))
    with pytest.raises(UserError, match="test/left/0.npz .* within 40 x 30 pixels"):
        load("events", tmp_path)


DAMAGE = {
    "a label too high": (lambda file: file["labels"].write_direct(np.full(12, 20, np.uint16)), "labels.* from 0 to 19"),
    "fewer labels": (lambda file: replace(file, "labels", np.zeros(11, np.uint16)), "expected 12 labels"),
    "real labels": (lambda file: replace(file, "labels", np.full(12, 0.5)), "expected labels from 0 to 19"),
    "no units": (lambda file: file.__delitem__("spikes/units"), "holds no array spikes/units"),
    "a matrix of times": (lambda file: replace(file, "spikes/times", np.zeros((12, 4))), "expected one array of times"),
    "times that are no arrays": (lambda file: replace(file, "spikes/times", np.zeros(12)), "expected arrays of numbers, one for each word"),
    "fewer times": (lambda file: file["spikes/times"].__setitem__(3, np.zeros(2, np.float16)), "word 3 has 2 times and 200 units"),
    "times below 0": (lambda file: file["spikes/times"].__setitem__(3, np.full(200, -1, np.float16)), "word 3 has times that are no seconds"),
    "times without end": (lambda file: file["spikes/times"].__setitem__(3, np.full(200, np.inf, np.float16)), "word 3 has times that"),
    "names of fewer classes": (lambda file: replace(file, "extra/keys", np.array([b"a"])), "expected names of 20 classes"),
}


def replace(file, name, values):
    del file[name]
    file[name] = values


@pytest.mark.parametrize("case", DAMAGE)
def test_words_out_of_order_are_refused(root, load, case):
    h5py = pytest.importorskip("h5py")
    change, words = DAMAGE[case]
    path = root("shd") / "SHD" / "shd_test.h5"
    with h5py.File(path, "r+") as file:
        change(file)
    with pytest.raises(UserError, match=words) as error:
        load("shd", path.parents[1])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("rows, words", [
    (np.zeros((5, 3)), "expected rows of x, y, polarity and time, got an array of float64 \\(5, 3\\)"),
    (np.zeros(20), "expected rows"),
    (np.zeros((0, 4)), "holds no events"),
    (np.array([[1, 1, 0, 0.5]]), "times that are whole numbers"),
    (np.array([[1, 1, 5, 1]]), "expected polarities"),
    (np.array([[1, 1, 0, 2**61]]), "times that are no milliseconds"),
])  # fmt: skip
def test_rows_of_gestures_that_are_none(root, load, rows, words):
    path = root("dvs-gesture") / "DVSGesture/ibmGestureTrain/user01_fluorescent/3.npy"
    np.save(path, rows)
    with pytest.raises(UserError, match=words) as error:
        load("dvs-gesture", path.parents[3])
    assert str(path) in str(error.value)


@pytest.mark.parametrize("name", SETS)
def test_places(root, load, tmp_path, name):
    """Below the folder that tonic makes, or at the root itself; without them, what is missing is said."""
    folder = root(name)
    first = everything(load(name, folder).train)
    if name != "events":
        assert torch.equal(everything(load(name, next(folder.iterdir())).train), first)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"data set not found: no .*{tmp_path / 'empty'}"):
        load(name, tmp_path / "empty")


def test_an_empty_class_is_refused(root, load):
    folder = root("ncaltech101")
    (folder / "NCALTECH101/Caltech101/yin_yang").mkdir()
    with pytest.raises(UserError, match="Caltech101/yin_yang holds no recording that is read"):
        load("ncaltech101", folder)
    shutil.rmtree(folder / "NCALTECH101/Caltech101/yin_yang")
    for path in folder.rglob("image_0005.bin"):
        path.unlink()
    with pytest.raises(UserError, match="Caltech101 holds no recordings for the test part"):
        load("ncaltech101", folder)


@pytest.mark.parametrize("name, options, words", [
    ("shd", {"bin_ms": 10.0}, "data.bin_ms, data.empty_last_step: are for nmnist; time steps of shd"),
    ("dvs-gesture", {"sensor": [64, 64]}, "data.sensor: is for events; that of dvs-gesture has 128 x 128 pixels"),
    ("ssc", {"merge_polarities": True}, "data.merge_polarities: ssc has no polarities"),
    ("ncaltech101", {"crop": [250, 100]}, "data.crop: expected at most the sensor's 240 x 180 pixels"),
    ("events", {"crop": [20, 31]}, "data.crop: expected at most the sensor's 40 x 30 pixels"),
    ("digits", {"crop": [4, 4], "counts": False}, "data.crop, data.counts: only for shd, ssc, dvs-gesture, ncaltech101, events, not for digits"),
    ("nmnist", {"cut": "count"}, "data.cut: only for"),
])  # fmt: skip
def test_options_that_have_no_effect_are_refused(root, load, tmp_path, name, options, words):
    folder = root(name) if name in SETS else tmp_path
    with pytest.raises(UserError, match=words):
        load(name, folder, **options)


@pytest.mark.usefixtures("pictures")
@pytest.mark.parametrize("name", [name for name in SETS if name != "ssc"])
def test_a_run(root, cli, name):
    """One epoch of a tiny network by surrogate gradients, with its pictures, then its rates."""
    classes = {"shd": 20, "dvs-gesture": 11, "ncaltech101": 3, "events": 2}[name]
    options = ["--data.downsample", 10, "--network.layers", f"6-{classes}", "--network.time_steps", 8, "--trainer.threads", 1]
    status, lines, errors = cli(
        "train", "bptt-digits", "--data.name", name, "--data.root", root(name), "--trainer.epochs", 1, "--trainer.out", "run", *options
    )
    assert status == 0 and not errors, errors
    status, lines, errors = cli("rates", "run")
    assert status == 0, errors
    assert {"raster.png", "rates.png", "confusion.png"} <= {path.name for path in Path("run").iterdir()}


def test_ide_feeds_them_as_spikes(root, cli):
    options = ["--network.layers", "8C3s-11", "--network.feedback", "8C3", "--network.padding", "[1, 1]", "--network.time_steps", 6]
    options += ["--data.downsample", 8, "--data.counts", "false", "--trainer.epochs", 1, "--trainer.threads", 1]
    status, _, errors = cli("train", "ide-digits", "--data.name", "dvs-gesture", "--data.root", root("dvs-gesture"), *options)
    assert status == 0, errors
