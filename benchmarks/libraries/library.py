"""What every library that spikeops is compared with must say of itself."""

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from libraries.networks import Blocks, NetSize, Wiring, weights

KINDS = (
    "lif", "cuba_lif", "recurrent_lif", "plif", "if", "multi_spike", "single_spike", "leaky_readout", "alif", "recurrent_cuba_lif",
    "recurrent_alif",
)  # fmt: skip
RECURRENT = ("recurrent_lif", "recurrent_cuba_lif", "recurrent_alif")
READOUT = "leaky_readout"
CHANNELS_LAST = ", channels last"  # ends the names of those who are told to keep images so, which none of them does by itself


@dataclass(frozen=True)
class Neuron:
    """A neuron of a library, as it comes by default, and the same one here.

    Attributes:
        theirs: how its user makes it, for readers; what is not its default is written out.
        make: their module, for a layer so wired; compile: in the form that torch.compile of it takes.
        ours: our module that computes the same, x (T, ...) -> output (T, ...).
        learned: the parameters of their module that the timed gradient is for, in the order of `parameters()` of ours.
        currents: between which bounds the currents of a layer lie.
        learned_sign: their parameter is ours, or its negative.
        unlike: what of the gradient is not the same, as their definition has it; empty if all is.
    """

    theirs: str
    make: Callable[[Wiring, bool], nn.Module]
    ours: Callable[[Wiring], nn.Module]
    learned: Callable[[nn.Module], list[Tensor]] = lambda module: []
    currents: tuple[float, float] = (0.0, 1.0)
    learned_sign: float = 1.0
    unlike: str = ""


class Layer(nn.Module):
    """A call of a layer, and the parameters whose gradients are asked for along with that of its input."""

    def __init__(self, call: Callable[[Tensor], Tensor], learned: list[Tensor]):
        super().__init__()
        self.call, self.learned = call, learned

    def forward(self, x: Tensor) -> Tensor:
        return self.call(x)


class Net(Layer):
    """A network; ``learned`` are all its weights. ``prepare`` lays out what it takes, outside of what is timed."""

    def __init__(self, call, learned, prepare: Callable[[Tensor], Tensor] = lambda x: x):
        super().__init__(call, learned)
        self.prepare = prepare


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
    not_compiled = ""  # why torch.compile of it is not compared as well

    def load(self) -> None:
        """Imports it, so that the time for this is not charged to the first who calls it.

        Raises:
            ImportError: it is not installed, or in another version.
        """
        for module in self.modules:
            importlib.import_module(module)

    def version(self) -> str:
        """Of the installed package; empty if that has none."""
        try:
            return importlib.metadata.version(self.name)
        except importlib.metadata.PackageNotFoundError:
            return ""

    def neurons(self) -> dict[str, Neuron]:
        """Its neurons by kind: some of KINDS."""
        raise NotImplementedError

    def variants(self, device: str, kind: str) -> list[str]:
        return [self.name] if kind in self.neurons() else []

    def compiled_variants(self, device: str, kind: str) -> list[str]:
        """Those of which torch.compile is compared as well."""
        return [] if self.not_compiled else self.variants(device, kind)

    def select(self, variant: str) -> None:
        """Called before every call of a variant, not timed."""

    def layer(self, kind: str, variant: str, wiring: Wiring, device: str, dtype: torch.dtype, compile: bool) -> Layer:
        """Currents (T, ...) -> spikes (T, ...), from a fresh state."""
        raise NotImplementedError

    def net(self, variant: str, size: NetSize, compile: bool) -> Net:
        """Images (T, batch, channels, side, side), or (T, batch, features) -> (T, batch, classes)."""
        raise NotImplementedError

    def parts(self, size: NetSize, compile: bool, *layers) -> tuple[list[nn.Module], list[Tensor]]:
        """A network of its own neurons and these building blocks, as `Blocks` takes them, and what learns in it."""
        neurons = self.neurons()
        kinds: dict[nn.Module, str] = {}

        def make(kind, wiring):
            module = neurons[kind].make(wiring, compile)
            kinds[module] = kind
            return module

        parts = size.parts(Blocks(make, *layers))
        return parts, weights(parts, lambda part: neurons[kinds[part]].learned(part) if part in kinds else [])
