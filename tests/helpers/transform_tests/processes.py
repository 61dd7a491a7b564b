"""What the processes of a test run: they import this module by name."""

import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn


def spikes_of(seed: int) -> float:
    """A number that depends on every op that a loader of data may call, and on gradients."""
    draw = torch.Generator().manual_seed(seed)
    p = torch.rand(64, 5000, generator=draw)
    spikes = SF.poisson_encode(p, 20, draw)
    current = (spikes * 0.7).requires_grad_()
    rate = SF.lif_rate(current, 0.9)
    rate.square().sum().backward()
    unpacked = SF.unpack_spikes(SF.pack_spikes(spikes), 20)
    return (current.grad.double().sum() + SF.spike_count(unpacked).double().sum() + SF.latency_encode(p, 9).double().sum()).item()


class Spikes(torch.utils.data.Dataset):
    def __len__(self) -> int:
        return 2

    def __getitem__(self, index: int) -> float:
        if index >= len(self):
            raise IndexError
        return spikes_of(0)


def by_workers(method: str) -> list[float]:
    """The number of this process, which has used its threads, and of two workers of a DataLoader."""
    torch.set_num_threads(2)
    here = spikes_of(0)
    loader = torch.utils.data.DataLoader(Spikes(), batch_size=None, num_workers=2, multiprocessing_context=method, timeout=120)
    return [here, *loader]


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = [snn.TimeDistributed(nn.Linear(5, 6)), snn.ParametricLIF(0.6, shape=(6,)), snn.TimeDistributed(nn.Linear(6, 4)), snn.TSSLBP()]
    return nn.Sequential(*layers).double()


class Saving(nn.Module):
    """A network whose spikes are kept as bits, and whose layers after the first spikes are computed again."""

    def __init__(self, layers: nn.Sequential) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        with spikeops.pack_saved_spikes():
            return snn.checkpoint(self.layers[2:], self.layers[:2](x))


def batch() -> torch.Tensor:
    return 2 * torch.rand(4, 6, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def run_two(method: str) -> dict[str, list[torch.Tensor]]:
    """Gradients of the network by each kind of data parallelism, from two processes with half of the batch each."""
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.start_processes(_train, (folder,), nprocs=2, start_method=method)
        return torch.load(Path(folder) / "gradients.pt", weights_only=True)


def _train(rank: int, folder: str) -> None:
    from torch.distributed.fsdp import fully_shard

    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    x, gradients = batch()[:, 3 * rank : 3 * rank + 3], {}
    parallel = DistributedDataParallel(network())
    parallel(x).square().mean().backward()
    gradients["DistributedDataParallel"] = [parameter.grad for parameter in parallel.parameters()]
    saving = DistributedDataParallel(Saving(network()))
    saving(x).square().mean().backward()
    gradients["DistributedDataParallel, checkpoint"] = [parameter.grad for parameter in saving.parameters()]
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    sharded = network()
    for layer in sharded:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    sharded(x).square().mean().backward()
    gradients["FSDP"] = [parameter.grad.full_tensor() for parameter in sharded.parameters()]
    sharded = Saving(network())
    for layer in sharded.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    sharded(x).square().mean().backward()
    gradients["FSDP, checkpoint"] = [parameter.grad.full_tensor() for parameter in sharded.parameters()]
    if rank == 0:
        torch.save(gradients, Path(folder) / "gradients.pt")
    dist.barrier()
    dist.destroy_process_group()
