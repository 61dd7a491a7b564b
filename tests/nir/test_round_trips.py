"""Networks to NIR and back: the same spikes, bit for bit, from graphs and from files."""

import numpy as np
import pytest
import torch
from torch import nn

import spikeops.nn as snn

nir = pytest.importorskip("nir")
pytest.importorskip("nirtorch")
from spikeops.nir import NIRNetwork, Scale, from_nir, to_nir  # noqa: E402

TO = dict(reset="to", strict=True)


class Residual(nn.Module):
    """A module of somebody's own, with a sum of two branches."""

    def __init__(self):
        super().__init__()
        self.first, self.neurons = nn.Linear(12, 12), snn.LIF(0.75, 0.6, **TO)
        self.second, self.out = nn.Linear(12, 12), snn.IF(0.9, **TO)

    def forward(self, x):
        spikes = self.neurons(self.first(x))
        return self.out(self.second(spikes) + spikes)


class InPlace(Residual):
    """With a sum in place, to a value that nobody else uses."""

    def forward(self, x):
        out = self.second(self.neurons(self.first(x)))
        out += x
        return self.out(out)


class Unused(Residual):
    """With a module whose output nobody uses."""

    def forward(self, x):
        self.second(x)
        return self.out(self.first(x))


def twice():
    """Modules that come again: weights are shared, neurons are others."""
    weights, neurons = nn.Linear(12, 12), snn.LIF(0.75, 0.4, **TO)
    return nn.Sequential(weights, neurons, weights, neurons, nn.Sequential(weights, neurons))


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.head = Residual(), nn.Sequential(nn.Linear(12, 5), nn.Dropout(0.5), snn.LeakyReadout(0.9, input_scale=0.3))

    def forward(self, x):
        return self.head(self.body(x).add(x))


def spread(low, high, *shape):
    return nn.Parameter(torch.linspace(low, high, int(np.prod(shape))).view(shape))


def each_step(*layers):
    return snn.TimeDistributed(nn.Sequential(*layers))


NETWORKS = {
    "lif": (lambda: nn.Sequential(nn.Linear(12, 20), snn.LIF(0.9, 0.7, input_scale=0.4, **TO)), (12,)),
    "lif alone": (lambda: snn.LIF(0.9, 0.7, **TO), (12,)),
    "resting and reset potentials": (lambda: nn.Sequential(nn.Linear(12, 20), snn.LIF(0.8, v_rest=0.2, v_reset=-0.3, **TO)), (12,)),
    "no decay": (lambda: nn.Sequential(nn.Linear(12, 20), snn.LIF(1.0, v_reset=0.25, **TO), nn.Linear(20, 5), snn.IF(0.5, **TO)), (12,)),
    "no memory": (lambda: nn.Sequential(nn.Linear(12, 20), snn.LIF(0.0, **TO)), (12,)),
    "a learned decay": (lambda: nn.Sequential(nn.Linear(12, 20), snn.ParametricLIF(0.7, decay_input=True, threshold=0.2, **TO)), (12,)),
    "numbers of single neurons": (
        lambda: nn.Sequential(snn.LIF(spread(0.1, 0.99, 12), spread(0.3, 1.2, 12), input_scale=spread(0.5, 1.5, 12), **TO)), (12,),
    ),
    "decays of channels": (
        lambda: nn.Sequential(each_step(nn.Conv2d(2, 3, 3)), snn.LIF(spread(0.2, 0.9, 3, 1, 1), 0.3, **TO)), (2, 6, 7),
    ),
    "synapses": (
        lambda: nn.Sequential(
            nn.Linear(12, 20), snn.CubaLIF(0.8, 0.7, current_decay=0.6, input_scale=0.5, current_scale=2.0, v_reset=-0.1, v_rest=0.05, **TO),
        ), (12,),
    ),
    "synapses of single neurons": (
        lambda: nn.Sequential(nn.Linear(12, 20), snn.CubaLIF(
            spread(0.2, 0.9, 20), spread(0.2, 0.9, 20), current_decay=spread(0.9, 0.1, 20), current_scale=spread(0.5, 2, 20), **TO)),
        (12,),
    ),
    "synapses in Norse's order": (
        lambda: nn.Sequential(nn.Linear(12, 20), snn.CubaLIF(0.8, 0.7, current_decay=0.6, order="input_membrane_decay", **TO)), (12,),
    ),
    "recurrent": (lambda: nn.Sequential(nn.Linear(12, 20), snn.RecurrentLIF(20, 0.9, 0.4, bias=True, **TO)), (12,)),
    "recurrent, one to one": (lambda: nn.Sequential(nn.Linear(12, 20), snn.RecurrentLIF(20, 0.9, 0.4, all_to_all=False, **TO)), (12,)),
    "recurrent with synapses": (
        lambda: nn.Sequential(nn.Linear(12, 20), snn.RecurrentLIF(20, 0.9, 0.4, current_decay=spread(0.1, 0.8, 20), **TO)), (12,),
    ),
    "maps": (
        lambda: nn.Sequential(
            each_step(nn.Conv2d(2, 4, (3, 3), padding="same", groups=2), nn.AvgPool2d(2, divisor_override=1)), snn.LIF(0.9, 0.4, **TO),
            snn.TimeDistributed(snn.SpikeConv2d(4, 6, 3, stride=2, padding=1, bias=False)), snn.IF(0.5, **TO),
            each_step(nn.AvgPool2d(2, 1, 1), nn.Flatten()), snn.SpikeLinear(54, 10), snn.LIF(0.5, 0.1, **TO),
        ), (2, 8, 8),
    ),
    "kernels that are no squares": (lambda: nn.Sequential(each_step(nn.Conv2d(2, 4, (1, 3), dilation=2)), snn.IF(0.3, **TO)), (2, 6, 9)),
    "one axis of space": (
        lambda: nn.Sequential(
            each_step(nn.Conv1d(2, 4, 3, stride=2, padding=1)), snn.LIF(0.9, 0.3, **TO), nn.Flatten(2), nn.Linear(20, 3), snn.IF(0.2, **TO),
        ), (2, 10),
    ),
    "sums and scales": (lambda: nn.Sequential(each_step(nn.LPPool2d(1, 2)), Scale(spread(0.1, 0.5, 2, 1, 1)), snn.IF(0.5, **TO)), (2, 4, 4)),
    "branches": (Residual, (12,)),
    "a sum in place": (InPlace, (12,)),
    "a loose end": (Unused, (12,)),
    "modules that come again": (twice, (12,)),
    "branches in modules": (Block, (12,)),
    "readouts": (lambda: nn.Sequential(nn.Linear(12, 4), snn.LeakyReadout(spread(0.2, 0.9, 4), v_rest=0.5), snn.LeakyReadout(1.0)), (12,)),
}  # fmt: skip


