"""What deep residual networks of spiking neurons are made of: weights, batch norm and neurons, with spikes between them.

Residual connections add spikes (ADD of Fang et al. 2021), so what goes from block to block are whole numbers. It is handed on as the
spike trains that it is the sum of, and each block adds them up: a block that is computed again in the backward pass then starts from
spikes, which are kept as bits, each train once for all blocks that add it up.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikeops import nn as snn
from spikeops.nn.time import at_all_steps
from spiketrain.models.layers import MeanOverSpace

Shape = tuple[int, ...]
# Makes neurons for samples of a shape, with a threshold that is the method's times a factor.
MakeNeurons = Callable[[Shape, float], nn.Module]
NEURONS = (snn.LIF, snn.BatchNormLIF, snn.ParametricLIF, snn.ALIF, snn.CubaLIF)


def total(spikes: tuple[Tensor, ...]) -> Tensor:
    """Spike trains of one shape, added up: whole numbers."""
    return functools.reduce(torch.add, spikes)


class Unit(nn.Module):
    """A convolution, batch norm over time, batch and space, neurons: the sum of spike trains (T, N, C, H, W) to spikes (T, N, C', H', W').

    Args:
        conv: the convolution
        neurons: of `conv.out_channels` channels
        pool: what acts on the spikes of a time step, if anything
    """

    def __init__(self, conv: nn.Conv2d, neurons: nn.Module, pool: nn.Module | None = None) -> None:
        super().__init__()
        norm = nn.BatchNorm2d(conv.out_channels)
        after = [] if pool is None else [snn.TimeDistributed(pool)]
        self.layers = nn.Sequential(snn.TimeDistributed(conv), snn.TimeDistributed(norm), neurons, *after)

    def forward(self, *spikes: Tensor) -> Tensor:
        return self.layers(total(spikes))

    def of_image(self, image: Tensor, time_steps: int) -> Tensor:
        """The spikes for an image (N, C, H, W) that is shown at all time steps: what comes before the neurons is computed once.

        The running variance of the batch norm then counts N samples where a film of equal pictures has T * N, of which PyTorch's
        unbiased estimate differs by a factor close to 1; all else is the same."""
        x, is_still = image, True
        for layer in self.layers:
            if is_still and isinstance(layer, snn.TimeDistributed):
                x = layer.module(x)
            elif is_still:
                x, is_still = at_all_steps(layer, x, time_steps), False
            else:
                x = layer(x)
        return x


def conv(inputs: int, channels: int, kernel: int, stride: int = 1, bias: bool = False) -> nn.Conv2d:
    """A convolution of spikes that keeps the sides, or divides them by its stride."""
    return snn.SpikeConv2d(inputs, channels, kernel, stride, kernel // 2, bias=bias)


class Block(nn.Module):
    """Spike trains to spike trains, whose sums are the block's input and output.

    Args:
        branch: what follows one another, by name; the first takes several spike trains and adds them up, each returns one
        shortcut: what is added to the branch's spikes: True for the input itself, a unit for its spikes, None for nothing
    """

    def __init__(self, branch: dict[str, nn.Module], shortcut: nn.Module | bool | None = True) -> None:
        super().__init__()
        self.branch = nn.ModuleDict(branch)
        self.adds_input = shortcut is True
        self.shortcut = shortcut if isinstance(shortcut, nn.Module) else None

    def forward(self, spikes: tuple[Tensor, ...], recomputed: bool) -> tuple[Tensor, ...]:
        """Spike trains (T, N, C, H, W) to such. `recomputed`: keep nothing for the backward pass but spikes, as bits, and compute each unit
        again there."""
        if not recomputed:
            spikes = (total(spikes),)
        out = spikes
        for unit in self.branch.values():
            out = (_run(unit, out, recomputed),)
        if self.adds_input:
            return *spikes, *out
        return out if self.shortcut is None else (_run(self.shortcut, spikes, recomputed), *out)


def _run(unit: nn.Module, spikes: tuple[Tensor, ...], recomputed: bool) -> Tensor:
    # Units draw no random numbers, whose state would be kept for each of them.
    return snn.checkpoint(unit, *spikes, preserve_rng_state=False) if recomputed else unit(*spikes)


class _Head(nn.Module):
    """Mean over space, and a fully connected layer: (T, N, C, H, W) to (T, N, outputs)."""

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.mean = MeanOverSpace()
        self.linear = nn.Linear(channels, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.mean(x))


class ResidualNetwork(nn.Module):
    """A unit that sees the input, blocks, mean over space and a fully connected layer.

    Input: images (N, C, H, W), shown at all time steps, or events (T, N, C, H, W). Output: (T, N, outputs).

    Args:
        time_steps: for images
        stem: sees the input
        blocks: by name
        channels: of the last block
        outputs: number of classes
        readout: makes what follows the outputs (T, N, outputs), from their number; None for nothing

    `recomputed_blocks`: how many of the blocks, from the first on, keep nothing but spikes as bits for the backward pass, which computes
    them again. The first ones have the largest maps. Use it within `spikeops.pack_saved_spikes`.
    """

    def __init__(
        self, time_steps: int, stem: Unit, blocks: dict[str, Block], channels: int, outputs: int,
        readout: Callable[[int], nn.Module] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.time_steps, self.outputs, self.recomputed_blocks = time_steps, outputs, 0
        self.stem = stem
        self.blocks = nn.ModuleDict(blocks)
        self.head = _Head(channels, outputs)
        self.readout = nn.Identity() if readout is None else readout(outputs)
        # Convolutions run faster with channels last, on the CPU and on the GPU.
        self.to(memory_format=torch.channels_last)

    def forward(self, x: Tensor) -> Tensor:
        spikes = (self.stem.of_image(x, self.time_steps) if x.dim() == 4 else self.stem(x),)
        for number, block in enumerate(self.blocks.values()):
            spikes = block(spikes, number < self.recomputed_blocks)
        return self.readout(self.head(total(spikes)))

    def neurons(self) -> dict[str, nn.Module]:
        """The layers of neurons in the order of the forward pass, by the names of the units that they are in."""
        named = {}
        for name, module in self.named_modules():
            if isinstance(module, NEURONS):
                parts = [part for part in name.split(".") if part not in ("blocks", "branch", "layers") and not part.isdigit()]
                named[".".join(parts)] = module
        return named
