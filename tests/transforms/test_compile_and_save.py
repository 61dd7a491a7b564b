"""Each op and module compiled, exported, traced and saved: one program for many sizes, with the values and gradients of plain calls."""

import subprocess

import pytest
import python_code
import torch
from torch.func import grad, jvp, vmap
from transform_tests.calls import CALLS, MODULES, REFUSED, WIDTH, WORKS, as_tuple, loss

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

BY_NAME = pytest.mark.parametrize("name", CALLS)
# Whether Dynamo takes transforms of torch.func around ops of others into its graph: torch 2.10 does not, and says so.
TRACES_TRANSFORMS = tuple(map(int, torch.__version__.split(".")[:2])) >= (2, 13)


@pytest.fixture(autouse=True)
def forget_compiled_code():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    yield
    torch._dynamo.reset()


def sizes(name):
    """Sizes that are all different, so that no axis is taken for another; as far as the call is free to change them."""
    call = CALLS[name]
    for T, batch, width in ((18, 3, 10), (18, 7, 10), (18, 7, 30), (25, 11, 40), (70, 13, 50)):
        yield dict(T=4 if call.steps_are_fixed else T, batch=batch, width=WIDTH if name in MODULES else width)


def same(actual, expected):
    for a, e in zip(as_tuple(actual), as_tuple(expected), strict=True):
        assert a.dtype == e.dtype and a.shape == e.shape
        torch.testing.assert_close(a, e, rtol=1e-5, atol=1e-5)  # float32, sums of compiled code in another order


def outputs_and_gradients(call, function, tensors):
    torch.manual_seed(0)
    if call.gradient != WORKS:
        return as_tuple(function(*tensors))
    tensors = tuple(tensor.requires_grad_() for tensor in tensors)
    outputs = as_tuple(function(*tensors))
    used = [output for output in outputs if output.requires_grad]
    return *outputs, *torch.autograd.grad(loss(lambda *_: tuple(used))(), tensors)


@BY_NAME
def test_one_graph_for_all_sizes(name):
    """Sizes stay symbolic: a short last batch costs no compilation, and a network that grows and shrinks never reaches the limit of
    recompilations."""
    call = CALLS[name]
    function = call.make(torch.float32)
    if call.compile == REFUSED:  # as one graph; else it is left out of the graphs around it
        with pytest.raises(torch._dynamo.exc.Unsupported):
            torch.compile(function, fullgraph=True, backend="eager")(*call.tensors(torch.float32))
        compiled = torch.compile(function, backend="eager")
        return same(compiled(*call.tensors(torch.float32)), function(*call.tensors(torch.float32)))
    compiled = torch.compile(function, fullgraph=True, dynamic=True, backend="aot_eager")
    # The derivative of local_gradient_in_time unrolls T: a graph for each.
    run = outputs_and_gradients if name != "local_gradient_in_time" else lambda _, function, tensors: function(*tensors)
    for case in sizes(name):
        tensors = call.tensors(torch.float32, **case)
        same(run(call, compiled, tensors), run(call, function, tensors))
    most = 2 if "onv2d" in name else 1  # torch itself takes a second one for a convolution, once
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= most


def test_gradient_of_local_gradient_in_time_in_compiled_code():
    call = CALLS["local_gradient_in_time"]
    compiled = torch.compile(call.function, fullgraph=True, backend="aot_eager")
    tensors = call.tensors(torch.float32)
    same(outputs_and_gradients(call, compiled, tensors), outputs_and_gradients(call, call.function, tensors))


def test_the_reference_can_be_compiled():
    call = CALLS["lif/to"]
    with spikeops.backend("reference"):
        compiled = torch.compile(call.function, fullgraph=True, backend="aot_eager")
        tensors = call.tensors()
        same(outputs_and_gradients(call, compiled, tensors), outputs_and_gradients(call, call.function, tensors))


