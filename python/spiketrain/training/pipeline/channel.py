"""What the stages of a pipeline send each other: batches of what layers hand on, and now and then everything else.

Spike trains travel as one bit each, numbers such as spike counts as they are. Both arrive with the memory order they left with, so
that the next stage computes on them what it would have computed in the same process.
"""

from __future__ import annotations

import contextlib
import datetime
import io
import math
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

import spikeops.functional as SF

# Header of a batch: what it is, size of the whole batch, time steps (0: no time axis), data type, number of axes, their order in
# memory, their sizes.
_AXES = 6
_HEADER = 5 + 2 * _AXES
_BATCH, _END = 1, 2
# Stages wait for the first one while that tests the network, however long. A stage that dies is noticed at once all the same.
_PATIENCE = datetime.timedelta(days=7)
# Waits in the place of the main thread, which could not answer a signal while gloo holds it.
_WAITING_ROOM = ThreadPoolExecutor(1, thread_name_prefix="pipeline")
_DTYPES = (torch.float32, torch.float64, torch.bfloat16, torch.float16)


class StageLost(Exception):
    """A stage does not answer any more: its process has ended."""

    def __init__(self, stage: int) -> None:
        super().__init__(f"stage {stage + 1} is gone")
        self.stage = stage


class Batch(NamedTuple):
    """Spikes (T, N, units) or (T, N, C, H, W), or numbers without a time axis, with their labels (N,); `size` samples in the whole
    batch."""

    spikes: Tensor
    labels: Tensor
    size: int


class Sender:
    """Sends batches to a stage without waiting for it, as long as it is not more than one behind."""

    def __init__(self, stage: int) -> None:
        self.stage = stage
        self._under_way: list[tuple[dist.Work, Tensor]] = []  # the tensors must outlive the sending

    def send(self, batch: Batch) -> None:
        values = batch.spikes.detach()
        time_steps = len(values) if values.dim() % 2 else 0  # a sample has one axis or three
        sent = SF.pack_spikes(values) if time_steps else values
        axes = sorted(range(sent.dim()), key=sent.stride, reverse=True)
        blank = [0] * (_AXES - sent.dim())
        header = [_BATCH, batch.size, time_steps, _DTYPES.index(values.dtype), sent.dim()]
        header += [*axes, *blank, *sent.shape, *blank]
        self._send(torch.tensor(header), batch.labels, sent.permute(axes).contiguous().view(torch.uint8))

    def end(self) -> None:
        """Say that the epoch is over."""
        self._send(torch.tensor([_END, *[0] * (_HEADER - 1)]))

    def _send(self, *tensors: Tensor) -> None:
        host = [tensor.cpu() for tensor in tensors]
        with _talking_to(self.stage):
            self.wait()
            self._under_way = [(dist.isend(tensor, self.stage), tensor) for tensor in host]

    def wait(self) -> None:
        """Until all has been sent."""
        with _talking_to(self.stage):
            _finish(work for work, _ in self._under_way)


def receive(stage: int, device: torch.device) -> Batch | None:
    """The next batch from a stage; None at the end of the epoch."""
    header = _receive(stage, _HEADER, torch.int64)
    kind, size, time_steps, dtype, dims, *rest = header.tolist()
    if kind == _END:
        return None
    axes, shape = rest[:dims], rest[_AXES : _AXES + dims]
    labels = _receive(stage, shape[1 if time_steps else 0], torch.int64)
    sent = torch.uint16 if time_steps else _DTYPES[dtype]
    content = _receive(stage, sent.itemsize * math.prod(shape), torch.uint8).view(sent)
    values = content.view([shape[axis] for axis in axes]).permute([axes.index(axis) for axis in range(dims)]).to(device)
    return Batch(SF.unpack_spikes(values, time_steps, _DTYPES[dtype]) if time_steps else values, labels.to(device), size)


def send_object(value: Any, stage: int) -> None:
    """Send containers, numbers, strings and tensors."""
    buffer = io.BytesIO()
    torch.save(value, buffer)
    content = torch.frombuffer(buffer.getbuffer(), dtype=torch.uint8)
    with _talking_to(stage):
        for tensor in (torch.tensor([len(content)]), content):
            _finish([dist.isend(tensor, stage)])


def receive_object(stage: int) -> Any:
    """The inverse of `send_object`, onto the CPU."""
    length = _receive(stage, 1, torch.int64).item()
    content = _receive(stage, length, torch.uint8)
    return torch.load(io.BytesIO(content.numpy().tobytes()), map_location="cpu", weights_only=True)


def _receive(stage: int, length: int, dtype: torch.dtype) -> Tensor:
    tensor = torch.empty(length, dtype=dtype)
    with _talking_to(stage):
        _finish([dist.irecv(tensor, stage)])
    return tensor


def _finish(works: Iterable[dist.Work]) -> None:
    """Wait until all is done; signal handlers run meanwhile, and may raise."""

    def wait() -> None:
        for work in works:
            work.wait(_PATIENCE)

    _WAITING_ROOM.submit(wait).result()


@contextlib.contextmanager
def _talking_to(stage: int) -> Iterator[None]:
    try:
        yield
    except RuntimeError:  # gloo's only error: the connection is closed
        raise StageLost(stage) from None
