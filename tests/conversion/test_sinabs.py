"""The neurons of sinabs, converted: the same spikes, one or several in a step, states and gradients."""

import copy

import pytest
import torch
from conversion_tests import assert_alike, assert_near, assert_refused, drawn

import spikeops

layers = pytest.importorskip("sinabs.layers")
from sinabs import activation as a  # noqa: E402

SURROGATES = [
    a.SingleExponential(), a.SingleExponential(0.7, 1.5), a.PeriodicExponential(0.4, 0.8), a.Gaussian(0.1, 0.6, 1.2),
    a.MultiGaussian(grad_scale=0.9), a.Heaviside(0.6),
]  # fmt: skip
RESETS = [a.MembraneSubtract(), a.MembraneSubtract(0.7), a.MembraneReset()]
LAYERS = {
    "LIF": lambda **o: layers.LIF(20.0, **o),
    "LIF, not normalised": lambda **o: layers.LIF(5.0, norm_input=False, spike_threshold=torch.tensor(1.4), **o),
    "LIF, of each neuron": lambda **o: layers.LIF(torch.linspace(2, 30, 50), norm_input=False, **o),
    "LIF, alphas": lambda **o: layers.LIF(5.0, train_alphas=True, **o),
    "IAF": lambda **o: layers.IAF(**o),
    "IAF, bounded": lambda **o: layers.IAF(min_v_mem=-0.4, **o),
}  # fmt: skip


def run(net, x):
    """Two pieces of a sequence, (batch, T, ...)."""
    net.reset_states()
    cut = x.shape[1] // 3
    spikes = torch.cat([net(x[:, :cut]), net(x[:, cut:])], dim=1)
    return spikes, tuple(net.buffers())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("spike_fn", [a.MultiSpike, a.SingleSpike, a.MaxSpike(2), a.MaxSpike()], ids=str)
@pytest.mark.parametrize("name", LAYERS)
def test_layers(name, spike_fn, dtype):
    scale = 8 if name in ("LIF", "LIF, alphas") else 2
    assert_alike(LAYERS[name](spike_fn=spike_fn), run, drawn(4, 20, 50, low=-scale / 2, high=2 * scale, dtype=dtype))


@pytest.mark.parametrize("spike_fn", [a.MultiSpike, a.SingleSpike])
@pytest.mark.parametrize("reset_fn", RESETS, ids=str)
@pytest.mark.parametrize("function", SURROGATES, ids=str)
def test_surrogates(function, reset_fn, spike_fn):
    """At the threshold and its multiples, too: the inputs are multiples of an eighth."""
    x = (drawn(3, 10, 60, low=-1, high=2) * 8).round() / 8
    assert_alike(layers.IAF(surrogate_grad_fn=function, reset_fn=reset_fn, spike_fn=spike_fn), run, x)


@pytest.mark.parametrize("train_alphas", [False, True])
@pytest.mark.parametrize("norm_input", [False, True])
def test_synapse(norm_input, train_alphas):
    net = layers.LIF(10.0, 4.0, spike_fn=a.SingleSpike, norm_input=norm_input, train_alphas=train_alphas)
    assert_alike(net, run, drawn(4, 20, 50, low=-1, high=4 if norm_input else 1))
    assert_alike(layers.IAF(tau_syn=4.0, spike_fn=a.SingleSpike), run, drawn(4, 20, 50, low=-1, high=1))


@pytest.mark.parametrize("options", [
    dict(), dict(train_alphas=True), dict(norm_input=False, spike_fn=a.MaxSpike(2)), dict(min_v_mem=-0.3), dict(reset_fn=a.MembraneReset()),
    dict(spike_fn=a.SingleSpike, surrogate_grad_fn=a.PeriodicExponential()), dict(spike_fn=a.SingleSpike, min_v_mem=-0.3),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_synapse_of_neurons_with_more_options(options, dtype):
    """The library's default, several spikes in a step, among them; of each neuron, too; in pieces of one step."""

    def run_pieces(net, x):
        net.reset_states()
        return torch.cat([net(x[:, :1]), net(x[:, 1:2]), net(x[:, 2:])], dim=1), tuple(net.buffers())

    for tau_syn in (4.0, torch.linspace(2, 9, 50)):
        net = layers.LIF(10.0, tau_syn, **options)
        assert_alike(net, run_pieces, drawn(4, 20, 50, low=-2, high=1 if net.norm_input is False else 4, dtype=dtype))
    assert_alike(layers.IAFSqueeze(batch_size=2, tau_syn=4.0), lambda net, x: (net(x), ()), drawn(40, 50, low=-1, high=1, dtype=dtype))


def test_recordings_of_a_synapse():
    net = layers.LIF(5.0, 4.0, record_states=True, min_v_mem=-0.3)
    x = drawn(4, 20, 50, low=-1, high=5)
    assert_alike(net, lambda net, x: (net(x), (net.recordings["v_mem"], net.recordings["i_syn"], net.v_mem, net.i_syn)), x)


@pytest.mark.parametrize("options", [dict(), dict(norm_input=True), dict(min_v_mem=-0.1), dict(train_alphas=True)], ids=str)
def test_leaky_integrator(options):
    assert_alike(layers.ExpLeak(10.0, **options), run, drawn(4, 20, 50), silent=True)


@pytest.mark.parametrize("make", [
    lambda connect: layers.IAFRecurrent(connect), lambda connect: layers.LIFRecurrent(5.0, connect, norm_input=False),
    lambda connect: layers.LIFRecurrent(5.0, connect, tau_syn=3.0, norm_input=False, spike_fn=a.SingleSpike),
])  # fmt: skip
def test_recurrent(make):
    """Its connections are kept, and its own module adds them up. It cannot be copied, so the other one is made anew."""
    x, weights = drawn(4, 15, 20, low=-1, high=2), drawn(4, 15, 20, low=-1, high=1, seed=1)
    results = []
    for convert in (lambda net: net, lambda net: spikeops.convert(net, inplace=True)):
        torch.manual_seed(0)
        net = convert(make(torch.nn.Linear(20, 20)))
        spikes, states = run(net, x)
        loss = (spikes * weights).sum() + sum((state * state).sum() for state in states)
        results.append((spikes, torch.autograd.grad(loss, [p for p in net.parameters() if p.requires_grad])))
    (spikes, gradients), (our_spikes, our_gradients) = results
    assert spikes.mean() > 0.01 and torch.equal(spikes, our_spikes)
    for theirs, ours in zip(gradients, our_gradients, strict=True):
        assert_near("a gradient", theirs, ours, 1e-5)


@pytest.mark.parametrize("size", [dict(batch_size=4), dict(num_timesteps=20)], ids=str)
def test_squeezed(size):
    def run_squeezed(net, x):
        net.reset_states()
        return net(x), tuple(net.buffers())

    x = drawn(80, 50, low=-1, high=2)
    for net in (layers.IAFSqueeze(**size), layers.LIFSqueeze(tau_mem=5.0, norm_input=False, **size)):
        assert_alike(net, run_squeezed, x)
    assert_alike(layers.ExpLeakSqueeze(tau_mem=5.0, **size), run_squeezed, x, silent=True)


def test_recordings():
    net = layers.LIF(5.0, norm_input=False, record_states=True, min_v_mem=-0.3)
    assert_alike(net, lambda net, x: (net(x), (net.recordings["v_mem"], net.v_mem)), drawn(4, 20, 50, low=-1, high=3))


def test_hundred_steps_of_a_network():
    torch.manual_seed(0)
    size = dict(batch_size=2)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3, bias=False), layers.IAFSqueeze(min_v_mem=-1.0, **size), torch.nn.AvgPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(54, 10), layers.IAFSqueeze(**size),
    )  # fmt: skip

    def run_net(net, x):
        for layer in (net[1], net[5]):
            layer.reset_states()
        return net(x), ()

    assert_alike(net, run_net, drawn(200, 2, 8, 8, low=0, high=2))


