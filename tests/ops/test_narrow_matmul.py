"""Products of layers with few outputs against PyTorch's own, in double precision."""

import itertools

import pytest
import torch
from torch.nn import functional as F

from spikeops.functional import _narrow_matmul

OPS = torch.ops.spikeops
DTYPES = (torch.float32, torch.float64)
# Around the outputs and rows that are worked on together.
OUTPUTS = (1, 2, 3, 4, 5, 6, 10, 11, 16, 17)
ROWS = (1, 2, 3, 4, 5, 7, 15, 16, 17, 37)
# Around lanes, vectors, and pieces of 256 and 512 columns (float64, float32), of 1024 where they are written.
INNER = (1, 3, 7, 8, 15, 16, 17, 31, 33, 63, 64, 65, 127, 129, 255, 257, 511, 513, 529, 1023, 1024, 1025, 1100)


def numbers(*shape, dtype=torch.float32, seed=3):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def operands(rows, inner, outputs, dtype=torch.float32):
    """x, weight, bias and a gradient of the output."""
    return (
        numbers(rows, inner, dtype=dtype, seed=1), numbers(outputs, inner, dtype=dtype, seed=2),
        numbers(outputs, dtype=dtype, seed=3), numbers(rows, outputs, dtype=dtype, seed=4),
    )  # fmt: skip


def products(x, weight, bias, grad_out):
    return OPS.narrow_matmul(x, weight, bias), OPS.narrow_matmul_weight(x, grad_out), OPS.narrow_matmul_input(grad_out, weight)


def assert_sum(actual, a, b, bias=None):
    """actual is a (R, K) times b (K, C): each sum of K products within K roundings of the sum of their sizes."""
    expected, size = a.double() @ b.double(), a.double().abs() @ b.double().abs()
    if bias is not None:
        expected, size = expected + bias.double(), size + bias.double().abs()
    assert actual.shape == expected.shape and actual.dtype == a.dtype and actual.is_contiguous()
    bound = (a.shape[1] + 1) * torch.finfo(a.dtype).eps * size
    assert ((actual.double() - expected).abs() <= bound).all()


def check(x, weight, bias, grad_out):
    out, grad_weight, grad_x = products(x, weight, bias, grad_out)
    assert_sum(out, x, weight.t(), bias)
    assert_sum(grad_weight, grad_out.t(), x)
    assert_sum(grad_x, grad_out, weight)


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_size(dtype, outputs):
    for rows, inner in itertools.product(ROWS, INNER):
        check(*operands(rows, inner, outputs, dtype))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_sums_in_their_order(dtype):
    """Lanes of 64 bytes, forward; row by row and output by output, backward: the same bits on every machine."""
    x, weight, bias, grad_out = operands(21, 700, 7, dtype)
    out, grad_weight, grad_x = products(x, weight, bias, grad_out)
    lanes = 64 // x.element_size()
    lane = torch.zeros(21, 7, lanes, dtype=dtype)
    for k in range(0, 700, lanes):
        piece = x[:, None, k : k + lanes] * weight[None, :, k : k + lanes]
        lane[..., : piece.shape[-1]] += piece
    while lanes > 1:
        lanes //= 2
        lane = lane[..., :lanes] + lane[..., lanes:]
    assert torch.equal(out, lane[..., 0] + bias)
    by_row, by_output = torch.zeros(7, 700, dtype=dtype), torch.zeros(21, 700, dtype=dtype)
    for row, gradient in zip(x, grad_out):
        by_row += gradient[:, None] * row
    for row, gradient in zip(weight, grad_out.t()):
        by_output += gradient[:, None] * row
    assert torch.equal(grad_weight, by_row) and torch.equal(grad_x, by_output)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("sizes", [(100, 800, 10), (333, 1500, 3), (5, 3000, 17), (1000, 20, 10)], ids=str)
def test_same_for_any_number_of_threads(sizes, dtype, threads):
    found = []
    for count in (1, 2, 3):
        threads(count)
        found.append(products(*operands(*sizes, dtype)))
    assert all(torch.equal(one, other) for others in found[1:] for one, other in zip(found[0], others))


