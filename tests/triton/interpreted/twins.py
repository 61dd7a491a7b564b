"""The Triton ops as twins of the native ones: same schemas, fitting fake kernels and autograd formulas, same numbers (of every call:
guarded.py)."""

import pytest
import torch
from op_cases.lif import neurons
from op_tests.op_calls import SLOW_TRITON_CALLS, Inputs, run_on_copies
from op_tests.op_calls import TRITON_CALLS as CALLS

from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle
from spikeops.triton import IMPLEMENTATIONS

SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(25.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5)]
CPU_ONLY = {
    "event_conv_", "event_conv_weight", "event_matmul_", "find_events", "narrow_matmul", "narrow_matmul_weight", "narrow_matmul_input",
    "pool_", "pool_backward_",
}  # fmt: skip
native_ops, triton_ops = torch.ops.spikeops, torch.ops.spikeops_triton


def assert_twins_agree(op, *arguments):
    """Bit for bit, gradients too: both sides mirror kernels/math. Not in float64, where exp is each platform's own, and not in
    bfloat16, where the interpreter cuts off instead of rounding."""
    native, triton = (run_on_copies(getattr(ops, op), arguments) for ops in (native_ops, triton_ops))
    for n, t in zip(native, triton, strict=True):
        assert (n.dtype, n.shape, n.stride()) == (t.dtype, t.shape, t.stride())
        assert torch.equal(n.double(), t.double())


def test_schemas():
    names = {name.split("::")[1] for name in torch._C._dispatch_get_all_op_names() if name.startswith("spikeops::")}
    assert names == set(IMPLEMENTATIONS) | CPU_ONLY
    for name in IMPLEMENTATIONS:
        native, triton = (str(getattr(ops, name).default._schema) for ops in (native_ops, triton_ops))
        assert triton == native.replace("spikeops::", "spikeops_triton::")


@pytest.mark.parametrize("name", CALLS)
def test_opcheck(name):
    op, arguments = CALLS[name](Inputs(T=2, shape=(2, 2, 2, 2), layout="channels_last"))
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(getattr(triton_ops, op).default, arguments, test_utils=checks)


# What guarded.py leaves out.
@pytest.mark.parametrize("name", SLOW_TRITON_CALLS)
def test_numbers(name):
    op, arguments = CALLS[name](Inputs(T=18, shape=(2, 7)))
    assert_twins_agree(op, *arguments)


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
def test_numbers_in_every_mode(reset, surrogate):
    for detach_reset in (False, True):
        inputs = Inputs(T=4, shape=(60,))
        neuron = neurons(inputs, "per_neuron", True, reset, False, detach_reset, surrogate)
        assert_twins_agree("lif_backward", inputs.gradient(), inputs.gradient(of_steps=False), *neuron, True, True)
