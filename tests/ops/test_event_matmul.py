"""Products of mostly silent matrices against PyTorch's dense ones, and the lists of events that they begin with."""

import itertools

import pytest
import torch

from spikeops.functional import _event_matmul
from spikeops.functional._event_matmul import Events

# Sums of up to 3,000 products in another order: some rounding of the largest of them.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-14}


def silent(rows, columns, density, dtype=torch.float32, seed=3):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=draw, dtype=torch.float64)
    return x.masked_fill(torch.rand(x.shape, generator=draw, dtype=torch.float64) >= density, 0).to(dtype)


def dense(rows, columns, dtype=torch.float32, seed=5):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def by_column(matrix):
    """The same numbers, with columns dense in memory."""
    return matrix.t().contiguous().t()


def assert_close(actual, expected):
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    if expected.numel():
        error = ((actual - expected).abs().max() / expected.abs().max().clamp_min(1)).item()
        assert error <= TOLERANCE[expected.dtype], f"off by {error:.1e}"


def check(x, matrix, bias=None, order=lambda out: out):
    """Lists of the rows of x, and of the columns of its transpose, times a matrix."""
    expected = x @ matrix + (0 if bias is None else bias)
    for events in (Events.of_rows(x), Events.of_columns(x.t().contiguous())):
        out = order(torch.full_like(expected, torch.nan))
        assert events.times(matrix, out, bias)
        assert_close(out, expected)


@pytest.mark.parametrize("of_columns", [False, True])
@pytest.mark.parametrize("rows, columns", list(itertools.product([1, 15, 64, 65, 130], [1, 16, 17, 64, 100])))
@pytest.mark.parametrize("density", [0.0, 0.1, 1.0])
def test_events_are_all_that_is_not_zero(rows, columns, density, of_columns):
    x = silent(rows, columns, density)
    x[::3] *= -1  # zeros too: -0.0 is silent
    events = (Events.of_columns if of_columns else Events.of_rows)(x)
    lines = x.t() if of_columns else x
    assert torch.equal(events.count, lines.ne(0).sum(1).int())
    for line, count, place, value in zip(lines, events.count, events.place, events.value):
        found = line.nonzero()[:, 0]
        assert torch.equal(place[:count], found.int()) and torch.equal(value[:count], line[found])


# Columns around the widths of vectors and of groups of them; rows around the blocks that are transposed.
@pytest.mark.parametrize("columns", [1, 7, 8, 15, 16, 17, 31, 32, 33, 47, 48, 63, 64, 65, 112, 150])
@pytest.mark.parametrize("rows, inner", [(1, 1), (3, 4), (5, 17), (33, 40)])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_number_of_columns(dtype, rows, inner, columns):
    x, matrix, bias = silent(rows, inner, 0.2, dtype), dense(inner, columns, dtype), dense(1, columns, dtype)[0]
    for shown, order in itertools.product((matrix, by_column(matrix)), (torch.clone, by_column)):
        check(x, shown, bias if columns % 2 else None, order)


# More rows of the matrix than are loaded at a time, and densities at which they are added up in pieces, or not.
@pytest.mark.parametrize("inner", [1023, 1024, 1025, 3000])
@pytest.mark.parametrize("density", [0.0, 0.01, 0.1, 0.3, 1.0])
def test_many_inputs(inner, density):
    check(silent(20, inner, density), by_column(dense(inner, 70)))


@pytest.mark.parametrize("rows", [63, 64, 130, 256, 257, 700])
@pytest.mark.parametrize("columns", [3, 100])
def test_many_rows(rows, columns):
    check(silent(rows, 30, 0.1), dense(30, columns))


def test_slices_and_repeated_numbers():
    x, whole = silent(9, 12, 0.3), dense(40, 60)
    for matrix in (whole[:12, 5:50], whole[::3, :][:12], whole[:12, ::2], whole.t()[5:17, :30], whole[:1].expand(12, 60), whole[:12, :1].expand(12, 20)):
        check(x, matrix)
    check(x, dense(12, 20), dense(1, 1)[0].expand(20))
    target = torch.zeros(9, 30)
    assert Events.of_rows(x).times(dense(12, 20), target[:, 5:25])
    assert_close(target[:, 5:25], x @ dense(12, 20))
    assert not target[:, :5].any() and not target[:, 25:].any()
    # Lists of a slice, which is copied first.
    sliced = silent(18, 24, 0.3)[::2, ::2]
    out = torch.empty(9, 20)
    assert Events.of_rows(sliced).times(dense(12, 20), out)
    assert_close(out, sliced @ dense(12, 20))


@pytest.mark.parametrize("shape", [(0, 5, 4), (3, 0, 4), (3, 5, 0)], ids=str)
def test_nothing(shape):
    rows, inner, columns = shape
    check(torch.ones(rows, inner), torch.ones(inner, columns))


@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan])
@pytest.mark.parametrize("place", [(0, 0), (29, 69), (17, 64)])
def test_matrices_that_are_not_finite_are_told(number, place):
    matrix = dense(30, 70)
    matrix[place] = number
    events = Events.of_rows(silent(100, 30, 0.1))
    for shown in (matrix, by_column(matrix)):
        assert not events.times(shown, torch.empty(100, 70))


