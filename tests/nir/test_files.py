"""Files that are damaged, hostile, or none of NIR's: one clear error, at once, and nothing is read from elsewhere."""

import os

import numpy as np
import pytest
import torch
from torch import nn

import spikeops.nn as snn

nir = pytest.importorskip("nir")
h5py = pytest.importorskip("h5py")
pytest.importorskip("nirtorch")
from spikeops.nir import from_nir, to_nir  # noqa: E402


def written(path, change):
    nir.write(path, to_nir(nn.Sequential(snn.LIF(0.9, reset="to", strict=True)), (4,)))
    with h5py.File(path, "r+") as file:
        change(file)


@pytest.mark.parametrize("change", [
    lambda file: file.__delitem__("node"), lambda file: file["node"].__delitem__("edges"), lambda file: file["node"].__delitem__("nodes"),
    lambda file: file["node/nodes/0"].__delitem__("tau"), lambda file: file["node/nodes/0"].__delitem__("type"),
    lambda file: file["node/nodes/0"].create_dataset("type_check", data=1),
    lambda file: (file["node/nodes/0"].__delitem__("type"), file["node/nodes/0"].create_dataset("type", data="Rocket")),
    lambda file: (file["node/nodes/0"].__delitem__("tau"), file["node/nodes/0"].create_dataset("tau", data=np.ones(7))),
], ids=["no graph", "no edges", "no nodes", "no tau", "no type", "too much", "a type of nobody's", "another shape"])  # fmt: skip
def test_damaged_files_are_one_clear_error(tmp_path, change):
    written(tmp_path / "model.nir", change)
    with pytest.raises(ValueError, match=r"^from_nir: .*model\.nir is not a NIR graph: "):
        from_nir(tmp_path / "model.nir")


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89HDF\r\n\x1a\n" + bytes(100)], ids=["empty", "text", "cut off"])
def test_files_that_are_none_are_one_clear_error(tmp_path, content):
    (tmp_path / "model.nir").write_bytes(content)
    with pytest.raises(ValueError, match=r"^from_nir: .*model\.nir is not a NIR graph: "):
        from_nir(str(tmp_path / "model.nir"))


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="from_nir: there is no file .*model.nir"):
        from_nir(tmp_path / "model.nir")


def linked_around(file):
    """Ways through it without an end: HDF5 lets a group lie in several places."""
    before = file["node/nodes/0"]
    for k in range(40):
        group = file.create_group(f"node/nodes/0/metadata/{k}")
        group["a"], group["b"] = before, before
        before = group


def promising(**options):
    def change(file):
        del file["node/nodes/0/tau"]
        file.create_dataset("node/nodes/0/tau", shape=(10**6, 10**6), dtype="f4", **options)

    return change


def lies_elsewhere(file):
    del file["node/nodes/0/tau"]
    file.create_dataset("node/nodes/0/tau", shape=(4,), dtype="f4", external=[("/etc/hostname", 0, 16)])


@pytest.mark.parametrize("change, why", [
    (linked_around, "is there under another name, too"), (lambda file: file["node/nodes/0"].__setitem__("x", file["node"]), "under another name"),
    (lambda file: file["node/nodes"].__setitem__("x", h5py.SoftLink("/node/nodes/0")), "/node/nodes/x is a link to somewhere else"),
    (lambda file: file["node/nodes"].__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")), "is a link to somewhere else"),
    (promising(), "tau promises 4000000000000 bytes, and holds 0"), (promising(chunks=(100, 100), compression="gzip"), "tau promises 4000000000000"),
    (lies_elsewhere, "tau lies in another file"),
])  # fmt: skip
def test_hostile_files_are_refused_before_nir_reads_them(tmp_path, change, why):
    written(tmp_path / "model.nir", change)
    with pytest.raises(ValueError, match=rf"^from_nir: .*model\.nir is not a NIR graph: .*{why}"):
        from_nir(tmp_path / "model.nir")


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_what_is_no_regular_file_is_not_waited_for(tmp_path, make):
    make(tmp_path / "model.nir")
    with pytest.raises(OSError, match=r"from_nir: .*model\.nir' is no regular file"):
        from_nir(tmp_path / "model.nir")


def test_names_with_slashes_go_through_a_file(tmp_path):
    model = nn.Sequential()
    model.add_module("in/out", nn.Linear(4, 3))
    nir.write(tmp_path / "model.nir", to_nir(model, (4,)))
    x = torch.rand(2, 1, 4)
    assert torch.equal(from_nir(tmp_path / "model.nir")(x), model(x))


def test_every_cut_is_one_error(tmp_path):
    """A file that was not written to its end."""
    written(tmp_path / "model.nir", lambda file: None)
    content = (tmp_path / "model.nir").read_bytes()
    for length in range(0, len(content), len(content) // 20):
        (tmp_path / "model.nir").write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"^from_nir: .*model\.nir is not a NIR graph: "):
            from_nir(tmp_path / "model.nir")
