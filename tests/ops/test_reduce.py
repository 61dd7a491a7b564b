"""row_sum: the fixed-order sum behind the gradients of shared parameters."""

import math

import pytest
import torch
from op_tests.row_sums import sum_in_order

from spikeops.functional import _reduce


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rows, columns", [(0, 5), (3, 0), (1, 1), (7, 31), (2, 33), (1, 4096), (3, 4097), (2, 100_003)])
def test_sums(device, native, draw, dtype, rows, columns):
    x = torch.randn(rows, columns, generator=draw, dtype=torch.float64).to(dtype)
    actual = torch.ops.spikeops.row_sum(x.to(device)).cpu()
    exact = torch.tensor([math.fsum(row) for row in x.double().tolist()], dtype=torch.float64)
    assert actual.dtype == dtype and actual.shape == (rows,)
    # Summed in double: what is lost is rounding to the result's type, and for float64 the additions' own.
    scale = x.double().abs().sum(1)
    assert ((actual.double() - exact).abs() <= torch.finfo(dtype).eps / 2 * exact.abs() + 1e-14 * scale).all()


@pytest.mark.parametrize("columns", [31, 33, 4096, 4097, 12_345])
def test_the_order_of_the_sum(device, native, draw, columns):
    """Numbers whose sum depends on it."""
    x = torch.randn(3, columns, generator=draw, dtype=torch.float64) * 10.0 ** torch.randint(-8, 9, (3, columns), generator=draw)
    expected = torch.tensor([sum_in_order(row) for row in x], dtype=torch.float64)
    assert not torch.equal(expected, torch.tensor([sum_in_order(row.flip(0)) for row in x], dtype=torch.float64))
    assert torch.equal(torch.ops.spikeops.row_sum(x.to(device)).cpu(), expected)


@pytest.mark.parametrize("shape, parameter_shape", [
    ((6, 7), ()), ((6, 7), (7,)), ((6, 7), (6, 1)), ((6, 7), (6, 7)), ((6, 7), (1, 7)), ((2, 3, 5, 7), (3, 1, 1)), ((2, 3, 5, 7), (2, 1, 5, 1)),
    ((2, 3, 5, 7), (1, 1)), ((0, 3), (3,)), ((4, 0), ()), ((), ()), ((1, 5), (5,)),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("order", ["contiguous", "reversed"])
def test_sum_to_a_parameter(device, native, draw, shape, parameter_shape, order):
    grad = torch.randn(shape, generator=draw, dtype=torch.float64).to(device)
    if order == "reversed":
        axes = tuple(reversed(range(len(shape))))
        grad = grad.permute(axes).contiguous().permute(axes)
    parameter = torch.empty(parameter_shape, device=device)
    actual = _reduce.sum_to(torch.ops.spikeops, grad, parameter)
    assert actual.shape == parameter.shape and actual.dtype == parameter.dtype
    torch.testing.assert_close(actual, grad.sum_to_size(parameter_shape).float())
