"""The libraries that are installed, as `peers.py` calls them: each of their neurons and networks is the one that stands beside it."""

import importlib
from pathlib import Path

import peers
import pytest
import torch
from torch import nn

from libraries import agreement
from libraries import run as peer_run
from libraries.catalogue import LIBRARIES
from libraries.library import KINDS, READOUT, RECURRENT, compile_apart
from libraries.networks import GRID, Blocks, NetSize, Wiring, on_grid
from libraries.ours import CONVERTED
from measuring.results import LEFT_OUT, UNLIKE, VERSION, load

# spikeops.convert knows no recurrent cells of Norse; that it refuses them by name is a row of the table.
NOT_CONVERTED = {("recurrent-net:norse", CONVERTED)}


@pytest.fixture(autouse=True)
def short(monkeypatch):
    monkeypatch.setattr(peer_run, "SECONDS_PER_CALL", {"cpu": 0.0})
    monkeypatch.setattr(peer_run, "ROUNDS", (1, 1))


@pytest.fixture(params=LIBRARIES)
def library(request):
    library = LIBRARIES[request.param][0]()
    for module in library.modules:
        pytest.importorskip(module)
    return library


def test_they_compute_what_we_compute(library, tmp_path):
    arguments = ["--device", "cpu", "--libraries", library.name, "--layers", "5x300", "--recurrent", "5x3x20", "--no-compile"]
    nets = ["--nets", "conv:3x2:4C3-P2-6:1x8", "recurrent:5x3:16:30", "--limit", "60", "--out", str(tmp_path)]
    assert peers.main(arguments + nets) == 0
    (path,) = tmp_path.glob("*-peers.csv")
    rows = load(path)
    left_out = {(row.op, row.provider): row.value for row in rows if row.metric == LEFT_OUT}
    assert left_out.keys() <= NOT_CONVERTED, left_out
    (provider,) = library.variants("cpu", "lif")
    measured = {(row.op, row.provider, row.mode) for row in rows if row.metric == "time"}
    ops = {f"{kind}:{library.name}" for kind in (*library.neurons(), "conv-net", "recurrent-net")}
    for who in ("spikeops", provider):
        assert {(op, mode) for op, by, mode in measured if by == who} == {(op, mode) for op in ops for mode in ("full", "forward")}
    assert {op for op, by, _ in measured if by == CONVERTED} == {
        op for op in (f"conv-net:{library.name}", f"recurrent-net:{library.name}") if (op, CONVERTED) not in left_out
    }
    for row in rows:
        if row.metric == "spikes_differ":
            assert row.value == 0, row
        elif row.metric == "firing_rate":
            assert 0.02 < row.value < 2, row  # several spikes a step in some
        elif row.metric in ("gradient_error", "loss_error", "output_error") and not is_unlike(library, row):
            assert row.value < 1e-5, row  # sums of thousands of float32 numbers, in another order
    assert {(row.op, row.provider) for row in rows if row.metric == UNLIKE} == {
        (f"{kind}:{library.name}", provider) for kind, neuron in library.neurons().items() if neuron.unlike
    }
    assert [row.provider for row in rows if row.metric == VERSION] == [library.name]
    assert f"| lif:{library.name} | 5 x 300 | {provider} |" in path.with_suffix(".md").read_text()


def is_unlike(library, row):
    neuron = library.neurons().get(row.op.partition(":")[0])
    return neuron is not None and neuron.unlike and row.provider != "spikeops"


def test_a_gradient_that_is_said_to_be_unlike_is(library):
    """Else its note would deny what is the same."""
    for kind, neuron in library.neurons().items():
        if not neuron.unlike:
            continue
        shape = (12, 4, 30) if kind in RECURRENT else (12, 300)
        wiring = Wiring.drawn(30, "cpu") if kind in RECURRENT else Wiring(300)
        low, high = neuron.currents
        x = (torch.rand(shape, generator=torch.Generator().manual_seed(0)) * (high - low) + low).requires_grad_()
        layers = library.layer(kind, library.name, wiring, "cpu", torch.float32, False), neuron.ours(wiring)
        weight = torch.linspace(-1, 1, 12).view(-1, *[1] * (x.dim() - 1))
        theirs, ours = (torch.autograd.grad((layer(x) * weight).sum(), x)[0] for layer in layers)
        assert agreement.error(theirs, ours) > 1e-3, kind


def test_every_kind_has_an_opponent():
    assert {kind for makers in LIBRARIES.values() for kind in makers[0]().neurons()} == set(KINDS)


