"""Files of one recording each: what is read of every format, and what is refused."""

import os
import sys
import zipfile

import numpy as np
import pytest
from data_files.event_writers import random_events, structured, write_recording

from spiketrain.data import event_files, hdf5_files
from spiketrain.errors import UserError

COLUMNS = random_events(60, 40, 30, last_us=500_000)


def needs(suffix):
    if suffix in (".h5", ".hdf5"):
        pytest.importorskip("h5py")


def read(path):
    events = event_files.read_events(path)
    return [events.x.tolist(), events.y.tolist(), events.polarity.tolist(), events.time.tolist()]


def expected(columns=COLUMNS):
    return [column.tolist() for column in columns]


@pytest.mark.parametrize("suffix", event_files.READERS)
def test_every_format_gives_back_its_events(tmp_path, suffix):
    needs(suffix)
    path = tmp_path / f"a{suffix}"
    write_recording(path, COLUMNS)
    assert read(path) == expected()
    assert event_files.read_events(path).sensor == ((40, 30) if suffix == ".dat" else None)


@pytest.mark.parametrize("suffix", event_files.READERS)
@pytest.mark.parametrize("damage", ["cut", "empty", "page"])
def test_damaged_files_are_named(tmp_path, suffix, damage):
    needs(suffix)
    path = tmp_path / f"a{suffix}"
    write_recording(path, COLUMNS)
    content = path.read_bytes()
    path.write_bytes({"cut": content[: len(content) // 2 + 1], "empty": b"", "page": b"<html>404</html>\n"}[damage])
    with pytest.raises(UserError) as error:
        read(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("suffix", event_files.READERS)
def test_nothing_waits_for_a_pipe(tmp_path, suffix):
    needs(suffix)
    os.mkfifo(tmp_path / f"a{suffix}")
    with pytest.raises(UserError, match="named pipe"):
        read(tmp_path / f"a{suffix}")


@pytest.mark.parametrize("names", ["xytp", ("x", "y", "ts", "pol"), ("X", "Y", "Timestamp", "Polarity"), ("x", "y", "t", "on")])
def test_names_of_fields(tmp_path, names):
    x, y, p, t = COLUMNS
    columns = dict(zip(names, (x, y, t, p)))
    np.savez(tmp_path / "a.npz", **columns)
    array = np.empty(len(x), [(name, np.int64) for name in reversed(names)])
    for name, column in columns.items():
        array[name] = column
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "b.npz", anything=array)
    for name in ("a.npz", "a.npy", "b.npz"):
        assert read(tmp_path / name) == expected(), name


@pytest.mark.parametrize("place", ["", "events/", "CD/events/"])
@pytest.mark.parametrize("is_structured", [False, True])
def test_places_in_hdf5(tmp_path, place, is_structured):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["other"] = np.zeros(3)
        if is_structured:
            file[place.rstrip("/") or "events"] = structured(COLUMNS)
        else:
            for name, column in zip("xypt", COLUMNS):
                file[place + name] = column
    assert read(tmp_path / "a.h5") == expected()


def test_numbers_of_any_type(tmp_path):
    x, y, p, t = COLUMNS
    np.savez(tmp_path / "a.npz", x=x.astype(np.float16), y=y.astype(np.uint8), t=t.astype(">u8"), p=2 * p.astype(np.int8) - 1)
    assert read(tmp_path / "a.npz") == expected()
    np.savez(tmp_path / "b.npz", x=x, y=y, t=t.astype(np.float64), p=p.astype(bool))
    assert read(tmp_path / "b.npz") == expected()


WRONG = {
    "times in seconds": ({"t": COLUMNS[3] / 1e6}, "times that are whole numbers, in microseconds, got 0"),
    "no time at all": ({"t": np.full(60, np.nan)}, "times that are whole numbers"),
    "a time without end": ({"t": np.full(60, np.inf)}, "times that are whole numbers"),
    "huge times": ({"t": np.full(60, 2**63, np.uint64)}, "times below 2\\^62"),
    "half a pixel": ({"x": COLUMNS[0] + 0.5}, "x that are whole numbers"),
    "pixels below 0": ({"y": COLUMNS[1] - 30}, "expected pixels from 0 to 16383, got one at y -"),
    "pixels of no sensor": ({"x": COLUMNS[0] + 16_384}, "expected pixels from 0 to 16383, got one at x 16"),
    "three polarities": ({"p": np.arange(60) % 3 - 1}, "expected polarities 0 and 1, or -1 and 1, got -1, 0, 1"),
    "a polarity of 2": ({"p": np.full(60, 2)}, "expected polarities"),
    "fewer times": ({"t": COLUMNS[3][:59]}, "60 x, 60 y, 60 polarities, 59 times"),
    "a matrix": ({"x": COLUMNS[0].reshape(6, 10)}, "6 x 10 x, 60 y"),
    "text": ({"x": np.array(["a"] * 60)}, "x that are numbers"),
    "complex numbers": ({"x": COLUMNS[0] * 1j}, "x that are numbers"),
    "no events": (dict.fromkeys("xytp", np.zeros(0, np.int64)), "holds no events"),
    "another name": ({"x": None, "column": COLUMNS[0]}, "found no x among column, p, t, y"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_recording_is_refused(tmp_path, case):
    changes, words = WRONG[case]
    columns = {**dict(zip("xypt", COLUMNS)), **changes}
    np.savez(tmp_path / "a.npz", **{name: column for name, column in columns.items() if column is not None})
    with pytest.raises(UserError, match=words) as error:
        read(tmp_path / "a.npz")
    assert str(tmp_path / "a.npz") in str(error.value)


def test_pickles_in_numpy_files_are_not_read(tmp_path):
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([{"x": 1}], dtype=object))
    for name in ("a.npy", "a.npz"):
        with pytest.raises(UserError, match="holds Python objects, which are not read"):
            read(tmp_path / name)
    np.save(tmp_path / "b.npy", np.zeros((5, 4)))
    with pytest.raises(UserError, match="expected a structured array with fields x, y, t and p"):
        read(tmp_path / "b.npy")


def test_headers_that_promise_more_than_there_is(tmp_path):
    """None takes memory for it first."""
    write_recording(tmp_path / "a.npy", COLUMNS)
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "b.npy").write_bytes(content.replace(b"(60,), }         ", b"(60000000000,), }"))
    with pytest.raises(UserError, match="b.npy is truncated or damaged: its header promises 780000000000 bytes of data, it holds 780"):
        read(tmp_path / "b.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", bytes(2**20))
    with pytest.raises(UserError, match="a.npz"):
        read(tmp_path / "a.npz")
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name in "xytp":
            file.create_dataset(name, (2**40,), np.int64, chunks=(2**20,))
    with pytest.raises(UserError, match="a.h5 is damaged: its header promises 8796093022208 bytes of data, its 0 compressed bytes"):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("kind", ["external link", "soft link", "external storage", "virtual"])
def test_hdf5_leads_to_no_other_file(tmp_path, kind):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "secret.h5", "w") as file:
        file["x"] = np.arange(60)
    np.arange(60).tofile(tmp_path / "secret.raw")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        for name, column in zip("ytp", (COLUMNS[1], COLUMNS[3], COLUMNS[2])):
            file[name] = column
        if kind == "external link":
            file["x"] = h5py.ExternalLink(str(tmp_path / "secret.h5"), "/x")
        elif kind == "soft link":
            file["x"] = h5py.SoftLink("/y")
        elif kind == "external storage":
            file.create_dataset("x", (60,), np.int64, external=[(str(tmp_path / "secret.raw"), 0, 480)])
        else:
            layout = h5py.VirtualLayout((60,), np.int64)
            layout[:] = h5py.VirtualSource(str(tmp_path / "secret.h5"), "x", (60,))
            file.create_virtual_dataset("x", layout)
    with pytest.raises(UserError, match="a.h5, x (is a link|lies in another file): expected an array in the file itself"):
        read(tmp_path / "a.h5")


def test_h5py_may_be_missing(tmp_path, monkeypatch):
    (tmp_path / "a.h5").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "h5py", None)
    with pytest.raises(UserError, match='a.h5 is read with h5py, .* pip install "spikeops\\[events\\]"'):
        read(tmp_path / "a.h5")


@pytest.mark.parametrize("head, words", [
    (b"% Width 40\n% Height 30\n\x00\x08", None),
    (b"\x0c\x08", None),
    (b"% Height 29\n% Width 40\n\x0c\x08", "within 40 x 29 pixels, got one at x 7, y 29"),
    (b"% Width 40\n\x0c\x10", "no .dat of Prophesee"),
    (b"", "no .dat of Prophesee"),
    (b"% no end", "no .dat of Prophesee"),
])  # fmt: skip
def test_heads_of_dat_files(tmp_path, head, words):
    events = np.array([[5, 3 | 4 << 14], [9, 7 | 29 << 14 | 1 << 28]], "<u4")
    (tmp_path / "a.dat").write_bytes(head + events.tobytes())
    if words:
        with pytest.raises(UserError, match=f"a.dat .*{words}"):
            read(tmp_path / "a.dat")
    else:
        assert read(tmp_path / "a.dat") == [[3, 7], [4, 29], [0, 1], [5, 9]]


def test_an_error_while_a_file_is_open_is_of_that_file(tmp_path):
    h5py = pytest.importorskip("h5py")
    h5py.File(tmp_path / "a.h5", "w").close()
    with pytest.raises(UserError, match="a.h5 is damaged or no HDF5 file: KeyError"), hdf5_files.opened(tmp_path / "a.h5") as file:
        file["missing"]
