"""Batch norm over two processes, for a test that starts them: they import this module by name."""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing

import spikeops
import spikeops.functional as SF

# How many samples each process has.
SPLITS = ((3, 2), (1, 4), (5, 0))
# Ways to run it: the second in the precision that training has.
WAYS = (("kernels", torch.float64), ("kernels", torch.float32), ("reference", torch.float64))


def tensors(dtype: torch.dtype = torch.float64) -> dict[str, torch.Tensor]:
    """x (6, 5, 3, 7), of which each sample has another mean; the gradients from above; parameters and statistics of 3 channels."""
    draw = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=draw, dtype=torch.float64)

    x = normal(6, 5, 3, 7) + normal(1, 5, 3, 1)
    made = {
        "x": x, "grad_spikes": normal(*x.shape), "grad_v": normal(*x.shape[1:]), "weight": 1 + 0.2 * normal(3), "bias": normal(3),
        "running_mean": normal(3), "running_var": 0.5 + normal(3).abs(),
    }  # fmt: skip
    return {name: tensor.to(dtype) for name, tensor in made.items()}


def call(given: dict[str, torch.Tensor], samples: slice, **options) -> dict[str, torch.Tensor]:
    """Spikes, potentials, gradients and statistics afterwards, of some of the samples."""
    leaves = {name: given[name].clone() for name in ("weight", "bias")} | {"x": given["x"][:, samples].clone()}
    for leaf in leaves.values():
        leaf.requires_grad_()
    running = {name: given[name].clone() for name in ("running_mean", "running_var")}
    outputs = SF.batch_norm_lif(**leaves, **running, training=True, decay=0.7, threshold=0.6, reset="to", **options)
    spikes, v_last = outputs
    upstream = given["grad_spikes"][:, samples], given["grad_v"][samples]
    gradients = torch.autograd.grad(outputs, list(leaves.values()), upstream)
    return {"spikes": spikes.detach(), "v_last": v_last.detach(), **running} | {
        f"grad_{name}": gradient for name, gradient in zip(leaves, gradients)
    }


def run_two() -> dict[str, list[dict[str, torch.Tensor]]]:
    """{way and split: what each process has}."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(_work, (folder,), nprocs=2, start_method="spawn")
        of_each = [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(2)]
    return {name: [found[name] for found in of_each] for name in of_each[0]}


def name_of(backend: str, dtype: torch.dtype, split: tuple[int, int]) -> str:
    return f"{backend} {dtype} {split}"


def _work(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    found = {}
    for backend, dtype in WAYS:
        for split in SPLITS:
            samples = slice(0, split[0]) if rank == 0 else slice(split[0], sum(split))
            with spikeops.backend("reference" if backend == "reference" else "auto"):
                found[name_of(backend, dtype, split)] = call(tensors(dtype), samples, synchronized=True)
    found["apart"] = call(tensors(), slice(2 * rank, 2 * rank + 2), synchronized=False)
    try:
        SF.batch_norm_lif(torch.ones(1, 1 - rank, 3), training=True, synchronized=True)
    except ValueError as error:
        found["refused"] = str(error)
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()
