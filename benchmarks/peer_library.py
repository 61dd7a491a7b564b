"""What every library that spikeops is compared with must say of itself, and spikeops in its place."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import spikeops
import spikeops.nn as snn

OURS = ("spikeops", "spikeops_triton")
CLASSES = 10


@dataclass(frozen=True)
class NetSize:
    """A convolutional net: two convolutions with spiking neurons, then a linear layer whose mean over time is the output."""

    T: int = 8
    batch: int = 64
    side: int = 32
    channels: tuple[int, int] = (32, 64)

    def parts(self, conv, neuron, flatten, linear) -> list[nn.Module]:
        """Its layers, of a library's building blocks."""
        first, second = self.channels
        features = second * ((self.side + 1) // 2) ** 2
        return [
            conv(3, first, 3, padding=1),
            neuron(),
            conv(first, second, 3, stride=2, padding=1),
            neuron(),
            flatten(),
            linear(features, CLASSES),
        ]


def compile_apart(function: Callable) -> Callable:
    """torch.compile that shares no compiled code with other functions and with earlier calls.

    What PyTorch has compiled for one module it takes for any other that looks the same, also from its caches on disk. To it the
    implementations of SpikingJelly look the same, and it would time one of them under the names of all.
    """

    def backend(graph, inputs):  # compiled code is shared between calls of one backend only
        with torch._inductor.config.patch(force_disable_caches=True):
            return torch._inductor.compile_fx.compile_fx(graph, inputs)

    importlib.import_module("torch._inductor.compile_fx")
    return torch.compile(function, backend=backend, dynamic=False)


class Library:
    """One library. `variants` are its implementations of one and the same neuron; each is timed."""

    name = ""
    modules: tuple[str, ...] = ()
    compiles = True  # whether torch.compile of it is compared as well

    def load(self) -> None:
        """Imports it, so that the time for this is not charged to the first who calls it.

        Raises:
            ImportError: it is not installed, or in another version.
        """
        for module in self.modules:
            importlib.import_module(module)

    def neuron(self) -> dict:
        """Arguments of :class:`spikeops.nn.LIF` that give this library's neuron."""
        raise NotImplementedError

    def variants(self, device: str) -> list[str]:
        return [self.name]

    def compiled_variants(self, device: str) -> list[str]:
        """Those of which torch.compile is compared as well."""
        return self.variants(device) if self.compiles else []

    def select(self, variant: str) -> None:
        """Called before every call of a variant, not timed."""

    def layer(self, variant: str, device: str, dtype: torch.dtype, compile: bool) -> Callable[[Tensor], Tensor]:
        """Currents (T, N) -> spikes (T, N), from a fresh state."""
        raise NotImplementedError

    def net(self, variant: str, size: NetSize, compile: bool) -> nn.Module:
        """Images (T, batch, 3, side, side) -> (T, batch, classes)."""
        raise NotImplementedError


class Spikeops(Library):
    """Our own kernels, with the neuron of another library."""

    name = "spikeops"

    def __init__(self, neuron: dict):
        self._neuron = neuron

    def neuron(self):
        return self._neuron

    def variants(self, device):
        return list(OURS if device == "cuda" else OURS[:1])

    def select(self, variant):
        spikeops.set_backend("native" if variant == OURS[0] else "triton")

    def layer(self, variant, device, dtype, compile):
        return snn.LIF(**self._neuron)

    def net(self, variant, size, compile):
        def over_time(make):
            return lambda *args, **options: snn.TimeDistributed(make(*args, **options))

        neuron = lambda: snn.LIF(**self._neuron)  # noqa: E731
        return nn.Sequential(*size.parts(over_time(nn.Conv2d), neuron, over_time(nn.Flatten), over_time(nn.Linear)))
