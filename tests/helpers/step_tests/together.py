"""What two processes do together beside training steps: batch norm, sums of gradients, tests. They import this module by name."""

import os
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.utils.checkpoint import checkpoint

from spikeops import nn as snn
from spiketrain import distributed
from spiketrain.distributed import gradients
from spiketrain.distributed.batch_norm import synchronize
from spiketrain.methods import load_config
from spiketrain.training.trainer import Trainer

SPLITS = ((3, 2), (1, 4), (5, 0))  # samples of each process
SHAPES = ((4,), (4, 6), (4, 3, 5), (4, 2, 3, 2))
NORMS = (nn.BatchNorm1d, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
# Steps of 8, 8 and 1 samples, tests of 7 and 1: the second process has nothing of the last ones.
NORMED = {
    "seed": 3,
    "data": {"name": "digits"},
    "network": {"layers": "4C3-BN-(4C3-BN-4C3-BN)+-P2-10", "padding": 1, "time_steps": 4},
    "method": {"name": "bptt"},
    "trainer": {"epochs": 1, "batch_size": 8, "eval_batch_size": 7, "limit_train": 17, "limit_test": 15, "threads": 1, "progress": "off",
                "sync_batch_norm": True},
}  # fmt: skip
# Steps of one sample: the second process never has any.
IDLE = {**NORMED, "trainer": {**NORMED["trainer"], "batch_size": 1, "limit_train": 4, "sync_batch_norm": False}}


def run() -> list[dict]:
    """What each of two processes has, by rank."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(_work, (folder,), nprocs=2, start_method="spawn")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]


def _work(rank: int, folder: str) -> None:
    os.environ.update(WORLD_SIZE="2", RANK=str(rank), LOCAL_RANK=str(rank), XDG_CACHE_HOME=folder)
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = {"epoch": epoch(NORMED), "idle": epoch(IDLE), "sums": _sums(rank), "marked": _marked(), "refused": _refused(rank)}
    for number, (shape, kind) in enumerate(zip(SHAPES, NORMS)):
        for split in SPLITS:
            samples = slice(0, split[0]) if rank == 0 else slice(split[0], sum(split))
            found[f"norm {number} {split}"] = normed(kind, shape, samples, momentum=0.3)
    found["cumulative"] = normed(nn.BatchNorm2d, (4, 3, 5), slice(3 * rank, 3 + 2 * rank), momentum=None)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def normed(kind: type[nn.Module], shape: tuple[int, ...], samples: slice, momentum: float | None) -> dict:
    """Two training steps of a batch norm on some of five samples: output, gradients and statistics."""
    draw = torch.Generator().manual_seed(0)
    x, upstream = (3 + torch.randn(5, *shape, generator=draw, dtype=torch.float64) for _ in range(2))
    norm = nn.Sequential(kind(shape[0], momentum=momentum).double())
    with torch.no_grad():
        for parameter in norm.parameters():
            parameter.copy_(torch.rand(shape[0], generator=draw))
    synchronize(norm, everywhere=True)
    x = x[samples].requires_grad_()
    norm(x.detach() * 2)
    y = norm(x)
    y.backward(upstream[samples])
    names = {name.removeprefix("0."): value for name, value in norm.state_dict().items()}
    return {"y": y.detach(), "grad_x": x.grad, "grad_weight": norm[0].weight.grad, "grad_bias": norm[0].bias.grad, **names}


def epoch(raw: dict) -> dict:
    """An epoch of a network with batch norms: its weights and statistics, and what tests say."""
    trainer = Trainer(load_config(raw))
    metrics = trainer._run_epoch(1)
    state = {name: value.clone() for name, value in trainer.method.network.state_dict().items()}
    return {"state": state, "loss": metrics["train_loss"], "accuracy": metrics["test_accuracy"], "confusion": trainer.confusion}


class _Odd(nn.Module):
    """Layers of which one is used twice in checkpoints, and one not by all processes."""

    def __init__(self, shares: bool, skips: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(6, 6, bias=False) for _ in range(5))
        self.shares, self.skips = shares, skips

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            if number == 2 and self.skips:
                continue
            x = checkpoint(layer, x, use_reentrant=True) if self.shares else layer(x)
        return checkpoint(self.layers[4], x, use_reentrant=True) if self.shares else x


def _sums(rank: int) -> dict:
    """Gradients added up in messages of few numbers during the backward pass, and all at once after it."""
    found = {}
    gradients.MESSAGE = 50
    for name, shares, skips in (("plain", False, False), ("shared", True, False), ("skipped", False, rank == 1), ("unused", False, True)):
        torch.manual_seed(0)
        network = _Odd(shares, skips)
        parameters = list(network.parameters())
        sums = gradients.GradientSums(parameters)
        for step in range(3):
            x = torch.randn(4, 6, generator=torch.Generator().manual_seed(10 * step + rank)).requires_grad_()
            network.zero_grad()
            network(x).square().sum().backward()
            whole = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
            absent = [p.grad is None for p in parameters]
            network.zero_grad()
            with sums.sending():
                network(x).square().sum().backward()
            sent = len(sums._sent)
            sums.add_up()
            distributed.add_up(whole)
            nowhere = [all(of_all) for of_all in zip(*distributed.gather(absent))]
            whole = [None if is_absent else summed for is_absent, summed in zip(nowhere, whole)]
            found[f"{name} {step}"] = [p.grad if p.grad is None else p.grad.clone() for p in parameters], whole, sent
    return found


def _marked() -> list:
    """Which networks are synchronized, without and with the option."""
    found = []
    for norm in (nn.BatchNorm2d(3), nn.SyncBatchNorm(3), snn.BatchNormLIF(3), snn.BatchNormLIF(3, synchronized=True), nn.GroupNorm(1, 3)):
        network = nn.Sequential(norm)
        found.append([synchronize(network, everywhere) for everywhere in (False, True)])
    return found


def _refused(rank: int) -> str:
    """One number of a channel in all processes together."""
    norm = nn.Sequential(nn.BatchNorm1d(3))
    synchronize(norm, everywhere=True)
    try:
        norm(torch.ones(1 - rank, 3))
    except ValueError as error:
        return str(error)
    return ""
