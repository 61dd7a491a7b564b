"""sinabs, which fires several times a step by default; on a GPU also EXODUS, its own kernels, which are a package of their own."""

from __future__ import annotations

import importlib
import math

import torch
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.surrogate import Exponential, SingleExponential

from libraries.library import Layer, Library, Net, Neuron
from libraries.networks import Blocks, weights
from libraries.ours import Computed, parameter, recurrent

TAU, TAU_SYN, TAU_ADAPT = -1 / math.log(0.9), -1 / math.log(0.8), 50.0
EXODUS = ("lif", "single_spike", "if")
SEVERAL = dict(max_spikes=None, surrogate=SingleExponential(0.5))
SINGLE = Exponential(2.0, height=2.0)  # its SingleExponential


def _decay(tau: float) -> float:
    return torch.exp(-1 / torch.tensor(tau)).item()  # as sinabs computes it


class Sinabs(Library):
    name = "sinabs"
    modules = ("sinabs.layers", "sinabs.activation")
    not_compiled = "torch.compile breaks it into several graphs for each step, each of which is compiled by itself"

    def neurons(self):
        decay, current_decay, adaptation_decay = map(_decay, (TAU, TAU_SYN, TAU_ADAPT))
        scaled = dict(input_scale=1 - decay)
        high = 1 / (1 - decay)
        several = lambda wiring: snn.LIF(decay, **scaled, **SEVERAL)  # noqa: E731
        synapse = dict(current_decay=current_decay, order="input_decay_membrane", current_scale=1 - decay)
        adaptation = dict(adaptation_decay=adaptation_decay, beta=1.8 * (1 - adaptation_decay))
        return {
            "lif": Neuron("LIF(tau_mem)", self._make("LIF", TAU), several, currents=(0, high)),
            "if": Neuron("IAF()", self._make("IAF"), lambda wiring: snn.IF(**SEVERAL)),
            "plif": Neuron(
                "LIF(tau_mem), whose tau_mem learns", self._make("LIF", TAU), lambda wiring: Computed(_learning, parameter(TAU)),
                lambda layer: [layer.tau_mem], (0, high),
            ),
            "multi_spike": Neuron("LIF(tau_mem)", self._make("LIF", TAU), several, currents=(0, 3 * high)),
            "single_spike": Neuron(
                "LIF(tau_mem, spike_fn=SingleSpike)", self._make("LIF", TAU, single=True),
                lambda wiring: snn.LIF(decay, surrogate=SINGLE, **scaled), currents=(0, high),
            ),
            "cuba_lif": Neuron(
                "LIF(tau_mem, tau_syn, spike_fn=SingleSpike)", self._make("LIF", TAU, TAU_SYN, single=True),
                lambda wiring: snn.CubaLIF(decay, surrogate=SINGLE, **synapse), currents=(-0.2 * high, 0.4 * high),
            ),
            "recurrent_lif": Neuron(
                "LIFRecurrent(tau_mem, Linear(N, N, bias=False), spike_fn=SingleSpike)", self._recurrent,
                lambda wiring: recurrent(wiring, decay, surrogate=SINGLE, **scaled), lambda layer: [layer.rec_connect.weight], (0, 8),
            ),
            "leaky_readout": Neuron("ExpLeak(tau_mem)", self._make("ExpLeak", TAU), lambda wiring: snn.LeakyReadout(decay)),
            "alif": Neuron(
                "ALIF(tau_mem, tau_adapt)", self._make("ALIF", TAU, TAU_ADAPT),
                lambda wiring: snn.ALIF(decay, surrogate=SINGLE, **adaptation, **scaled), currents=(0, 2 * high),
                unlike="theirs leaves out that a spike depends on the threshold that adapts",
            ),
        }  # fmt: skip

    def variants(self, device, kind):
        return [self.name, *(["sinabs-exodus"] if device == "cuda" and kind in EXODUS else [])]

    def _make(self, kind, *taus, single=False):
        return lambda wiring, compile: _layer("sinabs.layers", kind, *taus, single=single)

    def _recurrent(self, wiring, compile):
        connect = nn.Linear(wiring.features, wiring.features, bias=False)
        with torch.no_grad():
            connect.weight.copy_(wiring.weight)
        return _layer("sinabs.layers", "LIFRecurrent", TAU, single=True, rec_connect=connect)

    def layer(self, kind, variant, wiring, device, dtype, compile):
        neuron = self.neurons()[kind]
        if variant == self.name:
            layer = neuron.make(wiring, compile)
        else:
            arguments = () if kind == "if" else (TAU,)
            layer = _layer("sinabs.exodus.layers", "IAF" if kind == "if" else "LIF", *arguments, single=kind == "single_spike")
        layer = layer.to(device)
        is_flat = wiring.weight is None

        def run(x):
            layer.reset_states()
            # (T, N) is (batch 1, T, N) without a copy; of recurrent layers the batch comes second here, and first there.
            return layer(x[None])[0] if is_flat else layer(x.transpose(0, 1)).transpose(0, 1)

        return Layer(run, neuron.learned(layer))

    def net(self, variant, size, compile):
        neurons, package = self.neurons(), "sinabs.layers" if variant == self.name else "sinabs.exodus.layers"
        kinds: dict[nn.Module, str] = {}

        def make(kind, wiring):
            if kind == "lif":
                layer = _layer(package, "LIFSqueeze", tau_mem=TAU, batch_size=size.batch)
            else:
                layer = neurons[kind].make(wiring, compile)
            kinds[layer] = kind
            return layer

        parts = size.parts(Blocks(make))
        learned = weights(parts, lambda part: neurons[kinds[part]].learned(part) if part in kinds else [])
        return Net(_BatchFirst(nn.Sequential(*parts), size.kind == "conv"), learned, _batch_first)


class _BatchFirst(nn.Module):
    """(T, batch, ...) in and out, the batch first in between, and folded into one axis with time for layers that know none."""

    def __init__(self, net, folds):
        super().__init__()
        self.net, self._folds = net, folds

    def forward(self, x):
        for module in self.net.modules():
            if hasattr(module, "reset_states"):
                module.reset_states()
        x = x.transpose(0, 1)
        out = self.net(x.flatten(0, 1)).unflatten(0, x.shape[:2]) if self._folds else self.net(x)
        return out.transpose(0, 1)


def _batch_first(x):
    return x.transpose(0, 1).contiguous().transpose(0, 1)


def _layer(package, kind, *taus, single=False, **options):
    from sinabs import activation

    if single:
        options["spike_fn"] = activation.SingleSpike
    return getattr(importlib.import_module(package), kind)(*taus, **options)


def _learning(x, tau):
    decay = torch.exp(-1 / tau)
    return SF.lif(x, decay, input_scale=1 - decay, **SEVERAL)[0]
