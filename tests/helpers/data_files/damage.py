"""Seeded damage to the files of small data sets, and what a reader makes of each."""

import contextlib
import importlib.util
import io
import os
import pickle
import random
import shutil
import struct
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from data_files import event_writers, writers

LONGEST_LINE = 600


@dataclass(frozen=True)
class Format:
    """A data set in one of its formats.

    Attributes:
        data_set: its name
        write: makes it below a folder
        has_checksum: a change of its contents is noticed
    """

    data_set: str
    write: object
    has_checksum: bool = False


FORMATS = {
    "mnist": Format("mnist", partial(writers.write_mnist, compress=False)),
    "mnist.gz": Format("mnist", writers.write_mnist, True),
    "fashion.gz": Format("fashion_mnist", partial(writers.write_mnist, folder="FashionMNIST"), True),
    "cifar10": Format("cifar10", partial(writers.write_cifar, name="cifar10")),
    "cifar10 protocol 5": Format("cifar10", partial(writers.write_cifar, name="cifar10", protocol=5)),
    "cifar10 protocol 0": Format("cifar10", partial(writers.write_cifar, name="cifar10", protocol=0)),
    "cifar100": Format("cifar100", partial(writers.write_cifar, name="cifar100")),
    "svhn": Format("svhn", partial(writers.write_svhn, compress=False)),
    "svhn compressed": Format("svhn", writers.write_svhn, True),
    **{
        f"pictures {suffix}": Format("imagefolder", partial(writers.write_pictures, suffix=suffix), suffix == ".png")
        for suffix in (".png", ".jpg", ".bmp", ".tif", ".webp", ".gif", ".ppm")
    },
    "nmnist": Format("nmnist", partial(writers.write_nmnist, per_class=1)),
    "nmnist text": Format("nmnist", partial(writers.write_nmnist_text, per_class=1)),
    "nmnist text of classes": Format("nmnist", partial(writers.write_nmnist_text, per_class=1, of_classes=True)),
    "cifar10_dvs": Format("cifar10_dvs", partial(writers.write_dvs, numbers=(0, 900), events=60)),
    "dvs-gesture": Format("dvs-gesture", partial(event_writers.write_gestures, users=1, events=60)),
    "ncaltech101": Format("ncaltech101", partial(event_writers.write_caltech, events=60)),
    **{
        f"own recordings {suffix}": Format("events", partial(event_writers.write_own, suffix=suffix), suffix == ".npz")
        for suffix, package in ((".npy", "numpy"), (".npz", "numpy"), (".dat", "numpy"), (".h5", "h5py"))
        if importlib.util.find_spec(package)
    },
    **({"shd": Format("shd", partial(event_writers.write_cochlea, words=3, spikes=40))} if importlib.util.find_spec("h5py") else {}),
}


def truncated(content, rng):
    return content[: rng.randrange(len(content))]


def emptied(content, rng):
    return b""


def bit_flipped(content, rng):
    return bytes_changed(content, rng, count=1)


def bytes_changed(content, rng, count=30):
    changed = bytearray(content)
    for _ in range(count):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def start_changed(content, rng):
    """The first bytes, where formats keep what they are and how large."""
    changed = bytearray(content)
    for i in range(min(len(changed), 16)):
        if rng.random() < 0.5:
            changed[i] = rng.randrange(256)
    return bytes(changed)


def page_of_an_error(content, rng):
    return b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"


def noise(content, rng):
    return rng.randbytes(len(content))


def zeros_at_the_end(content, rng):
    kept = rng.randrange(len(content))
    return content[:kept] + bytes(len(content) - kept)


def something_appended(content, rng):
    return content + rng.randbytes(rng.randrange(1, 2000))


CHANGES = (
    truncated,
    emptied,
    bit_flipped,
    bytes_changed,
    start_changed,
    page_of_an_error,
    noise,
    zeros_at_the_end,
    something_appended,
)


