"""CIFAR10-DVS, read from .aedat files that the tests write in the true format."""

import numpy as np
import pytest
import torch
from data_files.writers import DVS_HEADER as HEADER
from data_files.writers import write_dvs
from data_files.writers import write_dvs_events as write_events

from spiketrain import data
from spiketrain.data import cifar10_dvs
from spiketrain.errors import UserError


@pytest.fixture
def load(tiny):
    def build(root, time_steps=30, side=48, augment=False):
        section = {"name": "cifar10_dvs", "root": str(root), "image_size": side, "augment": augment}
        return data.load(tiny(data=section, network={"time_steps": time_steps}, trainer={"limit_train": 0, "limit_test": 0}))

    return build


@pytest.mark.parametrize("header", [HEADER, b""])
def test_events_are_read_as_written(tmp_path, header):
    write_events(tmp_path / "a.aedat", [(0, 127, 1, 5), (127, 0, 0, 6), (35, 36, 1, 2**32 - 1)], header)
    column, row, channel = cifar10_dvs.read_events(tmp_path / "a.aedat")
    assert (column.tolist(), row.tolist(), channel.tolist()) == ([127, 0, 92], [127, 0, 36], [0, 1, 0])


def test_frames_hold_equal_numbers_of_events_and_the_last_the_rest(tmp_path):
    write_events(tmp_path / "a.aedat", [(i % 128, 3, 0, i) for i in range(30 * 4 + 7)])
    counts = cifar10_dvs.count_events(tmp_path / "a.aedat")
    assert counts.shape == (30, 2, 128, 128)
    assert counts.sum((1, 2, 3)).tolist() == [4] * 29 + [11]
    assert counts[0, 1, 3].nonzero()[0].tolist() == [124, 125, 126, 127]  # columns run against x
    write_events(tmp_path / "b.aedat", [(1, 2, 1, 0)] * 29)
    counts = cifar10_dvs.count_events(tmp_path / "b.aedat")
    assert counts.sum((1, 2, 3)).tolist() == [0] * 29 + [29] and counts[29, 0, 2, 126] == 29


def test_picture_keeps_the_published_byte_arithmetic():
    counts = np.zeros((2, 128, 128), np.int64)
    counts[:, :64, :64] = 1
    counts[:, 64:, :64] = 2
    counts[0, :64, 64:] = 1  # channel 0 without channel 1, its weight: lost
    counts[1, 64:, 64:] = 256  # 256 * 255 wraps to 0
    small = cifar10_dvs.picture(counts, 16)
    assert small.shape == (2, 16, 16) and small.dtype == np.uint8
    # Away from the borders of the quarters, which the resizing blurs. Pillow rounds when it weights and again when it divides.
    centres = np.stack([small[:, i, j] for i, j in ((3, 3), (12, 3), (3, 12), (12, 12))])
    np.testing.assert_allclose(centres, [[255, 255], [254, 254], [0, 0], [0, 0]], atol=1)


