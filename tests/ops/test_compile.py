"""torch.compile(fullgraph=True): the ops stay whole, forward and backward, for fixed and changing T."""

import os
import shutil

import op_cases
import pytest
import torch
from op_tests.inputs import Inputs
from op_tests.layouts import lay_out
from op_tests.neurons import currents, split_arguments
from op_tests.transformed import REFUSED

import spikeops.functional as SF
import spikeops.nn as snn

CALLS = op_cases.CALLS


@pytest.fixture(autouse=True)
def forget_compiled_code():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def current(T, layout="contiguous", device="cpu"):
    return currents(torch.Generator().manual_seed(4), T, (2, 3, 4, 5), torch.float32, layout, device)


class Program:
    """A call as a function of its tensors and its number of time steps: all else is known to the compiler."""

    def __init__(self, call, T, layout="contiguous", device="cpu"):
        self.call = call
        arguments = call.make(Inputs(T, (2, 3, 4, 5), layout=layout, device=device))
        self.tensors, options = split_arguments(**arguments)
        self.leaves = [name for name in self.tensors if name in call.differentiable]
        for name in self.leaves:
            self.tensors[name].requires_grad_()
        self.steps = {name: value for name, value in options.items() if name in ("T", "time_steps")}
        self.options = {name: value for name, value in options.items() if name not in self.steps}

    def function(self):
        call, options = self.call, self.options

        def run(tensors, steps):
            return call({**tensors, **options, **steps})

        return run

    def amid_others(self):
        """With other ops before and behind it. What is written in place was made there."""
        call, options = self.call, self.options

        def run(tensors, steps):
            tensors = {name: tensor * 1 if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
            outputs = call({**tensors, **options, **steps})
            return tuple(output + 0.5 if output.is_floating_point() else output for output in outputs)

        return run

    def results(self, function):
        """Outputs, and the gradients of all leaves."""
        outputs = function(self.tensors, self.steps)
        used = [output for output in outputs if output.requires_grad]
        if not used:
            return outputs, ()
        gradients = [lay_out(torch.cos(3 * output.detach() + 1), "channels_last", output.device) for output in used]
        return outputs, torch.autograd.grad(used, [self.tensors[name] for name in self.leaves], gradients, allow_unused=True)


def assert_same(actual, expected):
    for a, e in zip(actual[0], expected[0], strict=True):
        assert torch.equal(a, e) and a.stride() == e.stride() and a.dtype == e.dtype
    for a, e in zip(actual[1], expected[1], strict=True):
        assert (a is None) == (e is None)
        assert a is None or torch.equal(a, e)


FIRST_CALLS = [str(call) for call in op_cases.first_calls().values()]


@pytest.mark.parametrize("layout, name", [
    *(("channels_last", name) for name in CALLS), *((layout, name) for layout in ("contiguous", "sliced") for name in FIRST_CALLS),
])  # fmt: skip
def test_round_trip(device, name, layout):
    program = Program(CALLS[name], 6, layout, device)
    function = program.function()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_same(program.results(compiled), program.results(function))


@pytest.mark.parametrize("call", op_cases.first_calls().values(), ids=str)
def test_amid_other_ops(device, call):
    program = Program(call, 6, device=device)
    function = program.amid_others()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    assert_same(program.results(compiled), program.results(function))


def test_what_was_packed_is_counted_and_unpacked(device):
    """Ops behind each other."""
    x = Program(CALLS["lif"], 40, device=device).tensors["x"]

    def run(x):
        packed = SF.pack_spikes(x.relu())
        return SF.unpack_spikes(packed, x.shape[0]), SF.spike_count(packed)

    for actual, expected in zip(torch.compile(run, fullgraph=True, backend="aot_eager")(x), run(x), strict=True):
        assert torch.equal(actual, expected)


# What tests/transforms compile for many sizes at once, T among them.
FOR_ALL_SIZES = {name for name, call in op_cases.TRANSFORMED.items() if not (call.steps_are_fixed or call.module or call.compile == REFUSED)}


@pytest.mark.parametrize("name", [
    name for name, call in CALLS.items()
    if (name in FIRST_CALLS and call.function not in FOR_ALL_SIZES) or "time_steps" in call.make(Inputs(4, (2, 3)))
])  # fmt: skip
def test_changing_number_of_time_steps(device, name):
    """Where tests/transforms do not, and where the number of steps is an argument."""
    steps = (90, 200)  # no size of another axis, and more than one word when packed
    programs = [Program(CALLS[name], T, device=device) for T in steps]
    function = programs[0].function()
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager", dynamic=True)
    for program in programs:
        assert_same(program.results(compiled), program.results(function))
    # Where T is an argument of its own, and not the size of an axis, it is a plain int of the schema: a graph for each T.
    graphs = len(steps) if programs[0].steps else 1
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
    x = current(90, device=device)
    program = torch.export.export(network, (x,), dynamic_shapes=({0: torch.export.Dim("T", min=2)},))
    for T in (90, 7):
        x = current(T, device=device)
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

    x = current(6, "channels_last", device)
    expected = step(x)
    network.compile(fullgraph=True)
    for actual, wanted in zip(step(x), expected):
        torch.testing.assert_close(actual, wanted, rtol=1e-6, atol=1e-6)  # sigmoid may be computed in another way
