"""The group of processes, and what they tell each other."""

from __future__ import annotations

import os
from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from spiketrain.distributed import store


def start() -> None:
    """Join the process group that torchrun announces in the environment, if there is one. Tensors of a GPU go by NCCL, all else by gloo."""
    if is_shared_out() and not dist.is_initialized():
        has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
        place = {}
        if store.is_kept():
            number, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
            place = dict(store=store.meet(number, processes), rank=number, world_size=processes)
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_nccl else "gloo", **place)


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def is_shared_out() -> bool:
    """Whether this process was started as one of several that share batches out; not so those of `trainer.pipeline`."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _is_data_parallel() -> bool:
    return is_shared_out() and dist.is_initialized()


def rank() -> int:
    return dist.get_rank() if _is_data_parallel() else 0


def local_rank() -> int:
    """Which of the processes on this machine this one is."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    return dist.get_world_size() if _is_data_parallel() else 1


def is_main() -> bool:
    return rank() == 0


def starts_as_main() -> bool:
    """Whether this process is, or will be after `start`, the main one."""
    return not is_shared_out() or os.environ.get("RANK", "0") == "0"


def add_up(tensors: Iterable[Tensor]) -> None:
    """Replace each tensor by its sum over all processes, in one message."""
    if world_size() == 1:
        return
    tensors = list(tensors)
    flat = torch.cat([t.reshape(-1) for t in tensors])
    dist.all_reduce(flat)
    for tensor, summed in zip(tensors, flat.split([t.numel() for t in tensors])):
        tensor.copy_(summed.view_as(tensor))


def gather(value: object) -> list:
    """The `value` of each process, by rank, in all of them."""
    if world_size() == 1:
        return [value]
    values: list = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def any_of(flags: list[bool], device: torch.device) -> list[bool]:
    """Of each flag, whether it is set in any process. All processes have to ask."""
    if world_size() == 1:
        return flags
    found = torch.tensor(flags, dtype=torch.int32, device=device)
    dist.all_reduce(found, dist.ReduceOp.MAX)
    return [bool(flag) for flag in found.tolist()]


def share(value: object) -> object:
    """The main process's `value`, in all processes."""
    values = [value]
    if world_size() > 1:
        dist.broadcast_object_list(values)
    return values[0]