def test_split_shapes_and_values(tmp_path, load):
    dataset = load(write_dvs(tmp_path), time_steps=5, side=24)
    assert (len(dataset.train), len(dataset.test), dataset.input_shape, dataset.classes) == (20, 10, (2, 24, 24), 10)
    assert dataset.train.labels.tolist() == [i // 2 for i in range(20)] and dataset.test.labels.tolist() == list(range(10))
    index = torch.tensor([7, 0])
    batch = dataset.train.batch(index)
    assert batch.shape == (5, 2, 2, 24, 24) and batch.dtype is torch.float32
    path = tmp_path / "CIFAR10-DVS" / "cat" / "cifar10_cat_3.aedat"
    expected = np.stack([cifar10_dvs.picture(counts, 24) for counts in cifar10_dvs.count_events(path)[:5]])
    assert torch.equal(batch[:, 0] * 255, torch.from_numpy(expected).float())
    assert expected.any()
    assert torch.equal(dataset.train.select(index).batch(torch.arange(2)), batch)


def test_crop_is_shared_by_the_frames_and_never_flips(tmp_path, load):
    split = load(write_dvs(tmp_path), side=24, augment=True).train
    split.frames = torch.arange(1, 25, dtype=torch.uint8).expand(20, 30, 2, 24, 24).contiguous()  # the column, from 1 on
    batch = split.batch(torch.arange(20), torch.Generator().manual_seed(0))
    assert (batch == batch[:1]).all()
    rows = (batch[0, :, 0, 12] * 255).round().long()
    shifts = set()
    for row in rows:
        inside = row > 0
        shift = (row - torch.arange(1, 25))[inside]
        assert (shift == shift[0]).all()  # rising columns: shifted, not mirrored
        shifts.add(shift[0].item())
    assert len(shifts) > 3 and max(map(abs, shifts)) <= 4
    assert torch.equal(split.batch(torch.arange(3)), split.batch(torch.arange(3)))


def test_frames_are_cached(tmp_path, load, monkeypatch):
    write_dvs(tmp_path, numbers=(0, 900))
    before = load(tmp_path).test.batch(torch.arange(10))
    with monkeypatch.context() as patch:
        patch.setattr(cifar10_dvs, "count_events", None)
        assert torch.equal(load(tmp_path).test.batch(torch.arange(10)), before)
    for cached in (tmp_path / "cache").rglob("*.cache"):
        cached.write_bytes(cached.read_bytes()[:-50])
    with pytest.warns(UserWarning, match="is damaged .*: the data set is read anew"):
        assert torch.equal(load(tmp_path).test.batch(torch.arange(10)), before)


@pytest.mark.parametrize(
    "content, words",
    [
        (HEADER, "0 bytes"),
        (HEADER + b"1234567", "7 bytes"),
        (b"", "0 bytes"),
        (b"#!AER-DAT3.1\r\n" + b"12345678", "AER-DAT3.1"),
    ],
)
def test_damaged_file(tmp_path, load, content, words):
    write_dvs(tmp_path, numbers=(0, 900))
    (tmp_path / "CIFAR10-DVS" / "frog" / "cifar10_frog_900.aedat").write_bytes(content)
    with pytest.raises(UserError, match=f"cifar10_frog_900.aedat.*{words}"):
        load(tmp_path)


def test_missing_files_and_too_many_steps_are_named(tmp_path, load):
    with pytest.raises(UserError, match="no folder .*airplane"):
        load(tmp_path)
    write_dvs(tmp_path, numbers=(0,))
    with pytest.raises(UserError, match="for testing"):
        load(tmp_path)
    with pytest.raises(UserError, match="time_steps.*30 frames, got 31"):
        load(tmp_path, time_steps=31)
    for path in (tmp_path / "CIFAR10-DVS" / "horse").iterdir():
        path.unlink()
    with pytest.raises(UserError, match="cifar10_horse_0.aedat"):
        load(tmp_path)


def test_preset_trains_on_frames(tmp_path, cli):
    """The published network but for its size."""
    write_dvs(tmp_path, numbers=(0, 900))
    options = {"network.layers": "4C9s-10", "network.feedback": "4C5", "network.time_steps": 4, "data.image_size": 16}
    fields = [f"--{name}={value}" for name, value in options.items()]
    status, lines, errors = cli(
        *("train", "spide-cifar10dvs-convnetf", "--data.root", tmp_path, "--trainer.epochs", 1, *fields),
        *("--method.backward_time_steps", 4),
    )
    assert status == 0, errors
    assert lines[-1].startswith("best_test_accuracy=")
    assert cli("rates", "runs/spide-cifar10dvs-convnetf-1")[0] == 0


def test_other_bits_of_an_address_and_the_order_of_times_do_not_count(tmp_path):
    """As in the published reader. Special events of the sensor's software have bits above those of y."""
    write_events(tmp_path / "a.aedat", [(1, 2, 1, 9), (3, 4, 0, 5), (5, 6, 1, 7)])
    plain = cifar10_dvs.read_events(tmp_path / "a.aedat")
    content = bytearray((tmp_path / "a.aedat").read_bytes())
    content[-6] |= 0x80  # bit 15 of the last address
    content[-24] |= 0xFF  # the upper bits of the first one
    (tmp_path / "a.aedat").write_bytes(content)
    for ours, expected in zip(cifar10_dvs.read_events(tmp_path / "a.aedat"), plain):
        assert ours.tolist() == expected.tolist()


def test_a_file_of_no_addresses_of_the_sensor_is_refused(tmp_path):
    (tmp_path / "a.aedat").write_bytes(HEADER + np.random.default_rng(0).bytes(800))
    with pytest.raises(UserError, match="a.aedat is damaged or no recording of a sensor of 128 x 128 pixels"):
        cifar10_dvs.read_events(tmp_path / "a.aedat")


@pytest.mark.parametrize("header", [b"# one line without an end", HEADER[:-1] + b"#", b"#" * 1000])
def test_a_header_alone_holds_no_events(tmp_path, header):
    (tmp_path / "a.aedat").write_bytes(header)
    with pytest.raises(UserError, match="expected events of 8 bytes after the header, got 0 bytes"):
        cifar10_dvs.read_events(tmp_path / "a.aedat")
