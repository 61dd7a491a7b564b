"""snnTorch's neurons, converted: the same spikes, potentials and gradients, called as its users call them, and in one kernel."""

import copy

import pytest
import torch
from conversion_tests import assert_alike, assert_refused, drawn

import spikeops

snn = pytest.importorskip("snntorch")
from snntorch import surrogate, utils  # noqa: E402

SURROGATES = {
    "atan": surrogate.atan(), "fast_sigmoid": surrogate.fast_sigmoid(), "sigmoid": surrogate.sigmoid(slope=8),
    "spike_rate_escape": surrogate.spike_rate_escape(beta=2, slope=3), "straight_through": surrogate.straight_through_estimator(),
    "triangular": surrogate.triangular(threshold=0.7),
}  # fmt: skip
NEURONS = {
    "Leaky": lambda **o: snn.Leaky(0.9, **o),
    "Leaky, learned": lambda **o: snn.Leaky(0.7, threshold=0.8, learn_beta=True, learn_threshold=True, **o),
    "Leaky, of each neuron": lambda **o: snn.Leaky(torch.linspace(-0.1, 1.1, 100), threshold=torch.linspace(0.5, 2, 100), **o),
    "Leaky, graded": lambda **o: snn.Leaky(0.9, graded_spikes_factor=0.5, learn_graded_spikes_factor=True, **o),
    "Leaky, surrogate_disable": lambda **o: snn.Leaky(0.9, surrogate_disable=True, **o),
    "Lapicque": lambda **o: snn.Lapicque(beta=0.8, **o),
    "Lapicque, R and C": lambda **o: snn.Lapicque(R=3.0, C=1.7, time_step=0.9, **o),
    "Synaptic": lambda **o: snn.Synaptic(0.6, 0.9, threshold=1.5, **o),
    "Synaptic, learned": lambda **o: snn.Synaptic(0.6, 0.9, threshold=1.5, learn_alpha=True, learn_beta=True, learn_threshold=True, **o),
}  # fmt: skip
RESETS = [dict(reset_mechanism=mechanism) for mechanism in ("subtract", "zero", "none")]


def run(net, x):
    """The loop of its tutorials; all states go into the loss at every step."""
    states, spikes, others = net.reset_mem(), [], []
    states = states if isinstance(states, tuple) else (states,)
    for x_t in x:
        spike, *states = net(x_t, *states)
        spikes.append(spike)
        others += states
    return torch.stack(spikes), tuple(others)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("reset", RESETS, ids=lambda reset: reset["reset_mechanism"])
@pytest.mark.parametrize("name", NEURONS)
def test_neurons(name, reset, dtype):
    # Theirs hands gradients on in float32, whatever the potentials are.
    assert_alike(NEURONS[name](**reset), run, drawn(20, 4, 100, low=-1, high=2, dtype=dtype))


@pytest.mark.parametrize("name, reset", [
    *((name, dict(reset_mechanism=mechanism)) for name in NEURONS if name.startswith("Leaky") for mechanism in ("subtract", "zero")),
    *((name, dict(reset_mechanism=mechanism)) for name in ("Synaptic", "Synaptic, learned") for mechanism in ("subtract", "zero")),
])  # fmt: skip
def test_resets_at_once(name, reset):
    """Potentials above two thresholds, where its subtraction leaves the next reset out, are among them."""
    # The gradient of the factor is a sum in which what passes through its two uses in the reset cancels, up to rounding.
    bound = 3e-4 if "graded" in name else 1e-5
    assert_alike(NEURONS[name](reset_delay=False, **reset), run, drawn(20, 4, 100, low=-1, high=4), bound=bound)


@pytest.mark.parametrize("function", SURROGATES)
@pytest.mark.parametrize("options", [dict(), dict(reset_mechanism="zero"), dict(reset_delay=False)], ids=str)
def test_surrogates(function, options):
    """At the threshold, too: the inputs are multiples of an eighth."""
    x = (drawn(10, 200, low=-1, high=2) * 8).round() / 8
    for neuron in (snn.Leaky(0.5, spike_grad=SURROGATES[function], **options), snn.Synaptic(0.25, 0.5, spike_grad=SURROGATES[function], **options)):
        assert_alike(neuron, run, x)


