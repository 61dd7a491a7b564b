"""Graphs between here and other libraries, where these are installed: the same spikes in both directions."""

import numpy as np
import pytest
import torch
from torch import nn

import spikeops.nn as snn

nir = pytest.importorskip("nir")
pytest.importorskip("nirtorch")
from spikeops.nir import from_nir, to_nir  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

TIME, BATCH = 20, 3
ABOVE = dict(reset="to", strict=True)
AT = dict(reset="to")
MANY = dict(reset="subtract", max_spikes=None)


def drawn(*shape):
    return torch.rand(TIME, BATCH, *shape, generator=torch.Generator().manual_seed(3)) * 3


def stepwise(network, x):
    state, out = None, []
    for current in x:
        y, state = network(current, state)
        out.append(y)
    return torch.stack(out)


def snntorch_reads(graph, x, dt):
    network = pytest.importorskip("snntorch.import_nir").import_from_nir(graph)
    if x.dim() <= 3:
        return stepwise(network, x)
    # It flattens single samples.
    samples = [pytest.importorskip("snntorch.import_nir").import_from_nir(graph) for _ in x[0]]
    return torch.stack([stepwise(one, x[:, k]) for k, one in enumerate(samples)], 1)


def norse_reads(graph, x, dt):
    network = pytest.importorskip("norse.torch").from_nir(graph, dt=dt)
    return stepwise(network, x) if x.dim() <= 3 else torch.stack([stepwise(network, x[:, k]) for k in range(x.shape[1])], 1)


def spikingjelly_reads(graph, x, dt):
    return stepwise(pytest.importorskip("spikingjelly.activation_based.nir_exchange").import_from_nir(graph, dt=dt), x)


def sinabs_reads(graph, x, dt):
    out, _ = pytest.importorskip("sinabs").from_nir(graph, batch_size=x.shape[1])(x.transpose(0, 1).flatten(0, 1))
    return out.unflatten(0, (x.shape[1], -1)).transpose(0, 1)


READ = {"snntorch": snntorch_reads, "norse": norse_reads, "spikingjelly": spikingjelly_reads, "sinabs": sinabs_reads}


def spread(low, high, size):
    return nn.Parameter(torch.linspace(low, high, size))


def mlp(*neurons):
    return lambda: (nn.Sequential(nn.Linear(12, 30), neurons[0](), nn.Linear(30, 20, bias=False), neurons[1]()), (12,))


def layer(make):
    return lambda: (nn.Sequential(nn.Linear(12, 30), make()), (12,))


def maps(first, second, pool):
    def make():
        convolution = snn.TimeDistributed(nn.Sequential(nn.Conv2d(1, 4, 3), pool()))
        return nn.Sequential(convolution, first(), snn.TimeDistributed(nn.Flatten()), nn.Linear(36, 10), second()), (1, 8, 8)

    return make


def lif(options, decay=0.75, threshold=0.5, **others):
    return lambda: snn.LIF(decay, threshold, **options, **others)


def box(decay=0.75, threshold=0.2):
    """Norse's neuron: its input is scaled by 1 - decay."""
    return lambda: snn.LIF(decay, threshold, input_scale=1 - decay, **ABOVE)


def recurrent(options, **others):
    return layer(lambda: snn.RecurrentLIF(30, 0.5, 0.3, **options, **others))


def cuba(options):
    return layer(lambda: snn.CubaLIF(0.8, 0.9, current_decay=0.6, **options))


def scaled_decays():
    decay = torch.linspace(0.3, 0.9, 30)
    return snn.LIF(nn.Parameter(decay), spread(0.2, 0.7, 30), input_scale=1 - decay, **ABOVE)


