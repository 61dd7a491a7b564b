"""Modules that NIR graphs need and nothing else has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from spikeops.nn._repr import call_arguments


class Scale(nn.Module):
    """``scale * x``, element by element.

    Args:
        scale: a floating tensor that broadcasts to one time step of x; a parameter is learned.

    Example:
        >>> spikeops.nir.Scale(torch.tensor([1.0, 2.0]))(torch.ones(5, 8, 2)).shape
        torch.Size([5, 8, 2])
    """

    def __init__(self, scale: torch.Tensor):
        super().__init__()
        if not isinstance(scale, torch.Tensor) or not scale.is_floating_point():
            raise TypeError(f"Scale: expected scale to be a floating tensor, got {getattr(scale, 'dtype', type(scale).__name__)}.")
        if isinstance(scale, nn.Parameter):
            self.scale = scale
        else:
            self.register_buffer("scale", scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * x

    def extra_repr(self) -> str:
        return call_arguments(self, Scale.__init__)


class NIRNetwork(nn.Module):
    """Modules that are connected otherwise than in a chain; inputs that meet are added, in the order given.

    Args:
        modules: by name, in an order in which each comes after its inputs.
        inputs: of each module, the names of the modules whose outputs it takes, or None for the network's input.
        output: the modules whose outputs are the network's.

    Shapes:
        x (T, B, ...) -> (T, B, ...).
    """

    def __init__(self, modules: Mapping[str, nn.Module], inputs: Mapping[str, Sequence[str | None]], output: Sequence[str | None]):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.inputs, self.output = {name: tuple(inputs[name]) for name in modules}, tuple(output)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        values: dict[str | None, torch.Tensor] = {None: x}
        waiting = [source for sources in (*self.inputs.values(), self.output) for source in sources]
        uses = {source: waiting.count(source) for source in set(waiting)}

        def total(sources: tuple[str | None, ...]) -> torch.Tensor:
            added = values[sources[0]]
            for source in sources[1:]:
                added = added + values[source]
            for source in sources:
                uses[source] -= 1
                if not uses[source]:
                    del values[source]  # so that inference keeps no more than it needs
            return added

        for name, sources in self.inputs.items():
            values[name] = self.get_submodule(name)(total(sources))
        return total(self.output)
