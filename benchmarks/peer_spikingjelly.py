"""SpikingJelly: version 2 on each of its implementations, and the last version before it for its CuPy kernels."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys

import numpy
import torch
from peer_library import Library, compile_apart
from torch import nn

from spikeops.surrogate import Sigmoid


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
            call = compile_apart(lif) if compile else lif

            def run(x):
                functional.reset_net(lif)
                return call(x)

            return run

        # The module's state has the type of its input, and in 16 bits only the plain loop takes that.
        sigmoid = surrogate.Sigmoid()

        def multi_step(x):
            state = torch.zeros(x.shape[1:], dtype=torch.float32, device=x.device)
            return functional.lif_multi_step(x, state, surrogate_function=sigmoid)[0]

        return compile_apart(multi_step) if compile else multi_step

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
        neuron = lambda: self._old("neuron").LIFNode(step_mode="m", backend="cupy")  # noqa: E731
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
                for name in ("neuron", "layer", "functional", "auto_cuda.base"):
                    self._modules[name] = importlib.import_module(f"spikingjelly.activation_based.{name}")
                self._modules["auto_cuda.base"].np = _NumPyWithInt()
            finally:
                sys.path.remove(folder)
                for name in [name for name in sys.modules if name.partition(".")[0] == "spikingjelly"]:
                    del sys.modules[name]
                sys.modules.update(ours)
        return self._modules[module]


class _NumPyWithInt:
    """numpy.int, which NumPy dropped in 1.24, for the old package's check of the types of its kernels' arguments."""

    int = int

    def __getattr__(self, name):
        return getattr(numpy, name)


class _Reset(nn.Module):
    """A net whose state is reset before each sequence, outside of what is compiled."""

    def __init__(self, net, reset, compile):
        super().__init__()
        self.net = net
        self._reset = reset
        self._call = compile_apart(net) if compile else net

    def forward(self, x):
        self._reset(self.net)
        return self._call(x)
