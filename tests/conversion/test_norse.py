"""Norse's neurons, converted: the same outputs, states and gradients, as cells and as layers."""

import pytest
import torch
from conversion_tests import assert_alike, assert_near, assert_refused, drawn

import spikeops

norse = pytest.importorskip("norse.torch")
from norse.torch.functional.iaf import IAFParameters  # noqa: E402
from norse.torch.functional.leaky_integrator import LIParameters  # noqa: E402
from norse.torch.functional.leaky_integrator_box import LIBoxParameters  # noqa: E402
from norse.torch.functional.lif import LIFParameters  # noqa: E402
from norse.torch.functional.lif_box import LIFBoxParameters  # noqa: E402
from norse.torch.functional.lsnn import LSNNParameters  # noqa: E402
from norse.torch.functional.reset import reset_subtract  # noqa: E402
from norse.torch.module.leaky_integrator_box import LIBoxCell  # noqa: E402


def t(value):
    return torch.as_tensor(value)


CELLS = {
    "IAFCell": lambda: norse.IAFCell(),
    "IAFCell, tanh": lambda: norse.IAFCell(IAFParameters(t(0.8), t(-0.2), "tanh", t(2.0))),
    "LIFBoxCell": lambda: norse.LIFBoxCell(),
    "LIFBoxCell, subtract": lambda: norse.LIFBoxCell(LIFBoxParameters(t(300.0), t(0.1), t(0.4), reset_method=reset_subtract)),
    "LIFBoxCell, triangle": lambda: norse.LIFBoxCell(LIFBoxParameters(t(300.0), t(0.1), t(0.4), t(-0.2), "triangle", t(0.3))),
    "LIFBoxCell, heavi_erfc": lambda: norse.LIFBoxCell(LIFBoxParameters(v_th=t(0.4), method="heavi_erfc", alpha=t(3.0))),
    "LIFBoxCell, heaviside": lambda: norse.LIFBoxCell(LIFBoxParameters(v_th=t(0.4), method="heaviside"), dt=0.002),
    "LIFCell": lambda: norse.LIFCell(LIFParameters(v_th=t(0.3))),
    "LIFCell, of each neuron": lambda: norse.LIFCell(
        LIFParameters(torch.linspace(100, 400, 30), torch.linspace(50, 300, 30), t(0.05), torch.linspace(0.2, 0.6, 30), t(-0.1))
    ),
}  # fmt: skip
# A threshold that adapts within the 20 steps of a test.
ADAPTS = LSNNParameters(t(200.0), t(100.0), t(50.0), t(0.05), t(0.3), t(-0.1), beta=t(0.5))
CELLS |= {
    "LSNNCell": lambda: norse.LSNNCell(LSNNParameters(v_th=t(0.3))),
    "LSNNCell, adapts": lambda: norse.LSNNCell(ADAPTS, dt=0.002),
    "LSNNCell, of each neuron": lambda: norse.LSNNCell(
        LSNNParameters(torch.linspace(100, 400, 30), torch.linspace(50, 300, 30), t(60.0), v_th=torch.linspace(0.2, 0.6, 30),
                       method="triangle", alpha=t(0.3), beta=t(-0.1))
    ),
}  # fmt: skip
LAYERS = {
    "IAF": lambda: norse.IAF(),
    "LIF": lambda: norse.LIF(LIFParameters(v_th=t(0.3))),
    "LSNN": lambda: norse.LSNN(LSNNParameters(v_th=t(0.3))),
    "LSNN, adapts": lambda: norse.LSNN(ADAPTS),
    "LIF, own dt": lambda: norse.LIF(LIFParameters(v_th=t(0.3), v_leak=t(0.05), v_reset=t(-0.1)), dt=0.002),
}  # fmt: skip
OF_EACH = LIFParameters(torch.linspace(100, 400, 25), torch.linspace(50, 300, 25), t(0.05), torch.linspace(0.2, 0.6, 25), t(-0.1))
RECURRENT = {
    "default": lambda kind: kind(30, 25),
    "of each neuron, to themselves": lambda kind: kind(30, 25, OF_EACH, autapses=True, dt=0.002),
    "heaviside": lambda kind: kind(30, 25, LIFParameters(v_th=t(0.4), method="heaviside")),
    "own weights": lambda kind: kind(30, 25, input_weights=drawn(25, 30), recurrent_weights=drawn(25, 25, low=-1, seed=2)),
}  # fmt: skip
INTEGRATORS = {
    "LICell": lambda p, **o: norse.LICell(p, **o),
    "LILinearCell": lambda p, **o: norse.LILinearCell(30, 30, p, **o),
    "LI": lambda p, **o: norse.LI(p, **o),
}  # fmt: skip