def test_training_goes_on_alike():
    """As in its tutorial on N-MNIST, small: events, convolution, IAF with several spikes, cross-entropy on the counts."""
    torch.manual_seed(0)
    nets = [torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3, bias=False), layers.IAFSqueeze(batch_size=10, min_v_mem=-1.0), torch.nn.AvgPool2d(2), torch.nn.Flatten(),
        torch.nn.Linear(54, 10, bias=False), layers.IAFSqueeze(batch_size=10, min_v_mem=-1.0),
    )]  # fmt: skip
    events = 3 * torch.poisson(drawn(120, 2, 8, 8, low=0, high=1), generator=torch.Generator().manual_seed(2))
    labels = torch.arange(10)

    def step(net, optimizer):
        for layer in (net[1], net[5]):
            layer.reset_states()
        counts = net(events).unflatten(0, (10, 12)).sum(1)
        loss = torch.nn.functional.cross_entropy(counts, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    optimizers = [torch.optim.SGD(nets[0].parameters(), lr=0.01)]
    for _ in range(3):
        step(nets[0], optimizers[0])
    nets.append(spikeops.convert(nets[0]))
    optimizers.append(torch.optim.SGD(nets[1].parameters(), lr=0.01))
    theirs, ours = ([step(net, optimizer) for _ in range(5)] for net, optimizer in zip(nets, optimizers))
    assert theirs[-1] < theirs[0]
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_states_of_another_batch_size():
    """Drawn from those there are, as theirs; and a converted layer can be copied, by its own way to copy."""
    converted = spikeops.convert(layers.IAF())
    converted(drawn(4, 5, 6))
    assert torch.equal(copy.deepcopy(converted).v_mem, converted.v_mem)
    converted(drawn(2, 5, 6))
    assert converted.v_mem.shape == (2, 6)
    converted.reset_states()
    assert not converted.v_mem.any() and converted.v_mem.grad_fn is None


def test_what_it_cannot_copy():
    net = torch.nn.Sequential(layers.IAF(), layers.IAFRecurrent(torch.nn.Linear(3, 3)))
    with pytest.raises(RuntimeError, match="inplace=True"):
        spikeops.convert(net)
    assert type(net[0]) is layers.IAF
    spikeops.convert(net, inplace=True)
    assert type(net[0]) is not layers.IAF


def test_what_the_copy_of_a_layer_leaves_out():
    """Its own way to copy makes a new layer: one that is trained, with learned numbers that are."""
    net = torch.nn.Sequential(layers.LIF(5.0)).eval()
    net[0].tau_mem.requires_grad_(False)
    converted = spikeops.convert(net)
    assert not converted[0].training and not converted[0].tau_mem.requires_grad
    assert_near("tau_mem", net[0].tau_mem, converted[0].tau_mem, 0)


def test_what_is_refused():
    assert_refused(layers.LIF(5.0, reset_fn=a.MembraneReset(0.2)), "MembraneReset")
    assert_refused(layers.LIF(5.0, surrogate_grad_fn=lambda v, threshold: v), "surrogate")
    assert_refused(layers.ALIF(5.0, 5.0), "ALIF", "no counterpart")
    assert_refused(layers.IAFRecurrent(torch.nn.BatchNorm1d(3)), "buffers")
    assert_refused(layers.LIF(5.0, surrogate_grad_fn=a.MultiGaussian(mu=0.2)), "mu")
