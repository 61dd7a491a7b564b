"""Events in time steps: kept sparse, and dense only in the batch that is cut.

Every reader of events makes its recordings into `EventSplit`; what cuts a recording into time steps and its sensor into pixels of the
network's input is `Binning`.
"""

from __future__ import annotations

import copy
import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spiketrain.data.base import Split
from spiketrain.errors import UserError, shown

LARGEST_PLACE = 2**31  # places are kept as int32


@dataclass(frozen=True)
class Events:
    """A recording: int64 arrays (events,), in any order.

    Attributes:
        x, y: pixel, column and row
        polarity: 0 or 1 (brighter)
        time: in microseconds
        sensor: its width and height in pixels, where the file says it
    """

    x: np.ndarray
    y: np.ndarray
    polarity: np.ndarray
    time: np.ndarray
    sensor: tuple[int, int] | None = None


class EventSplit(Split):
    """Binned events: `spikes` holds step * pixels + pixel for every place with an event, sample i from `start[i]` to `start[i + 1]`.

    Args:
        spikes: int32 (places,), distinct within a sample
        start: int64 (samples + 1,)
        labels: int64 (samples,)
        time_steps: of a sample
        shape: (C, H, W) of a time step
        counts: events at each of the places (places,); None where one or more make a 1
        cut: how recordings were made into this, as `preprocessing` tells it
    """

    def __init__(
        self,
        spikes: Tensor,
        start: Tensor,
        labels: Tensor,
        time_steps: int,
        shape: tuple[int, int, int],
        counts: Tensor | None = None,
        cut: dict[str, Any] | None = None,
    ) -> None:
        self.spikes = spikes
        self.start = start
        self.labels = labels
        self.time_steps = time_steps
        self.shape = shape
        self.counts = counts
        self.cut = cut

    def preprocessing(self) -> dict[str, Any] | None:
        return self.cut

    def batch(self, index: Tensor, generator: torch.Generator | None = None) -> Tensor:
        first, last = self.start[index], self.start[index + 1]
        count = last - first
        sample = torch.repeat_interleave(torch.arange(len(index), device=index.device), count)
        position = torch.arange(len(sample), device=index.device) - torch.repeat_interleave(count.cumsum(0) - count - first, count)
        spike = self.spikes[position].long()
        pixels = self.shape[0] * self.shape[1] * self.shape[2]
        dense = torch.zeros(self.time_steps, len(index), pixels, device=index.device)
        dense[spike // pixels, sample, spike % pixels] = 1.0 if self.counts is None else self.counts[position].float()
        return dense.view(self.time_steps, len(index), *self.shape)

    def select(self, index: Tensor) -> EventSplit:
        part = copy.copy(self)
        bounds = [(int(self.start[i]), int(self.start[i + 1])) for i in index.tolist()]
        part.spikes = _joined(self.spikes, bounds)
        part.counts = None if self.counts is None else _joined(self.counts, bounds)
        part.start = torch.tensor([0, *(last - first for first, last in bounds)]).cumsum(0)
        part.labels = self.labels[index]
        return part


def _joined(values: Tensor, bounds: list[tuple[int, int]]) -> Tensor:
    return torch.cat([values[first:last] for first, last in bounds]) if bounds else values[:0]


@dataclass(frozen=True)
class Binning:
    """How recordings become time steps (polarities, height, width).

    Attributes:
        time_steps: T
        sensor: its width and height in pixels; None until it is known
        polarities: 1 for sensors without any, else 2
        by_count: time steps hold equal numbers of events, the rest in the last; else they are of equal length
        duration_us: how much of a recording is looked at; None: all of it
        from_first: whether that begins with the first event, or at time 0, before which there is none
        crop: width and height of the middle of the sensor that is looked at; None: all of it
        downsample: side of the squares of pixels that become one
        merge: whether polarities are taken together
    """

    time_steps: int
    sensor: tuple[int, int] | None
    polarities: int = 2
    by_count: bool = False
    duration_us: float | None = None
    from_first: bool = True
    crop: tuple[int, int] | None = None
    downsample: int = 1
    merge: bool = False

    def __post_init__(self) -> None:
        if self.sensor is None:
            return
        width, height = self.sensor
        if self.crop is not None and (self.crop[0] > width or self.crop[1] > height):
            raise UserError(
                f"field data.crop: expected at most the sensor's {width} x {height} pixels, got {self.crop[0]} x {self.crop[1]}"
            )
        channels, height, width = self.shape
        most = LARGEST_PLACE // (channels * height * width)
        if self.time_steps > most:
            raise UserError(
                f"field network.time_steps: events of {channels} x {height} x {width} pixels can be cut into at most {most} time steps, "
                f"got {self.time_steps}. Raise data.downsample"
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain containers; `from_dict` is the way back."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in dataclasses.asdict(self).items()}

    @classmethod
    def from_dict(cls, given: dict[str, Any]) -> Binning:
        """The inverse of `to_dict`.

        Raises:
            TypeError, ValueError: it is no such dictionary.
        """
        plain = cls(1, None)
        given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
        for name, value in given.items():
            default, is_pair = getattr(plain, name, None), isinstance(value, tuple) and len(value) == 2
            if name in ("sensor", "crop"):
                good = (value is None and name == "crop") or (is_pair and all(type(side) is int and side > 0 for side in value))
            elif name == "duration_us":
                good = value is None or (type(value) in (int, float) and 0 < value < float("inf"))
            else:
                good = type(value) is type(default) and (type(value) is bool or value > 0)
            if not good:
                raise ValueError(f"{name} of its time steps is {shown(value)}")
        return cls(**given)

    def of_sensor(self, width: int, height: int) -> Binning:
        """The same for a sensor that is known now."""
        return dataclasses.replace(self, sensor=(width, height))

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of a time step."""
        width, height = self.crop or self._sensor()
        return 1 if self.merge else self.polarities, -(-height // self.downsample), -(-width // self.downsample)

    def bin(self, events: Events, where: str) -> tuple[np.ndarray, np.ndarray]:
        """Sorted, distinct step * pixels + pixel of the events, as int32, and how many events there are at each, as int32.

        Raises:
            UserError: an event lies outside of the sensor. `where` names the recording.
        """
        check_inside(events, self._sensor(), where)
        step, kept = self._steps(events.time)
        x, y = events.x, events.y
        if self.crop is not None:
            (width, height), sensor = self.crop, self._sensor()
            x, y = x - (sensor[0] - width) // 2, y - (sensor[1] - height) // 2
            kept = kept & (x >= 0) & (x < width) & (y >= 0) & (y < height)
        channels, rows, columns = self.shape
        channel = events.polarity if channels == 2 else 0
        place = ((step * channels + channel) * rows + y // self.downsample) * columns + x // self.downsample
        places, counts = np.unique(place[kept], return_counts=True)
        return places.astype(np.int32), counts.astype(np.int32)

    def _steps(self, time: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The time step of each event, and whether it is within the duration."""
        if not time.size:
            return time, np.zeros(0, bool)
        time = time - (time.min() if self.from_first else 0)
        # The last event of a whole recording is part of its last step.
        whole = self.duration_us is None
        duration = float(time.max()) if self.duration_us is None else self.duration_us
        kept = time <= duration if whole else time < duration
        if self.by_count:
            number = np.empty_like(time)
            number[np.argsort(time, kind="stable")] = np.arange(time.size)
            step = number // max(1, np.count_nonzero(kept) // self.time_steps)
        else:
            # Exact below 2^53, for whole microseconds times steps.
            step = np.floor(np.where(kept, time, 0) * float(self.time_steps) / (duration or 1.0)).astype(np.int64)
        return np.minimum(step, self.time_steps - 1), kept

    def _sensor(self) -> tuple[int, int]:
        assert self.sensor is not None, "the sensor is not known yet"
        return self.sensor


def check_inside(events: Events, sensor: tuple[int, int], where: str) -> None:
    """Refuse a recording of another sensor than that (width, height), and one with an event outside of it."""
    if events.sensor is not None and events.sensor != sensor:
        raise UserError(
            f"{where} is of another sensor: expected {sensor[0]} x {sensor[1]} pixels, got {events.sensor[0]} x {events.sensor[1]}"
        )
    outside = (events.x >= sensor[0]) | (events.y >= sensor[1]) | (events.x < 0) | (events.y < 0)
    if outside.any():
        at = int(np.argmax(outside))
        raise UserError(
            f"{where} is damaged: expected events within {sensor[0]} x {sensor[1]} pixels, got one at x {events.x[at]}, y {events.y[at]}; or "
            "it is of another sensor"
        )
