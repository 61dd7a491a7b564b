"""The CUDA kernels' source, run on the host, against the definitions in spikeops.reference: spikes bit for bit."""

import pytest
import torch
from host_cuda import ops
from host_cuda.calls import DTYPES, Case, cuda, run
from op_tests.compare import assert_close, assert_identical

from spikeops import reference, surrogate

pytestmark = pytest.mark.usefixtures("host_kernels")

CASES = [Case(dtype, T, N) for dtype in DTYPES for T in (1, 5, 33, 100) for N in (129, 264)]
LIF_NAMES = ("threshold", "input_scale", "reset_amount", "v_reset", "v_rest", "strict", "detach_reset")
SURROGATES = [
    surrogate.ATan(2.0), surrogate.Sigmoid(4.0), surrogate.Exponential(1.0), surrogate.FastSigmoid(2.0), surrogate.Triangle(1.0),
    surrogate.Rectangle(1.0), surrogate.Gaussian(0.5),
]  # fmt: skip
LIF_GRADIENTS = ("grad_x", "grad_decay", "grad_v_init")


def on_host(call):
    """(arguments by name, results by name) of a call."""
    op, arguments = call
    names = [argument.name for argument in getattr(cuda(), op).default._schema.arguments]
    return dict(zip(names, arguments, strict=True)), run(cuda(), op, arguments)


def evaluate(function, inputs, upstream):
    """(outputs, gradients of all inputs)."""
    leaves = [t.detach().requires_grad_() for t in inputs]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return outputs, torch.autograd.grad(outputs[: len(upstream)], leaves, upstream)


def neuron(arguments):
    return [arguments[name] for name in ("x", "decay_tensor", "v_init")]


def lif(options, function=reference.lif, **more):
    """The reference as a function of x, decay and v_init."""
    chosen = {name: options[name] for name in LIF_NAMES} | {"reset": ("subtract", "to", "none")[options["reset"]]} | more
    return lambda x, decay, v_init: function(x, decay, v_init=v_init, **chosen)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("reset", [0, 1, 2])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_lif_forward(case, reset, strict):
    options = ops.LIF | {"reset": reset, "strict": strict, "v_reset": -0.125, "reset_amount": 0.75}
    given, actual = on_host(ops.lif_forward(case, options, per_neuron=True))
    spikes, v = lif(options)(*neuron(given))
    assert_identical(actual["spikes"], spikes, "spikes")
    assert_identical(actual["v_last"], v, "v_last")