def run_cell(net, x):
    state, outputs = None, []
    for x_t in x:
        out, state = net(x_t, state)
        outputs.append(out)
    return torch.stack(outputs), tuple(state)


def run_layer(net, x):
    """In two pieces."""
    first, state = net(x[:7])
    second, state = net(x[7:], state)
    return torch.cat([first, second]), tuple(state)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cells(name, dtype):
    assert_alike(CELLS[name](), run_cell, drawn(20, 4, 30, low=-2, high=5, dtype=dtype))


@pytest.mark.parametrize("name", LAYERS)
def test_layers(name):
    assert_alike(LAYERS[name](), run_layer, drawn(20, 4, 30, low=-1, high=3))


def test_learned_numbers():
    """Parameters in the place of Norse's tensors."""
    rate, threshold = torch.nn.Parameter(t(200.0)), torch.nn.Parameter(torch.linspace(0.2, 0.5, 30))
    cell = norse.LIFBoxCell(LIFBoxParameters(rate, v_th=threshold))
    cell.rate, cell.threshold = rate, threshold

    def gradients(net):
        # Tuples of numbers are copied with the module that holds them.
        outputs, _ = run_cell(net, drawn(20, 4, 30, low=-2, high=5))
        return torch.autograd.grad((outputs * drawn(20, 4, 30)).sum(), [net.rate, net.threshold])

    for name, theirs, ours in zip(("rate", "threshold"), gradients(cell), gradients(spikeops.convert(cell))):
        assert_near(f"the gradient of the {name}", theirs, ours, 1e-5)


def test_states_of_all_steps():
    net = norse.IAF()
    net.record_states = True
    assert_alike(net, lambda net, x: (lambda out, states: (out, tuple(states)))(*net(x)), drawn(12, 30))


