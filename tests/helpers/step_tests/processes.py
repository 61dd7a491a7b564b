"""What the processes of a test run: they import this module by name."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing

from spiketrain import distributed
from spiketrain.training.trainer import Trainer
from step_tests.by_hand import config_of

PROCESSES = 2
SAMPLES = 17  # steps of 8, 8 and 1: the second process has nothing of the last one


def run(names) -> list[dict]:
    """What each of the processes has after the first epoch of each run, by rank: weights before and after, metrics, and sums."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(_work, (folder, tuple(names)), nprocs=PROCESSES, start_method="spawn")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(PROCESSES)]


def _work(rank: int, folder: str, names: tuple[str, ...]) -> None:
    os.environ.update(WORLD_SIZE=str(PROCESSES), RANK=str(rank), LOCAL_RANK=str(rank), XDG_CACHE_HOME=folder)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=PROCESSES)
    found = {name: _epoch(name) for name in names}
    found["exchanged"] = _exchange(rank)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def _epoch(name: str) -> dict:
    trainer = Trainer(config_of(name, SAMPLES))
    before = {key: value.clone() for key, value in trainer.method.network.state_dict().items()}
    metrics = trainer._run_epoch(1)
    state = {key: value.clone() for key, value in trainer.method.network.state_dict().items()}
    return {"before": before, "after": state, "metrics": metrics, "steps": trainer.method.steps}


def _exchange(rank: int) -> dict:
    tensors = [torch.full((2, 3), float(rank + 1)), torch.tensor(10.0 * (rank + 1)), torch.arange(4.0).view(2, 2).t() * rank]
    distributed.add_up(tensors)
    return {
        "sums": tensors,
        "gathered": distributed.gather(rank * rank),
        "any": distributed.any_of([rank == 1, False, rank == 0], torch.device("cpu")),
        "shared": distributed.share(f"from {rank}"),
        "ranks": [distributed.rank(), distributed.world_size(), int(distributed.is_main())],
    }
