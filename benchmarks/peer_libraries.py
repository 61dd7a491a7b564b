"""The libraries that spikeops is compared with, each with its own neuron and the options with which spikeops computes the same one.

Nothing of a library is imported before it is asked for something.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import math
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

import spikeops
import spikeops.nn as snn
from spikeops.surrogate import Exponential, FastSigmoid, Sigmoid

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


class SpikingJelly(Library):
    """Version 2: its LIFNode in multi-step mode, on each of its implementations.

    Which one runs is chosen per process by an environment variable that is read once; here by what that variable sets.
    """

    name = "spikingjelly"
    modules = ("spikingjelly.activation_based.neuron", "spikingjelly.activation_based.layer", "spikingjelly.activation_based.functional")
    implementations = {"cpu": ["torch"], "cuda": ["torch", "triton", "cuda"]}

    def __init__(self):
        self._bound: dict[str, tuple[dict, dict]] = {}

    def load(self):
        if not (version := importlib.metadata.version("spikingjelly")).startswith("2."):
            raise ImportError(f"spikingjelly 2 is wanted, {version} is installed")
        super().load()

    def neuron(self):
        return dict(decay=0.5, input_scale=0.5, reset="to", surrogate=Sigmoid(4.0))

    def variants(self, device):
        return [f"{self.name}-{implementation}" for implementation in self.implementations[device]]

    def compiled_variants(self, device):
        return self.variants(device)[:2]  # to the compiler the third is a closed box

    def select(self, variant):
        if variant.endswith("-torch") and not torch.cuda.is_available():
            return  # the only one there is
        from spikingjelly._ops.lif import _selection

        implementation = variant.rpartition("-")[2]
        _selection._requested = implementation
        _selection._selections, _selection._compiled_selections = self._bound.setdefault(implementation, ({}, {}))
        _selection._get_cuda_selection(torch.device("cuda", torch.cuda.current_device()))  # raises if it was not built

    def layer(self, variant, device, dtype, compile):
        from spikingjelly.activation_based import functional, neuron, surrogate

        if dtype == torch.float32:
            lif = neuron.LIFNode(step_mode="m")
            call = torch.compile(lif, dynamic=False) if compile else lif

            def run(x):
                functional.reset_net(lif)
                return call(x)

            return run

        # The module's state has the type of its input, and in 16 bits only the plain loop takes that.
        sigmoid = surrogate.Sigmoid()

        def multi_step(x):
            state = torch.zeros(x.shape[1:], dtype=torch.float32, device=x.device)
            return functional.lif_multi_step(x, state, surrogate_function=sigmoid)[0]

        return torch.compile(multi_step, dynamic=False) if compile else multi_step

    def net(self, variant, size, compile):
        from spikingjelly.activation_based import functional, layer, neuron

        net = nn.Sequential(*size.parts(layer.Conv2d, neuron.LIFNode, layer.Flatten, layer.Linear))
        functional.set_step_mode(net, "m")
        return _Reset(net, functional.reset_net, compile)


class SpikingJellyCuPy(Library):
    """Version 0.0.0.0.14, the last with kernels in CuPy, from a folder of its own: $SPIKINGJELLY_OLD."""

    name = "spikingjelly-cupy"
    compiles = False

    def __init__(self):
        self._modules: dict = {}

    def load(self):
        self._old("neuron")

    def neuron(self):
        return SpikingJelly().neuron()

    def variants(self, device):
        return [self.name] if device == "cuda" else []

    def layer(self, variant, device, dtype, compile):
        lif = self._old("neuron").LIFNode(step_mode="m", backend="cupy")

        def run(x):
            lif.reset()
            return lif(x)

        return run

    def net(self, variant, size, compile):
        layer, functional = self._old("layer"), self._old("functional")
        neuron = lambda: self._old("neuron").LIFNode(backend="cupy")  # noqa: E731
        net = nn.Sequential(*size.parts(layer.Conv2d, neuron, layer.Flatten, layer.Linear))
        functional.set_step_mode(net, "m")
        return _Reset(net, functional.reset_net, compile=False)

    def _old(self, module):
        """A module of the old package, which has the name of the new one: each sees only its own modules."""
        if not self._modules:
            folder = os.environ.get("SPIKINGJELLY_OLD", "")
            if not os.path.isdir(os.path.join(folder, "spikingjelly")):
                raise ImportError("SPIKINGJELLY_OLD names no folder with spikingjelly 0.0.0.0.14")
            importlib.import_module("cupy")  # without it the old package fails late and obscurely
            ours = {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "spikingjelly"}
            sys.path.insert(0, folder)
            try:
                for name in ("neuron", "layer", "functional"):
                    self._modules[name] = importlib.import_module(f"spikingjelly.activation_based.{name}")
            finally:
                sys.path.remove(folder)
                for name in [name for name in sys.modules if name.partition(".")[0] == "spikingjelly"]:
                    del sys.modules[name]
                sys.modules.update(ours)
        return self._modules[module]


class SnnTorch(Library):
    """Leaky with its default, delayed, reset. Its user writes the loop over time."""

    name = "snntorch"
    modules = ("snntorch",)

    def neuron(self):
        return dict(decay=0.9, reset_amount=1 / 0.9, strict=True, detach_reset=True)  # the surrogate is ATan(2) in both

    def layer(self, variant, device, dtype, compile):
        return _loop([self._leaky()], compile, self._cell).to(device)

    def net(self, variant, size, compile):
        return _loop(size.parts(nn.Conv2d, self._leaky, nn.Flatten, nn.Linear), compile, self._cell)

    @staticmethod
    def _leaky():
        import snntorch

        return snntorch.Leaky(beta=0.9)

    @staticmethod
    def _cell(cell, x, state):
        return cell(x, torch.zeros_like(x) if state is None else state) if hasattr(cell, "beta") else (cell(x), None)


class Norse(Library):
    """LIFBoxCell, its leaky integrate-and-fire neuron without a synaptic current. Its user writes the loop over time."""

    name = "norse"
    modules = ("norse.torch",)

    def neuron(self):
        return dict(decay=0.9, input_scale=0.1, reset="to", strict=True, surrogate=FastSigmoid(1.0))

    def layer(self, variant, device, dtype, compile):
        return _loop([self._box()], compile, self._cell).to(device)

    def net(self, variant, size, compile):
        return _loop(size.parts(nn.Conv2d, self._box, nn.Flatten, nn.Linear), compile, self._cell)

    @staticmethod
    def _box():
        import norse.torch

        return norse.torch.LIFBoxCell()

    @staticmethod
    def _cell(cell, x, state):
        if not hasattr(cell, "p"):
            return cell(x), None
        if state is None:  # its own first state is a number on the host whose gradient the device would have to wait for
            from norse.torch.functional.lif_box import LIFBoxFeedForwardState

            state = LIFBoxFeedForwardState(v=torch.zeros_like(x))
        return cell(x, state)


class Sinabs(Library):
    """LIF with at most one spike a step (its default fires several) and the surrogate's height halved, which spikeops has not."""

    name = "sinabs"
    modules = ("sinabs.layers", "sinabs.activation")
    compiles = False

    def neuron(self):
        alpha = torch.exp(-1 / torch.tensor(self._tau()))  # as sinabs computes it
        return dict(decay=alpha.item(), input_scale=(1 - alpha).item(), surrogate=Exponential(2.0))

    @staticmethod
    def _tau():
        return -1 / math.log(0.9)

    def _lif(self, **options):
        from sinabs import activation, layers

        make = layers.LIFSqueeze if options else layers.LIF
        surrogate = activation.SingleExponential(grad_scale=0.5)
        lif = make(
            tau_mem=self._tau(), spike_fn=activation.SingleSpike, surrogate_grad_fn=surrogate, train_alphas=True, **options
        )
        lif.alpha_mem.requires_grad_(False)
        return lif

    def layer(self, variant, device, dtype, compile):
        lif = self._lif().to(device)

        def run(x):  # (T, N) is (batch 1, T, N) without a copy
            lif.reset_states()
            return lif(x[None])[0]

        return run

    def net(self, variant, size, compile):
        neuron = lambda: self._lif(batch_size=size.batch)  # noqa: E731
        net = nn.Sequential(*size.parts(nn.Conv2d, neuron, nn.Flatten, nn.Linear))

        class BatchFirst(nn.Module):
            def __init__(self):
                super().__init__()
                self.net = net

            def forward(self, x):  # (T, batch, ...), laid out as (batch, T, ...) by `prepare`
                for module in self.net.modules():
                    if hasattr(module, "reset_states"):
                        module.reset_states()
                x = x.transpose(0, 1)
                return self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2]).transpose(0, 1)

            def prepare(self, x):
                return x.transpose(0, 1).contiguous().transpose(0, 1)

        return BatchFirst()


class _Reset(nn.Module):
    """A net whose state is reset before each sequence, outside of what is compiled."""

    def __init__(self, net, reset, compile):
        super().__init__()
        self.net = net
        self._reset = reset
        self._call = torch.compile(net, dynamic=False) if compile else net

    def forward(self, x):
        self._reset(self.net)
        return self._call(x)


def _loop(cells, compile, cell):
    """A module that takes a sequence through layers one time step after the other. `cell(layer, x, state)` -> (y, state)."""

    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = nn.ModuleList(cells)

        def forward(self, x):
            states = [None] * len(self.cells)
            out = []
            for step in x.unbind(0):  # x[t] would make the backward pass quadratic in T
                for i, layer in enumerate(self.cells):
                    step, states[i] = cell(layer, step, states[i])
                out.append(step)
            return torch.stack(out)

    loop = Loop()
    if compile:
        loop.forward = torch.compile(loop.forward, dynamic=False)
    return loop


# What is compared in turns: libraries whose neurons are the same.
LIBRARIES: dict[str, tuple[type[Library], ...]] = {
    "spikingjelly": (SpikingJelly, SpikingJellyCuPy),
    "snntorch": (SnnTorch,),
    "norse": (Norse,),
    "sinabs": (Sinabs,),
}
