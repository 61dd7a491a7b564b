"""From a running method to what its checkpoint holds of each process, and back."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from spiketrain import distributed
from spiketrain.data.tasks import Task
from spiketrain.errors import UserError, shortened, shown
from spiketrain.methods.base.method import Method
from spiketrain.training import checkpoint
from spiketrain.training.progress import EpochProgress


def of_processes(
    method: Method, shuffling: torch.Generator, progress: EpochProgress | None, position: dict[str, Any] | None
) -> dict[str, Any]:
    """The parts of a checkpoint that tell processes apart, and the position within an epoch. All processes have to call it.

    Args:
        progress: of the epoch under way, between two of its steps
        position: where the epoch after a resume goes on, before it has begun
    """
    mine = {"random": checkpoint.random_state(shuffling)}
    common = None
    if progress is not None:
        # The order of the data is drawn again, so the generator is saved as it was before.
        mine["random"]["batches"] = progress.shuffling
        mine["position"] = {"sums": progress.sums(), "method": method.epoch_state()}
        common = progress.position()
    elif position is not None:
        mine["position"] = position["process"]
        common = {key: value for key, value in position.items() if key != "process"}
    if distributed.rank() > 0:
        # Statistics and estimates, unlike weights, may differ between processes.
        mine["buffers"] = {name: buffer.detach().cpu() for name, buffer in method.network.named_buffers()}
    first, *others = distributed.gather(mine)
    if common is not None:
        common["processes"] = [process.pop("position") for process in (first, *others)]
    return {"random": first["random"], "processes": others, "position": common}


def restore_process(content: dict[str, Any], network: nn.Module, shuffling: torch.Generator) -> bool:
    """Set this process's random numbers and buffers to those of a checkpoint.

    Returns:
        Whether the checkpoint knows this process; else it has what the main process had, and random numbers of its own are due.
    """
    others, rank = content.get("processes") or [], distributed.rank()
    is_own = rank == 0 or (distributed.world_size() == len(others) + 1)
    mine = others[rank - 1] if rank and is_own else content
    checkpoint.restore_random_state(mine["random"], shuffling)
    if rank and is_own:
        with torch.no_grad():
            for name, buffer in network.named_buffers():
                buffer.copy_(mine["buffers"][name])
    return is_own


def position_of(content: dict[str, Any]) -> dict[str, Any] | None:
    """The position within an epoch that a checkpoint holds, as this process needs it.

    Raises:
        UserError: it was saved by another number of processes.
    """
    position = content.get("position")
    if position is None:
        return None
    processes = position["processes"]
    if len(processes) != distributed.world_size():
        raise UserError(
            f"the checkpoint was saved in the middle of an epoch by {len(processes)} processes: go on with as many, not with "
            f"{distributed.world_size()}"
        )
    counts = type(position["steps"]) is int and position["steps"] >= 0 and type(position["seconds"]) is float
    untrained = position["untrained"]
    if not counts or not isinstance(untrained, dict) or any(type(value) is not float for value in untrained.values()):
        raise ValueError("the position within the epoch is none")
    return {key: position[key] for key in ("steps", "untrained", "seconds")} | {"process": processes[distributed.rank()]}


@contextlib.contextmanager
def fitting() -> Iterator[None]:
    """Inside, whatever a state raises where it is loaded into what it is not of becomes one line.

    Raises:
        UserError: it does.
    """
    try:
        yield
    except (RuntimeError, KeyError, ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        reason = shortened(f"{type(error).__name__} {error}" if isinstance(error, KeyError) else error, 200)
        raise UserError(f"the checkpoint does not fit the configuration: {reason}. Nothing was changed") from None


def load_method(method: Method, saved: dict[str, Any]) -> None:
    """Set a method to a saved state, for within `fitting`."""
    check_method(method, saved)
    method.load_state_dict(saved)


def check_method(method: Method, saved: dict[str, Any]) -> None:
    """Whether a saved state is one of this method, as far as its optimisers do not look at it themselves.

    Raises:
        ValueError: it is not.
    """
    own = method.state_dict()
    if not isinstance(saved, dict) or own.keys() != saved.keys():
        raise ValueError(f"the method's state is not that of a {type(method).__name__}")
    for name, value in own.items():
        if type(value) is int and (type(saved[name]) is not int or saved[name] < 0):
            raise ValueError(f"{name} is {shown(saved[name])}")
    _check_network(method.network, saved["network"])


def _check_network(network: nn.Module, saved: dict[str, Any]) -> None:
    """Whether a saved state is one of this network: names, shapes, types; no weight that is not finite.

    Raises:
        ValueError: it is not.
    """
    own = network.state_dict()
    if not isinstance(saved, dict) or own.keys() != saved.keys():
        names = sorted(map(str, own.keys() ^ saved.keys())) if isinstance(saved, dict) else [shown(saved)]
        raise ValueError(f"the networks differ in {shortened(', '.join(names), 100)}")
    for name, tensor in own.items():
        other = saved[name]
        if not isinstance(other, torch.Tensor) or (other.shape, other.dtype) != (tensor.shape, tensor.dtype):
            found = f"{list(other.shape)} of {other.dtype}" if isinstance(other, torch.Tensor) else shown(other)
            raise ValueError(f"{name} is {list(tensor.shape)} of {tensor.dtype} here, {found} in the checkpoint")
    for name, _ in network.named_parameters():
        if name in saved and not saved[name].isfinite().all():
            raise ValueError(f"{name} in the checkpoint is not finite")


def check_history(history: list[dict[str, float]], task: Task, judge: str) -> None:
    """Whether the epochs were judged by this task, on these samples: "validation" or "test".

    Raises:
        ValueError: they were not.
    """
    for row in history:
        if not row.keys() >= {f"train_{task.name}", f"{judge}_{task.name}"} or task.chosen_on(row) != judge:
            raise ValueError(f"epoch {row['epoch']} was not judged by its {judge} {task.name.replace('_', ' ')}")
