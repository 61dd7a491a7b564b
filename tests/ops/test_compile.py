"""torch.compile(fullgraph=True): the ops stay whole, forward and backward, for fixed and changing T."""

import os
import shutil

import pytest
import torch
from op_tests.layouts import lay_out
from op_tests.neurons import currents

import spikeops.functional as SF
import spikeops.nn as snn


def _feedback_steps(x, decay):
    """On state of their own; the input's own gradient is not asked for."""
    x = x.detach()
    membrane, rate = torch.zeros_like(x[0]), torch.zeros_like(x[0])
    fired = torch.empty(x.shape[0], dtype=torch.int32, device=x.device)
    spikes = SF.feedback_step_(membrane, torch.empty_like(x), rate, x, fired=fired, leak=0.9)
    signed = SF.ternary_step_(membrane, torch.empty_like(x), rate, x, gate=x[0] + 1, drive_scale=0.7)
    return spikes, signed, rate, membrane, fired


def _local_steps(x, decay):
    """One step of a layer with a classifier on state of their own, and the way back in time."""
    x = x.detach()
    current = x[0] if x.dim() > 2 else x
    weight = torch.ones_like(current[:1]).expand(4, *current.shape[1:])
    membrane, trace, slope = torch.zeros_like(current), torch.zeros_like(current), torch.empty_like(current)
    spikes, gradient = torch.empty_like(current), torch.empty_like(current)
    samples = current.shape[0]
    class_membrane, count = (torch.zeros(samples, 4, device=x.device) for _ in range(2))
    squared, error = torch.zeros(samples, device=x.device), torch.empty(samples, 4, device=x.device)
    SF.local_learning_step_(membrane, spikes, gradient, current, weight, class_membrane, count, squared, error,
                            torch.ones(samples, dtype=torch.int64, device=x.device), 0.7, error_scale=0.1, derivative=slope,
                            trace=trace)  # fmt: skip
    written = membrane, trace, slope, spikes, gradient, class_membrane, count, squared, error
    return *written, SF.local_gradient_in_time(x[0], x, 0.7)


FUNCTIONS = {
    "lif": lambda x, decay: SF.lif(x, decay),
    "lif_options": lambda x, decay: SF.lif(x, decay, reset="to", strict=True, v_init=torch.tanh(decay)),
    "lif_constant": lambda x, decay: SF.lif(x[0], decay, time_steps=5),
    "lif_rate_constant": lambda x, decay: SF.lif_rate(x[0], decay, time_steps=5),
    "lif_rate": lambda x, decay: SF.lif_rate(x, decay, weighting="decay"),
    "tssl_bp": lambda x, decay: SF.tssl_bp(x + 1, return_spikes=True),
    "synaptic_filter": lambda x, decay: SF.synaptic_filter(x + 1, 3.0),
    "spike_count": lambda x, decay: SF.spike_count(x + 1),
    "unpack": lambda x, decay: SF.unpack_spikes(SF.pack_spikes(x.relu()), x.shape[0]),
    "packed_count": lambda x, decay: SF.spike_count(SF.pack_spikes(x.relu())),
    "feedback": _feedback_steps,
    "local": _local_steps,
    "clamped_lif": lambda x, decay: SF.clamped_lif(x.flatten(0, 1), decay.expand(3), dt=0.1, threshold_gain=2.0),
    "latency_encode": lambda x, decay: SF.latency_encode(x[0], x.shape[0]),
}


@pytest.fixture(autouse=True)
def forget_compiled_code():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def inputs(T, layout="contiguous", device="cpu"):
    draw = torch.Generator().manual_seed(4)
    x = currents(draw, T, (2, 3, 4, 5), torch.float32, layout, device).requires_grad_()
    return x, torch.full((), 0.7, device=device, requires_grad=True)


def outputs_and_gradients(function, x, decay):
    outputs = function(x, decay)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    used = [o for o in outputs if o.requires_grad]
    if not used:
        return outputs, ()
    gradients = [lay_out(torch.cos(3 * o.detach() + 1), "channels_last", o.device) for o in used]
    return outputs, torch.autograd.grad(used, (x, decay), gradients, allow_unused=True)


