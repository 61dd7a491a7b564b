"""The options of lif against the neurons of other libraries that have them, where these are installed: spikes in every bit, gradients."""

import math

import pytest
import torch
from op_tests.elsewhere import assert_same, drawn, stepwise, with_gradients
from torch import nn

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import surrogate
from spikeops.surrogate import (
    ATan,
    Exponential,
    FastSigmoid,
    Gaussian,
    Heaviside,
    MultiGaussian,
    PeriodicExponential,
    Rectangle,
    Sigmoid,
    SingleExponential,
    Step,
    StraightThrough,
    SuperSpike,
    Triangle,
    Window,
)


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


# --- snnTorch ---------------------------------------------------------------------------------------------------------------


def leaky(cell="Leaky", **options):
    """(the layer over all steps with its potentials, the layer). It may hold its numbers in float32."""
    made = getattr(pytest.importorskip("snntorch"), cell)(**options)

    def run(x):
        spikes, potentials, mem = [], [], torch.zeros_like(x[0])
        for current in x.unbind():
            spike, mem = made(current, mem)
            spikes.append(spike)
            potentials.append(mem)
        return torch.stack(spikes), torch.stack(potentials)

    return run, made


def as_a_number(tensor):
    return tensor.item() if tensor.numel() == 1 else tensor


TIMINGS = [
    ("subtract", True, dict(reset="subtract", reset_timing="late")), ("zero", True, dict(reset="to", reset_timing="late")),
    ("subtract", False, dict(reset="subtract", reset_timing="guarded")), ("zero", False, dict(reset="to")),
    ("none", True, dict(reset="none")),
]  # fmt: skip


@pytest.mark.parametrize("mechanism, delay, options", TIMINGS, ids=lambda value: str(value) if not isinstance(value, dict) else "")
@pytest.mark.parametrize("threshold", [1.0, 0.7])
def test_leaky_learns_its_decay_and_its_threshold(mechanism, delay, options, threshold):
    numbers = dict(beta=torch.full((512,), 0.9), threshold=torch.tensor(threshold))
    theirs, layer = leaky(**numbers, reset_mechanism=mechanism, reset_delay=delay, learn_beta=True, learn_threshold=True)
    decay, level = (value.clone().requires_grad_() for value in numbers.values())

    def ours(x):
        spikes, _, trace = SF.lif(x, decay, level, strict=True, return_trace=True, **options)
        return spikes, trace

    # Sums over 512 neurons and 16 steps, each in an order of its own.
    assert_same(theirs, ours, torch.float32, parameters=((layer.beta, layer.threshold), (decay, level)), tolerance=1e-5)


@pytest.mark.parametrize("mechanism, timing", [("subtract", "late"), ("zero", "late_with_input"), ("none", "now")])
@pytest.mark.parametrize("numbers", [dict(beta=0.8), dict(R=1.0, C=4.4)], ids=str)
def test_lapicque(mechanism, timing, numbers):
    theirs, layer = leaky("Lapicque", reset_mechanism=mechanism, threshold=0.7, **numbers)
    decay, scale = (1 - layer.time_step / (layer.R * layer.C)), layer.time_step / (layer.R * layer.C)
    reset = {"subtract": "subtract", "zero": "to", "none": "none"}[mechanism]

    def ours(x):
        spikes, _, trace = SF.lif(
            x, decay, 0.7, input_scale=scale, strict=True, reset=reset, reset_timing=timing, return_trace=True
        )
        return spikes, trace

    assert_same(theirs, ours, torch.float32, high=6.0)


# --- sinabs -----------------------------------------------------------------------------------------------------------------


def sinabs_layer(kind, **options):
    """The layer over (T, N), its potentials, and the layer."""
    made = getattr(pytest.importorskip("sinabs.layers"), kind)(record_states=True, **options)

    def run(x):
        made.reset_states()
        spikes = made(x.T[..., None].contiguous())  # (batch, time, channel)
        return spikes[..., 0].T, made.recordings["v_mem"][..., 0].T

    return run, made


def traced(decay, threshold, **options):
    def ours(x):
        spikes, _, trace = SF.lif(x, decay() if callable(decay) else decay, threshold, return_trace="after", **options)
        return spikes, trace

    return ours


