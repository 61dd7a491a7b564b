"""Residual blocks of spiking layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

from torch import Tensor, nn

from spikeops import nn as snn


class ResidualBlock(nn.Module):
    """Layers of weights, batch norm and neurons whose result is added to their input. (T, N, ...) to (T, N, ...).

    Args:
        layers: of each layer what its weights are called, the weights, its batch norm or None, its neurons
        shortcut: what fits the input to the result where their shapes differ; None for the input as it is
        shortcut_neurons: neurons behind that, where the spikes are added
        adds: "spikes" adds those of the last layer and the shortcut, so that the result counts spikes, as the blocks of SEW-ResNet by ADD
            (Fang et al. 2021); "currents" adds the shortcut to the current of the last neurons, as ResNet does before its ReLU
    """

    def __init__(
        self,
        layers: Sequence[tuple[str, nn.Module, nn.Module | None, nn.Module]],
        shortcut: Sequence[nn.Module] | None,
        shortcut_neurons: nn.Module | None,
        adds: Literal["spikes", "currents"],
    ) -> None:
        super().__init__()
        self.adds = adds
        self.stages, names = nn.ModuleDict(), Counter()
        for kind, weights, norm, neurons in layers:
            names[kind] += 1
            self.stages[f"{kind}_{names[kind]}"] = snn.TimeDistributed(weights if norm is None else nn.Sequential(weights, norm))
            self.stages[f"neuron_{names[kind]}"] = neurons
        self.shortcut = None if shortcut is None else snn.TimeDistributed(nn.Sequential(*shortcut))
        self.shortcut_neurons = shortcut_neurons

    def forward(self, x: Tensor) -> Tensor:
        past = x if self.shortcut is None else self.shortcut(x)
        if self.shortcut_neurons is not None:
            past = self.shortcut_neurons(past)
        *stages, last = self.stages.values()
        for stage in stages:
            x = stage(x)
        return last(x) + past if self.adds == "spikes" else last(x + past)

    def neurons(self) -> dict[str, nn.Module]:
        """The layers of neurons by the weights before them."""
        names = list(self.stages)
        found = {names[i - 1]: self.stages[name] for i, name in enumerate(names) if name.startswith("neuron")}
        return {**found, **({} if self.shortcut_neurons is None else {"shortcut": self.shortcut_neurons})}

    def extra_repr(self) -> str:
        return f"adds={self.adds}"
