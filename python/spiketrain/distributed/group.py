"""The group of processes, and what they tell each other."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor

from spiketrain import launcher
from spiketrain.distributed import store
from spiketrain.errors import UserError, message_of, shortened


def start() -> None:
    """Join the process group that torchrun announces in the environment, if there is one. Tensors of a GPU go by NCCL, all else by gloo.

    Raises:
        UserError: it is announced by halves, or nobody answers.
    """
    launcher.check()
    if launcher.processes() == 1 or dist.is_initialized():
        return
    has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        place = {}
        if store.is_kept():
            number, processes = launcher.rank(), launcher.processes()
            place = dict(store=store.meet(number, processes), rank=number, world_size=processes)
        dist.init_process_group("cpu:gloo,cuda:nccl" if has_nccl else "gloo", **place)
    except (ValueError, RuntimeError) as error:
        reason = shortened(" ".join(message_of(error).split()), 150)
        moved = (
            ". If a restart has made another machine the first one, torchrun sends them to different places: set TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 "
            "for all"
        )
        raise UserError(
            f"WORLD_SIZE is {launcher.processes()}, but the processes cannot be joined at {store.address()} ({reason}): start them by torchrun"
            f"{moved if store.is_kept() else ''}"
        ) from error


def leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _is_data_parallel() -> bool:
    """Whether the process group shares batches out: not that of `trainer.pipeline`, which torchrun did not start."""
    return dist.is_initialized() and launcher.processes() > 1


def rank() -> int:
    return dist.get_rank() if _is_data_parallel() else 0


def world_size() -> int:
    return dist.get_world_size() if _is_data_parallel() else 1


def is_main() -> bool:
    return rank() == 0


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