def test_without_a_bias():
    x, weight, _, _ = operands(9, 40, 3)
    assert torch.equal(OPS.narrow_matmul(x, weight, None), OPS.narrow_matmul(x, weight, torch.zeros(3)))


def test_numbers_of_any_layout():
    whole, (x, weight, bias, grad_out) = numbers(80, 300), operands(20, 100, 6)
    for other in (whole[::4, :100], whole[:20, 50:150], whole[:20, ::3], whole.t()[:100, :20].t(), whole[:1, :100].expand(20, 100),
                  whole[:20, :1].expand(20, 100)):  # fmt: skip
        check(other, weight, bias, grad_out)
    for other in (whole[:6, ::3], whole[::10, :100][:6], whole.t()[:100, :6].t(), whole[:1, :1].expand(6, 100)):
        check(x, other, bias, grad_out)
    for other in (whole[:20, :6], whole.t()[:6, :20].t(), whole[:1, :1].expand(20, 6), whole[::4, 3:9]):
        check(x, weight, whole[0, ::50], other)


@pytest.mark.parametrize("sizes", [*itertools.product((0, 3), (0, 5), (0, 2))], ids=str)
def test_nothing(sizes):
    check(*operands(*sizes))


@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan, 1e-45, 3e38])
def test_numbers_of_any_size(number):
    """Zero times what is not finite is NaN, wherever it stands."""
    for index in range(4):
        given = [tensor.clamp(-0.5, 0.5).masked_fill(tensor > 0.4, 0) for tensor in operands(19, 77, 6)]
        given[index].flatten()[-3] = number
        x, weight, bias, grad_out = given
        for actual, expected in zip(products(*given), (F.linear(x, weight, bias), grad_out.t() @ x, grad_out @ weight)):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_where_they_pay():
    assert all(_narrow_matmul.pays(rows, inner, 10) for rows, inner in ((1000, 6912), (100, 6912), (1000, 800), (100, 800)))
    assert not any(_narrow_matmul.pays(*sizes) for sizes in ((1000, 800, 100), (10000, 100, 10), (4, 300, 10), (0, 800, 10)))


@pytest.mark.parametrize("change, message", [
    (dict(x=torch.zeros(3)), "x"), (dict(x=torch.zeros(3, 4).bfloat16()), "x"), (dict(weight=torch.zeros(2, 3)), "weight"),
    (dict(weight=torch.zeros(2, 4).double()), "weight"), (dict(weight=torch.zeros(4)), "weight"), (dict(bias=torch.zeros(3)), "bias"),
    (dict(bias=torch.zeros(2).double()), "bias"),
])  # fmt: skip
def test_bad_input(change, message):
    good = dict(x=torch.zeros(3, 4), weight=torch.zeros(2, 4), bias=None)
    assert OPS.narrow_matmul(**good).shape == (3, 2)
    with pytest.raises(RuntimeError, match=f"narrow_matmul: expected {message} "):
        OPS.narrow_matmul(**{**good, **change})


@pytest.mark.parametrize("op, first, second", [("narrow_matmul_weight", "x", "grad_out"), ("narrow_matmul_input", "grad_out", "weight")])
def test_bad_input_of_gradients(op, first, second):
    call = getattr(OPS, op)
    assert call(torch.zeros(3, 3), torch.zeros(3, 3)).shape == (3, 3)
    for bad in (torch.zeros(3), torch.zeros(3, 3).int(), torch.zeros(3, 3).half()):
        with pytest.raises(RuntimeError, match=f"{op}: expected {first} "):
            call(bad, torch.zeros(3, 3))
    for bad in (torch.zeros(3), torch.zeros(2, 3), torch.zeros(3, 3).double()):
        with pytest.raises(RuntimeError, match=f"{op}: expected {second} "):
            call(torch.zeros(3, 3), bad)


def test_opcheck():
    x, weight, bias, grad_out = operands(6, 7, 3)
    for op, arguments in (
        (OPS.narrow_matmul, (x, weight, bias)), (OPS.narrow_matmul, (x, weight, None)),
        (OPS.narrow_matmul_weight, (x, grad_out)), (OPS.narrow_matmul_input, (grad_out, weight)),
    ):  # fmt: skip
        torch.library.opcheck(op.default, arguments)
