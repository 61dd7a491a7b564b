"""torch.library.opcheck on every op: schema, autograd registration, fake kernels (shapes and strides), dynamic compilation; and one
program for any number of samples."""

import op_cases
import pytest
import torch
from op_tests.compare import assert_identical
from op_tests.neurons import DTYPES
from op_tests.op_calls import CALLS, IN_PLACE, Inputs, as_tuple, call, op_of, run_on_copies
from torch.fx.experimental.proxy_tensor import make_fx

pytestmark = pytest.mark.usefixtures("native")

# What opcheck runs besides, test_aot_dispatch_dynamic, compiles the op and its formula for seconds, in proportion to the number of steps.
QUICK = ("test_schema", "test_autograd_registration", "test_faketensor")


def has_autograd_formula(op):
    return torch._C._dispatch_has_kernel_for_dispatch_key(f"spikeops::{op}", "Autograd")


def test_differentiable_ops_have_a_formula():
    """Or nothing above is checked with gradients."""
    with_formula = {op.removesuffix("_forward") for op in map(op_of, CALLS) if has_autograd_formula(op) and "backward" not in op}
    assert with_formula >= {of.function for of in op_cases.CALLS.values() if of.differentiable}


def with_grad(name, device, **size):
    """(op, arguments): which require a gradient, for ops with an autograd formula."""
    return call(name, Inputs(device=device, grad=has_autograd_formula(op_of(name)), **size))


def fullest_calls():
    """Of each op, the call with the most tensors."""
    found = {}
    for name, build in CALLS.items():
        op, arguments = build(Inputs(T=2, shape=(2, 3)))
        found[op] = max(found.get(op, (0, "")), (sum(isinstance(a, torch.Tensor) for a in arguments), name))
    return [name for _, name in found.values()]


@pytest.mark.parametrize("name", fullest_calls())
def test_all_checks(device, name):
    torch.library.opcheck(*with_grad(name, device, T=2, shape=(3, 5)))


@pytest.mark.parametrize("name", CALLS)
def test_with_grad(device, name):
    torch.library.opcheck(*with_grad(name, device), test_utils=QUICK)


@pytest.mark.parametrize("name", CALLS)
def test_one_program_for_any_number_of_samples(device, name):
    """Traced with sizes that are symbols; of formulas of gradients, tests/transforms look at that."""
    op, arguments = call(name, Inputs(shape=(3, 50), device=device))
    program = make_fx(lambda *given: run_on_copies(op, given), tracing_mode="symbolic")(*arguments)
    _, others = call(name, Inputs(shape=(7, 50), device=device))
    for actual, expected in zip(program(*others), run_on_copies(op, others), strict=True):
        assert (actual.dtype, actual.stride()) == (expected.dtype, expected.stride())
        assert_identical(actual, expected, name)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype, inputs", [
    (torch.float16, dict(T=1)),
    (torch.bfloat16, dict(T=33, shape=(2, 3, 4, 5), layout="channels_last")),
    (torch.float64, dict(T=4, layout="time_last")),
    (torch.float32, dict(T=4, layout="sliced")),
    (torch.float32, dict(T=1, shape=(2, 3, 4, 5), layout="channels_last")),
    (torch.float32, dict(T=3, shape=(0,))),
    (torch.float32, dict(T=3, shape=())),
], ids=["T1", "channels_last", "time_last", "sliced", "channels_last_T1", "no_neuron", "scalar"])  # fmt: skip
def test_layouts_without_grad(device, name, dtype, inputs):
    op, arguments = call(name, Inputs(dtype=dtype, device=device, **inputs))
    torch.library.opcheck(op, arguments, test_utils=QUICK)


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_meta_tensors_give_shape_dtype_and_strides(name, dtype):
    op, arguments = call(name, Inputs(dtype=dtype, shape=(2, 3, 4, 5), layout="channels_last"))
    real = op(*arguments)
    meta = op(*(a.to("meta") if isinstance(a, torch.Tensor) else a for a in arguments))
    assert (real is None) == (name in IN_PLACE)
    for r, m in zip(as_tuple(real), as_tuple(meta), strict=True):
        assert (r.shape, r.dtype, r.stride()) == (m.shape, m.dtype, m.stride())
