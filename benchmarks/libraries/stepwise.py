"""What the libraries share whose user writes the loop over time."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from libraries.library import Layer, Library, Net, compile_apart


class Loop(nn.Module):
    """Takes a sequence through layers one time step after the other.

    Args:
        cells: the layers
        cell: (layer, x, state or None) -> (y, state)
        reset: (layer, x), called for all layers before each sequence, outside of what is compiled
    """

    def __init__(self, cells: list[nn.Module], cell: Callable, compile: bool = False, reset: Callable | None = None):
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self._cell, self._reset = cell, reset
        self._call = compile_apart(self._sequence) if compile else self._sequence

    def forward(self, x: Tensor) -> Tensor:
        if self._reset is not None:
            for layer in self.cells:
                self._reset(layer, x)
        return self._call(x)

    def _sequence(self, x):
        states = [None] * len(self.cells)
        out = []
        for step in x.unbind(0):  # x[t] would make the backward pass quadratic in T
            for i, layer in enumerate(self.cells):
                step, states[i] = self._cell(layer, step, states[i])
            out.append(step)
        return torch.stack(out)


class Stepwise(Library):
    """A library of cells that take one time step."""

    def loop(self, cells: list[nn.Module], compile: bool) -> Loop:
        raise NotImplementedError

    def layer(self, kind, variant, wiring, device, dtype, compile):
        neuron = self.neurons()[kind]
        cell = neuron.make(wiring, compile)
        return Layer(self.loop([cell], compile).to(device), neuron.learned(cell))

    def net(self, variant, size, compile):
        cells, learned = self.parts(size, compile)
        return Net(self.loop(cells, compile), learned)