RECURRENT = {
    "linear": lambda **o: snn.RLeaky(0.9, linear_features=60, **o),
    "one to one": lambda **o: snn.RLeaky(0.9, V=torch.linspace(-1, 1, 60), all_to_all=False, learn_beta=True, learn_threshold=True, **o),
    "convolution": lambda **o: snn.RLeaky(0.9, conv2d_channels=2, kernel_size=3, **o),
    "synapse, linear": lambda **o: snn.RSynaptic(0.6, 0.9, linear_features=60, threshold=1.5, **o),
    "synapse, one to one": lambda **o: snn.RSynaptic(
        torch.linspace(-0.1, 1.1, 60), 0.8, V=torch.linspace(-1, 1, 60), all_to_all=False, learn_alpha=True, learn_beta=True,
        learn_threshold=True, spike_grad=SURROGATES["triangular"], **o
    ),
    "synapse, convolution": lambda **o: snn.RSynaptic(0.6, 0.9, conv2d_channels=2, kernel_size=3, **o),
}  # fmt: skip


@pytest.mark.parametrize("options", [*RESETS, dict(reset_delay=False), dict(reset_delay=False, reset_mechanism="zero")], ids=str)
@pytest.mark.parametrize("kind", RECURRENT)
def test_recurrent_neurons(kind, options):
    """Its weights are kept, and its own module adds them up; all steps at once give the same."""

    def run_recurrent(net, x):
        states, spikes, others = net.reset_mem(), [], []
        for x_t in x:
            states = net(x_t, *states)
            spikes.append(states[0])
            others += states[1:]
        return torch.stack(spikes), tuple(others)

    torch.manual_seed(0)
    x = drawn(20, 4, 2, 5, 6, low=-1, high=2) if "convolution" in kind else drawn(20, 4, 60, low=-1, high=2)
    if "synapse" in kind and "reset_delay" in options:
        assert_refused(RECURRENT[kind](**options), "reset_delay=False has no effect")
        return
    converted = assert_alike(RECURRENT[kind](**options), run_recurrent, x)
    loop, _ = run_recurrent(converted, x)
    converted.reset_mem()
    assert torch.equal(converted.multi_step(x)[0], loop)