@pytest.mark.parametrize("axis", ["batch", "width", "T"])
def test_sizes_that_vary_without_being_announced(axis):
    """torch.compile as it is called by default: the second size makes the axis dynamic."""
    call = CALLS["lif/parameters"]
    compiled = torch.compile(call.function, fullgraph=True, backend="aot_eager")
    for size in (30, 70, 90, 110):
        tensors = call.tensors(torch.float32, **{axis: size})
        same(outputs_and_gradients(call, compiled, tensors), outputs_and_gradients(call, call.function, tensors))
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 2


@pytest.mark.parametrize("name", ["lif/parameters", "tssl_bp", "synaptic_filter"])
def test_transforms_inside_compiled_code(name):
    """Per-sample gradients, and a gradient penalty, as part of one graph."""
    call = CALLS[name]
    tensors, places = call.tensors(), tuple(range(len(call.shapes)))
    functions = [
        vmap(grad(loss(call.function), places), in_dims=tuple(None if d is None else -1 for d in call.batched)),
        grad(lambda *t: sum(g.square().sum() for g in grad(loss(call.function), places)(*t)), places),
    ]
    for function in functions:
        given = tensors
        if function is functions[0]:
            given = tuple(t if d is None else torch.stack((t, t.flip(d)), -1) for t, d in zip(tensors, call.batched))
        compiled = torch.compile(function, fullgraph=TRACES_TRANSFORMS, backend="aot_eager")
        torch.testing.assert_close(compiled(*given), function(*given), rtol=1e-9, atol=1e-9)


def test_forward_mode_inside_compiled_code():
    x = torch.rand(4, 3)
    for full in (True, False) if TRACES_TRANSFORMS else (False,):
        compiled = torch.compile(lambda x: jvp(lambda x: SF.synaptic_filter(x, 3.0), (x,), (x,))[1], fullgraph=full, backend="aot_eager")
        torch.testing.assert_close(compiled(x), SF.synaptic_filter(x, 3.0))
        torch._dynamo.reset()
        with pytest.raises(RuntimeError, match="lif: there is no forward-mode derivative"):
            torch.compile(lambda x: jvp(SF.lif, (x,), (x,))[1], fullgraph=full, backend="aot_eager")(x)
        torch._dynamo.reset()


