"""Writers of small data sets, each in its true format below a folder that is then `data.root`."""

import gzip
import pickle
import struct

import numpy as np

DVS_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
DVS_HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n#  Timestamps tick is 1 us\r\n"


def images(count, *shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


def write_idx(path, array, compress):
    content = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.with_name(path.name + ".gz") if compress else path).write_bytes(gzip.compress(content) if compress else content)


def write_mnist(root, folder="MNIST", compress=True, train=30, test=10):
    for part, count, seed in (("train", train, 0), ("t10k", test, 1)):
        raw = root / folder / "raw"
        write_idx(raw / f"{part}-images-idx3-ubyte", images(count, 28, 28, seed=seed), compress)
        write_idx(raw / f"{part}-labels-idx1-ubyte", np.arange(count, dtype=np.uint8) % 10, compress)


CIFAR_FILES = {
    "cifar10": ("cifar-10-batches-py", "labels", [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]),
    "cifar100": ("cifar-100-python", "fine_labels", ["train", "test"]),
}


def write_cifar(root, name, protocol=2):
    """Batches of 4 images; those of file i are `images(4, 3072, seed=i)`, their labels i, 1, 2, 3."""
    folder_name, label_key, files = CIFAR_FILES[name]
    folder = root / folder_name
    folder.mkdir(parents=True, exist_ok=True)
    for i, file in enumerate(files):
        batch = {"data": images(4, 3072, seed=i), label_key: [i, 1, 2, 3], "batch_label": "testing"}
        (folder / file).write_bytes(pickle.dumps(batch, protocol=protocol))  # 2 as the originals
    return folder


def write_svhn(root, compress=True):
    from scipy.io import savemat

    for part, count, seed in (("train", 6, 0), ("test", 3, 1)):
        labels = np.array([[10], [1], [9], [2], [10], [3]][:count], np.uint8)
        content = {"X": images(count, 32, 32, 3, seed=seed).transpose(1, 2, 3, 0), "y": labels}
        savemat(root / f"{part}_32x32.mat", content, do_compression=compress)


def write_pictures(root, side=20, suffix=".png"):
    from PIL import Image

    for part in ("train", "test"):
        for i, name in enumerate(("cat", "dog", "eel")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for k in range(2):
                Image.fromarray(np.full((side, side, 3), (40 * i, 100, 10 * k), np.uint8)).save(folder / f"{k}{suffix}")


def nmnist_events(events):
    """events: (x, y, polarity, microseconds). 40 bits each: 8 for x, 8 for y, 1 for the polarity, 23 for the time."""
    return b"".join((x << 32 | y << 24 | polarity << 23 | time).to_bytes(5, "big") for x, y, polarity, time in events)


def write_nmnist(root, per_class=2):
    rng = np.random.default_rng(0)
    for part in ("Train", "Test"):
        for label in range(10):
            for i in range(per_class):
                times = np.sort(rng.integers(1, 300_000, 300)).tolist()
                places, polarity = rng.integers(8, 34, (2, 300)).tolist(), rng.integers(0, 2, 300).tolist()
                path = root / "N-MNIST" / part / str(label) / f"{i + 1:05d}.bin"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(nmnist_events(zip(*places, polarity, times)))


def nmnist_text(events, bin_us=3000):
    """What the published preprocessing writes of one recording: by its own rules, over loops like its own.

    events: as above, their positions with the drift taken out.
    """
    lines = {}
    for x, y, polarity, time in events:
        channel = x * 34 + y + 1 + (1156 if polarity else 0)
        lines.setdefault(channel, []).append(-(-time // bin_us))
    return "".join("".join(f"{number}\t" for number in (channel, *times)) + "\n" for channel, times in sorted(lines.items()))


def write_nmnist_text(root, per_class=2, of_classes=False):
    rng = np.random.default_rng(1)
    for part in ("Train", "Test"):
        for label in range(10):
            texts = []
            for _ in range(per_class):
                times = np.sort(rng.integers(1, 300_000, 300)).tolist()
                texts.append(nmnist_text(zip(*rng.integers(0, 34, (2, 300)).tolist(), rng.integers(0, 2, 300).tolist(), times)))
            folder = root / "2312_3000_stable"
            if of_classes:
                folder.mkdir(parents=True, exist_ok=True)
                (folder / f"{part}_{label}.dat").write_text("".join(text + "#\n" for text in texts))
                continue
            (folder / part / str(label)).mkdir(parents=True, exist_ok=True)
            for i, text in enumerate(texts):
                (folder / part / str(label) / f"{i + 1}.dat").write_text(text)


def write_dvs_events(path, events, header=DVS_HEADER):
    """events: (x, y, polarity bit, microseconds)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = (struct.pack(">II", y << 8 | x << 1 | polarity, time) for x, y, polarity, time in events)
    path.write_bytes(header + b"".join(words))


def write_dvs(root, numbers=(0, 3, 900), events=330):
    """CIFAR10-DVS with a few files of each class."""
    rng = np.random.default_rng(0)
    for label in DVS_CLASSES:
        for number in numbers:
            places = zip(*rng.integers(0, 128, (2, events)).tolist(), rng.integers(0, 2, events).tolist(), range(events))
            write_dvs_events(root / "CIFAR10-DVS" / label / f"cifar10_{label}_{number}.aedat", places)
    return root