class Payload:
    """Unpickling this would make a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def labels_out_of_range(root, form, rng):
    """As far as the format has labels in its files."""
    bad = rng.choice([10, 57, 255])
    if form.data_set in ("mnist", "fashion_mnist"):
        path = next(p for p in sorted(root.rglob("*labels*")) if p.is_file())
        writers.write_idx(path.with_suffix(""), np.full(30 if "train" in path.name else 10, bad, np.uint8), path.suffix == ".gz")
    elif form.data_set.startswith("cifar1") and form.data_set != "cifar10_dvs":
        key = writers.CIFAR_FILES[form.data_set][1]
        path = rng.choice(sorted(p for p in root.rglob("*") if p.is_file()))
        wrong = rng.choice(
            [[bad * 10] * 4, [-1, 0, 0, 0], [0.5] * 4, ["1"] * 4, [None] * 4, [[0]] * 4, np.array([0, 1, 2, 700]), [2**70] * 4]
        )
        path.write_bytes(pickle.dumps({"data": writers.images(4, 3072), key: wrong}, rng.randrange(6)))
    elif form.data_set == "svhn":
        from scipy.io import savemat

        savemat(
            root / "train_32x32.mat",
            {"X": writers.images(32, 32, 3, 6), "y": np.full((6, 1), rng.choice([11, 255, -1, 0.5, np.nan]))},
        )
    else:
        return False
    return True


def sizes_without_sense(root, form, rng):
    """IDX headers that promise too much, too little or nothing; batches and matrices of other shapes."""
    if form.data_set in ("mnist", "fashion_mnist"):
        path = rng.choice(sorted(p for p in root.rglob("*images*") if p.is_file()))
        sizes = rng.choice([(2**31, 28, 28), (2**32 - 1,) * 3, (0, 28, 28), (30, 0, 28), (30, 27, 28)])
        content = struct.pack(">BBBB3I", 0, 0, 8, 3, *sizes)
        path.write_bytes(writers.gzip.compress(content) if path.suffix == ".gz" else content)
    elif form.data_set.startswith("cifar1") and form.data_set != "cifar10_dvs":
        path = rng.choice(sorted(p for p in root.rglob("*") if p.is_file()))
        shape = rng.choice([(4, 3071), (0, 3072), (4, 3, 32, 32), (5, 3072)])
        key = writers.CIFAR_FILES[form.data_set][1]
        path.write_bytes(pickle.dumps({"data": np.zeros(shape, np.uint8), key: [0, 1, 2, 3]}, rng.randrange(6)))
    elif form.data_set == "svhn":
        from scipy.io import savemat

        shape = rng.choice([(32, 32, 3, 5), (28, 28, 3, 6), (32, 32, 6), (32, 32, 3, 0)])
        savemat(root / "test_32x32.mat", {"X": np.zeros(shape, np.uint8), "y": np.ones((6, 1))})
    else:
        return False
    return True


def train_and_test_swapped(root, form, rng):
    """One file of the training set and one of the test set change places."""
    files = sorted(p for p in root.rglob("*") if p.is_file())
    train = [p for p in files if "rain" in str(p.relative_to(root)) or "data_batch" in p.name or p.stem.endswith("_0")]
    test = [p for p in files if p not in train]
    if not train or not test:
        return False
    one, other = rng.choice(train), rng.choice(test)
    contents = one.read_bytes(), other.read_bytes()
    one.write_bytes(contents[1]), other.write_bytes(contents[0])
    return True


def no_regular_file(root, form, rng):
    path = rng.choice(sorted(p for p in root.rglob("*") if p.is_file()))
    path.unlink()
    rng.choice([os.mkfifo, os.mkdir, lambda p: os.symlink("/dev/zero", p), lambda p: os.symlink("nowhere", p)])(path)
    return True


def code(root, form, rng):
    path = rng.choice(sorted(p for p in root.rglob("*") if p.is_file()))
    path.write_bytes(pickle.dumps({"data": Payload(root / "harmed")}, rng.randrange(6)))
    return True


KINDS = (labels_out_of_range, sizes_without_sense, train_and_test_swapped, no_regular_file, code)


@dataclass(frozen=True)
class Outcome:
    """What came of one damaged data set: `error` is the line that refuses it, or None; `fault` what is wrong with that, or None."""

    case: str
    error: str | None
    fault: str | None


def load_config(name, root):
    from spiketrain.methods import load_config

    steps = {"nmnist": 30, "cifar10_dvs": 4}.get(name, 5)
    raw = {"data": {"name": name, "root": str(root), "image_size": 12}, "network": {"layers": "10", "time_steps": steps}}
    return load_config({"preset": "drill", "method": {"name": "bptt"}, "trainer": {"threads": 1}, **raw})


def contents(dataset):
    """Shapes, labels and values of both splits, as far as they fit into one tensor each."""
    splits = (dataset.train, dataset.test)
    return [(split.labels, split.batch(torch.arange(len(split)))) for split in splits]


def outcome_of(case, form, root, sound, may_change):
    """Read a damaged data set. `sound` is what it said before, `may_change` whether its format cannot tell a change from other data."""
    from spiketrain import data
    from spiketrain.errors import UserError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = data.load(load_config(form.data_set, root))
            found = contents(read)
    except UserError as error:
        line = str(error)
        named = str(root) in line
        fault = (
            None
            if named and len(line) <= LONGEST_LINE and "\n" not in line and line.isprintable()
            else f"not one clear line: {line}"
        )
        return Outcome(case, line, fault)
    except BaseException as error:
        return Outcome(case, None, f"{type(error).__name__}: {error}")
    if (root / "harmed").exists():
        return Outcome(case, None, "code was run")
    for labels, values in found:
        if labels.dtype != torch.int64 or labels.numel() == 0 or labels.min() < 0 or labels.max() >= read.classes:
            return Outcome(case, None, f"labels {labels.tolist()}")
        if not values.isfinite().all():
            return Outcome(case, None, "values that are no numbers")
    if not may_change:
        for (labels, values), (good_labels, good_values) in zip(found, sound):
            if not torch.equal(labels, good_labels) or not torch.equal(values, good_values):
                return Outcome(case, None, "other data was read without a word, though the format has a checksum")
    return Outcome(case, None, None)


def drill(count, seed, folder):
    """Damage `count` data sets, one after the other below `folder`, and yield the outcome of each."""
    from spiketrain import data

    rng = random.Random(seed)
    names = list(FORMATS)
    sound = {}
    for number in range(count):
        form = FORMATS[name := names[number % len(names)]]
        root = Path(folder) / f"{number}"
        root.mkdir(parents=True)
        form.write(root)
        if name not in sound:
            sound[name] = contents(data.load(load_config(form.data_set, root)))
        kind = rng.choice((*CHANGES, *KINDS))
        if kind in CHANGES or not kind(root, form, rng):
            change = kind if kind in CHANGES else rng.choice(CHANGES)
            path = rng.choice(sorted(p for p in root.rglob("*") if p.is_file()))
            path.write_bytes(change(path.read_bytes(), rng))
            case = f"{number}: {name}, {path.relative_to(root)} {change.__name__}"
            may_change = not form.has_checksum
        else:
            case = f"{number}: {name}, {kind.__name__}"
            may_change = kind is train_and_test_swapped
        yield outcome_of(case, form, root, sound[name], may_change), root, form
        shutil.rmtree(root)


def status_and_lines(form, root):
    """Exit status and lines of stderr of `spiketrain train` on a data set, warnings left out."""
    from spiketrain.cli import main

    words = ["--data.name", form.data_set, "--data.root", str(root), "--data.image_size", "12", "--network.layers", "10"]
    words += ["--network.time_steps", "4" if form.data_set == "cifar10_dvs" else "30"]
    errors = io.StringIO()
    with contextlib.redirect_stderr(errors):
        status = main(["train", "bptt-digits", *words])
    return status, [line for line in errors.getvalue().splitlines() if not line.startswith("spiketrain: warning: ")]