def test_second_derivative_of_compiled_code_is_refused():
    """By torch: compiled code has first derivatives only."""
    compiled = torch.compile(lambda x: SF.lif(x)[0], backend="aot_eager")
    x = torch.rand(4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(compiled(x).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="double backward"):
        gradient.sum().backward()


# --- torch.export -----------------------------------------------------------------------------------------------------------


@BY_NAME
def test_export(name):
    """With any batch, and any T and width where they are free."""
    call = CALLS[name]

    class Called(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.function = call.make(torch.float32)

        def forward(self, tensors):
            return self.function(*tensors)

    network = Called().eval()
    first, *others = sizes(name)
    if call.export == REFUSED:
        with pytest.raises((RuntimeError, torch._dynamo.exc.Unsupported)):
            torch.export.export(network, (call.tensors(torch.float32, **first),))
        return
    if name == "spike_conv2d" and not TRACES_TRANSFORMS:
        pytest.skip("torch 2.10 wants the widths of convolutions bounded by a number that is not whole")
    free = {"B": torch.export.Dim("B", min=2)}
    if not call.steps_are_fixed:
        free["T"] = torch.export.Dim("T", min=17 if "pack" in name else 3)
    if name not in MODULES:
        free["N"] = torch.export.Dim("N", min=2)
    shapes = tuple({axis: free[size] for axis, size in enumerate(shape) if size in free} for shape in call.shapes)
    with torch.no_grad():
        program = torch.export.export(network, (call.tensors(torch.float32, **first),), dynamic_shapes=(shapes,))
        for case in others:
            tensors = call.tensors(torch.float32, **case)
            torch.manual_seed(0)
            actual = program.module()(tensors)
            torch.manual_seed(0)
            same(actual, network(tensors))


# --- torch.jit.trace --------------------------------------------------------------------------------------------------------

LOAD = """
import sys, torch, spikeops
for name, tensors, expected in torch.load(sys.argv[1] + "/cases.pt", weights_only=True):
    network = torch.jit.load(f"{sys.argv[1]}/{name}.pt")
    torch.manual_seed(0)
    with torch.no_grad():
        actual = network(*tensors)
    for a, e in zip(actual if isinstance(actual, tuple) else (actual,), expected, strict=True):
        torch.testing.assert_close(a, e, msg=lambda m: f"{name}: {m}")
    print(name)
"""


@pytest.mark.filterwarnings("ignore")  # torch says that tracing is deprecated, and of each check of a size that it is one
def test_traces_are_saved_and_run_elsewhere(tmp_path):
    """In a fresh process that imports spikeops, for other sizes than those that were traced."""
    cases = []
    for name, call in CALLS.items():
        function, file = call.make(torch.float32), name.replace("/", "-")
        example, tensors = (call.tensors(torch.float32, **case) for case in list(sizes(name))[:2])
        with torch.no_grad():
            if call.trace == REFUSED:
                with pytest.raises(NotImplementedError, match=f"^{name.split('/')[0]}: cannot be traced"):
                    torch.jit.trace(function, example)
                continue
            torch.jit.trace(function, example, check_trace=False).save(str(tmp_path / f"{file}.pt"))
            torch.manual_seed(0)
            cases.append((file, tensors, as_tuple(function(*tensors))))
    torch.save(cases, tmp_path / "cases.pt")
    done = subprocess.run(python_code.command(LOAD, str(tmp_path)), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [file for file, _, _ in cases]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.gradient == WORKS and call.trace == WORKS])
def test_gradients_of_a_trace(name, tmp_path):
    call = CALLS[name]
    function = call.make(torch.float32)
    example, tensors = (call.tensors(torch.float32, **case) for case in list(sizes(name))[:2])
    torch.jit.trace(function, tuple(t.requires_grad_() for t in example), check_trace=False).save(str(tmp_path / "trace.pt"))
    loaded = torch.jit.load(str(tmp_path / "trace.pt"))
    same(outputs_and_gradients(call, loaded, tensors), outputs_and_gradients(call, function, tensors))


# --- ONNX -------------------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dynamo", [True, False], ids=["dynamo", "traced"])
def test_onnx_of_kernels_is_refused(dynamo, tmp_path):
    """ONNX has no such op, and torch says which it is that it has not."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    with pytest.raises(Exception, match="lif_forward"):
        torch.onnx.export(snn.LIF(0.5).eval(), (torch.rand(4, 2, 5),), str(tmp_path / "lif.onnx"), dynamo=dynamo)


@pytest.mark.filterwarnings("ignore")
def test_onnx_of_the_reference(tmp_path):
    """In plain operators, unrolled in time, for any batch."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    from onnx.reference import ReferenceEvaluator

    torch.manual_seed(0)
    network = torch.nn.Sequential(snn.TimeDistributed(torch.nn.Linear(5, 6)), snn.ParametricLIF(0.6, shape=(6,)), snn.TSSLBP()).eval()
    torch.nn.init.uniform_(network[0].module.weight)  # so that they fire
    with spikeops.backend("reference"):
        example, batch = torch.rand(4, 2, 5), torch.export.Dim("B", min=2)
        torch.onnx.export(network, (example,), str(tmp_path / "net.onnx"), dynamo=True, dynamic_shapes=({1: batch},))
    x = 3 * torch.rand(4, 7, 5)
    program = onnx.load(str(tmp_path / "net.onnx"))
    (actual,) = ReferenceEvaluator(program).run(None, {program.graph.input[0].name: x.numpy()})
    assert network(x).sum() > 1
    torch.testing.assert_close(torch.from_numpy(actual), network(x).detach(), rtol=1e-5, atol=1e-5)