CASES = [
    ("snntorch", "LIF", mlp(lif(ABOVE), lif(ABOVE, 0.9, 0.7, input_scale=0.5))),
    ("snntorch", "decays of single neurons", layer(lambda: snn.LIF(spread(0.3, 0.9, 30), **ABOVE))),
    ("snntorch", "CubaLIF", cuba(ABOVE)),
    ("snntorch", "maps", maps(lif(ABOVE, 0.75, 0.25), lif(ABOVE, 0.5, 0.25), lambda: nn.AvgPool2d(2))),
    ("snntorch", "recurrent", recurrent(ABOVE)),
    ("snntorch", "recurrent, one to one", recurrent(ABOVE, all_to_all=False)),
    ("snntorch", "recurrent with synapses", recurrent(ABOVE, current_decay=0.25)),
    ("norse", "LIF", mlp(box(), box(0.9, 0.05))),
    ("norse", "IF", mlp(lambda: snn.IF(1.0, **ABOVE), lambda: snn.IF(0.5, **ABOVE))),
    ("norse", "numbers of single neurons", layer(scaled_decays)),
    ("norse", "CubaLIF", cuba(ABOVE)),
    ("norse", "maps", maps(box(0.5), box(0.5, 0.1), lambda: nn.LPPool2d(1, 2))),
    ("norse", "recurrent", recurrent(ABOVE, input_scale=0.5)),
    ("norse", "recurrent with synapses", recurrent(ABOVE, current_decay=0.25)),
    ("spikingjelly", "LIF", mlp(lif(AT), lif(AT, 0.9, 0.1, input_scale=0.1))),
    ("spikingjelly", "IF", mlp(lambda: snn.IF(1.0, **AT), lambda: snn.IF(0.5, **AT))),
    ("spikingjelly", "CubaLIF", cuba(AT)),
    ("spikingjelly", "maps", maps(lif(AT, 0.75, 0.25), lif(AT, 0.5, 0.25), lambda: nn.AvgPool2d(2))),
    ("spikingjelly", "sums", maps(lif(AT), lif(AT), lambda: nn.AvgPool2d(2, divisor_override=1))),
    ("spikingjelly", "recurrent", recurrent(AT)),
    ("spikingjelly", "recurrent with synapses", recurrent(AT, current_decay=0.25)),
    ("sinabs", "LIF", mlp(lif(MANY, 0.75), lif(MANY, 0.9, 0.7))),
    ("sinabs", "IF", mlp(lambda: snn.IF(0.5, v_min=-0.5, **MANY), lambda: snn.IF(0.25, v_min=-0.25, **MANY))),
    ("sinabs", "LI", mlp(lif(MANY), lambda: snn.LeakyReadout(0.8))),
    ("sinabs", "maps", maps(lambda: snn.IF(0.5, v_min=-0.5, **MANY), lif(MANY), lambda: nn.AvgPool2d(2, divisor_override=1))),
]  # fmt: skip


@pytest.mark.parametrize("library, make", [(name, make) for name, _, make in CASES], ids=[f"{name}: {what}" for name, what, _ in CASES])
@torch.no_grad()
def test_what_we_write_runs_there_with_the_same_spikes(library, make, tmp_path):
    pytest.importorskip(library)
    torch.manual_seed(0)
    model, shape = make()
    dt = 1e-3 if library == "norse" else 1e-4
    x = drawn(*shape)
    nir.write(tmp_path / "model.nir", to_nir(model, shape, dt, dialect=library))
    wanted = model(x)
    assert wanted.mean() > 0.01 and not (wanted == 1).all()
    theirs = READ[library](nir.read(tmp_path / "model.nir"), x, dt)
    if isinstance(model[-1], snn.LeakyReadout):
        torch.testing.assert_close(theirs, wanted, rtol=1e-5, atol=1e-6)  # 20 steps, each rounded differently
    else:
        assert torch.equal(theirs, wanted), f"{(theirs != wanted).sum()} of {wanted.numel()} spikes differ"
    # And what they make of it is what we read by their reading.
    again = from_nir(tmp_path / "model.nir", dt, dialect=library)
    torch.testing.assert_close(again(x), wanted, rtol=1e-6, atol=1e-6 if isinstance(model[-1], snn.LeakyReadout) else 0)


# --- what they write --------------------------------------------------------------------------------------------------------


@torch.no_grad()
def assert_read_alike(graph, theirs, x, **options):
    ours = from_nir(graph, **options)(x)
    assert theirs.mean() > 0.01 and not (theirs == 1).all()
    assert torch.equal(ours, theirs), f"{(ours != theirs).sum()} of {theirs.numel()} spikes differ"


