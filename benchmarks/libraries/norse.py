"""Norse: its cells, with the surrogate that its SuperSpike is in version 1.1, whatever its alpha."""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.surrogate import FastSigmoid

from libraries.library import Neuron
from libraries.ours import Computed, parameter
from libraries.stepwise import Loop, Stepwise

BOX = dict(reset="to", strict=True, surrogate=FastSigmoid(1.0))
LIF = dict(current_decay=0.8, order="input_membrane_decay", current_scale=0.1, **BOX)
# Its threshold decays, by a share of 1e-3 / 800 in a step, before it is compared.
LSNN = dict(current_decay=0.8, order="membrane_decay_input", current_scale=0.1, adaptation_decay=1 - 1e-3 / 800,
            beta=1.8 * (1 - 1e-3 / 800), **BOX)  # fmt: skip


class Norse(Stepwise):
    """Its user writes the loop over time."""

    name = "norse"
    modules = ("norse.torch",)

    def neurons(self):
        def cell(kind, **options):
            return lambda wiring, compile: _make(kind, **options)

        def recurrent_cell(kind):
            return lambda wiring, compile: _wired(_make(kind, wiring.features, wiring.features), wiring)

        weights = lambda cell: [cell.input_weights, cell.recurrent_weights]  # noqa: E731
        return {
            "lif": Neuron("LIFBoxCell()", cell("LIFBoxCell"), lambda wiring: snn.LIF(0.9, input_scale=0.1, **BOX), currents=(0, 10)),
            "if": Neuron("IAFCell()", cell("IAFCell"), lambda wiring: snn.IF(**BOX)),
            "plif": Neuron(
                "LIFBoxCell() with a parameter tau_mem_inv", lambda wiring, compile: _learning_box(),
                lambda wiring: Computed(_box, parameter(100.0)), lambda cell: [cell.p.tau_mem_inv], (0, 10),
            ),
            "cuba_lif": Neuron("LIFCell()", cell("LIFCell"), lambda wiring: snn.CubaLIF(0.9, **LIF), currents=(-2, 8)),
            "recurrent_lif": Neuron(
                "LIFRecurrentCell(N, N)", recurrent_cell("LIFRecurrentCell"), partial(_recurrent, 0.9, detach_reset=True, **LIF),
                weights, (-1, 4),
            ),
            "leaky_readout": Neuron("LIBoxCell()", cell("LIBoxCell"), lambda wiring: snn.LeakyReadout(0.9, input_scale=0.1)),
            "alif": Neuron(
                "LSNNCell()", cell("LSNNCell"), lambda wiring: Computed(_lsnn), currents=(-1, 12),
            ),
            "recurrent_alif": Neuron(
                "LSNNRecurrentCell(N, N)", recurrent_cell("LSNNRecurrentCell"), partial(_recurrent, 0.9, detach_reset=True, **LSNN),
                weights, (-1, 12), unlike="theirs leaves out that a spike raises the threshold",
            ),
        }  # fmt: skip

    def loop(self, cells, compile):
        return Loop(cells, _cell, compile)


def _make(kind, *arguments):
    import norse.torch

    return _begun(getattr(norse.torch, kind)(*arguments))


def _begun(cell):
    """Notes the state that it begins with, the same in all neurons, which its own function makes of numbers on the host with a gradient
    of their own, for which a device, and the compiler, would have to wait."""
    state = cell.initial_state(torch.zeros(1, 1))
    cell.begin_of_peer = type(state), tuple(value.detach().reshape(-1)[0].item() for value in state)
    return cell


def _learning_box():
    import norse.torch

    return _begun(norse.torch.LIFBoxCell(norse.torch.LIFBoxParameters(tau_mem_inv=nn.Parameter(torch.tensor(100.0)))))


def _box(x, tau_mem_inv):
    rate = 1e-3 * tau_mem_inv
    return SF.lif(x, 1 - rate, input_scale=rate, **BOX)[0]


def _wired(cell, wiring):
    """Weights of the input that leave it as it is; they are learned all the same."""
    with torch.no_grad():
        cell.input_weights.copy_(torch.eye(wiring.features))
        cell.recurrent_weights.copy_(wiring.weight)
    return cell


def _recurrent(decay, wiring, **options):
    def run(x, input_weight, weight, others):
        current = nn.functional.linear(x, input_weight)
        return SF.recurrent_lif(current, weight * others, decay, **options)[0]

    itself = torch.eye(wiring.features)
    others = 1 - itself  # nor does a neuron learn to lead to itself
    return Computed(run, parameter(itself), parameter(wiring.weight), constant=others)


def _lsnn(x):
    return SF.recurrent_lif(x, x.new_zeros(x.shape[-1]), 0.9, **LSNN)[0]


def _cell(cell, x, state):
    if not hasattr(cell, "p"):
        return cell(x), None
    if state is None:
        kind, values = cell.begin_of_peer
        state = kind(*(x.new_full(x.shape, value) for value in values))
    return cell(x, state)
