"""The cache folder: copies that check themselves, what is stale or half-written goes, and the command that shows and clears it."""

import os
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import python_code
import torch
from data_files.writers import write_dvs, write_nmnist, write_pictures

from spiketrain import data
from spiketrain.data import cache

ARRAYS = {
    "a": np.arange(1000, dtype=np.int32).reshape(10, 100),
    "b": np.zeros((0, 3), np.int64),
    "c": np.array(7),
    "d": np.arange(5.0),
}
WRITERS = {
    "nmnist": lambda root: write_nmnist(root, per_class=1),
    "imagefolder": write_pictures,
    "cifar10_dvs": lambda root: write_dvs(root, (0, 900), 60),
}


@pytest.fixture
def copy(tmp_path):
    return cache.Copy("a_set", tmp_path, "0" * 16, "1" * 16)


@pytest.fixture
def use(tiny, tmp_path):
    """``use(name)``: the first test samples of a small data set, and what was read for them."""

    def load(name, **options):
        root = tmp_path / name
        if not root.exists():
            root.mkdir()
            WRITERS[name](root)
        section = {"name": name, "root": str(root), "image_size": 12, **options}
        return data.load(tiny(data=section)).test.batch(torch.arange(6))

    return load


def files():
    return sorted(cache.cache_dir().rglob("*.cache"))


@pytest.mark.parametrize("memory_map", [False, True])
def test_arrays_come_back_as_they_were(copy, memory_map):
    assert copy.read(memory_map) is None
    copy.write(**ARRAYS)
    read = copy.read(memory_map)
    assert list(read) == list(ARRAYS)
    for name, array in ARRAYS.items():
        assert np.array_equal(read[name], array) and read[name].dtype == array.dtype and read[name].shape == array.shape
    read["a"][0] = 5  # stays in memory
    assert np.array_equal(copy.read()["a"], ARRAYS["a"])


@pytest.mark.parametrize("memory_map", [False, True])
@pytest.mark.parametrize("checksum_begins_with_0", [False, True])
def test_every_damaged_byte_is_noticed(tmp_path, memory_map, checksum_begins_with_0):
    """Of the checksum, too: a space in the place of its 0, say, which would be the same number."""
    for name in map(str, range(1000)):
        copy = cache.Copy(name, tmp_path, "0" * 16, "1" * 16)
        copy.write(a=np.arange(40, dtype=np.uint8), b=np.arange(3))
        if copy.path.read_bytes().startswith(b"0") == checksum_begins_with_0:
            break
    copy.write(a=np.arange(40, dtype=np.uint8), b=np.arange(3))
    content = copy.path.read_bytes()
    padding = {*range(content.index(b"\n") + 1 + 40, content.index(b"\n") + 1 + 64), *range(len(content) - 64 + 24, len(content))}
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= 0x10
        copy.path.write_bytes(damaged)
        if place in padding:
            assert copy.read(memory_map)["a"].tolist() == list(range(40))
            continue
        with pytest.warns(UserWarning, match=f"{copy.path} is damaged .*: the data set is read anew"):
            assert copy.read(memory_map) is None
        assert not copy.path.exists()


@pytest.mark.parametrize("damage", [lambda content: b"", lambda content: content[:-1], lambda content: content + b"x", lambda content: b"x" * 100,
                                    lambda content: b'{"format": 2}\n', lambda content: b"[" * 60_000, lambda content: b"9" * 5000])  # fmt: skip
@pytest.mark.parametrize("name", WRITERS)
def test_a_damaged_copy_is_made_again(use, name, damage):
    before = use(name)
    contents = {path: path.read_bytes() for path in files()}
    assert len(contents) == 2
    for path, content in contents.items():
        path.write_bytes(damage(content))
    with pytest.warns(UserWarning, match="is damaged .*: the data set is read anew"):
        assert torch.equal(use(name), before)
    assert {path: path.read_bytes() for path in files()} == contents