def test_snntorch_writes_leaky_and_synaptic_neurons():
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(0)
    options = dict(reset_mechanism="zero", reset_delay=False, init_hidden=True)
    leaky = snntorch.Leaky(beta=torch.full((30,), 0.75), threshold=torch.full((30,), 0.8), **options)
    synaptic = snntorch.Synaptic(torch.full((10,), 0.5), torch.full((10,), 0.75), threshold=torch.full((10,), 0.3), **options)
    network = nn.Sequential(nn.Linear(12, 30), leaky, nn.Linear(30, 10, bias=False), synaptic)
    graph = pytest.importorskip("snntorch.export_nir").export_to_nir(network, torch.rand(12))
    for neurons in (leaky, synaptic):
        neurons.reset_mem()
    x = drawn(12)
    with torch.no_grad():
        theirs = torch.stack([network(current) for current in x])
    assert_read_alike(graph, theirs, x, dialect="snntorch")


def test_snntorch_writes_recurrent_neurons_with_a_bias():
    snntorch = pytest.importorskip("snntorch")
    torch.manual_seed(0)
    made = snntorch.RLeaky(beta=0.75, linear_features=30, reset_mechanism="zero", reset_delay=False, init_hidden=True)
    network = nn.Sequential(nn.Linear(12, 30), made)
    graph = pytest.importorskip("snntorch.export_nir").export_to_nir(network, torch.rand(12))
    made.reset_mem()
    x = drawn(12)
    with torch.no_grad():
        theirs = torch.stack([network(current) for current in x])
    assert_read_alike(graph, theirs, x, dialect="snntorch")


def test_norse_writes_boxes_whose_time_constants_hold_dt_once_more():
    norse = pytest.importorskip("norse.torch")
    torch.manual_seed(0)

    def cell(rate, threshold, size):
        return norse.LIFBoxCell(norse.LIFBoxParameters(
            tau_mem_inv=torch.full((size,), rate), v_th=torch.full((size,), threshold), v_leak=torch.zeros(size),
        ))  # fmt: skip

    network = norse.SequentialState(nn.Linear(12, 30), cell(300.0, 0.5, 30), nn.Linear(30, 10), cell(200.0, 0.1, 10))
    x, dt = drawn(12), 1e-3
    with torch.no_grad():
        theirs = stepwise(network, x)
    assert_read_alike(norse.to_nir(network, torch.rand(12), dt=dt), theirs, x, dt=dt**2, dialect="norse")


def test_spikingjelly_writes_its_neurons():
    jelly = pytest.importorskip("spikingjelly.activation_based")
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange")
    from spikingjelly.activation_based import functional, layer, neuron

    assert jelly
    torch.manual_seed(0)
    network = nn.Sequential(
        layer.Conv2d(1, 4, 3, bias=False), neuron.LIFNode(3.0, v_threshold=0.2), layer.AvgPool2d(2), layer.Flatten(), layer.Linear(36, 20),
        neuron.IFNode(0.3), layer.Linear(20, 20), neuron.LIFNode(2.0, decay_input=False, v_threshold=0.2), layer.Linear(20, 10),
        neuron.CUBALIFNode(c_decay=0.5, v_decay=0.75, v_threshold=0.2),
    )  # fmt: skip
    functional.set_step_mode(network, "m")
    x = drawn(1, 8, 8)
    graph = exchange.export_to_nir(network, x, dt=1e-3)
    functional.reset_net(network)
    with torch.no_grad():
        theirs = network(x)
    assert_read_alike(graph, theirs, x, dt=1e-3, dialect="spikingjelly")


def test_sinabs_writes_its_neurons():
    sinabs = pytest.importorskip("sinabs")
    layers = pytest.importorskip("sinabs.layers")
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), layers.IAFSqueeze(batch_size=BATCH, min_v_mem=-1.0), layers.SumPool2d(2), nn.Flatten(), nn.Linear(36, 20, bias=False),
        layers.LIFSqueeze(tau_mem=torch.full((20,), 5.0), spike_threshold=torch.ones(20), norm_input=False, batch_size=BATCH),
    )  # fmt: skip
    x = drawn(1, 8, 8)
    flat = x.transpose(0, 1).flatten(0, 1)
    with torch.no_grad():
        theirs = network(flat).unflatten(0, (BATCH, TIME)).transpose(0, 1)
    assert_read_alike(sinabs.to_nir(network, flat), theirs, x, dialect="sinabs")


# --- what they read otherwise, and what the dialects say of it -------------------------------------------------------------------


