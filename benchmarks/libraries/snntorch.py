"""snnTorch: its neurons with their default, late, reset."""

from __future__ import annotations

import torch
from torch import nn

import spikeops.nn as snn

from libraries.library import Neuron
from libraries.ours import recurrent
from libraries.stepwise import Loop, Stepwise

LATE = dict(strict=True, reset_timing="late")  # the surrogate is ATan(2) in both


class SnnTorch(Stepwise):
    """Its user writes the loop over time."""

    name = "snntorch"
    modules = ("snntorch",)

    def neurons(self):
        def cell(kind, **options):  # compiled with the state in the module, since `mem == None` on a tensor breaks the graph
            return lambda wiring, compile: _make(kind, init_hidden=compile, **options)

        def recurrent_cell(kind, **options):
            return lambda wiring, compile: _wired(
                _make(kind, init_hidden=compile, linear_features=wiring.features, **options), wiring
            )

        recurrent_weights = lambda cell: [cell.recurrent.weight, cell.recurrent.bias]  # noqa: E731
        return {
            "lif": Neuron("Leaky(beta=0.9)", cell("Leaky", beta=0.9), lambda wiring: snn.LIF(0.9, **LATE)),
            "plif": Neuron(
                "Leaky(beta=0.9, learn_beta=True)", cell("Leaky", beta=0.9, learn_beta=True),
                lambda wiring: snn.LIF(nn.Parameter(torch.tensor(0.9)), **LATE), lambda cell: [cell.beta],
            ),
            "cuba_lif": Neuron(
                "Synaptic(alpha=0.8, beta=0.9)", cell("Synaptic", alpha=0.8, beta=0.9),
                lambda wiring: snn.CubaLIF(0.9, current_decay=0.8, **LATE), currents=(-0.2, 0.4),
            ),
            "recurrent_lif": Neuron(
                "RLeaky(beta=0.9, linear_features=N)", recurrent_cell("RLeaky", beta=0.9),
                lambda wiring: recurrent(wiring, 0.9, bias=True, **LATE), recurrent_weights, (0.0, 0.5),
            ),
            "recurrent_cuba_lif": Neuron(
                "RSynaptic(alpha=0.8, beta=0.9, linear_features=N)", recurrent_cell("RSynaptic", alpha=0.8, beta=0.9),
                lambda wiring: recurrent(wiring, 0.9, bias=True, current_decay=0.8, **LATE), recurrent_weights, (-0.25, 0.375),
            ),
            "leaky_readout": Neuron(
                'Leaky(beta=0.9, reset_mechanism="none"), its mem',
                lambda wiring, compile: _readout(_make("Leaky", beta=0.9, reset_mechanism="none", init_hidden=compile, output=compile)),
                lambda wiring: snn.LeakyReadout(0.9),
            ),
        }  # fmt: skip

    def loop(self, cells, compile):
        return Loop(cells, _hidden, True, _forget) if compile else Loop(cells, _cell)


STATES = {"Leaky": ("mem",), "Synaptic": ("syn", "mem"), "RLeaky": ("spk", "mem"), "RSynaptic": ("spk", "syn", "mem")}


def _make(kind, **options):
    import snntorch

    cell = getattr(snntorch, kind)(**options)
    cell.states_of_peer = STATES[kind]
    return cell


def _wired(cell, wiring):
    with torch.no_grad():
        cell.recurrent.weight.copy_(wiring.weight)
        cell.recurrent.bias.zero_()
    return cell


def _readout(cell):
    cell.is_readout_of_peer = True
    return cell


def _cell(cell, x, state):
    names = getattr(cell, "states_of_peer", None)
    if names is None:
        return cell(x), None
    spikes, *state = cell(x, *([torch.zeros_like(x) for _ in names] if state is None else state))
    if names[0] == "spk":  # the spikes are a part of its state
        state = [spikes, *state]
    return state[-1] if hasattr(cell, "is_readout_of_peer") else spikes, state


def _hidden(cell, x, state):
    if hasattr(cell, "is_readout_of_peer"):
        return cell(x)[1], None
    return cell(x), None


def _forget(cell, x):
    for name in getattr(cell, "states_of_peer", ()):
        setattr(cell, name, torch.zeros(0, device=x.device))
