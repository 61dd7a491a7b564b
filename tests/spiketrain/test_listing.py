"""Which files readers take for a data set, and which they leave out and say so."""

import importlib.util
import os
import warnings

import numpy as np
import pytest
from data_files.event_writers import write_caltech, write_cochlea, write_gestures, write_own
from data_files.writers import write_cifar, write_dvs, write_mnist, write_nmnist, write_pictures, write_svhn

from spiketrain import data
from spiketrain.data.listing import list_files
from spiketrain.errors import UserError

APPLE_DOUBLE = b"\0\5\x16\7\0\2\0\0Mac OS X        " + b"\0" * 99  # 125 bytes, a multiple of 5: could pass for events


def touch(path, content=b"x"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def names(listing):
    return [str(path.relative_to(listing.folder)) for path in listing.files]


def test_hidden_entries_and_other_kinds_are_left_out_and_counted(tmp_path):
    for name in ("b/1.PNG", "a/2.png", "a/deep/er/3.Jpg"):
        touch(tmp_path / name)
    for name in (".hidden/4.png", "a/._2.png", ".DS_Store", "__MACOSX/a/2.png", "a/Thumbs.db", "a/.ipynb_checkpoints/2.png"):
        touch(tmp_path / name)
    for name in ("a/notes.txt", "b/more.TXT", "b/README"):
        touch(tmp_path / name)
    listing = list_files(tmp_path, (".png", ".jpg"))
    assert names(listing) == ["a/2.png", "a/deep/er/3.Jpg", "b/1.PNG"]
    assert listing.left_out == {"hidden": 6, "ending in .txt": 2, "without an ending": 1}
    with pytest.warns(UserWarning, match=f"left out of {tmp_path}: 2 ending in .txt, 6 hidden, 1 without an ending"):
        listing.say_what_was_left_out()


def test_nothing_left_out_is_nothing_said(tmp_path):
    touch(tmp_path / "1.png")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        list_files(tmp_path, (".png",)).say_what_was_left_out()


def test_links_are_followed_but_not_in_a_circle(tmp_path):
    touch(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "1.png").symlink_to(tmp_path / "elsewhere" / "1.png")
    (tmp_path / "set" / "up").symlink_to(tmp_path / "set")
    listing = list_files(tmp_path / "set", (".png",))
    assert names(listing) == ["1.png", "linked/1.png"]
    assert listing.left_out == {"that lead to folders listed already": 1}


def test_folders_linked_to_each_other_are_listed_once_each(tmp_path):
    """30 folders, with links from each to all others: a walk along all ways through them would never end."""
    folders = [tmp_path / "set" / f"{k:02}" for k in range(30)]
    for k, folder in enumerate(folders):
        touch(folder / "1.png")
        for other in folders:
            if other != folder:
                (folder / f"to{other.name}").symlink_to(f"../{other.name}")
        (tmp_path / "set" / f"0link{k}").symlink_to(folder.name)
    listing = list_files(tmp_path / "set", (".png",))
    assert names(listing) == [f"{folder.name}/1.png" for folder in folders], "where they really are"
    assert listing.left_out == {"that lead to folders listed already": 30 * 29 + 30}


def test_the_first_of_several_links_to_a_folder_elsewhere_is_taken(tmp_path):
    touch(tmp_path / "elsewhere" / "within" / "1.png")
    (tmp_path / "set" / "z").mkdir(parents=True)
    for name, target in (("c", "elsewhere"), ("b", "elsewhere"), ("z/a", "elsewhere/within"), ("d.png", "elsewhere")):
        (tmp_path / "set" / name).symlink_to(tmp_path / target)
    listing = list_files(tmp_path / "set", (".png",))
    assert names(listing) == ["b/within/1.png"]
    assert listing.left_out == {"that lead to folders listed already": 3}


def test_a_class_that_is_a_link_to_another_class_is_refused(tiny, tmp_path):
    write_pictures(tmp_path)
    (tmp_path / "train" / "kitty").symlink_to("cat")
    config = {"name": "imagefolder", "root": str(tmp_path), "image_size": 8}
    with (
        pytest.warns(UserWarning, match="1 that lead to folders listed already"),
        pytest.raises(UserError, match="train/kitty holds no picture that is read"),
    ):
        data.load(tiny(data=config))


def test_folders_within_folders_have_an_end(tmp_path):
    """Before Python's own."""
    folder = tmp_path
    for _ in range(150):
        folder /= "a"
    folder.mkdir(parents=True)
    touch(folder / "1.png")
    with pytest.raises(UserError, match="folders within folders, more than 100 deep"):
        list_files(tmp_path, (".png",))
    assert len(list_files(tmp_path.joinpath(*["a"] * 100), (".png",)).files) == 1


@pytest.mark.parametrize(
    "make, words",
    [
        (os.mkfifo, "named pipe"),
        (os.mkdir, "folder"),
        (lambda path: os.symlink("/dev/zero", path), "device"),
        (lambda path: os.symlink("nowhere", path), "No such file"),
    ],
)
def test_what_is_no_regular_file_is_refused(tiny, tmp_path, make, words):
    """In the place of a file of each data set; nothing waits for a pipe, or reads a device to its end."""
    places = {
        "mnist": (write_mnist, "MNIST/raw/train-images-idx3-ubyte.gz"),
        "cifar10": (lambda root: write_cifar(root, "cifar10"), "cifar-10-batches-py/data_batch_2"),
        "svhn": (write_svhn, "test_32x32.mat"),
        "imagefolder": (write_pictures, "train/dog/1.png"),
        "nmnist": (lambda root: write_nmnist(root, per_class=1), "N-MNIST/Train/3/00001.bin"),
        "cifar10_dvs": (lambda root: write_dvs(root, (0, 900), 30), "CIFAR10-DVS/cat/cifar10_cat_0.aedat"),
        "dvs-gesture": (write_gestures, "DVSGesture/ibmGestureTest/user01_fluorescent/3.npy"),
        "ncaltech101": (write_caltech, "NCALTECH101/Caltech101/zebra/image_0002.bin"),
        "events": (write_own, "train/left/1.npz"),
    }
    if importlib.util.find_spec("h5py"):
        places["shd"] = (write_cochlea, "SHD/shd_test.h5")
    for name, (write, place) in places.items():
        root = tmp_path / name
        root.mkdir()
        write(root)
        (root / place).unlink()
        make(root / place)
        with pytest.raises(UserError, match=f"{root / place}.*{words}|{words}.*{root / place}"):
            data.load(tiny(data={"name": name, "root": str(root)}))


def test_file_names_of_any_bytes(tiny, tmp_path, cli):
    """Bytes that are no text, line ends and escape sequences: read, and printed as escapes."""
    from PIL import Image

    strange = [b"caf\xe9.png", b"new\nline.png", b"\x1b[31mred.png", "käse.png".encode()]
    for part in ("train", "test"):
        folder = os.fsencode(tmp_path) + b"/" + part.encode() + b"/cl\xffass"
        os.makedirs(folder)
        for name in strange:
            with open(folder + b"/" + name, "wb") as file:
                Image.fromarray(np.zeros((4, 4), np.uint8)).save(file, "PNG")
    config = {"name": "imagefolder", "root": str(tmp_path), "image_size": 4}
    assert len(data.load(tiny(data=config)).train) == 4
    assert len(data.load(tiny(data=config)).train) == 4  # out of the cache
    with open(folder + b"/\x1b[31mred.png", "wb") as file:
        file.write(b"damaged")
    with pytest.raises(UserError) as error:
        data.load(tiny(data=config))
    assert r"cl\udcffass/\x1b[31mred.png is damaged" in str(error.value)
    str(error.value).encode("ascii")


def test_left_over_entries_beside_the_recordings(tiny, tmp_path):
    write_nmnist(tmp_path, per_class=1)
    write_dvs(tmp_path, (0, 900), 30)
    touch(tmp_path / "N-MNIST" / "Train" / "3" / "._00001.bin", APPLE_DOUBLE)
    touch(tmp_path / "N-MNIST" / "Train" / "00009.bin", APPLE_DOUBLE)
    touch(tmp_path / "CIFAR10-DVS" / "cat" / "._cifar10_cat_1.aedat", APPLE_DOUBLE)
    touch(tmp_path / "CIFAR10-DVS" / "cat" / "notes.aedat", APPLE_DOUBLE)
    with pytest.warns(UserWarning, match="left out of .*/Train: 1 hidden, 1 in no folder 0 to 9"):
        assert len(data.load(tiny(data={"name": "nmnist", "root": str(tmp_path)})).train) == 10
    with pytest.warns(UserWarning, match="left out of .*/cat: 1 hidden, 1 without a number"):
        assert len(data.load(tiny(data={"name": "cifar10_dvs", "root": str(tmp_path)}, trainer={"limit_train": 0})).train) == 10


def test_folders_of_classes(tiny, tmp_path, assert_error):
    """Pictures anywhere below a class are its own; one outside of all is left out; a class without pictures is refused."""
    write_pictures(tmp_path)
    config = {"name": "imagefolder", "root": str(tmp_path), "image_size": 8}
    picture = (tmp_path / "train" / "cat" / "0.png").read_bytes()
    touch(tmp_path / "train" / "cat" / "session2" / "x.PNG", picture)
    touch(tmp_path / "train" / "stray.png", picture)
    with pytest.warns(UserWarning, match="1 in no folder of a class"):
        dataset = data.load(tiny(data=config))
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 2, 2]
    touch(tmp_path / "train" / "emu" / "0.eps", b"%!PS")
    with (
        pytest.warns(UserWarning, match="1 ending in .eps"),
        pytest.raises(UserError, match="train/emu holds no picture that is read"),
    ):
        data.load(tiny(data=config))