@pytest.mark.parametrize("norm_input", [True, False])
@pytest.mark.parametrize("spike_fn, most", [("MultiSpike", None), (3, 3), ("SingleSpike", 1)], ids=str)
@pytest.mark.parametrize("reset", ["subtract", "to"])
@pytest.mark.parametrize("min_v_mem", [None, -0.3])
def test_sinabs_lif(norm_input, spike_fn, most, reset, min_v_mem):
    activation = pytest.importorskip("sinabs.activation")
    theirs, layer = sinabs_layer(
        "LIF", tau_mem=10.0, norm_input=norm_input, min_v_mem=min_v_mem, spike_threshold=torch.tensor(0.7),
        spike_fn=activation.MaxSpike(spike_fn) if isinstance(spike_fn, int) else getattr(activation, spike_fn),
        reset_fn=activation.MembraneSubtract() if reset == "subtract" else activation.MembraneReset(),
    )  # fmt: skip
    tau = torch.tensor(10.0, requires_grad=True)

    def ours(x):
        decay = torch.exp(-1 / tau)
        return traced(
            decay, layer.spike_threshold.detach(), input_scale=1 - decay if norm_input else 1.0, max_spikes=most, v_min=min_v_mem, reset=reset,
            detach_reset=reset == "to", surrogate=SingleExponential(),
        )(x)  # fmt: skip

    high = 20.0 if norm_input else 2.0
    assert_same(theirs, ours, torch.float32, low=-high / 2, high=high, parameters=((layer.tau_mem,), (tau,)), tolerance=1e-5)


