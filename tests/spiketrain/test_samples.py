"""Files of no data set, read as those of the data set: the same numbers, and every conversion said by name."""

import numpy as np
import pytest
import torch
from data_files import event_writers, writers
from data_files.event_sets import everything

from spiketrain import data
from spiketrain.data import samples
from spiketrain.errors import LONGEST_LINE, UserError

# Data set -> (writer, the files of its test part in the order of the data set, options)
SETS = {
    "events": (event_writers.write_own, "test/*/*.npz", {}),
    "events in 3 x 3 pixels": (event_writers.write_own, "test/*/*.npz", {"name": "events", "downsample": 3, "crop": [20, 16], "cut": "count"}),
    "events of one channel": (event_writers.write_own, "test/*/*.npz", {"name": "events", "merge_polarities": True, "counts": False}),
    "dvs-gesture": (event_writers.write_gestures, "DVSGesture/ibmGestureTest/*/*.npy", {"downsample": 8, "duration_ms": 3000}),
    "ncaltech101": (event_writers.write_caltech, "NCALTECH101/Caltech101/*/image_0005.bin", {"downsample": 4}),
    "nmnist": (writers.write_nmnist, "N-MNIST/Test/*/*.bin", {"bin_ms": 20.0, "empty_last_step": True}),
    "nmnist as text": (writers.write_nmnist_text, "2312_3000_stable/Test/*/*.dat", {"name": "nmnist"}),
    "cifar10_dvs": (writers.write_dvs, "CIFAR10-DVS/*/cifar10_*_900.aedat", {"image_size": 12}),
    "imagefolder": (writers.write_pictures, "test/*/*.png", {"image_size": 9}),
    "imagefolder of jpg": (lambda root: writers.write_pictures(root, suffix=".jpg"), "test/*/*.jpg", {"name": "imagefolder", "mean": [0.1, 0.2, 0.3], "std": [1, 2, 3]}),
}


@pytest.mark.parametrize("name", SETS)
def test_a_file_is_what_the_data_set_makes_of_it(name, tmp_path, tiny):
    write, pattern, options = SETS[name]
    write(tmp_path / "data")
    section = {"name": name, "root": str(tmp_path / "data"), "augment": False, **options}
    dataset = data.load(tiny(data=section, network={"time_steps": 6}, trainer={"limit_train": 0, "limit_test": 0}))
    files = sorted((tmp_path / "data").glob(pattern))
    read = samples.read(dataset.description(), files)
    assert read.names == [str(path) for path in files] and not read.done
    assert torch.equal(everything(read.split), everything(dataset.test))
    again = samples.read(dataset.description(), [files[1], files[0], files[1]]).split
    axis = everything(again).dim() - len(dataset.input_shape) - 1
    assert torch.equal(everything(again), everything(dataset.test).index_select(axis, torch.tensor([1, 0, 1])))


def test_words_of_a_file_are_samples(tmp_path, tiny):
    pytest.importorskip("h5py")
    event_writers.write_cochlea(tmp_path)
    dataset = data.load(tiny(data={"name": "shd", "root": str(tmp_path), "augment": False}, network={"time_steps": 8}, trainer={"limit_test": 0}))
    path = tmp_path / "SHD" / "shd_test.h5"
    read = samples.read(dataset.description(), [path])
    assert read.names == [f"{path}[{i}]" for i in range(12)]
    assert torch.equal(everything(read.split), everything(dataset.test))


def picture(path, array):
    from PIL import Image

    Image.fromarray(array).save(path)
    return path


@pytest.fixture
def mnist(tmp_path, tiny):
    """The description of MNIST, of 28 x 28 pixels."""
    from spiketrain.data import described

    return described.of_config(tiny(data={"name": "mnist"}))


def test_grey_pictures_are_taken_as_they_are(mnist, tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (28, 28), dtype=np.uint8)
    files = [picture(tmp_path / "a.png", grey), picture(tmp_path / "b.bmp", np.stack([grey] * 3, 2)), picture(tmp_path / "c.tif", grey)]
    read = samples.read(mnist, files)
    wanted = (torch.from_numpy(grey).double() / 255 - 0.1307) / 0.3081
    assert not read.done
    for sample in everything(read.split):
        torch.testing.assert_close(sample[0].double(), wanted, atol=1e-6, rtol=1e-6)


