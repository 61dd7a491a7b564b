"""SpikingJelly's neurons, converted: the same spikes, states and gradients, in both step modes, between calls and after a reset."""

import copy

import pytest
import torch
from conversion_tests import assert_alike, assert_near, assert_refused, drawn

import spikeops

neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
from spikingjelly.activation_based import functional, layer, surrogate  # noqa: E402

SURROGATES = [
    surrogate.Sigmoid(4.0), surrogate.ATan(2.0), surrogate.PiecewiseQuadratic(0.8), surrogate.PiecewiseExp(1.5), surrogate.SoftSign(2.5),
    surrogate.SuperSpike(1.3), surrogate.Erf(2.0), surrogate.Rect(0.9), surrogate.LeakyKReLU(0.2, 0.7), surrogate.DeterministicPass(),
]  # fmt: skip
NODES = {
    "IFNode": lambda **o: neuron.IFNode(**o),
    "IFNode, soft": lambda **o: neuron.IFNode(v_reset=None, v_threshold=1.3, **o),
    "IFNode, other v_reset": lambda **o: neuron.IFNode(v_reset=-0.25, **o),
    "LIFNode": lambda **o: neuron.LIFNode(**o),
    "LIFNode, soft, no decay of the input": lambda **o: neuron.LIFNode(tau=3.7, decay_input=False, v_reset=None, **o),
    "LIFNode, other v_reset, detached": lambda **o: neuron.LIFNode(tau=3.7, v_reset=-0.25, detach_reset=True, **o),
    "LIFNode, no decay of the input": lambda **o: neuron.LIFNode(tau=2.5, decay_input=False, v_threshold=0.8, **o),
    "ParametricLIFNode": lambda **o: neuron.ParametricLIFNode(**o),
    "ParametricLIFNode, soft": lambda **o: neuron.ParametricLIFNode(init_tau=3.0, decay_input=False, v_reset=None, **o),
    "HalfThresholdIFNode": lambda **o: neuron.HalfThresholdIFNode(v_threshold=1.5, **o),
    "ILIFNode": lambda **o: neuron.ILIFNode(**o),
    "CUBALIFNode": lambda step_mode="s", **o: stepping(neuron.CUBALIFNode(**o), step_mode),
    "CUBALIFNode, soft": lambda step_mode="s", **o: stepping(neuron.CUBALIFNode(0.6, 0.7, 0.9, None, **o), step_mode),
    "SimpleIFNode": lambda **o: neuron.SimpleIFNode(**o),
    "SimpleLIFNode": lambda **o: neuron.SimpleLIFNode(3.0, True, v_reset=0.1, **o),
}  # fmt: skip


def stepping(node, step_mode):
    node.step_mode = step_mode
    return node