@pytest.mark.parametrize("reset", [0, 1, 2])
@pytest.mark.parametrize("chosen", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_lif_backward(dtype, chosen, reset):
    options = ops.ROUND | {"reset": reset}
    given, grads = on_host(ops.lif_backward(Case(dtype, 33, 132), options, True, chosen.coefficients))
    upstream = [given["grad_spikes"], given["grad_v_last"]]
    _, expected = evaluate(lif(options, surrogate=chosen), neuron(given), upstream)
    for name, e in zip(LIF_GRADIENTS, expected):
        assert_close(grads[name], e, name)


@pytest.mark.parametrize("weighting", ["mean", "decay"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_lif_rate(case, weighting):
    number, chosen = ("mean", "decay").index(weighting), surrogate.ATan(2.0)
    _, outputs = on_host(ops.lif_rate_forward(case, ops.ROUND, True, number))
    given, grads = on_host(ops.lif_rate_backward(case, ops.ROUND, True, chosen.coefficients, number))
    function = lif(ops.ROUND, reference.lif_rate, surrogate=chosen, weighting=weighting)
    (rate,), expected = evaluate(function, neuron(given), [given["grad_rate"]])
    assert_close(*outputs.values(), rate.detach(), "rate")
    for name, e in zip(LIF_GRADIENTS, expected):
        assert_close(grads[name], e, name)


@pytest.mark.parametrize("op", ["lif", "lif_rate"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_constant_current(case, op):
    options, chosen = ops.ROUND | {"is_constant": True}, surrogate.ATan(2.0)
    forward, backward = (getattr(ops, f"{op}_{way}") for way in ("forward", "backward"))
    _, outputs = on_host(forward(case, options, True))
    given, grads = on_host(backward(case, options, True, chosen.coefficients))
    names = ("grad_spikes", "grad_v_last") if op == "lif" else ("grad_rate",)
    function = lif(options, getattr(reference, op), surrogate=chosen, time_steps=case.T)
    results, expected = evaluate(function, neuron(given), [given[name] for name in names])
    for (name, actual), e in zip(outputs.items(), results, strict=True):
        assert_close(actual, e.detach(), name)
    for name, e in zip(LIF_GRADIENTS, expected):
        assert_close(grads[name], e, name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tssl_bp(case):
    _, outputs = on_host(ops.tssl_bp_forward(case))
    given, grads = on_host(ops.tssl_bp_backward(case))
    function = lambda x: reference.tssl_bp(x, ops.TAU_M, ops.TAU_S, ops.THRESHOLD, True)  # noqa: E731
    _, (expected,) = evaluate(function, [given["x"]], [given["grad_psc"]])
    psc, spikes = function(ops.currents(case))
    assert_identical(outputs["spikes"], spikes, "spikes")
    assert_identical(outputs["psc"], psc, "psc")
    assert_close(*grads.values(), expected, "grad_x")


@pytest.mark.parametrize("given", [ops.STEP_TENSORS, ("drive",), ("current", "count", "fired")], ids="-".join)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_feedback_steps(case, given):
    for op, factor, numbers in (
        (ops.feedback_step, "mask", {"leak": 0.83, "threshold": 0.5, "reset_amount": 0.75}),
        (ops.ternary_step, "gate", {"drive_scale": 1 / 3, "leak": 0.83, "threshold": 0.25, "amplitude": 0.75}),
    ):
        arguments, actual = on_host(op(case, **numbers, given=given, current_per_step=True))
        expected = {name: value for name, value in arguments.items() if value is not None and name not in numbers}
        if "factor" in expected:
            expected[factor] = expected.pop("factor")
        getattr(reference, f"{op.__name__}_")(**expected, **numbers)
        for name, value in actual.items():
            assert_identical(value, expected[name], name)


@pytest.mark.parametrize("chosen", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("case", [Case(dtype, 10, 129) for dtype in DTYPES], ids=str)
@pytest.mark.parametrize("optional", [True, False])
def test_local_learning_step(case, chosen, optional):
    exact = ("membrane", "spikes", "class_membrane", "count", "squared_error")
    call = ops.local_learning_step(case, 0.83, 0.75, 0.3, chosen.coefficients, optional, samples=4, exact=True)
    expected, actual = on_host(call)
    expected = {name: value for name, value in expected.items() if isinstance(value, torch.Tensor)}
    reference.local_learning_step_(**expected, error_scale=0.3, decay=0.83, threshold=0.75, surrogate=chosen)
    for name, value in actual.items():
        (assert_identical if name in exact else assert_close)(value, expected[name], name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_local_gradient_in_time(case):
    draw = ops.Draw(case)
    tensors = draw.normal(case.N), draw.uniform(0, 1, case.T, case.N)
    _, outputs = on_host(("local_gradient_in_time", (*tensors, 0.83, 0.75)))
    assert_close(*outputs.values(), reference.local_gradient_in_time(*tensors, 0.83, 0.75), "gradients")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_synaptic_filter(case):
    x, upstream = ops.currents(case), ops.Draw(case).normal(case.T, case.N)
    _, outputs = on_host(("synaptic_filter_forward", (x, ops.TAU_S)))
    _, grads = on_host(("synaptic_filter_backward", (upstream, ops.TAU_S)))
    (psc,), (expected,) = evaluate(lambda x: reference.synaptic_filter(x, ops.TAU_S), [x], [upstream])
    assert_identical(*outputs.values(), psc.detach(), "psc")
    assert_close(*grads.values(), expected, "grad_x")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_spikes_counted_packed_and_unpacked(case):
    given, outputs = on_host(ops.spike_count(case))
    assert_identical(*outputs.values(), reference.spike_count(given["spikes"]), "count")
    given, outputs = on_host(ops.pack_spikes(case))
    assert torch.equal(*outputs.values(), reference.pack_spikes(given["spikes"]))
    given, outputs = on_host(ops.unpack_spikes(case))
    assert_identical(*outputs.values(), reference.unpack_spikes(given["packed"], case.T, case.dtype), "spikes")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_encodings(case):
    p, seed = ops.Draw(case).uniform(-0.1, 1.1, case.N), torch.tensor([0x1234_5678_9ABC_DEF0])
    p[:4] = torch.tensor([0.0, 1.0, 0.5, torch.nan])
    _, outputs = on_host(("poisson_encode", (p, case.T, seed)))
    assert_identical(*outputs.values(), reference.poisson_encode_from_seed(p, case.T, seed), "poisson")
    _, outputs = on_host(("latency_encode", (p, case.T)))
    assert_identical(*outputs.values(), reference.latency_encode(p, case.T), "latency")