def test_readout():
    cell = LIBoxCell(LIBoxParameters(v_leak=t(0.1)))
    x = drawn(20, 4, 30)
    (theirs, _), (ours, _) = run_cell(cell, x), run_cell(spikeops.convert(cell), x)
    assert_near("potentials", theirs, ours, 1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", RECURRENT)
@pytest.mark.parametrize("kind", ["LIFRecurrentCell", "LIFRecurrent"])
def test_recurrent_neurons(kind, name, dtype):
    """Their own weights, in their own order of operations; a cell takes all steps at once, too."""
    if (name, dtype) == ("own weights", torch.float64):
        pytest.skip("weights that are no parameters stay float32 there")
    torch.manual_seed(0)
    run = run_cell if kind.endswith("Cell") else run_layer
    x = drawn(20, 4, 30, low=-2, high=3, dtype=dtype)
    converted = assert_alike(RECURRENT[name](getattr(norse, kind)).to(dtype), run, x)
    if kind == "LIFRecurrentCell":
        (loop, state), (at_once, last) = run_cell(converted, x), converted.multi_step(x)
        assert torch.equal(loop, at_once) and all(map(torch.equal, state, last))


@pytest.mark.parametrize(
    "p", [LSNNParameters(), ADAPTS, LSNNParameters(v_th=t(0.4), method="heaviside")], ids=["default", "adapts", "heaviside"]
)
@pytest.mark.parametrize("kind", ["LSNNRecurrentCell", "LSNNRecurrent"])
def test_recurrent_neurons_whose_threshold_adapts(kind, p):
    torch.manual_seed(0)
    x = drawn(20, 4, 30, low=-2, high=5)
    converted = assert_alike(getattr(norse, kind)(30, 25, p), run_cell if kind.endswith("Cell") else run_layer, x)
    if kind == "LSNNRecurrentCell":
        (loop, state), (at_once, last) = run_cell(converted, x), converted.multi_step(x)
        assert torch.equal(loop, at_once) and all(map(torch.equal, state, last))


def test_a_learned_threshold_that_adapts():
    """Norse pulls the threshold back to v_th, which thereby has a gradient in every step."""
    threshold = torch.nn.Parameter(torch.linspace(0.2, 0.5, 30))
    cell = norse.LSNNCell(ADAPTS._replace(v_th=threshold))
    cell.threshold = threshold

    def gradient(net):
        outputs, _ = run_cell(net, drawn(20, 4, 30, low=-2, high=5))
        return torch.autograd.grad((outputs * drawn(20, 4, 30)).sum(), net.threshold)[0]

    assert_near("the gradient of the threshold", gradient(cell), gradient(spikeops.convert(cell)), 1e-5)


@pytest.mark.parametrize("inplace", [False, True])
def test_no_weights_to_themselves_are_learned(inplace):
    """Norse keeps the gradients of those at 0 by a hook on the tensor, which torch does not copy."""
    torch.manual_seed(0)
    cell = norse.LIFRecurrentCell(6, 5, LIFParameters(v_th=t(0.2)))
    converted = spikeops.convert(cell, inplace=inplace)
    for _ in range(2):  # a hook that was registered twice would show in the second backward pass of a shared parameter
        run_cell(converted, drawn(12, 3, 6, low=0, high=3))[0].sum().backward()
        gradient = converted.recurrent_weights.grad
        assert gradient.any() and not gradient.diagonal().any()


@pytest.mark.parametrize("options", [dict(), dict(dt=0.002)], ids=str)
@pytest.mark.parametrize("name", INTEGRATORS)
def test_integrators_with_a_synapse(name, options):
    """Their outputs are potentials, which are added up in another order: within some roundings of each of 100 steps."""
    torch.manual_seed(0)
    p = LIParameters(torch.linspace(100, 400, 30), torch.linspace(50, 300, 30), t(0.1))
    net = INTEGRATORS[name](p, **options)
    converted, results = spikeops.convert(net), []
    for model in (net, converted):
        x = drawn(100, 4, 30, low=-2, high=5).requires_grad_()
        potentials, states = (run_layer if name == "LI" else run_cell)(model, x)
        loss = (potentials * drawn(100, 4, 30, seed=1)).sum() + sum((state * state).sum() for state in states)
        results.append((potentials, *states, *torch.autograd.grad(loss, [x, *model.parameters()])))
    for theirs, ours in zip(*results, strict=True):
        assert theirs.shape == ours.shape
        assert_near(name, theirs, ours, 1e-5)
    if name != "LI":
        potentials, state = converted.multi_step(x)
        for one, other in zip((potentials, *state), results[1]):
            assert_near("multi_step", one, other, 1e-5)


@pytest.mark.parametrize("kind", ["LIF", "LI", "LIFRecurrent", "LSNN", "LSNNRecurrent"])
def test_states_of_all_steps_with_a_synapse(kind):
    torch.manual_seed(0)
    net = getattr(norse, kind)(30, 25, record_states=True) if kind.endswith("Recurrent") else getattr(norse, kind)(record_states=True)
    x = drawn(12, 4, 30, low=-2, high=8)
    (theirs, their_states), (ours, our_states) = net(x), spikeops.convert(net)(x)
    assert type(our_states) is (type(their_states))
    assert kind == "LI" or torch.equal(theirs, ours)
    for name, states, found in zip(their_states._fields, their_states, our_states, strict=True):
        assert states.shape == found.shape
        assert_near(name, states, found, 1e-5)


def test_hundred_steps_of_a_network():
    """In a SequentialState, which finds out which of its modules have states."""
    torch.manual_seed(0)
    net = norse.SequentialState(
        torch.nn.Conv2d(1, 6, 3), norse.LIFBoxCell(LIFBoxParameters(v_th=t(0.3))), torch.nn.Flatten(), torch.nn.Linear(216, 20),
        norse.LIFCell(LIFParameters(v_th=t(0.05))),
    )  # fmt: skip

    def run(net, x):
        state, outputs = None, []
        for x_t in x:
            out, state = net(x_t, state)
            outputs.append(out)
        return torch.stack(outputs), (state[1].v, *state[4])

    assert_alike(net, run, drawn(100, 3, 1, 8, 8, low=-3, high=6))


@pytest.mark.parametrize("name", CELLS)
def test_all_steps_in_one_kernel(name):
    """`multi_step` of a cell gives what the loop does."""
    net, x = spikeops.convert(CELLS[name]()), drawn(12, 5, 30, low=-2, high=5)
    outputs, state = run_cell(net, x)
    ours, our_state = net.multi_step(x)
    assert torch.equal(outputs, ours)
    for part, one, other in zip(our_state._fields, state, our_state, strict=True):
        if part == "b":  # what spikes have added to v_th: between calls it is theirs, the sum
            assert_near(part, one, other, 1e-6)
        else:
            assert torch.equal(one, other)


TUTORIALS = {
    "feedforward": lambda: (torch.nn.Linear(20, 30), norse.LIFCell(LIFParameters(v_th=t(0.2))), torch.nn.Linear(30, 10), LIBoxCell()),
    "recurrent": lambda: (norse.LIFRecurrentCell(20, 30, LIFParameters(v_th=t(0.2))), norse.LILinearCell(30, 10)),
    "readout with a synapse": lambda: (
        torch.nn.Linear(20, 30), norse.LIFCell(LIFParameters(v_th=t(0.2))), torch.nn.Linear(30, 10), norse.LICell()
    ),
}  # fmt: skip


@pytest.mark.parametrize("tutorial", TUTORIALS)
def test_training_goes_on_alike(tutorial):
    """As in its tutorials: LIF, a readout, and cross-entropy on its largest potentials."""
    torch.manual_seed(0)
    nets = [norse.SequentialState(*TUTORIALS[tutorial]())]
    events, labels = torch.bernoulli(drawn(15, 10, 20, low=0, high=1), generator=torch.Generator().manual_seed(1)), torch.arange(10)

    def step(net, optimizer):
        potentials = run_cell(net, 3 * events)[0].max(0).values
        loss = torch.nn.functional.cross_entropy(10 * potentials, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    optimizers = [torch.optim.SGD(nets[0].parameters(), lr=0.1)]
    for _ in range(3):
        step(nets[0], optimizers[0])
    nets.append(spikeops.convert(nets[0]))
    optimizers.append(torch.optim.SGD(nets[1].parameters(), lr=0.1))
    theirs, ours = ([step(net, optimizer) for _ in range(5)] for net, optimizer in zip(nets, optimizers))
    assert theirs[-1] < theirs[0]
    assert ours == pytest.approx(theirs, rel=1e-4)


def test_what_is_refused():
    assert_refused(norse.LIFCell(LIFParameters(method="adjoint")), "adjoint")
    assert_refused(norse.IAFCell(IAFParameters(method="circ")), "circ")
    assert_refused(norse.LIFRecurrentCell(3, 3, LIFParameters(method="adjoint")), "adjoint")
    assert_refused(norse.LIFExRecurrentCell(3, 3), "LIFExRecurrentCell")
    assert_refused(norse.LI(LIParameters(tau_syn_inv=t(2000.0))), "dt * tau_syn_inv")
    assert_refused(norse.LSNNCell(LSNNParameters(beta=t(0.0))), "beta is 0")
    assert_refused(norse.LSNN(LSNNParameters(beta=torch.nn.Parameter(t(1.0)))), "beta is learned")
    assert_refused(norse.LSNN(LSNNParameters(method="heaviside")), "heaviside", "adapts")
    assert_refused(norse.LSNN(LSNNParameters(tau_adapt_inv=t(2000.0))), "dt * tau_adapt_inv")
    assert_refused(norse.LSNNRecurrentCell(3, 3, adjoint=True), "adjoint")
    assert_refused(norse.LIFBoxCell(dt=0.1), "dt * tau_mem_inv")
    assert_refused(norse.LIFBoxCell(LIFBoxParameters(v_reset=torch.nn.Parameter(t(0.0)))), "v_reset is learned")
    assert_refused(norse.LIFCell(LIFParameters(v_leak=torch.tensor(0.1, requires_grad=True))), "v_leak is learned")
    hooked = norse.SequentialState(torch.nn.Linear(3, 3), norse.LIFCell())
    hooked.register_forward_state_hooks(lambda *_: None)
    assert_refused(hooked, "1 (norse", "hooks")