def test_hidden_states():
    """init_hidden=True in nn.Sequential, reset by its own function, which knows the copy, too."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 8, 3), snn.Leaky(0.8, init_hidden=True), torch.nn.MaxPool2d(2), torch.nn.Flatten(), torch.nn.Linear(72, 20),
        snn.Leaky(0.8, init_hidden=True, output=True),
    )  # fmt: skip

    def run_net(net, x):
        utils.reset(net)
        spikes, potentials = zip(*(net(x_t) for x_t in x))
        return torch.stack(spikes), potentials

    converted = assert_alike(net, run_net, drawn(25, 4, 1, 8, 8, low=-1, high=3))
    assert converted[1].mem.any()
    utils.reset(converted)
    assert not converted[1].mem.any() and converted[1].mem.grad_fn is None
    with pytest.raises(TypeError, match="init_hidden"):
        converted[1](torch.zeros(3), torch.zeros(3))


def test_hundred_steps():
    torch.manual_seed(0)

    class Net(torch.nn.Module):
        """Of its tutorials: two layers, states from one step to the next."""

        def __init__(self):
            super().__init__()
            self.fc1, self.lif1 = torch.nn.Linear(40, 100), snn.Leaky(beta=0.95)
            self.fc2, self.lif2 = torch.nn.Linear(100, 10), snn.Leaky(beta=0.95)

        def forward(self, x):
            mem1, mem2, spikes, potentials = self.lif1.init_leaky(), self.lif2.init_leaky(), [], []
            for x_t in x:
                spk1, mem1 = self.lif1(self.fc1(x_t), mem1)
                spk2, mem2 = self.lif2(self.fc2(spk1), mem2)
                spikes.append(spk2)
                potentials.append(mem2)
            return torch.stack(spikes), torch.stack(potentials)

    def run_net(net, x):
        spikes, potentials = net(x)
        return spikes, (potentials,)

    assert_alike(Net(), run_net, drawn(100, 8, 40, low=-1, high=3))


@pytest.mark.parametrize("name", ["Leaky", "Leaky, learned", "Lapicque", "Synaptic"])
def test_all_steps_in_one_kernel(name):
    """`multi_step` gives what the loop does, and the loop goes on from there."""
    net = spikeops.convert(NEURONS[name]())
    x = drawn(12, 5, 100)
    spikes, others = run(net, x)
    states = len(net._states)
    net.reset_mem()
    first = net.multi_step(x[:7])
    assert torch.equal(first[0], spikes[:7])
    rest = [net(x_t, *(first[1:] if t == 0 else [None] * states))[0] for t, x_t in enumerate(x[7:])]
    assert torch.equal(torch.stack(rest), spikes[7:])
    if states == 1:
        net.reset_mem()
        assert torch.equal(net.multi_step(x, record=True)[1], torch.stack(others))


def test_training_goes_on_alike():
    """A convolutional network as in its tutorial 6, small: surrogate, init_hidden, loss on the spike counts."""
    torch.manual_seed(0)
    nets = [torch.nn.Sequential(
        torch.nn.Conv2d(1, 6, 3), torch.nn.MaxPool2d(2), snn.Leaky(0.5, spike_grad=surrogate.fast_sigmoid(25), init_hidden=True),
        torch.nn.Flatten(), torch.nn.Linear(54, 10),
        snn.Leaky(0.5, 0.1, spike_grad=surrogate.fast_sigmoid(25), init_hidden=True, output=True, learn_beta=True),
    )]  # fmt: skip
    images, labels = drawn(10, 1, 8, 8, low=0, high=12), torch.arange(10)

    def step(net, optimizer):
        utils.reset(net)
        counts = torch.stack([net(images)[0] for _ in range(12)]).sum(0)
        loss = torch.nn.functional.cross_entropy(counts, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    optimizers = [torch.optim.SGD(nets[0].parameters(), lr=0.05, momentum=0.9)]
    for _ in range(3):
        step(nets[0], optimizers[0])
    nets.append(spikeops.convert(nets[0]))
    optimizers.append(torch.optim.SGD(nets[1].parameters(), lr=0.05, momentum=0.9))
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    theirs, ours = ([step(net, optimizer) for _ in range(5)] for net, optimizer in zip(nets, optimizers))
    assert theirs[-1] < theirs[0]
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_what_is_refused():
    assert_refused(snn.Leaky(0.9, inhibition=True), "inhibition")
    assert_refused(snn.Leaky(0.9, state_quant=lambda v: v), "state_quant")
    assert_refused(snn.Leaky(0.9, spike_grad=surrogate.heaviside()), "heaviside")
    assert_refused(snn.Leaky(0.9, spike_grad=lambda v: (v > 0).float()), "surrogate")
    assert_refused(snn.Alpha(0.6, 0.5), "Alpha", "no counterpart")
    assert_refused(snn.Leaky(0.9, threshold=-1.0, reset_delay=False, reset_mechanism="zero"), "negative threshold")
    changed = snn.Leaky(0.9)
    changed.reset_mechanism = "zero"
    assert_refused(changed, "reset_mechanism", "subtract")


def test_a_state_that_theirs_would_double_is_refused():
    converted = spikeops.convert(snn.Leaky(0.9, reset_delay=False, reset_mechanism="zero"))
    with pytest.raises(spikeops.conversion.NotExact, match="above the threshold"):
        converted(torch.zeros(3), torch.tensor([0.0, 1.5, 0.0]))
