"""Every row of the tables in docs/neurons, against the package: the call, the counterpart's options, the defaults, the surrogates."""

import importlib
import inspect

import pytest
import torch
from conversion_tests import assert_alike, assert_near, drawn
from conversion_tests.tables import OURS, plain, read, rows, signature

import spikeops
import spikeops.functional as SF

PACKAGES = {
    "spikingjelly": ["spikingjelly.activation_based.neuron", "spikingjelly.activation_based.surrogate"],
    "snntorch": ["snntorch", "snntorch.surrogate"],
    "norse": ["norse.torch", "norse.torch.functional.lif_box", "norse.torch.functional.iaf", "norse.torch.functional.lif",
              "norse.torch.functional.reset", "norse.torch.module.leaky_integrator_box", "norse.torch.functional.leaky_integrator_box",
              "norse.torch.functional.leaky_integrator", "norse.torch.functional.lsnn"],
    "sinabs": ["sinabs.layers", "sinabs.activation"],
}  # fmt: skip


def names_of(library):
    """What the tables may name: what the modules hold, and `surrogate.` in front of surrogates."""
    modules = [pytest.importorskip(module) for module in PACKAGES[library]]
    names = {"torch.tensor": torch.tensor, "torch.nn.Linear": torch.nn.Linear}
    for module in modules:
        last = module.__name__.rpartition(".")[2]
        for name, value in vars(module).items():
            names[f"surrogate.{name}" if last == "surrogate" else name] = value
    return names


def counterparts(library):
    names_of(library)
    return importlib.import_module(f"spikeops.conversion.{library}")


def run_spikingjelly(net, x):
    outputs = net(x)
    return torch.stack(outputs) if isinstance(outputs, list) else outputs, ()


def run_snntorch(net, x):
    """The spikes, or the potentials of a neuron that is there for them."""
    states, outputs = net.reset_mem(), []
    states = states if isinstance(states, tuple) else (states,)
    for x_t in x:
        found = net(x_t, *states)
        states = found[-len(states) :]
        outputs.append(found[-1] if net.reset_mechanism == "none" else found[0])
    return torch.stack(outputs), ()


def run_norse(net, x):
    snn = importlib.import_module("norse.torch.module.snn")
    if isinstance(net, (snn.SNN, snn.SNNRecurrent)):
        return net(x)[0], ()
    state, outputs = None, []
    for x_t in x:
        out, state = net(x_t, state)
        outputs.append(out)
    return torch.stack(outputs), ()


def run_sinabs(net, x):
    batch_first = x.transpose(0, 1)
    net.reset_states()
    if hasattr(net, "squeeze_init"):
        return net(batch_first.flatten(0, 1)), ()
    return net(batch_first), ()


RUN = {"spikingjelly": run_spikingjelly, "snntorch": run_snntorch, "norse": run_norse, "sinabs": run_sinabs}
# Outputs that are potentials differ in their last bits where the order of operations does.
INTEGRATORS = ("NonSpiking", "LIBoxCell", "LI(", "LICell", "LILinearCell", "ExpLeak")


@pytest.mark.parametrize("library", PACKAGES)
def test_neurons(library):
    """The left cell makes the neuron, the right one says what its counterpart calls; both give the same."""
    names = names_of(library)
    torch.manual_seed(0)  # for recurrent weights
    found = rows(library, "Neurons")
    assert len(found) >= 6
    for theirs, ours in found:
        neuron = read(theirs, names)
        if library == "spikingjelly" and hasattr(neuron, "step_mode"):
            neuron.step_mode = "m"
        op, options = read(ours, OURS)
        copies = "rec_connect" not in theirs  # sinabs cannot copy those: test_sinabs.py makes them anew
        converted = spikeops.convert(neuron, inplace=not copies)
        defaults = {name: p.default for name, p in inspect.signature(getattr(SF, op)).parameters.items() if p.default is not p.empty}
        actual = defaults | plain(converted.options())
        assert _close(actual, options), f"{theirs} is {op} with {_difference(actual, defaults)}"
        x = drawn(20, 3, 40, low=-3, high=5)
        if not copies:
            continue
        if any(kind in theirs for kind in INTEGRATORS):
            assert_near(theirs, *(RUN[library](net, x)[0] for net in (neuron, converted)), 1e-5)
        else:
            # What is rounded otherwise in a step grows by a beta of 1.8 with each spike on the way back; in float64 it stays below 1e-14.
            assert_alike(neuron, RUN[library], x, silent=True, bound=2e-5 if theirs.startswith("`LSNN") else 1e-5)


def _difference(options, defaults):
    return {name: value for name, value in options.items() if value != defaults[name]}


def _close(actual, said):
    def same(a, b):
        return a == pytest.approx(b, rel=1e-6) if isinstance(a, float) and isinstance(b, (int, float)) else a == b

    return actual.keys() == said.keys() and all(same(actual[name], said[name]) for name in said)


@pytest.mark.parametrize("library", PACKAGES)
def test_every_counterpart_has_a_row(library):
    known = {kind.__name__ for kind in counterparts(library).COUNTERPARTS}
    assert {theirs.strip("`").partition("(")[0] for theirs, _ in rows(library, "Neurons")} == known
    assert {row[0].strip("`").partition("(")[0] for row in rows(library, "Defaults")} == known


@pytest.mark.parametrize("library", PACKAGES)
def test_defaults(library):
    kinds = {kind.__name__: kind for kind in counterparts(library).COUNTERPARTS}
    for (said,) in rows(library, "Defaults"):
        assert said.strip("`") == signature(kinds[said.strip("`").partition("(")[0]])


@pytest.mark.parametrize("library", PACKAGES)
def test_surrogates(library):
    names, function = names_of(library), counterparts(library).spike_function
    for theirs, ours in rows(library, "Surrogates"):
        made = function(theirs.strip("`"), 2.0) if library == "norse" else function(read(theirs, names))
        assert made == read(ours, OURS), f"{theirs} is {made}"
