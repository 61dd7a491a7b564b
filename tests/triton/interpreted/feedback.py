"""Steps of feedback networks in Triton's interpreter against the reference."""

import pytest
import torch
from op_tests.layouts import INPUTS, TIME_MAJOR
from op_tests.neurons import DTYPES
from op_tests.steps import FACTORS, run_beside_reference, step_tensors

OPS = list(FACTORS)
pytestmark = pytest.mark.parametrize("op", OPS)


def optional(op):
    return ["drive", "current", FACTORS[op], "count", "fired"]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("K", [1, 2, 33])
def test_time_steps_and_dtypes(draw, op, dtype, K):
    # Numbers of the grid: exact in bfloat16 too, which the interpreter cuts off where devices round to nearest.
    run_beside_reference(op, step_tensors(draw, op, K, (40,), dtype, optional(op)))
    options = {"leak": 0.9, "threshold": 0.7} | ({"drive_scale": 1 / 3, "amplitude": 1.0} if op == "ternary_step_" else {})
    run_beside_reference(op, step_tensors(draw, op, K, (40,), dtype, optional(op)), **options)


@pytest.mark.parametrize("N", [0, 1, 129, 256, 600])
def test_neurons(draw, op, N):
    run_beside_reference(op, step_tensors(draw, op, 3, (N,), torch.float32, optional(op)))


def test_what_is_optional(draw, op):
    for absent in (*optional(op), None):
        given = [name for name in optional(op) if name != absent]
        for current in ("constant", "per_step"):
            run_beside_reference(op, step_tensors(draw, op, 2, (40,), torch.float32, given, current=current))
    run_beside_reference(op, step_tensors(draw, op, 2, (40,), torch.float32))


@pytest.mark.parametrize("order", TIME_MAJOR)
@pytest.mark.parametrize("layout", INPUTS)
def test_layouts(draw, op, layout, order):
    for current in ("constant", "per_step"):
        tensors = step_tensors(draw, op, 3, (2, 3, 2, 5), torch.float32, optional(op), order, layout, current=current)
        run_beside_reference(op, tensors)


def test_flags(draw, op):
    """A spike in one program of several, in every other step."""
    tensors = step_tensors(draw, op, 4, (700,), torch.float32, ["drive", "fired"])
    tensors["membrane"].zero_()
    tensors["drive"].zero_()[1::2, 300] = 1
    options = {"threshold": 1.0} | ({"amplitude": 1.0} if op == "ternary_step_" else {})
    assert run_beside_reference(op, tensors, **options)["fired"].tolist() == [0, 1, 0, 1]