def lif_node(v_leak=0.0, v_reset=0.0, tau=1.0):
    return nir.LIF(np.full(3, tau), np.ones(3), np.full(3, v_leak), np.ones(3), np.full(3, v_reset))


@pytest.mark.parametrize("library, node, why", [
    ("snntorch", nir.IF(np.ones(3), np.ones(3)), "does not read this kind of node"),
    ("norse", nir.LI(np.ones(3), np.ones(3), np.zeros(3)), "does not read this kind of node"),
    ("norse", nir.AvgPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0])), "does not read this kind of node"),
    ("sinabs", nir.CubaLIF(*[np.ones(3)] * 3, np.zeros(3), np.ones(3)), "does not read this kind of node"),
    ("snntorch", lif_node(v_reset=0.5), "v_reset must be 0, and is 0.5"),
    ("norse", lif_node(v_reset=0.5), "v_reset must be 0, and is 0.5"),
    ("spikingjelly", lif_node(0.5, 0.5), "v_reset must be 0, and is 0.5"),
    ("norse", lif_node(0.5), "v_rest must be 0, and is 0.5"),
    ("sinabs", lif_node(0.5), "v_rest must be 0, and is 0.5"),
])  # fmt: skip
def test_what_a_library_would_get_wrong_is_refused(library, node, why):
    shape = np.array([4, 6, 6] if isinstance(node, nir.AvgPool2d) else [3])
    graph = nir.NIRGraph({"input": nir.Input(shape), "it": node, "output": nir.Output(None)}, [("input", "it"), ("it", "output")])
    kind = type(node).__name__
    with pytest.raises(ValueError, match=rf"cannot be expressed by dialect '{library}'(.|\n)*it \({kind}\): .*{why}"):
        from_nir(graph, dialect=library)


@pytest.mark.parametrize("library, model, why", [
    ("snntorch", snn.IF(**ABOVE), "would be an IF, which the reader has not, or gets wrong"),
    ("snntorch", snn.LIF(0.5, spread(0.5, 1, 3), **ABOVE), "threshold must be the same for all neurons, and is from 0.5 to 1"),
    ("norse", snn.LIF(0.5, **ABOVE), "input_scale=1 cannot be: the reader would take 0.5 for it"),
    ("norse", snn.LIF(0.5, input_scale=0.5, v_rest=0.25, **ABOVE), "v_rest must be 0, and is 0.25"),
    ("norse", snn.RecurrentLIF(3, 0.5, input_scale=0.5, bias=True, **ABOVE), "bias must be False"),
    ("spikingjelly", snn.LIF(0.5, **ABOVE), "strict must be False"),
    ("spikingjelly", snn.LIF(0.5, v_reset=0.5, **AT), "v_reset must be 0, and is 0.5"),
    ("sinabs", snn.LIF(0.5, **AT), "reset must be 'subtract', and is 'to'"),
    ("sinabs", snn.LIF(0.5), "max_spikes must be None, and is 1"),
    ("sinabs", snn.LIF(0.5, reset_amount=0.5, **MANY), "reset_amount must be the threshold"),
    ("sinabs", snn.LIF(0.5, input_scale=0.5, **MANY), "input_scale=0.5 cannot be: the reader would take 1 for it"),
    ("sinabs", snn.IF(**MANY), "v_min must be -threshold"),
    ("sinabs", snn.RecurrentLIF(3, 0.5, reset="subtract"), "no recurrent neurons"),
])  # fmt: skip
def test_what_a_library_has_not_is_not_written(library, model, why):
    with pytest.raises(ValueError, match=rf"dialect '{library}' cannot express(.|\n)*{why}"):
        to_nir(model, (3,), dialect=library)


def test_sinabs_has_no_maps_of_leaky_neurons():
    model = nn.Sequential(snn.TimeDistributed(nn.Conv2d(1, 2, 3)), snn.LIF(0.5, **MANY))
    with pytest.raises(ValueError, match=r"1 \(LIF\): would be a LIF of shape \(2, 3, 3\)"):
        to_nir(model, (1, 5, 5), dialect="sinabs")


def test_snntorch_has_one_step_of_time():
    with pytest.raises(ValueError, match="knows the time step dt=0.0001 alone, got 0.001"):
        to_nir(snn.LIF(0.5, **ABOVE), (3,), 1e-3, dialect="snntorch")