def test_colours_become_their_luma_and_that_is_said(mnist, tmp_path):
    colours = np.zeros((28, 28, 3), np.uint8)
    colours[..., 0], colours[..., 1] = 200, 100
    files = [picture(tmp_path / "a.png", colours), picture(tmp_path / "b.png", colours[..., 0])]
    read = samples.read(mnist, files)
    assert read.done == {"pictures have colours, of which their luma (ITU-R 601-2) is taken": 1}
    assert read.split.images[0].unique().tolist() == [round(0.299 * 200 + 0.587 * 100)]


def test_grey_pictures_for_colours_are_said(tmp_path, tiny):
    from spiketrain.data import described

    read = samples.read(described.of_config(tiny(data={"name": "cifar10"})), [picture(tmp_path / "a.png", np.full((32, 32), 9, np.uint8))])
    assert read.done == {"pictures are grey: red, green and blue are taken to be equal": 1}
    assert read.split.images.unique().tolist() == [9]


def test_another_size_is_refused_unless_it_is_to_be_resized(mnist, tmp_path):
    wide = picture(tmp_path / "wide.png", np.full((28, 40), 7, np.uint8))
    with pytest.raises(UserError, match=r"wide.png has 40 x 28 pixels: expected 28 x 28, as those of mnist .* --resize") as raised:
        samples.read(mnist, [wide])
    assert len(str(raised.value)) <= LONGEST_LINE
    read = samples.read(mnist, [wide], resize=True)
    assert read.done == {"pictures were resized to 28 x 28 pixels (bilinear)": 1}
    assert read.split.images.shape == (1, 1, 28, 28) and read.split.images.unique().tolist() == [7]


def test_eight_bits_become_the_grey_levels_of_digits(tmp_path, tiny):
    dataset = data.load(tiny())
    for k, scaled in enumerate((lambda x: x * 255 // 16, lambda x: np.round(x * 255 / 16), lambda x: np.minimum(x.astype(int) * 16, 255))):
        images = dataset.test.images[:5].numpy()
        files = [picture(tmp_path / f"{k}{i}.png", scaled(image[0].astype(np.float64)).astype(np.uint8)) for i, image in enumerate(images)]
        read = samples.read(dataset.description(), files)
        assert torch.equal(read.split.images, dataset.test.images[:5])
        assert read.done == {"pictures have their brightness from 0 to 255 taken for 0 to 16, as that of digits": 5}


def test_folders_are_looked_through_in_order(mnist, tmp_path):
    for name in ("b/2.png", "b/1.png", "a/3.PNG", ".hidden/4.png"):
        (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(tmp_path / "in" / name, np.zeros((28, 28), np.uint8))
    (tmp_path / "in" / "notes.txt").write_text("")
    with pytest.warns(UserWarning, match="left out of .*in: 1 ending in .txt, 1 hidden"):
        names = list(map(str, samples.found(mnist, [tmp_path / "in"])))
    assert [name.removeprefix(f"{tmp_path}/in/") for name in names] == ["a/3.PNG", "b/1.png", "b/2.png"]


@pytest.mark.parametrize("case", ["missing", "of another kind", "damaged", "an empty folder", "a pipe", "nothing", "a long name"])
def test_what_cannot_be_read_is_one_line(mnist, tmp_path, case):
    import os

    path, words = tmp_path / "a.png", None
    if case == "missing":
        words = "a.png"
    elif case == "of another kind":
        path, words = tmp_path / "a.npy", "a.npy is no file that is read for mnist: expected some .png"
    elif case == "damaged":
        path.write_bytes(b"\x89PNG\r\n\x1a\n")
        words = "a.png is damaged or no picture"
    elif case == "an empty folder":
        (path := tmp_path / "folder").mkdir()
        words = "holds no files that are read for mnist"
    elif case == "a pipe":
        os.mkfifo(path)
        words = "a named pipe"
    elif case == "a long name":
        path, words = tmp_path / f"{'x' * 230}.png", "x.png"
    with pytest.raises(UserError, match=words) as raised:
        samples.read(mnist, samples.found(mnist, [] if case == "nothing" else [path]))
    assert len(str(raised.value)) <= LONGEST_LINE


def test_events_outside_of_the_sensor_are_refused(tmp_path, tiny):
    event_writers.write_own(tmp_path / "data")
    dataset = data.load(tiny(data={"name": "events", "root": str(tmp_path / "data"), "augment": False}))
    event_writers.write_recording(tmp_path / "large.npz", event_writers.random_events(50, 60, 50))
    with pytest.raises(UserError, match=r"large.npz is damaged: expected events within 40 x 30 pixels"):
        samples.read(dataset.description(), [tmp_path / "large.npz"])
