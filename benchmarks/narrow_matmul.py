"""Matrix products of layers with few outputs on the CPU: ours, PyTorch's own, and a copy of the large matrix beside them.

    python benchmarks/narrow_matmul.py [--threads N] [--rounds N] [--out FILE.md]

The three products of a training step: x times the weight's transpose, and the gradients of weight and x. In turns, medians; the results are
compared before they are timed.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from spikeops.functional import _narrow_matmul

from measuring import beside_pytorch

# Rows (time steps x samples), inputs, outputs: local classifiers of BELL, in all time steps, and of ELL, in one; a hidden layer's.
SIZES = [(1000, 6912, 10), (100, 6912, 10), (1000, 800, 10), (100, 800, 10), (1000, 6912, 20), (1000, 800, 20), (1000, 800, 1)]
HEADER = ("x (R, C)", "outputs", "copy of x", "forward", "PyTorch", "x", "gradient of the weight", "PyTorch", "x", "gradient of x", "PyTorch", "x")


def row(rows: int, inner: int, outputs: int, rounds: int) -> list[str]:
    draw = torch.Generator().manual_seed(1)
    x = (torch.rand(rows, inner, generator=draw) < 0.05).float()
    weight, grad_out = torch.randn(outputs, inner, generator=draw), torch.randn(rows, outputs, generator=draw)
    target = torch.empty_like(x)
    pairs = [
        (lambda: _narrow_matmul.linear(x, weight), lambda: F.linear(x, weight)),
        (lambda: _narrow_matmul.weight_gradient(x, grad_out), lambda: grad_out.t() @ x),
        (lambda: _narrow_matmul.input_gradient(grad_out, weight), lambda: grad_out @ weight),
    ]
    for ours, theirs in pairs:
        assert (ours() - theirs()).abs().max() <= 1e-5 * theirs().abs().max(), f"{rows} x {inner} x {outputs}: the results differ"
    return [f"{rows} x {inner}", str(outputs), *beside_pytorch.cells(lambda: target.copy_(x), pairs, rounds)]


def all_rows(rounds: int):
    return (row(*sizes, rounds) for sizes in SIZES)


if __name__ == "__main__":
    beside_pytorch.run(__doc__, "Products of few outputs", "float32", HEADER, all_rows, rounds=100)