def test_numbers_of_any_size():
    """What is not finite in lists is added as it is; so are denormal and huge numbers."""
    x = silent(20, 30, 0.3)
    for number in (torch.inf, torch.nan, 1e-45, 3e38):
        x[4, 7] = number
        out, matrix = torch.empty(20, 5), dense(30, 5).clamp(-0.5, 0.5)
        assert Events.of_rows(x).times(matrix, out)
        torch.testing.assert_close(out, x @ matrix, rtol=1e-5, atol=1e-5, equal_nan=True)


def test_same_for_any_number_of_threads(threads):
    """Sums begin with the bias and go through the list: the same numbers, however columns and lists are shared out."""
    x, matrix, bias = silent(700, 50, 0.2), dense(50, 90), dense(1, 90)[0]
    one_by_one = bias.expand(700, 90).clone()
    for k in range(50):
        one_by_one += x[:, k, None] * matrix[k]
    for count in (1, 2, 3):
        threads(count)
        for events in (Events.of_rows(x), Events.of_columns(x.t().contiguous())):
            out = torch.empty(700, 90)
            assert events.times(matrix, out, bias) and torch.equal(out, one_by_one)


def test_pays_only_while_few_fire():
    def where(*sizes):
        return [_event_matmul.pays(*sizes, density, 4) for density in (0.0, 0.05, 0.2, 0.9)]

    assert where(1000, 784, 800) == [True, True, True, False]
    assert where(1000, 784, 10) == [False] * 4, "looking for events takes longer than the product"
    assert where(1, 784, 800) == [False] * 4, "laying out the matrix takes longer than the product"
    assert not _event_matmul.pays(1000, 784, 10, 0.05, 4, uses=2) and _event_matmul.pays(1000, 784, 10, 0.05, 4, uses=10)
    assert _event_matmul.pays(700, 12800, 128, 0.1, 4) and not _event_matmul.pays(700, 12800, 128, 0.1, 4, of_columns=True)


@pytest.mark.parametrize("change, message", [
    (dict(out=torch.zeros(3)), "out"), (dict(out=torch.zeros(3, 4).bfloat16()), "out"), (dict(out=torch.zeros(6, 8)[::2, ::2]), "dense in memory"),
    (dict(out=torch.zeros(1, 4).expand(3, 4)), "dense in memory"), (dict(matrix=torch.zeros(5, 3)), "matrix"),
    (dict(matrix=torch.zeros(5, 4).double()), "matrix"), (dict(matrix=torch.zeros(4)), "matrix"), (dict(count=torch.zeros(2).int()), "lists"),
    (dict(count=torch.zeros(3)), "lists"), (dict(place=torch.zeros(3, 4).int()), "lists"), (dict(place=torch.zeros(5, 3).int().t()), "lists"),
    (dict(value=torch.zeros(3, 5).double()), "lists"), (dict(bias=torch.zeros(3)), "bias"), (dict(bias=torch.zeros(4).double()), "bias"),
])  # fmt: skip
def test_bad_input(change, message):
    good = dict(out=torch.zeros(3, 4), count=torch.zeros(3).int(), place=torch.zeros(3, 5).int(), value=torch.zeros(3, 5),
                matrix=torch.zeros(5, 4), bias=None)  # fmt: skip
    assert torch.ops.spikeops.event_matmul_(**good)
    with pytest.raises(RuntimeError, match=f"event_matmul: .*{message}"):
        torch.ops.spikeops.event_matmul_(**{**good, **change})


@pytest.mark.parametrize("x", [torch.zeros(3), torch.zeros(3, 4, 5), torch.zeros(3, 4).int(), torch.zeros(3, 4).half()], ids=str)
def test_bad_input_for_events(x):
    with pytest.raises(RuntimeError, match="find_events: expected x"):
        torch.ops.spikeops.find_events(x, False)


@pytest.mark.parametrize("count, place", [(1, [3000]), (1, [-1]), (1, [2**31 - 1]), (2, [2999, 2]), (3001, []), (-1, [])], ids=str)
def test_lists_that_nobody_found(count, place):
    """Never a number from beyond the matrix, nor a sum without a part of the list: (2, [2999, 2]) are in chunks of rows that come the other
    way round."""
    lists = torch.zeros(3, 3000, dtype=torch.int32)
    lists[1, : len(place)] = torch.tensor(place)
    counts = torch.tensor([0, count, 0], dtype=torch.int32)
    with pytest.raises(RuntimeError, match="event_matmul: expected lists as find_events makes them: ascending"):
        torch.ops.spikeops.event_matmul_(torch.zeros(3, 4), counts, lists, torch.ones(3, 3000), torch.zeros(3000, 4), None)


def test_opcheck():
    x = silent(6, 7, 1.0)  # of lists that are not full, the rest is not set
    for of_columns in (False, True):
        torch.library.opcheck(torch.ops.spikeops.find_events.default, (x, of_columns))
    lists = torch.ops.spikeops.find_events(x, False)
    torch.library.opcheck(torch.ops.spikeops.event_matmul_.default, (torch.zeros(6, 5), *lists, dense(7, 5), None))
    torch.library.opcheck(torch.ops.spikeops.event_matmul_.default, (torch.zeros(6, 5), *lists, dense(7, 5), torch.ones(5)))
