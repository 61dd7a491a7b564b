"""Current-based neurons of other libraries, against those of them that are installed: spikes, gradients of the input and of what is
learned there."""

import pytest
import torch

import spikeops.functional as SF
from spikeops import surrogate

STEPS, NEURONS = 50, 512


def drawn(dtype, low, high):
    """Currents (T, N), and the weights of the spikes in a loss."""
    generator = torch.Generator().manual_seed(0)
    x = low + (high - low) * torch.rand(STEPS, NEURONS, generator=generator, dtype=torch.float64)
    return x.to(dtype), torch.randn(STEPS, NEURONS, generator=generator, dtype=torch.float64).to(dtype)


def assert_same(theirs, ours, dtype, learned=(), low=-1.0, high=2.0, far_back=1.0):
    """``theirs`` and ``ours``: x -> spikes. ``learned``: pairs of parameters, theirs and ours.

    Gradients of numbers that all neurons share are sums over steps and neurons of terms of either sign, so that they differ by what
    float32 makes of a sum of that many."""
    x, weights = drawn(dtype, low, high)
    found = []
    for neuron, mine in ((theirs, 0), (ours, 1)):
        current = x.clone().requires_grad_()
        spikes = neuron(current)
        wanted = [current, *(pair[mine] for pair in learned)]
        found.append((spikes.detach(), torch.autograd.grad((spikes * weights).sum(), wanted)))
    (spikes, gradients), (our_spikes, our_gradients) = found
    assert 0.05 < spikes.mean() < 0.95, f"they fire in {spikes.mean():.0%} of the steps"
    assert torch.equal(spikes, our_spikes), f"{(spikes != our_spikes).sum()} spikes differ"
    for name, gradient, our_gradient in zip(("x", *learned), gradients, our_gradients, strict=True):
        # Of x: theirs may hold surrogate and decays as float32 numbers.
        bound = (2e-6 if name == "x" else 2e-5) * far_back
        difference = (gradient - our_gradient.reshape(gradient.shape)).abs().max() / gradient.abs().max()
        assert difference <= bound, f"the gradient differs by {difference:.1e}"


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


def learnable(value, dtype):
    return torch.tensor(value, dtype=dtype, requires_grad=True)


# --- snnTorch ---------------------------------------------------------------------------------------------------------------


def synaptic(**options):
    cell = pytest.importorskip("snntorch").Synaptic(learn_alpha=True, learn_beta=True, learn_threshold=True, **options)

    def run(x):
        syn, mem = torch.zeros_like(x[0]), torch.zeros_like(x[0])
        spikes = []
        for current in x.unbind():
            fired, syn, mem = cell(current, syn, mem)
            spikes.append(fired)
        return torch.stack(spikes)

    return cell, run


@pytest.mark.parametrize("alpha, beta, threshold", [(0.8, 0.9, 1.0), (0.5, 0.5, 0.7)])
@pytest.mark.parametrize("mechanism, reset", [("subtract", "subtract"), ("zero", "to"), ("none", "none")])
def test_snntorch_synaptic_by_default(dtype, mechanism, reset, alpha, beta, threshold):
    """Its reset comes a step late and has no gradient, but for that of the threshold which it takes away."""
    cell, theirs = synaptic(alpha=alpha, beta=beta, threshold=threshold, reset_mechanism=mechanism)
    cell.to(dtype)
    numbers = [learnable(value, dtype) for value in (alpha, beta, threshold)]

    def ours(x):
        return SF.cuba_lif(
            x, numbers[1], numbers[2], current_decay=numbers[0], reset=reset, strict=True,
            reset_timing="late_with_input" if reset == "to" else "late",
        )[0]  # fmt: skip

    learned = list(zip((cell.alpha, cell.beta, cell.threshold), numbers))
    assert_same(theirs, ours, dtype, learned, low=-1.5 if mechanism == "none" else -1.0, high=1.5, far_back=4)


