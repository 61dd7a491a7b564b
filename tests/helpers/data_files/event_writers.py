"""Writers of small event data sets, each in its true format below a folder that is then `data.root`."""

from pathlib import Path

import numpy as np

from data_files.writers import nmnist_events

KEYS = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "null",
    "eins",
    "zwei",
    "drei",
    "vier",
    "fünf",
    "sechs",
    "sieben",
    "acht",
    "neun",
]
WORDS = {"shd": ("SHD", 20), "ssc": ("SSC", 35)}


def random_events(count, width, height, seed=0, last_us=1_000_000):
    """x, y, polarity (0 or 1) and microseconds, in the order of time."""
    rng = np.random.default_rng(seed)
    return (
        rng.integers(0, width, count),
        rng.integers(0, height, count),
        rng.integers(0, 2, count),
        np.sort(rng.integers(0, last_us, count)),
    )


def write_words(path, words, labels, keys):
    """A part of SHD or SSC as its makers wrote it. words: (seconds, channels) of each."""
    import h5py

    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        for place, kind, column in (("times", np.float16, 0), ("units", np.uint16, 1)):
            dataset = file.create_dataset(f"spikes/{place}", (len(words),), h5py.vlen_dtype(kind))
            for i, word in enumerate(words):
                dataset[i] = np.asarray(word[column], kind)
        file["labels"] = np.asarray(labels, np.uint16)
        file["extra/speaker"] = np.arange(len(words)).astype(np.uint16)
        file["extra/keys"] = np.array([key.encode() for key in keys])


def write_cochlea(root, name="shd", words=12, spikes=200):
    """Both parts of SHD or SSC, and for SSC the one for validation."""
    folder, classes = WORDS[name]
    rng = np.random.default_rng(0)
    for part in ("train", "test") if name == "shd" else ("train", "test", "valid"):
        of_part = [(np.sort(rng.uniform(0, 1.2, spikes)), rng.integers(0, 700, spikes)) for _ in range(words)]
        keys = KEYS if name == "shd" else [f"word {i}" for i in range(classes)]
        write_words(root / folder / f"{name}_{part}.h5", of_part, np.arange(words) % classes, keys)


def write_gestures(root, users=2, gestures=(0, 3, 10), events=200):
    """DVS-Gesture as tonic's archives hold it: rows of x, y, polarity and milliseconds."""
    for part in ("Train", "Test"):
        for user in range(1, users + 1):
            folder = root / "DVSGesture" / f"ibmGesture{part}" / f"user{user:02d}_fluorescent"
            folder.mkdir(parents=True)
            for gesture in gestures:
                x, y, polarity, time = random_events(events, 128, 128, seed=user * 100 + gesture, last_us=6000)
                np.save(folder / f"{gesture}.npy", np.stack([x, y, polarity, time + 70_000], 1))


def write_caltech(root, per_class=5, events=200):
    """N-Caltech101 with three of its classes, each of another size."""
    for i, name in enumerate(("BACKGROUND_Google", "accordion", "zebra")):
        for number in range(1, per_class + 1):
            columns = random_events(events, 200 + 20 * i, 180 - 30 * i, seed=10 * i + number, last_us=300_000)
            path = root / "NCALTECH101" / "Caltech101" / name / f"image_{number:04d}.bin"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(nmnist_events(zip(*(column.tolist() for column in columns))))


def write_recording(path, columns):
    """x, y, polarity and microseconds in the format that the ending says, as libraries of this field write it."""
    x, y, polarity, time = columns
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, structured(columns))
    elif path.suffix == ".npz":
        np.savez(path, t=time, x=x, y=y, p=polarity)
    elif path.suffix in (".h5", ".hdf5"):
        import h5py

        with h5py.File(path, "w") as file:
            for name, column in zip("xypt", columns):
                file.create_dataset(f"events/{name}", data=column, compression="gzip")
    elif path.suffix == ".bin":
        path.write_bytes(nmnist_events(zip(*(column.tolist() for column in columns))))
    elif path.suffix == ".dat":
        content = np.stack([time, x | y << 14 | polarity << 28], 1).astype("<u4").tobytes()
        path.write_bytes(b"% Data file containing CD events.\n% Version 2\n% Width 40\n% Height 30\n\x0c\x08" + content)
    else:
        raise ValueError(path)


def structured(columns):
    """As tonic keeps events."""
    x, y, polarity, time = columns
    array = np.empty(len(x), [("x", np.int16), ("y", np.int16), ("t", np.int64), ("p", bool)])
    array["x"], array["y"], array["t"], array["p"] = x, y, time, polarity
    return array


def write_own(root, suffix=".npz", per_class=2, events=100, width=40, height=30):
    """Own recordings of two classes, whose clocks do not begin at 0."""
    seed = 0
    for part in ("train", "test"):
        for name in ("left", "right"):
            for number in range(per_class):
                x, y, polarity, time = random_events(events, width, height, seed)
                x[0], y[0] = width - 1, height - 1
                offset = 0 if suffix in (".bin", ".dat") else 10**15
                write_recording(Path(root) / part / name / f"{number}{suffix}", (x, y, polarity, time + offset))
                seed += 1
