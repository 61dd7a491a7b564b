"""SpikingJelly: version 2 on each of its implementations, and the last version before it for its CuPy kernels."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys

import numpy
import torch
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.surrogate import Rectangle, Sigmoid, Window

from libraries.library import Layer, Library, Net, Neuron, compile_apart
from libraries.networks import Blocks, weights
from libraries.ours import Computed, parameter

SIGMOID = dict(reset="to", surrogate=Sigmoid(4.0))
RECTANGLE = Rectangle(0.9999999403953552, height=0.9999999403953552)  # theirs is 0 at its edges
# Kinds with kernels of their own, and the names of these.
FAMILIES = {"lif": "lif", "if": "if_", "plif": "plif", "multi_spike": "ilif"}


class SpikingJelly(Library):
    """Version 2: its nodes in multi-step mode, on each of its implementations.

    Which one runs is chosen per process by an environment variable that is read once; here by what that variable sets.
    """

    name = "spikingjelly"
    modules = tuple(f"spikingjelly.{name}" for name in (
        "activation_based.neuron", "activation_based.layer", "activation_based.functional", "_ops.if_", "_ops.ilif", "_ops.lif",
        "_ops.plif",
    ))  # fmt: skip
    implementations = {"cpu": ["torch"], "cuda": ["torch", "triton", "cuda"]}

    def __init__(self):
        self._bound: dict[tuple[str, str], tuple[dict, dict]] = {}

    def load(self):
        if not (version := importlib.metadata.version("spikingjelly")).startswith("2."):
            raise ImportError(f"spikingjelly 2 is wanted, {version} is installed")
        super().load()

    def neurons(self):
        def node(kind, **options):
            return lambda wiring, compile: _neuron(kind)(step_mode="m", **options)

        return {
            "lif": Neuron("LIFNode()", node("LIFNode"), lambda wiring: snn.LIF(0.5, input_scale=0.5, **SIGMOID), currents=(0, 2)),
            "if": Neuron("IFNode()", node("IFNode"), lambda wiring: snn.IF(**SIGMOID)),
            "plif": Neuron(
                "ParametricLIFNode()", node("ParametricLIFNode"), lambda wiring: snn.ParametricLIF(0.5, decay_input=True, **SIGMOID),
                lambda node: [node.w], (0, 2), learned_sign=-1.0,  # it learns 1 - decay
            ),
            "multi_spike": Neuron(
                "ILIFNode()", node("ILIFNode"),
                lambda wiring: snn.LIF(0.25, max_spikes=4, rounding="nearest", surrogate=Window(0.0, 4.0)), currents=(0, 3),
            ),
            "cuba_lif": Neuron(
                "CUBALIFNode()", lambda wiring, compile: _cuba(),
                lambda wiring: snn.CubaLIF(0.75, 0.5, current_decay=0.5, reset="to", surrogate=RECTANGLE), currents=(-0.2, 0.5),
            ),
            "recurrent_lif": Neuron(
                "LinearRecurrentContainer(LIFNode(), N, N)", _recurrent, _our_recurrent,
                lambda container: [container.rc.weight, container.rc.bias], (0, 2),
            ),
            "leaky_readout": Neuron(
                "NonSpikingLIFNode()", lambda wiring, compile: _Stacked(_neuron("NonSpikingLIFNode")()),
                lambda wiring: snn.LeakyReadout(0.5, input_scale=0.5),
            ),
        }  # fmt: skip

    def variants(self, device, kind):
        if kind not in self.neurons():
            return []
        implementations = self.implementations[device]
        return [f"{self.name}-{name}" for name in (implementations if kind in FAMILIES else implementations[:1])]

    def compiled_variants(self, device, kind):
        return self.variants(device, kind)[:2]  # to the compiler the third is a closed box

    def select(self, variant):
        if not torch.cuda.is_available():
            return  # to the only one there is
        implementation = variant.rpartition("-")[2]
        for name in FAMILIES.values():
            selection = importlib.import_module(f"spikingjelly._ops.{name}")._selection
            selection._requested = implementation
            bound = self._bound.setdefault((name, implementation), ({}, {}))
            selection._selections, selection._compiled_selections = bound
            if name == "lif":
                selection._get_cuda_selection(torch.device("cuda", torch.cuda.current_device()))  # raises if it was not built

    def layer(self, kind, variant, wiring, device, dtype, compile):
        from spikingjelly.activation_based import functional, surrogate

        if dtype == torch.float32:
            neuron = self.neurons()[kind]
            node = neuron.make(wiring, compile).to(device)
            return Layer(_Reset(node, functional.reset_net, compile), neuron.learned(node))

        # The module's state has the type of its input, and in 16 bits only the plain loop takes that.
        if kind != "lif":
            raise TypeError(f"no {kind} in 16 bits is compared")
        sigmoid = surrogate.Sigmoid()

        def multi_step(x):
            state = torch.zeros(x.shape[1:], dtype=torch.float32, device=x.device)
            return functional.lif_multi_step(x, state, surrogate_function=sigmoid)[0]

        return Layer(compile_apart(multi_step) if compile else multi_step, [])

    def net(self, variant, size, compile):
        from spikingjelly.activation_based import functional, layer

        parts, learned = self.parts(size, compile, layer.Conv2d, layer.AvgPool2d, layer.Flatten, layer.Linear)
        net = nn.Sequential(*parts)
        functional.set_step_mode(net, "m")
        return Net(_Reset(net, functional.reset_net, compile), learned)


def _neuron(kind):
    return getattr(importlib.import_module("spikingjelly.activation_based.neuron"), kind)


def _cuba():
    node = _neuron("CUBALIFNode")()
    node.step_mode = "m"
    return node


def _recurrent(wiring, compile):
    """It also weighs its input: by weights that leave it as it is, and are learned all the same."""
    from spikingjelly.activation_based import layer

    container = layer.LinearRecurrentContainer(_neuron("LIFNode")(), wiring.features, wiring.features, step_mode="m")
    with torch.no_grad():
        container.rc.weight.copy_(torch.cat([torch.eye(wiring.features), wiring.weight.cpu()], 1))
        container.rc.bias.zero_()
    return container


def _our_recurrent(wiring):
    N = wiring.features

    def run(x, weight, bias):
        current = nn.functional.linear(x, weight[:, :N], bias)
        return SF.recurrent_lif(current, weight[:, N:], 0.5, input_scale=0.5, **SIGMOID)[0]

    return Computed(run, parameter(torch.cat([torch.eye(N), wiring.weight.cpu()], 1)), parameter(torch.zeros(N)))


class _Stacked(nn.Module):
    """Its readout returns a list."""

    def __init__(self, node):
        super().__init__()
        self.node = node

    def forward(self, x):
        return torch.stack(self.node(x))


class SpikingJellyCuPy(Library):
    """Version 0.0.0.0.14, the last with kernels in CuPy, from a folder of its own: $SPIKINGJELLY_OLD."""

    name = "spikingjelly-cupy"
    not_compiled = "to the compiler its kernels are a closed box"

    def __init__(self):
        self._modules: dict = {}

    def load(self):
        self._old("neuron")

    def neurons(self):
        return {"lif": SpikingJelly().neurons()["lif"]}

    def variants(self, device, kind):
        return [self.name] if device == "cuda" and kind in self.neurons() else []

    def layer(self, kind, variant, wiring, device, dtype, compile):
        lif = self._old("neuron").LIFNode(step_mode="m", backend="cupy")

        def run(x):
            lif.reset()
            return lif(x)

        return Layer(run, [])

    def net(self, variant, size, compile):
        layer, functional = self._old("layer"), self._old("functional")
        node = lambda kind, wiring: self._old("neuron").LIFNode(step_mode="m", backend="cupy")  # noqa: E731
        parts = size.parts(Blocks(node, layer.Conv2d, layer.AvgPool2d, layer.Flatten, layer.Linear))
        net = nn.Sequential(*parts)
        functional.set_step_mode(net, "m")
        return Net(_Reset(net, functional.reset_net, compile=False), weights(parts, lambda part: []))

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
    """A layer or net whose state is reset before each sequence, outside of what is compiled."""

    def __init__(self, net, reset, compile):
        super().__init__()
        self.net = net
        self._reset = reset
        self._call = compile_apart(net) if compile else net

    def forward(self, x):
        self._reset(self.net)
        return self._call(x)
