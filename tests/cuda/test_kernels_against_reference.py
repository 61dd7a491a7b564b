"""The CUDA kernels' source, run on the host, against the definitions in spikeops.reference: spikes bit for bit."""

import numpy as np
import pytest
import torch
from host_cuda import ops
from host_cuda.arrays import FLOATING, Case, from_storage
from op_tests.compare import assert_close, assert_identical

from spikeops import reference, surrogate

CASES = [Case(dtype, T, N) for dtype in FLOATING for T in (1, 5, 33, 100) for N in (129, 264)]
LIF_NAMES = ("threshold", "input_scale", "reset_amount", "v_reset", "v_rest", "strict", "detach_reset")
SURROGATES = [
    surrogate.ATan(2.0), surrogate.Sigmoid(4.0), surrogate.Exponential(1.0), surrogate.FastSigmoid(2.0), surrogate.Triangle(1.0),
    surrogate.Rectangle(1.0), surrogate.Gaussian(0.5),
]  # fmt: skip


def tensor(array, case=None):
    """As torch sees it. Data arrays need their case, since bfloat16 lies in uint16 arrays."""
    if case is not None and case.dtype == "bfloat16" and array.dtype == np.uint16:
        return torch.from_numpy(from_storage(array, "bfloat16")).to(torch.bfloat16)
    return torch.from_numpy(array.copy())


def evaluate(function, inputs, upstream):
    """(outputs, gradients of all inputs)."""
    leaves = [t.requires_grad_() for t in inputs]
    outputs = function(*leaves)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return outputs, torch.autograd.grad(outputs[: len(upstream)], leaves, upstream)


def reference_options(options, surrogate=None):
    chosen = {name: options[name] for name in LIF_NAMES} | {"reset": ("subtract", "to", "none")[options["reset"]]}
    return chosen | ({} if surrogate is None else {"surrogate": surrogate})


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("reset", [0, 1, 2])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_lif_forward(host_kernels, case, reset, strict):
    options = ops.LIF | {"reset": reset, "strict": strict, "v_reset": -0.125, "reset_amount": 0.75}
    inputs, outputs = ops.lif_forward(host_kernels.cuda, case, options, per_neuron=True)
    x = tensor(inputs["x"], case)
    spikes, v = reference.lif(x, tensor(inputs["decay"]), v_init=tensor(inputs["v_init"]), **reference_options(options))
    assert_identical(tensor(outputs["spikes"], case), spikes, "spikes")
    assert_identical(tensor(outputs["v_last"]), v, "v_last")