@pytest.fixture(params=NETWORKS)
def network(request):
    torch.manual_seed(0)
    make, shape = NETWORKS[request.param]
    return make().eval(), shape


def inputs(shape, dtype=torch.float32):
    return (torch.rand(12, 3, *shape, generator=torch.Generator().manual_seed(1)) * 2).to(dtype)


@torch.no_grad()
def assert_same(model, again, x):
    wanted, got = model(x), again(x)
    assert wanted.mean() > 0 and not (wanted == 1).all(), "a test of neurons that all fire or are all silent shows nothing"
    assert torch.equal(wanted, got), f"{(wanted != got).sum()} of {wanted.numel()} numbers differ"


@pytest.mark.parametrize("dt", [1e-4, 1e-3, 0.3])
def test_there_and_back(network, dt):
    model, shape = network
    assert_same(model, from_nir(to_nir(model, shape, dt), dt), inputs(shape))


def test_through_a_file(network, tmp_path):
    model, shape = network
    nir.write(tmp_path / "model.nir", to_nir(model, inputs(shape)))
    assert_same(model, from_nir(tmp_path / "model.nir"), inputs(shape))


def test_again(network):
    """What comes back can be exported, and gives the same graph."""
    model, shape = network
    first = to_nir(model, shape)
    second = to_nir(from_nir(first), shape)
    assert {type(n) for n in second.nodes.values()} == {type(n) for n in first.nodes.values()}
    assert len(second.nodes) == len(first.nodes) and len(second.edges) == len(first.edges)


def test_double_precision():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(12, 20), snn.LIF(0.9, 0.7, **TO), nn.Linear(20, 20), snn.CubaLIF(0.8, 0.3, **TO)).double()
    assert_same(model, from_nir(to_nir(model, (12,)), dtype=torch.float64), inputs((12,), torch.float64))


def test_names_and_weights_come_back():
    model = nn.Sequential()
    model.add_module("encoder", nn.Linear(12, 20))
    model.add_module("neurons", snn.LIF(0.9, **TO))
    again = from_nir(to_nir(model, (12,)))
    assert isinstance(again, nn.Sequential) and [name for name, _ in again.named_children()] == ["encoder", "neurons"]
    assert repr(again.neurons) == repr(model.neurons)
    assert again.load_state_dict(model.state_dict()) and all(p.requires_grad for p in again.parameters())


def test_branches_are_a_network_of_their_own_that_learns():
    torch.manual_seed(0)
    again = from_nir(to_nir(Residual(), (12,)))
    assert isinstance(again, NIRNetwork)
    again(inputs((12,))).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in again.parameters())