@pytest.mark.parametrize("name", WRITERS)
def test_a_copy_of_other_contents_is_made_again(use, name):
    """In order by itself, but not what this data set needs."""
    before = use(name)
    for path in files():
        slot, key = path.stem.split("-")
        cache.Copy(name, Path("/"), slot, key).write(images=np.zeros((1, 2), np.uint8), spikes=np.zeros(3, np.int32))
    assert torch.equal(use(name), before)


def test_stale_copies_go(use, tmp_path):
    """Those of changed files, not those of other settings; and those of the format before this one."""
    use("imagefolder")
    first = files()
    use("imagefolder", image_size=10)
    assert len(files()) == 4 and set(first) <= set(files())
    old = cache.cache_dir() / "imagefolder" / f"{'0' * 32}.npy"
    mine = cache.cache_dir() / "imagefolder" / "mine.npy"
    old.write_bytes(b"x"), mine.write_bytes(b"x")
    picture = tmp_path / "imagefolder" / "test" / "cat" / "0.png"
    os.utime(picture, ns=(10**18, 10**18))
    use("imagefolder")
    assert len(files()) == 4 and len(set(first) & set(files())) == 1
    assert not old.exists() and mine.exists()


WRITER = """
import sys, time
import numpy as np
from pathlib import Path
from spiketrain.data.cache import Copy
from spiketrain import files
copy = Copy("a_set", Path("."), "2" * 16, "3" * 16)
fsync = files.os.fsync
def wait(descriptor):
    print("writing", flush=True)
    time.sleep(600)
files.os.fsync = wait
copy.write(a=np.zeros(10))
"""


def test_what_killed_processes_left_goes_and_what_living_ones_write_stays(copy, cli):
    process = subprocess.Popen(python_code.command(WRITER), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "writing\n"
        (unfinished,) = copy.path.parent.glob(".unfinished-*")
        long_ago = time.time() - 7 * 86400
        os.utime(unfinished, (long_ago, long_ago))
        copy.write(**ARRAYS)
        assert unfinished.exists(), "a living process was writing it"
        status, lines, _ = cli("cache")
        assert status == 0 and any("being written" in line and unfinished.name in line for line in lines)
        assert cli("cache", "clear")[0] == 0 and unfinished.exists()
    finally:
        process.kill()
        process.wait()
    os.utime(unfinished, (long_ago, long_ago))
    status, lines, _ = cli("cache")
    assert any("half-written by a process that was killed" in line and unfinished.name in line for line in lines)
    copy.write(**ARRAYS)
    assert not unfinished.exists()


def test_no_place_for_a_cache(use, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert use("imagefolder").shape == (6, 3, 12, 12)


def test_command(use, cli, tmp_path, assert_error):
    assert cli("cache") == (0, [f"0 files, 0.0 MB, in {cache.cache_dir()}; 'spiketrain cache clear' removes them"], [])
    for name in WRITERS:
        use(name)
    (cache.cache_dir() / "mine.txt").write_text("kept")
    (cache.cache_dir() / "nmnist" / "mine.txt").write_text("kept")
    damaged = files()[0]
    damaged.write_bytes(b"x")
    long_ago = time.time() - 3 * 86400
    os.utime(files()[-1], (long_ago, long_ago))
    (tmp_path / "imagefolder").rename(tmp_path / "moved")
    status, lines, errors = cli("cache", "list")
    assert status == 0 and not errors and len(lines) == 8  # a header, six files, their sum
    of_file = {path: next(line for line in lines if str(path) in line) for path in files()}
    assert "damaged" in of_file[damaged] and "3 days" in of_file[files()[-1]]
    assert all(("stale: its data set is gone" in line) == ("imagefolder" in path.parent.name) for path, line in of_file.items())
    assert sum(f" {tmp_path / 'nmnist'}" in line for line in of_file.values()) == 2
    size = sum(path.stat().st_size for path in files())
    assert lines[-1].startswith(f"6 files, {size / 1e6:.1f} MB, in ")
    assert cli("cache", "--clear")[1] == [f"removed 6 files, {size / 1e6:.1f} MB, from {cache.cache_dir()}"]
    assert files() == [] and (cache.cache_dir() / "mine.txt").exists() and (cache.cache_dir() / "nmnist" / "mine.txt").exists()