@pytest.fixture
def graphs(monkeypatch):
    """What torch.compile makes of what it is given from now on, of which nothing is compiled."""
    importlib.import_module("torch._inductor.compile_fx")
    monkeypatch.setattr(torch._inductor.compile_fx, "compile_fx", lambda graph, inputs: found.append(graph) or graph.forward)
    torch._dynamo.reset()
    found = []
    return found


@pytest.mark.parametrize("kind", ["lif", READOUT])  # tracing takes long, and the loops of others are made in the same way
def test_the_compiler_takes_them_whole(library, kind, graphs):
    if library.not_compiled:
        pytest.skip(library.not_compiled)
    x = (torch.rand(2, 40, generator=torch.Generator().manual_seed(0)) * library.neurons()[kind].currents[1]).requires_grad_()
    (variant,) = library.compiled_variants("cpu", kind)
    eager, compiled = (library.layer(kind, variant, Wiring(40), "cpu", torch.float32, compile) for compile in (False, True))
    output = compiled(x)
    assert torch.equal(output, eager(x)) and output.requires_grad
    assert torch.equal(compiled(x), output), "the second call goes on from the first"
    assert len(graphs) == 1


def test_why_sinabs_is_not_compiled(graphs):
    layer = pytest.importorskip("sinabs.layers").LIF(tau_mem=10.0)
    compile_apart(layer)(torch.rand(1, 2, 40))
    assert len(graphs) > 2, "it is one graph now: compare it"


def test_readme_names_them_all():
    """The table in benchmarks/README.md: how each neuron is made."""
    text = (Path(__file__).resolve().parents[2] / "benchmarks" / "README.md").read_text()
    rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if line.startswith("| `")]
    said = {row[0].split("`")[1]: row[1:] for row in rows if row[0].split("`")[1] in KINDS}
    neurons = [makers[0]().neurons() for makers in LIBRARIES.values()]
    assert said == {kind: [f"`{of[kind].theirs}`" if kind in of else "" for of in neurons] for kind in KINDS}


def test_sums_of_weights_on_the_grid_are_exact():
    """In any order: else spikes of two libraries could differ by rounding alone."""
    draw = torch.Generator().manual_seed(0)
    weight = on_grid(torch.randn(700, generator=draw))
    pixels = (torch.rand(700, generator=draw) * 256).floor() / 256
    assert ((weight / GRID) % 1 == 0).all()
    sums = {
        (weight[order] * pixels[order]).cumsum(0)[-1].item() for order in (torch.randperm(700, generator=draw) for _ in range(20))
    }
    assert sums == {(weight.double() * pixels.double()).sum().item()}


def test_no_neuron_leads_to_itself():
    weight = Wiring.drawn(40, "cpu").weight
    assert weight.diagonal().abs().max() == 0 and weight.abs().max() > 0.1 and torch.equal(weight, on_grid(weight))


@pytest.mark.parametrize(
    "text, said",
    [
        ("conv:5x50", NetSize()),
        ("conv:2x3:8C3s2p1-P2-20:3x32", NetSize(2, 3, "conv", "8C3s2p1-P2-20", (3, 32))),
        ("recurrent:9x4:16:30", NetSize(9, 4, "recurrent", "16", (30,), 20)),
    ],
)
def test_networks_have_names(text, said):
    assert NetSize.parse(text) == said


@pytest.mark.parametrize("text", ["5x50", "dense:5x50", "conv:5", "conv:5x50:15C5", "recurrent:5x50:256:a"])
def test_what_names_no_network(text):
    with pytest.raises(ValueError, match="expected KIND:TxBATCH"):
        NetSize.parse(text)


@pytest.mark.parametrize("text", ["conv:2x3", "conv:2x3:8C3s2p1-6C4p2-P2:3x9", "recurrent:4x3:16-8:30"])
def test_networks_fit_together(text):
    size = NetSize.parse(text)
    neurons = []

    def make(kind, wiring):
        neurons.append((kind, wiring.features))
        return nn.Identity()

    x = size.draw(torch.Generator().manual_seed(0), "cpu")
    flat = x.flatten(0, 1) if size.kind == "conv" else x
    out = nn.Sequential(*size.parts(Blocks(make)))(flat)
    assert out.shape[-1] == size.classes
    assert (
        neurons
        == {
            "conv:2x3": [("lif", 15), ("lif", 40), ("lif", 300)],
            "conv:2x3:8C3s2p1-6C4p2-P2:3x9": [("lif", 8), ("lif", 6)],
            "recurrent:4x3:16-8:30": [("recurrent_lif", 16), ("recurrent_lif", 8), ("leaky_readout", 20)],
        }[text]
    )
