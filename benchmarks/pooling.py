"""Average pooling on the CPU: ours, PyTorch's own, and a copy of the maps beside them.

    python benchmarks/pooling.py [--threads N] [--rounds N] [--out FILE.md]

Windows of 2 x 2, forward (no gradient) and backward by itself, in both orders of memory. In turns, medians; the results are compared before
they are timed.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F

import spikeops.functional as SF

from measuring import beside_pytorch

# Time steps x samples, channels, side: behind both convolutions of the published MNIST networks, of one SPIDE step, and of a CIFAR-10 network.
SIZES = [(250, 15, 24), (250, 40, 8), (1000, 12, 24), (1000, 64, 8), (32, 15, 28), (128, 64, 32)]
ORDERS = {"N, C, H, W": torch.contiguous_format, "channels last": torch.channels_last}
HEADER = ("maps", "order", "copy", "forward", "PyTorch", "x", "backward", "PyTorch", "x")


def row(images: int, channels: int, side: int, order: str, rounds: int) -> list[str]:
    draw = torch.Generator().manual_seed(1)
    maps = (torch.rand(images, channels, side, side, generator=draw) < 0.1).float().contiguous(memory_format=ORDERS[order])
    leaf, target = maps.clone().requires_grad_(), torch.empty_like(maps)
    outputs = [function(leaf, 2) for function in (SF.avg_pool2d, F.avg_pool2d)]
    upstream = torch.randn_like(outputs[0])
    gradients = [torch.autograd.grad(out, leaf, upstream, retain_graph=True)[0] for out in outputs]
    assert torch.equal(*outputs) and torch.equal(*gradients), f"{images} x {channels} x {side} x {side}: the results differ"
    pairs = [
        [partial(function, maps, 2) for function in (SF.avg_pool2d, F.avg_pool2d)],
        [partial(torch.autograd.grad, out, leaf, upstream, retain_graph=True) for out in outputs],
    ]
    return [f"{images} x {channels} x {side} x {side}", order, *beside_pytorch.cells(lambda: target.copy_(maps), pairs, rounds)]


def rows(rounds: int):
    return (row(*sizes, order, rounds) for sizes in SIZES for order in ORDERS)


if __name__ == "__main__":
    beside_pytorch.run(__doc__, "Average pooling", "float32, 2 x 2", HEADER, rows, rounds=50)