@pytest.mark.parametrize("bump, ours", [
    ("SingleExponential(0.4, 1.5)", SingleExponential(0.4, height=1.5)), ("Gaussian(0.2, 0.4, 2.0)", Gaussian(0.4, height=2.0, center=0.2)),
    ("MultiGaussian(0.1, 0.6, 0.2, 4.0, 0.5)", MultiGaussian(0.6, 0.2, 4.0, height=0.5, center=0.1)),
    ("PeriodicExponential(0.3, 0.7)", PeriodicExponential(0.3, height=0.7)), ("Heaviside(0.5)", Heaviside(0.5)),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("threshold", [1.0, 0.7])
def test_sinabs_surrogates(bump, ours, threshold):
    activation = pytest.importorskip("sinabs.activation")
    name, arguments = bump.rstrip(")").split("(")
    theirs = getattr(activation, name)(*map(float, arguments.split(",")))
    if name == "MultiGaussian":  # whose side lobes do not follow mu
        theirs.mu, ours = 0.0, MultiGaussian(0.6, 0.2, 4.0, height=0.5)
    run, _ = sinabs_layer("IAF", surrogate_grad_fn=theirs, spike_threshold=torch.tensor(threshold))
    assert_same(run, traced(1.0, threshold, max_spikes=None, surrogate=ours), torch.float32, low=-1.0, high=1.5, tolerance=1e-5)


# --- SpikingJelly -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("most, window", [(4, None), (1, None), (6, (-1.0, 4.0))], ids=str)
def test_spikingjelly_ilif(dtype, most, window, detach):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    functions = pytest.importorskip("spikingjelly.activation_based.surrogate")
    count = functions.MultiLevelSpikeCount(most, grad_window=window)
    layer = neuron.ILIFNode(1.7, 0.7, count, detach_reset=detach, step_mode="m", store_v_seq=True)

    def theirs(x):
        layer.reset()
        return layer(x), layer.v_seq

    ours = traced(1 - 1 / 1.7, 0.7, max_spikes=most, rounding="nearest", detach_reset=detach, surrogate=Window(*(window or (0, most))))
    assert_same(theirs, ours, dtype, low=-1.0, high=3.0)


@pytest.mark.parametrize("v_reset", [None, 0.0, -0.25])
@pytest.mark.parametrize("decay_input", [False, True])
def test_spikingjelly_plif_as_published(decay_input, v_reset):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    layer = neuron.ParametricLIFNode(3.7, decay_input=decay_input, v_reset=v_reset, step_mode="m", store_v_seq=True)
    reset = dict(reset="subtract") if v_reset is None else dict(reset="to", v_reset=v_reset, v_rest=v_reset)
    ours = snn.ParametricLIF(1 - 1 / 3.7, decay_input=decay_input, surrogate=Sigmoid(4.0), return_trace="after", **reset)
    x, weights = drawn(torch.float32, -0.5, 3.5)
    start = torch.full_like(x[0], v_reset or 0.0)
    theirs, gradients = with_gradients(layer, x, weights, [layer.w])
    (spikes, trace), our_gradients = with_gradients(lambda x: ours(x, start), x, weights, [ours.decay_logit])
    # The published trace has no part in the gradient: only that of the spikes is compared, by a loss without it.
    _, our_gradients = with_gradients(lambda x: ours(x, start)[0], x, weights, [ours.decay_logit])
    assert torch.equal(theirs[0], spikes)
    torch.testing.assert_close(trace, layer.v_seq, rtol=0, atol=1e-6)
    assert (gradients[0] - our_gradients[0]).abs().max() <= 2e-6 * gradients[0].abs().max()
    torch.testing.assert_close(gradients[1], -our_gradients[1], rtol=1e-5, atol=0)  # w = -decay_logit


# name in the library: (its parameters, ours)
BUMPS_OF_SPIKINGJELLY = {
    "Sigmoid": ((3.0,), Sigmoid(3.0)), "ATan": ((3.0,), ATan(3.0)), "SuperSpike": ((2.0,), SuperSpike(2.0)),
    "SoftSign": ((3.0,), FastSigmoid(3.0, height=1.5)), "PiecewiseQuadratic": ((1.5,), Triangle(1 / 1.5)),
    "PiecewiseExp": ((1.5,), Exponential(1.5, height=0.75)), "Erf": ((2.0,), Gaussian(1 / (2 * math.sqrt(2)))),
    "LeakyKReLU": ((0.1, 0.8), Step(0.1, 0.8)), "QPseudoSpike": ((2.0,), FastSigmoid(2.0)), "Rect": ((0.8,), Rectangle(1 / 0.8)),
    "DeterministicPass": ((), StraightThrough()),
}  # fmt: skip
BUMPS_OF_SNNTORCH = {
    "atan": ((3.0,), ATan(3.0)), "fast_sigmoid": ((5.0,), FastSigmoid(5.0)), "sigmoid": ((5.0,), Sigmoid(5.0)),
    "spike_rate_escape": ((1.5, 2.0), Exponential(1.5, height=2.0, center=1.0)), "triangular": ((0.5,), Step(0.5, -0.5)),
    "straight_through_estimator": ((), StraightThrough()), "triangular/1": ((), Step(1.0, -1.0)),
}  # fmt: skip
BUMPS_OF_NORSE = {
    "super": (7.0, SuperSpike(1.0)), "triangle": (0.3, Triangle(1.0, height=0.3)), "tanh": (1.5, Sigmoid(3.0, height=2 / 1.5)),
    "heavi_erfc": (1.5, Gaussian(1 / (1.5 * math.sqrt(2)), height=2 / 1.5)),
}  # fmt: skip


def assert_same_bump(function, ours):
    d = torch.linspace(-3, 3, 1001, dtype=torch.float64, requires_grad=True)
    (theirs,) = torch.autograd.grad(function(d).sum(), d)
    x = d.detach()[None].clone().requires_grad_()
    spikes, *_ = SF.lif(x, 0.0, 0.0, reset="none", surrogate=ours)
    (gradient,) = torch.autograd.grad(spikes.sum(), x)
    torch.testing.assert_close(gradient[0], theirs, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", BUMPS_OF_SPIKINGJELLY)
def test_spikingjelly_surrogates(name):
    arguments, ours = BUMPS_OF_SPIKINGJELLY[name]
    assert_same_bump(getattr(pytest.importorskip("spikingjelly.activation_based.surrogate"), name)(*arguments), ours)


@pytest.mark.parametrize("name", BUMPS_OF_SNNTORCH)
def test_snntorch_surrogates(name):
    arguments, ours = BUMPS_OF_SNNTORCH[name]
    made = getattr(pytest.importorskip("snntorch.surrogate"), name.partition("/")[0])(*arguments)
    if name.startswith("triangular") and arguments:
        # Above the threshold it does not scale its gradient, but negates what is scaled: Step(t, -t).
        assert ours == Step(arguments[0], -arguments[0])
    assert_same_bump(made, ours)


@pytest.mark.parametrize("name", BUMPS_OF_NORSE)
def test_norse_surrogates(name):
    alpha, ours = BUMPS_OF_NORSE[name]
    threshold = pytest.importorskip("norse.torch.functional.threshold").threshold
    assert_same_bump(lambda d: threshold(d, name, alpha), ours)


@pytest.mark.parametrize("reset", ["subtract", "value"])
def test_norse_boxes(dtype, reset):
    norse = pytest.importorskip("norse.torch")
    resets = pytest.importorskip("norse.torch.functional.reset")
    parameters = norse.LIFBoxParameters(
        v_th=torch.tensor(0.7), method="triangle", alpha=0.3, reset_method=getattr(resets, f"reset_{reset}")
    )
    cell = norse.LIFBoxCell(parameters)
    options = dict(input_scale=0.1, strict=True, reset="to" if reset == "value" else "subtract", surrogate=Triangle(1.0, height=0.3))
    assert_same(stepwise(cell), lambda x: SF.lif(x, 0.9, 0.7, **options)[0], dtype, high=10.0)


# --- modules ----------------------------------------------------------------------------------------------------------------


def test_a_module_with_a_learnable_threshold_is_that_of_snntorch():
    theirs, layer = leaky(beta=0.9, threshold=0.8, learn_threshold=True)
    module = snn.LIF(0.9, nn.Parameter(torch.tensor(0.8)), strict=True, reset_timing="late", return_trace="after", surrogate=surrogate.ATan(2.0))
    assert_same(theirs, module, torch.float32, parameters=((layer.threshold,), tuple(module.parameters())), tolerance=1e-5)