def test_numbers_of_single_neurons_move_with_the_module_and_are_not_learned():
    again = from_nir(to_nir(NETWORKS["numbers of single neurons"][0](), (12,)))
    assert len(again.state_dict()) == 3 and not any(p.requires_grad for p in again.parameters())


def test_the_numbers_of_a_graph():
    graph = to_nir(snn.LIF(0.9, 0.7, input_scale=0.4, v_rest=0.1, v_reset=-0.2, **TO), (3,), 1e-3)
    node = graph.nodes["model"]
    assert node.tau == pytest.approx(np.full(3, 1e-2)) and node.r == pytest.approx(np.full(3, 4.0))
    assert (node.v_threshold.tolist(), node.v_leak.tolist(), node.v_reset.tolist()) == ([0.7] * 3, [0.1] * 3, [-0.2] * 3)


def test_another_step_of_time():
    """Half the step halves what decays and what comes in, up to the second order."""
    graph = to_nir(snn.LIF(0.9, **TO), (3,), 1e-3)
    (neurons,) = from_nir(graph, 5e-4)
    assert neurons.decay == pytest.approx(0.95) and neurons.options.input_scale == pytest.approx(0.5)


def by_hand(node, x, dt):
    """A node's equations in forward Euler steps, in float64."""
    v, i, out = np.zeros_like(x[0]), np.zeros_like(x[0]), []
    for current in x:
        if hasattr(node, "tau_syn"):
            i = i + dt / node.tau_syn * (node.w_in * current - i)
            current = i
        if hasattr(node, "v_leak"):
            v = v + dt / (node.tau_mem if hasattr(node, "tau_mem") else node.tau) * (node.v_leak - v + node.r * current)
        else:
            v = v + dt * node.r * current
        if hasattr(node, "v_threshold"):
            z = v > node.v_threshold
            v = np.where(z, node.v_reset, v)
            out.append(z.astype(float))
        else:
            out.append(v)
    return np.stack(out)


def numbers(low, high, same):
    return np.full(6, (low + high) / 2) if same else np.linspace(low, high, 6)


@pytest.mark.parametrize("same", [True, False], ids=["one number", "numbers of single neurons"])
@pytest.mark.parametrize("kind", ["LIF", "IF", "LI", "I", "CubaLIF", "CubaLI"])
def test_the_equations_of_every_node(kind, same):
    dt, of = 1e-3, dict(tau=(2e-3, 9e-3), tau_mem=(2e-3, 9e-3), tau_syn=(1e-3, 5e-3), r=(1.0, 3.0), w_in=(0.5, 2.0), v_threshold=(0.4, 1.1))
    if kind in ("IF", "I"):
        of["r"] = (100.0, 700.0)
    of = {name: numbers(*span, same) for name, span in of.items()} | dict(v_leak=np.full(6, 0.1), v_reset=np.full(6, -0.2))
    node_type = getattr(nir, kind)
    node = node_type(**{name: of[name] for name in node_type.__dataclass_fields__ if name in of})
    x = inputs((6,), torch.float64)
    got = from_nir(nir.NIRGraph.from_list(node), dt, dtype=torch.float64)(x)
    wanted = by_hand(node, x.numpy(), dt)
    assert wanted.std() > 0.01
    np.testing.assert_allclose(got.detach().numpy(), wanted, rtol=1e-9, atol=1e-12)


def test_recurrence_in_edges_of_one_level():
    """As some libraries write it, without a subgraph, and whatever the order of nodes."""
    rng = np.random.default_rng(0)
    ones = np.ones(6)
    nodes = {
        "w.back": nir.Affine(rng.normal(size=(6, 6)), rng.normal(size=6)), "output": nir.Output(np.array([6])),
        "rnn.lif": nir.LIF(ones * 5e-4, ones * 5, ones * 0, ones * 0.7, ones * 0), "input": nir.Input(np.array([6])),
    }  # fmt: skip
    edges = [("rnn.lif", "w.back"), ("rnn.lif", "output"), ("w.back", "rnn.lif"), ("input", "rnn.lif")]
    model = from_nir(nir.NIRGraph(nodes, edges))
    assert isinstance(model[0], snn.RecurrentLIF)
    x, spikes, v, z = inputs((6,)), [], 0.0, np.zeros((3, 6))
    for current in x.double().numpy():
        v = 0.8 * v + current + z @ nodes["w.back"].weight.T + nodes["w.back"].bias
        z = (v > 0.7).astype(float)
        v = np.where(z, 0, v)
        spikes.append(z)
    assert 0.1 < np.mean(spikes) < 0.9
    assert np.array_equal(model(x).detach().numpy(), np.stack(spikes))