def run(net, x):
    """Two pieces of a sequence, whose state is kept between them."""
    functional.reset_net(net)
    pieces = x.split([len(x) // 3, len(x) - len(x) // 3])
    if net.step_mode == "m":
        spikes = torch.cat([net(piece) for piece in pieces])
    else:
        spikes = torch.cat([torch.stack([net(x_t) for x_t in piece]) for piece in pieces])
    return spikes, tuple(net._memories.values())


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("name", NODES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_nodes(name, step_mode, dtype):
    assert_alike(NODES[name](step_mode=step_mode), run, drawn(24, 4, 100, dtype=dtype))


@pytest.mark.parametrize("function", SURROGATES, ids=lambda function: type(function).__name__)
@pytest.mark.parametrize("v_reset", [None, 0.0])
def test_surrogates(function, v_reset):
    """At potentials that lie on the edges of the surrogates, too: the inputs are multiples of an eighth."""
    x = (drawn(10, 300, low=-1, high=3) * 8).round() / 8
    assert_alike(neuron.IFNode(v_reset=v_reset, surrogate_function=function, step_mode="m"), run, x)


def network(node, step_mode):
    torch.manual_seed(0)
    net = torch.nn.Sequential(
        layer.Conv2d(2, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), node(v_threshold=0.5), layer.MaxPool2d(2), layer.Flatten(), layer.Linear(128, 10), node(v_threshold=0.1),
    )  # fmt: skip
    functional.set_step_mode(net, step_mode)
    return net


@pytest.mark.parametrize("step_mode", ["s", "m"])
@pytest.mark.parametrize("node", [neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode])
def test_hundred_steps_of_a_network(node, step_mode):
    def run_net(net, x):
        functional.reset_net(net)
        return (net(x) if step_mode == "m" else torch.stack([net(x_t) for x_t in x])), ()

    assert_alike(network(node, step_mode), run_net, drawn(100, 2, 2, 8, 8, low=-1, high=3))


def test_training_goes_on_alike():
    """The network of its tutorial on classifying events, small: convolution, batch-norm, dropout off, LIF, and rates against classes."""
    nets = [network(neuron.LIFNode, "m")]
    events = torch.poisson(drawn(10, 8, 2, 8, 8, low=0, high=1), generator=torch.Generator().manual_seed(2))
    labels = torch.arange(8) % 10
    optimizers = [torch.optim.SGD(nets[0].parameters(), lr=0.5, momentum=0.9)]

    def step(net, optimizer):
        optimizer.zero_grad()
        loss = torch.nn.functional.mse_loss(net(events).mean(0), torch.nn.functional.one_hot(labels, 10).float())
        loss.backward()
        optimizer.step()
        functional.reset_net(net)
        return loss.item()

    for _ in range(3):
        step(nets[0], optimizers[0])
    nets.append(spikeops.convert(nets[0]))
    optimizers.append(torch.optim.SGD(nets[1].parameters(), lr=0.5, momentum=0.9))
    optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
    theirs, ours = ([step(net, optimizer) for _ in range(5)] for net, optimizer in zip(nets, optimizers))
    assert theirs[-1] < theirs[0]
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_an_optimiser_goes_on_with_a_model_converted_in_place():
    net = network(neuron.ParametricLIFNode, "m")
    parameters, states = list(net.parameters()), net.state_dict()
    assert spikeops.convert(net, inplace=True) is net
    assert all(one is other for one, other in zip(net.parameters(), parameters, strict=True))
    assert net.state_dict().keys() == states.keys()
    net.load_state_dict(states)


def test_potentials_of_all_steps():
    for step_mode in ("s", "m"):
        for name in ("LIFNode", "IFNode, soft", "ParametricLIFNode"):
            node = NODES[name](step_mode=step_mode, store_v_seq=True)
            assert_alike(node, lambda net, x: (run(net, x)[0], (net.v_seq,)), drawn(12, 30))
        for name in ("CUBALIFNode", "CUBALIFNode, soft"):
            node = NODES[name](step_mode=step_mode)
            node.store_v_seq = True
            assert_alike(node, lambda net, x: (run(net, x)[0], (net.v_seq, *net._memories.values())), drawn(12, 30))


@pytest.mark.parametrize("function", SURROGATES, ids=lambda function: type(function).__name__)
@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_surrogates_behind_a_synapse(function, step_mode):
    x = (drawn(10, 300, low=-1, high=2) * 8).round() / 8
    assert_alike(NODES["CUBALIFNode"](surrogate_function=function, step_mode=step_mode), run, x)


@pytest.mark.parametrize("decode", [None, "max-mem", "max-abs-mem", "mean-mem", "last_mem"])
@pytest.mark.parametrize("kind", [neuron.NonSpikingIFNode, neuron.NonSpikingLIFNode])
def test_neurons_that_do_not_fire(kind, decode):
    def outputs(net, x):
        decoded = net(x)
        return torch.stack(decoded) if decode is None else decoded, ()

    node, x = kind(decode=decode), drawn(20, 30)
    theirs, ours = (outputs(net, x)[0] for net in (node, spikeops.convert(node)))
    assert_near(f"decode={decode}", theirs, ours, 1e-5)


def test_states_are_kept_reset_and_detached_by_its_functions():
    node = neuron.LIFNode(step_mode="m")
    x = drawn(6, 5, high=1.0).requires_grad_()
    node(x)
    converted = spikeops.convert(node)  # in the middle of a sequence, whose state belongs to a graph
    assert torch.equal(converted.v, node.v) and converted.v.grad_fn is None and node.v.grad_fn is not None
    assert torch.equal(converted(x), node(x)) and converted.v.grad_fn is not None
    functional.detach_net(converted)
    assert converted.v.grad_fn is None
    functional.reset_net(converted)
    assert converted.v == 0.0
    functional.set_step_mode(converted, "s")
    assert converted(x[0]).shape == (5,)


@pytest.mark.parametrize("kind", [neuron.ParametricLIFNode, neuron.LIFNode, neuron.SimpleLIFNode])
def test_training_goes_on_from_states_of_inference(kind):
    """They cannot be saved for a gradient."""
    x = drawn(3, 4, 10)
    net, gradients = kind(3.0, **({"decay_input": True} if kind is neuron.SimpleLIFNode else {})), []
    net.step_mode = "m"
    for model in (net, spikeops.convert(net)):
        with torch.inference_mode():
            model(x)
        x_in = x.clone().requires_grad_()
        model(x_in).sum().backward()
        gradients.append(x_in.grad)
    torch.testing.assert_close(*gradients)


def test_options_are_read_at_each_call():
    node = neuron.IFNode(step_mode="m")
    converted = spikeops.convert(node)
    for net in (node, converted):
        net.v_threshold = 0.5
        net.v_reset = None
    assert_near("spikes", node(drawn(9, 7)), converted(drawn(9, 7)), 0)
    converted.surrogate_function.spiking = False
    with pytest.raises(spikeops.conversion.NotExact, match="does not fire"):
        converted(drawn(9, 7))


@pytest.mark.parametrize("decay_input, v_reset", [(True, 0.0), (False, None), (True, -0.3)])
def test_distance_from_the_threshold(decay_input, v_reset):
    """docs/neurons/spikingjelly.md: LIFNode's order of operations is another one; potentials agree within 10 tau units of 2^-24 of the
    largest potential or input."""
    for tau in (1.5, 2.0, 3.7, 20.0):
        node = neuron.LIFNode(tau=tau, decay_input=decay_input, v_reset=v_reset, v_threshold=1e9, step_mode="m", store_v_seq=True)
        converted, x = spikeops.convert(node), drawn(100, 2000, low=-2, high=2)
        node(x), converted(x)
        largest = max(x.abs().max(), node.v_seq.abs().max())
        assert (node.v_seq - converted.v_seq).abs().max() <= 10 * tau * 2**-24 * largest


def test_what_is_refused():
    class Changed(neuron.LIFNode):
        def multi_step_forward(self, x_seq):
            return super().multi_step_forward(2 * x_seq)

    class Named(neuron.LIFNode):
        """Only its constructor is another."""

        def __init__(self):
            super().__init__(tau=4.0)

    assert spikeops.convert(Named()).tau == 4.0
    assert_refused(Changed(), "Changed", "multi_step_forward")
    assert_refused(neuron.QIFNode(), "QIFNode", "no counterpart")
    assert_refused(neuron.LIFNode(surrogate_function=surrogate.S2NN()), "S2NN")
    assert_refused(neuron.LIFNode(surrogate_function=surrogate.Sigmoid(spiking=False)), "spiking=False")
    learned = neuron.LIFNode()
    learned.v_threshold = torch.nn.Parameter(torch.tensor(1.0))
    assert_refused(learned, "v_threshold is learned")
    hooked = torch.nn.Sequential(torch.nn.Linear(3, 3), neuron.IFNode(), neuron.QIFNode())
    hooked[1].register_forward_hook(lambda *_: None)
    assert_refused(hooked, "1 (spikingjelly", "hooks", "2 (spikingjelly", "QIFNode")
    patched = neuron.IFNode()
    patched.forward = lambda x: x
    assert_refused(patched, "its own forward")


def test_sixteen_bits_are_refused_at_the_call():
    converted = spikeops.convert(neuron.LIFNode(step_mode="m"))
    with pytest.raises(spikeops.conversion.NotExact, match="float16"):
        converted(drawn(4, 3).half())