@pytest.mark.parametrize("reset", [0, 1, 2])
@pytest.mark.parametrize("chosen", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("dtype", FLOATING)
def test_lif_backward(host_kernels, dtype, chosen, reset):
    case, options = Case(dtype, 33, 132), ops.ROUND | {"reset": reset}
    inputs, grads = ops.lif_backward(host_kernels.cuda, case, options, True, chosen.coefficients)
    _, expected = evaluate(
        lambda x, decay, v_init: reference.lif(x, decay, v_init=v_init, **reference_options(options, chosen)),
        [tensor(inputs["x"], case), tensor(inputs["decay"]), tensor(inputs["v_init"])],
        [tensor(inputs["grad_spikes"], case), tensor(inputs["grad_v_last"])],
    )
    for name, e in zip(("grad_x", "grad_decay", "grad_v_init"), expected):
        assert_close(tensor(grads[name], case), e, name)


@pytest.mark.parametrize("weighting", ["mean", "decay"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_lif_rate(host_kernels, case, weighting):
    number = ("mean", "decay").index(weighting)
    chosen = surrogate.ATan(2.0)
    inputs, outputs = ops.lif_rate_forward(host_kernels.cuda, case, ops.ROUND, True, number)
    upstream, grads = ops.lif_rate_backward(host_kernels.cuda, case, ops.ROUND, True, chosen.coefficients, number)
    (rate,), expected = evaluate(
        lambda x, decay, v_init: reference.lif_rate(
            x, decay, v_init=v_init, weighting=weighting, **reference_options(ops.ROUND, chosen)
        ),
        [tensor(inputs["x"], case), tensor(inputs["decay"]), tensor(inputs["v_init"])],
        [tensor(upstream["grad_rate"], case)],
    )
    assert_close(tensor(outputs["rate"], case), rate.detach(), "rate")
    for name, e in zip(("grad_x", "grad_decay", "grad_v_init"), expected):
        assert_close(tensor(grads[name], case), e, name)


@pytest.mark.parametrize("op", ["lif", "lif_rate"])
@pytest.mark.parametrize("case", CASES, ids=str)
def test_constant_current(host_kernels, case, op):
    options, chosen = ops.ROUND | {"is_constant": True}, surrogate.ATan(2.0)
    forward, backward = (getattr(ops, f"{op}_{way}") for way in ("forward", "backward"))
    inputs, outputs = forward(host_kernels.cuda, case, options, True)
    upstream, grads = backward(host_kernels.cuda, case, options, True, chosen.coefficients)
    names = ("grad_spikes", "grad_v_last") if op == "lif" else ("grad_rate",)
    results, expected = evaluate(
        lambda x, decay, v_init: getattr(reference, op)(
            x, decay, v_init=v_init, time_steps=case.T, **reference_options(options, chosen)
        ),
        [tensor(inputs["x"], case), tensor(inputs["decay"]), tensor(inputs["v_init"])],
        [tensor(upstream[name], case) for name in names],
    )
    for (name, actual), e in zip(outputs.items(), results):
        assert_close(tensor(actual, case), e.detach(), name)
    for name, e in zip(("grad_x", "grad_decay", "grad_v_init"), expected):
        assert_close(tensor(grads[name], case), e, name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tssl_bp(host_kernels, case):
    inputs, outputs = ops.tssl_bp_forward(host_kernels.cuda, case)
    upstream, grads = ops.tssl_bp_backward(host_kernels.cuda, case)
    (psc, spikes), (expected,) = evaluate(
        lambda x: reference.tssl_bp(x, ops.TAU_M, ops.TAU_S, ops.THRESHOLD, True),
        [tensor(inputs["x"], case)],
        [tensor(upstream["grad_psc"], case)],
    )
    assert_identical(tensor(outputs["spikes"], case), spikes, "spikes")
    assert_identical(tensor(outputs["psc"], case), psc.detach(), "psc")
    assert_close(tensor(grads["grad_x"], case), expected, "grad_x")


@pytest.mark.parametrize("given", [ops.STEP_ARRAYS, ("drive",), ("current", "count", "fired")], ids="-".join)
@pytest.mark.parametrize("case", CASES, ids=str)
def test_feedback_steps(host_kernels, case, given):
    for op, factor, numbers in (
        (ops.feedback_step, "mask", {"leak": 0.83, "threshold": 0.5, "reset_amount": 0.75}),
        (ops.ternary_step, "gate", {"drive_scale": 1 / 3, "leak": 0.83, "threshold": 0.25, "amplitude": 0.75}),
    ):
        inputs, actual = op(host_kernels.cuda, case, **numbers, given=given, current_per_step=True)
        state = {name: tensor(inputs[f"{name}_before"]) for name in actual if name != "spikes"}
        data = {name: tensor(inputs[name], case) for name in ("drive", "current", "factor") if name in inputs}
        state["spikes"] = torch.empty(case.T, case.N, dtype=getattr(torch, case.dtype))
        if "factor" in data:
            data[factor] = data.pop("factor")
        getattr(reference, f"{op.__name__}_")(**state, **data, **numbers)
        for name, expected in state.items():
            assert_identical(tensor(actual[name], case if name == "spikes" else None), expected, name)


def state_and_outputs(inputs, outputs, case):
    """The arguments of a step by name: its state as it was, its inputs, and room for its outputs."""
    arguments = {name.removesuffix("_before"): tensor(array, case) for name, array in inputs.items()}
    return arguments | {name: torch.empty_like(tensor(array, case)) for name, array in outputs.items() if name not in arguments}


@pytest.mark.parametrize("chosen", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("case", [Case(dtype, 10, 129) for dtype in FLOATING], ids=str)
@pytest.mark.parametrize("optional", [True, False])
def test_local_learning_step(host_kernels, case, chosen, optional):
    exact = ("membrane", "spikes", "class_membrane", "count", "squared_error")
    inputs, actual = ops.local_learning_step(
        host_kernels.cuda, case, 0.83, 0.75, 0.3, chosen.coefficients, optional, samples=4, exact=True
    )
    expected = state_and_outputs(inputs, actual, case)
    reference.local_learning_step_(**expected, error_scale=0.3, decay=0.83, threshold=0.75, surrogate=chosen)
    for name, array in actual.items():
        check = assert_identical if name in exact else assert_close
        check(tensor(array, case), expected[name], name)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_local_gradient_in_time(host_kernels, case):
    inputs, outputs = ops.local_gradient_in_time(host_kernels.cuda, case, 0.83, 0.75)
    expected = reference.local_gradient_in_time(tensor(inputs["gradient"], case), tensor(inputs["derivatives"], case), 0.83, 0.75)
    assert_close(tensor(outputs["gradients"], case), expected, "gradients")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_synaptic_filter(host_kernels, case):
    inputs, outputs = ops.synaptic_filter_forward(host_kernels.cuda, case)
    upstream, grads = ops.synaptic_filter_backward(host_kernels.cuda, case)
    (psc,), (expected,) = evaluate(
        lambda x: reference.synaptic_filter(x, ops.TAU_S), [tensor(inputs["x"], case)], [tensor(upstream["grad_psc"], case)]
    )
    assert_identical(tensor(outputs["psc"], case), psc.detach(), "psc")
    assert_close(tensor(grads["grad_x"], case), expected, "grad_x")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_spikes_counted_packed_and_unpacked(host_kernels, case):
    inputs, outputs = ops.spike_count(host_kernels.cuda, case)
    assert_identical(tensor(outputs["count"], case), reference.spike_count(tensor(inputs["spikes"], case)), "count")
    inputs, outputs = ops.pack_spikes(host_kernels.cuda, case)
    expected = reference.pack_spikes(tensor(inputs["spikes"], case))
    np.testing.assert_array_equal(outputs["packed"], expected.view(torch.int16).numpy().view(np.uint16))
    inputs, outputs = ops.unpack_spikes(host_kernels.cuda, case)
    words = torch.from_numpy(inputs["packed"].view(np.int16)).view(torch.uint16)
    actual = tensor(outputs["spikes"], case)
    assert_identical(actual, reference.unpack_spikes(words, case.T, actual.dtype), "spikes")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_encodings(host_kernels, case):
    seed = 0x1234_5678_9ABC_DEF0
    inputs, outputs = ops.poisson_encode(host_kernels.cuda, case, seed)
    expected = reference.poisson_encode_from_seed(tensor(inputs["p"], case), case.T, torch.tensor([seed]))
    assert_identical(tensor(outputs["spikes"], case), expected, "poisson")
    inputs, outputs = ops.latency_encode(host_kernels.cuda, case)
    assert_identical(tensor(outputs["spikes"], case), reference.latency_encode(tensor(inputs["p"], case), case.T), "latency")