def assert_same(actual, expected):
    for a, e in zip(actual[0], expected[0], strict=True):
        assert torch.equal(a, e) and a.stride() == e.stride() and a.dtype == e.dtype
    for a, e in zip(actual[1], expected[1], strict=True):
        assert (a is None) == (e is None)
        assert a is None or torch.equal(a, e)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
def test_round_trip(device, name, layout):
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend="aot_eager")
    arguments = inputs(6, layout, device)
    assert_same(outputs_and_gradients(compiled, *arguments), outputs_and_gradients(FUNCTIONS[name], *arguments))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_changing_number_of_time_steps(device, name):
    compiled = torch.compile(FUNCTIONS[name], fullgraph=True, backend="aot_eager", dynamic=True)
    steps = (90, 97, 130, 200)  # no size of another axis, and more than one word when packed
    for T in steps:
        arguments = inputs(T, device=device)
        assert_same(outputs_and_gradients(compiled, *arguments), outputs_and_gradients(FUNCTIONS[name], *arguments))
    # Where T is an argument of its own, and not the size of an axis, it is a plain int of the schema: a graph for each T.
    graphs = len(steps) if name in ("unpack", "latency_encode") else 1
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == graphs


def test_state_outside_the_compiled_code(device):
    """Feedback steps write into tensors that the compiled function got, or knows from outside."""
    state = torch.zeros(2, 40, device=device)

    def step(membrane, spikes, drive):
        SF.feedback_step_(membrane, spikes, state[1], drive, current=drive * 0.5)
        return spikes.sum()

    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    results = []
    for function in (step, compiled):
        state.zero_()
        spikes = torch.empty(40, device=device)
        sums = [function(state[0], spikes, currents(torch.Generator().manual_seed(k), 1, (40,), torch.float32)[0].to(device))
                for k in range(5)]  # fmt: skip
        results.append([*sums, state.clone(), spikes])
    for expected, actual in zip(*results, strict=True):
        assert torch.equal(actual, expected)
    assert state[1].sum() == sum(results[0][:5]) > 0


def test_poisson_encode(device):
    p = torch.full((1000,), 0.3, device=device)
    compiled = torch.compile(lambda p: SF.poisson_encode(p, 20), fullgraph=True, backend="aot_eager")
    torch.manual_seed(0)
    first, second = compiled(p), compiled(p)
    assert not torch.equal(first, second)
    for spikes in (first, second):
        # 20 000 draws: 0.02 is 6 standard errors.
        assert abs(spikes.mean().item() - 0.3) < 0.02
    torch.manual_seed(0)
    assert torch.equal(compiled(p), first)


def test_export(device):
    """A network can be exported with any number of time steps."""
    network = torch.nn.Sequential(snn.SynapticFilter(3.0), snn.ParametricLIF(0.6, shape=(3, 1, 1)), snn.TSSLBP()).to(device)
    x, _ = inputs(90, device=device)
    program = torch.export.export(network, (x.detach(),), dynamic_shapes=({0: torch.export.Dim("T", min=2)},))
    for T in (90, 7):
        x, _ = inputs(T, device=device)
        assert torch.equal(program.module()(x), network(x))


@pytest.mark.skipif(not (os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler")
def test_generated_code(device, tmp_path, monkeypatch):
    """The default compiler, on a network with a learnable decay; its other layers are left alone, so that all bits agree."""
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    network = torch.nn.Sequential(snn.SynapticFilter(3.0), snn.ParametricLIF(0.6, shape=(3, 1, 1)), snn.TSSLBP()).to(device)

    def step(x):
        x = x.detach().requires_grad_()
        network.zero_grad()
        psc = network(x)
        SF.spike_count(psc).square().sum().backward()
        return psc.detach(), x.grad, network[1].decay_logit.grad.clone()

    x, _ = inputs(6, "channels_last", device)
    expected = step(x)
    network.compile(fullgraph=True)
    for actual, wanted in zip(step(x), expected):
        torch.testing.assert_close(actual, wanted, rtol=1e-6, atol=1e-6)  # sigmoid may be computed in another way
