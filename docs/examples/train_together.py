"""Data-parallel training of a program of one's own: torchrun --standalone --nproc-per-node 2 train_together.py"""

from __future__ import annotations

import torch
import torch.distributed as dist
from sklearn.datasets import load_digits
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.data.distributed import DistributedSampler

from spikeops import nn as snn

BATCH, EPOCHS = 64, 3  # BATCH: of all processes together

dist.init_process_group("gloo")  # "nccl" on GPUs
rank, processes = dist.get_rank(), dist.get_world_size()
torch.set_num_threads(1)  # they share the cores of this machine
torch.manual_seed(0)  # the same weights to begin with; DistributedDataParallel would see to it, too

pictures, labels = load_digits(return_X_y=True)
data = TensorDataset(torch.tensor(pictures, dtype=torch.float32) / 16, torch.tensor(labels))
sampler = DistributedSampler(data, shuffle=True)  # each process sees a part of each epoch
loader = DataLoader(data, batch_size=BATCH // processes, sampler=sampler)

layers = snn.TimeDistributed(nn.Linear(64, 128)), snn.LIF(decay=0.9), snn.TimeDistributed(nn.Linear(128, 10))
net = DistributedDataParallel(nn.Sequential(*layers))
optimizer = torch.optim.Adam(net.parameters(), lr=5e-3)

for epoch in range(EPOCHS):
    sampler.set_epoch(epoch)  # another order in each
    right = torch.zeros(())
    for x, y in loader:
        outputs = net(x.expand(8, *x.shape)).mean(0)  # the picture in each of 8 time steps
        loss = nn.functional.cross_entropy(outputs, y)
        optimizer.zero_grad()
        loss.backward()  # gradients are averaged over the processes meanwhile
        optimizer.step()
        right += (outputs.argmax(1) == y).sum()
    dist.all_reduce(right)
    if rank == 0:
        print(f"epoch {epoch + 1}: {processes} processes, {100 * right.item() / len(data):.1f} % of the training digits")

dist.destroy_process_group()