@pytest.mark.parametrize("alpha, beta", [(0.8, 0.9), (0.5, 0.5)])
def test_snntorch_synaptic_that_resets_at_once(dtype, alpha, beta):
    """To zero. (By subtraction it leaves a reset out once a potential exceeds two thresholds: README.)"""
    cell, theirs = synaptic(alpha=alpha, beta=beta, reset_mechanism="zero", reset_delay=False)
    cell.to(dtype)
    numbers = [learnable(value, dtype) for value in (alpha, beta)]

    def ours(x):
        return SF.cuba_lif(x, numbers[1], current_decay=numbers[0], reset="to", strict=True)[0]

    assert_same(theirs, ours, dtype, list(zip((cell.alpha, cell.beta), numbers)), far_back=4)


# --- SpikingJelly -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_reset", [None, 0.0, -0.25])
@pytest.mark.parametrize("detach", [False, True])
def test_spikingjelly_cuba(dtype, v_reset, detach):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    functions = pytest.importorskip("spikingjelly.activation_based.surrogate")
    cell = neuron.CUBALIFNode(0.5, 0.75, 0.5, v_reset, functions.ATan())
    cell.detach_reset = detach
    options = dict(reset="subtract") if v_reset is None else dict(reset="to", v_reset=v_reset)

    def theirs(x):
        cell.reset()
        return torch.stack([cell(current) for current in x.unbind()])

    def ours(x):
        v_init = torch.full((NEURONS,), v_reset or 0.0, dtype=dtype)
        return SF.cuba_lif(x, 0.75, 0.5, current_decay=0.5, detach_reset=detach, v_init=v_init, **options)[0]

    assert_same(theirs, ours, dtype)


# --- Norse ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("v_leak, v_reset", [(0.0, 0.0), (0.25, -0.1)])
def test_norse_lif(dtype, v_leak, v_reset):
    norse = pytest.importorskip("norse.torch")
    numbers = dict(v_leak=v_leak, v_reset=v_reset, tau_mem_inv=100.0, tau_syn_inv=200.0, v_th=1.0)
    layer = norse.LIF(p=norse.LIFParameters(**{name: torch.tensor(value) for name, value in numbers.items()}))

    def ours(x):
        return SF.cuba_lif(
            x, 0.9, current_decay=0.8, order="input_membrane_decay", current_scale=0.1, v_rest=v_leak, reset="to", v_reset=v_reset,
            strict=True, surrogate=surrogate.FastSigmoid(1.0), v_init=torch.full((NEURONS,), v_leak, dtype=dtype),
        )[0]  # fmt: skip

    # They hold their rates, 0.1 and 0.2, in float32.
    assert_same(lambda x: layer(x)[0], ours, dtype, low=-2.0, high=8.0, far_back=4 if dtype == torch.float32 else 1)


# --- sinabs -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_input", [False, True])
@pytest.mark.parametrize("reset", ["subtract", "to"])
def test_sinabs_lif_with_a_synapse(norm_input, reset):
    layers, activation = pytest.importorskip("sinabs.layers"), pytest.importorskip("sinabs.activation")
    layer = layers.LIF(
        tau_mem=10.0, tau_syn=5.0, spike_fn=activation.SingleSpike, norm_input=norm_input, surrogate_grad_fn=activation.PeriodicExponential(),
        reset_fn=activation.MembraneSubtract() if reset == "subtract" else activation.MembraneReset(),
    )  # fmt: skip
    layer.surrogate_grad_fn = Rectangle()
    taus = [torch.tensor(value, requires_grad=True) for value in (10.0, 5.0)]

    def theirs(x):
        layer.reset_states()
        return layer(x.unsqueeze(0))[0]

    def ours(x):
        decay, current_decay = (torch.exp(-1 / tau) for tau in taus)
        return SF.cuba_lif(
            x, decay, current_decay=current_decay, order="input_decay_membrane", current_scale=1 - decay if norm_input else 1.0,
            reset=reset, detach_reset=reset == "to", surrogate=surrogate.Rectangle(1.0),
        )[0]  # fmt: skip

    scale = 10.0 if norm_input else 1.0
    assert_same(theirs, ours, torch.float32, list(zip((layer.tau_mem, layer.tau_syn), taus)), -scale, scale, far_back=4)


class Rectangle:
    """A surrogate of theirs that has one of ours: 1 within half a threshold."""

    def __call__(self, v_mem, spike_threshold):
        return ((v_mem - spike_threshold).abs() <= 0.5).to(v_mem.dtype)
