"""How events become time steps and pixels, against loops over the events."""

import numpy as np
import pytest
import torch
from data_files.event_writers import random_events

from spiketrain.data import recordings
from spiketrain.data.sparse_events import Binning, Events, EventSplit
from spiketrain.errors import UserError


def dense(binning, *columns):
    """What a batch holds of one recording."""
    arrays = recordings.joined([binning.bin(Events(*map(np.asarray, columns)), "a recording")])
    return recordings.split(arrays, [0], 1, binning, True, "here").batch(torch.arange(1))[:, 0]


def by_hand(steps, x, y, polarity, time_steps, channels, height, width, downsample=1):
    expected = torch.zeros(time_steps, channels, -(-height // downsample), -(-width // downsample))
    for step, column, row, p in zip(steps, x, y, polarity):
        if 0 <= step < time_steps and 0 <= column < width and 0 <= row < height:
            expected[step, p if channels == 2 else 0, row // downsample, column // downsample] += 1
    return expected


@pytest.mark.parametrize("time_steps, duration_us", [(7, 500_000), (7, None), (1, None), (100, 1_400_000)])
@pytest.mark.parametrize("start", [0, 10**15])
def test_steps_of_equal_time(time_steps, duration_us, start):
    x, y, p, t = random_events(500, 20, 10, last_us=1_000_000)
    whole = int(t.max() - t.min())
    steps = [int(time - t.min()) * time_steps // (duration_us or whole) for time in t]
    if duration_us is None:
        steps = [min(step, time_steps - 1) for step in steps]
    binning = Binning(time_steps, (20, 10), duration_us=duration_us)
    assert torch.equal(dense(binning, x, y, p, t + start), by_hand(steps, x, y, p, time_steps, 2, 10, 20))


def test_time_begins_at_0_or_with_the_first_event():
    columns = [3, 3], [4, 4], [1, 1], [50, 60]
    first, zero = (Binning(10, (8, 8), duration_us=100, from_first=flag) for flag in (True, False))
    assert dense(first, *columns)[:, 1, 4, 3].tolist() == [1, 1, 0, 0, 0, 0, 0, 0, 0, 0]
    assert dense(zero, *columns)[:, 1, 4, 3].tolist() == [0, 0, 0, 0, 0, 1, 1, 0, 0, 0]


@pytest.mark.parametrize("duration_us, kept", [(None, 103), (500_000, None)])
def test_steps_of_equal_count(duration_us, kept):
    """In the order of time, whatever that of the file; the rest in the last step."""
    x, y, p, t = random_events(103, 20, 10)
    kept = kept or int((t - t.min() < duration_us).sum())
    steps = [min(i // (kept // 8), 7) if i < kept else 8 for i in range(103)]
    order = np.random.default_rng(1).permutation(103)
    t = t + np.arange(103)  # no two at once
    binning = Binning(8, (20, 10), by_count=True, duration_us=duration_us)
    found = dense(binning, x[order], y[order], p[order], t[order])
    assert torch.equal(found, by_hand(steps, x, y, p, 8, 2, 10, 20))
    assert found.sum() == kept


def test_fewer_events_than_steps():
    found = dense(Binning(6, (4, 4), by_count=True), [0, 1, 2], [0, 0, 0], [0, 0, 0], [5, 7, 9])
    assert found.sum((1, 2, 3)).tolist() == [1, 1, 1, 0, 0, 0]
    assert dense(Binning(6, (4, 4)), [0, 1], [0, 0], [0, 0], [5, 5]).sum((1, 2, 3)).tolist() == [2, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("merge", [False, True])
@pytest.mark.parametrize("downsample", [1, 3, 4, 50])
@pytest.mark.parametrize("crop", [None, (12, 6), (13, 10), (1, 1)])
def test_crop_pooling_and_polarities(merge, downsample, crop):
    x, y, p, t = random_events(400, 20, 10)
    width, height = crop or (20, 10)
    binning = Binning(1, (20, 10), crop=crop, downsample=downsample, merge=merge)
    inner_x, inner_y = x - (20 - width) // 2, y - (10 - height) // 2
    expected = by_hand([0] * 400, inner_x, inner_y, p, 1, 1 if merge else 2, height, width, downsample)
    assert binning.shape == tuple(expected.shape[1:])
    assert torch.equal(dense(binning, x, y, p, t), expected)


@pytest.mark.parametrize("x, y", [(20, 3), (3, 10), (-1, 3), (3, -1)])
def test_an_event_outside_of_the_sensor_is_refused(x, y):
    with pytest.raises(UserError, match=f"^a recording .* within 20 x 10 pixels, got one at x {x}, y {y}; or it is of another sensor"):
        dense(Binning(2, (20, 10), crop=(2, 2)), [3, x], [4, y], [0, 0], [0, 1])


def test_a_file_of_another_sensor_is_refused():
    columns = (np.array([1]),) * 4
    with pytest.raises(UserError, match="a recording is of another sensor: expected 20 x 10 pixels, got 30 x 10"):
        Binning(2, (20, 10)).bin(Events(*columns, sensor=(30, 10)), "a recording")


def test_settings_that_do_not_fit():
    with pytest.raises(UserError, match="data.crop: expected at most the sensor's 20 x 10 pixels, got 20 x 11"):
        Binning(2, (20, 10), crop=(20, 11))
    with pytest.raises(UserError, match="network.time_steps: .* 2 x 1024 x 1024 pixels can be cut into at most 1024 time steps, got 1025"):
        Binning(1025, (1024, 1024))


@pytest.mark.parametrize("count, kind", [(255, np.uint8), (256, np.int32), (70_000, np.int32)])
def test_counts_of_any_size(count, kind):
    arrays = recordings.joined([Binning(1, (2, 2)).bin(Events(*(np.zeros(count, np.int64),) * 4), "it")])
    assert arrays["counts"].dtype == kind and arrays["counts"].tolist() == [count]


def test_batches_are_those_of_their_samples():
    """In any order and repeated, from a part of a split, with and without counts, and of recordings without events."""
    binning = Binning(5, (6, 4))
    samples = [Events(*random_events(count, 6, 4, seed=count)) for count in (3, 200, 0, 40)]
    arrays = recordings.joined(binning.bin(events, "it") for events in samples)
    counted, plain = (recordings.split(arrays, [0, 1, 2, 3], 4, binning, flag, "here") for flag in (True, False))
    each = [dense(binning, *map(np.asarray, (s.x, s.y, s.polarity, s.time))) for s in samples]
    index = torch.tensor([3, 0, 2, 1, 3])
    expected = torch.stack([each[i] for i in index], 1)
    assert isinstance(counted, EventSplit) and counted.batch(index).dtype == torch.float32
    assert torch.equal(counted.batch(index), expected) and expected.max() > 1
    assert torch.equal(plain.batch(index), (expected > 0).float())
    part = counted.select(index)
    assert part.labels.tolist() == index.tolist()
    assert torch.equal(part.batch(torch.tensor([1, 2, 0])), expected[:, [1, 2, 0]])
    assert counted.batch(index[:0]).shape == (5, 0, 2, 4, 6)
