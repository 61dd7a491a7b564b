"""The libraries that spikeops is compared with, each with its own neuron and the options with which spikeops computes the same one.

Nothing of a library is imported before it is asked for something.
"""

from __future__ import annotations

import importlib
import math

import torch
from peer_library import Library, compile_apart
from peer_spikingjelly import SpikingJelly, SpikingJellyCuPy
from torch import nn

from spikeops.surrogate import Exponential, FastSigmoid


class SnnTorch(Library):
    """Leaky with its default, delayed, reset. Its user writes the loop over time."""

    name = "snntorch"
    modules = ("snntorch",)

    def neuron(self):
        return dict(decay=0.9, reset_amount=1 / 0.9, strict=True, detach_reset=True)  # the surrogate is ATan(2) in both

    def layer(self, variant, device, dtype, compile):
        return self._loop(lambda leaky: [leaky()], compile).to(device)

    def net(self, variant, size, compile):
        return self._loop(lambda leaky: size.parts(nn.Conv2d, leaky, nn.Flatten, nn.Linear), compile)

    def _loop(self, make_cells, compile):
        import snntorch

        if compile:  # with the state in the module, since `mem == None` on a tensor breaks the graph
            return _Loop(make_cells(lambda: snntorch.Leaky(beta=0.9, init_hidden=True)), self._hidden, True, self._forget)
        return _Loop(make_cells(lambda: snntorch.Leaky(beta=0.9)), self._cell)

    @staticmethod
    def _cell(cell, x, state):
        return cell(x, torch.zeros_like(x) if state is None else state) if hasattr(cell, "beta") else (cell(x), None)

    @staticmethod
    def _hidden(cell, x, state):
        return cell(x), None

    @staticmethod
    def _forget(cell, x):
        if hasattr(cell, "mem"):
            cell.mem = torch.zeros(0, device=x.device)


class Norse(Library):
    """LIFBoxCell, its leaky integrate-and-fire neuron without a synaptic current. Its user writes the loop over time."""

    name = "norse"
    modules = ("norse.torch",)

    def neuron(self):
        return dict(decay=0.9, input_scale=0.1, reset="to", strict=True, surrogate=FastSigmoid(1.0))

    def layer(self, variant, device, dtype, compile):
        return _Loop([self._box()], self._cell, compile).to(device)

    def net(self, variant, size, compile):
        return _Loop(size.parts(nn.Conv2d, self._box, nn.Flatten, nn.Linear), self._cell, compile)

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
    """LIF with at most one spike a step (its default fires several) and the surrogate's height halved, which spikeops has not.

    On a GPU also EXODUS, its own kernels, which are a package of their own.
    """

    name = "sinabs"
    modules = ("sinabs.layers", "sinabs.activation")
    compiles = False

    def neuron(self):
        alpha = torch.exp(-1 / torch.tensor(self._tau()))  # as sinabs computes it
        return dict(decay=alpha.item(), input_scale=(1 - alpha).item(), surrogate=Exponential(2.0))

    @staticmethod
    def _tau():
        return -1 / math.log(0.9)

    def variants(self, device):
        return [self.name, "sinabs-exodus"] if device == "cuda" else [self.name]

    def _lif(self, variant, **options):
        from sinabs import activation

        layers = importlib.import_module("sinabs.exodus.layers" if variant == "sinabs-exodus" else "sinabs.layers")
        make = layers.LIFSqueeze if options else layers.LIF
        surrogate = activation.SingleExponential(grad_scale=0.5)
        lif = make(
            tau_mem=self._tau(), spike_fn=activation.SingleSpike, surrogate_grad_fn=surrogate, train_alphas=True, **options
        )
        lif.alpha_mem.requires_grad_(False)
        return lif

    def layer(self, variant, device, dtype, compile):
        lif = self._lif(variant).to(device)

        def run(x):  # (T, N) is (batch 1, T, N) without a copy
            lif.reset_states()
            return lif(x[None])[0]

        return run

    def net(self, variant, size, compile):
        neuron = lambda: self._lif(variant, batch_size=size.batch)  # noqa: E731
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


class _Loop(nn.Module):
    """Takes a sequence through layers one time step after the other.

    Args:
        cells: the layers
        cell: (layer, x, state or None) -> (y, state)
        reset: (layer, x), called for all layers before each sequence, outside of what is compiled
    """

    def __init__(self, cells, cell, compile=False, reset=None):
        super().__init__()
        self.cells = nn.ModuleList(cells)
        self._cell, self._reset = cell, reset
        self._call = compile_apart(self._sequence) if compile else self._sequence

    def forward(self, x):
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


# What is compared in turns: libraries whose neurons are the same.
LIBRARIES: dict[str, tuple[type[Library], ...]] = {
    "spikingjelly": (SpikingJelly, SpikingJellyCuPy),
    "snntorch": (SnnTorch,),
    "norse": (Norse,),
    "sinabs": (Sinabs,),
}
