"""avg_pool2d and AvgPool2d against PyTorch's: the same bits, by a kernel where windows are 2 x 2 tiles on the CPU."""

import pickle

import pytest
import torch
import torch.nn.functional as F
from op_tests.beside_dense import counted

import spikeops
import spikeops.functional as SF
from spikeops import nn as snn

ORDERS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


def maps(shape=(6, 15, 14, 18), dtype=torch.float32, order="channels first"):
    """Numbers of all sizes, so that the order in which they are added up shows."""
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(shape, generator=draw, dtype=torch.float64) * 10 ** (6 * torch.rand(shape, generator=draw, dtype=torch.float64))
    return x.to(dtype).contiguous(memory_format=ORDERS[order])


def evaluate(function, x, *args, **options):
    """Output and gradient of x."""
    x = x.detach().requires_grad_()
    out = function(x, *args, **options)
    upstream = maps(out.shape, out.dtype) if out.dim() == 4 else torch.ones_like(out)
    return out.detach(), torch.autograd.grad(out, x, upstream)[0]


def assert_the_same(actual, expected):
    for what, a, e in zip(("output", "gradient"), actual, expected):
        assert a.dtype == e.dtype and a.stride() == e.stride(), what
        assert torch.equal(a, e), f"{what}: off by up to {(a - e).abs().max().item()}"


@pytest.fixture
def calls():
    with counted(torch.ops.spikeops, forward="pool_", backward="pool_backward_") as counts:
        yield counts


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
# Registers and what is left over of them, odd sides, one channel.
@pytest.mark.parametrize("shape", [(6, 15, 14, 18), (9, 16, 8, 8), (2, 3, 41, 43), (5, 1, 50, 49), (40, 37, 3, 2), (7, 5, 2, 333)], ids=str)
@pytest.mark.parametrize("options", [{}, {"divisor_override": 1}, {"divisor_override": 3}], ids=str)
def test_the_bits_of_pytorch(calls, shape, dtype, order, options):
    x = maps(shape, dtype, order)
    actual = evaluate(SF.avg_pool2d, x, 2, **options)
    assert calls == {"forward": 1, "backward": 1}
    assert_the_same(actual, evaluate(F.avg_pool2d, x, 2, **options))


@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan, 1e-45, 3e38])
def test_numbers_of_any_size(number):
    x = maps()
    x[:, ::4, 1::3, ::5] = number
    actual, expected = evaluate(SF.avg_pool2d, x, 2), evaluate(F.avg_pool2d, x, 2)
    torch.testing.assert_close(actual, expected, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    "args",
    [(2, 2), ((2, 2), (2, 2), (0, 0)), ([2, 2], [], [0]), (2, None, 0, True), (torch.Size((2, 2)),), (2, 2, 0, False, False)], ids=str,
)
def test_ways_to_say_the_same(calls, args):
    x = maps()
    assert_the_same(evaluate(SF.avg_pool2d, x, *args), evaluate(F.avg_pool2d, x, *args))
    assert calls == {"forward": 1, "backward": 1}


@pytest.mark.parametrize(
    "args",
    [(3,), ((2, 3),), (2, 1), (2, 2, 1), ((4, 2), (4, 2)), (2, (2, 1)), (2, 2, 1, False, False)], ids=str,
)
def test_other_windows_are_those_of_pytorch(calls, args):
    x = maps((6, 15, 15, 18))
    assert_the_same(evaluate(SF.avg_pool2d, x, *args), evaluate(F.avg_pool2d, x, *args))
    assert_the_same(evaluate(SF.avg_pool2d, x, 2, ceil_mode=True), evaluate(F.avg_pool2d, x, 2, ceil_mode=True))
    assert calls == {"forward": 0, "backward": 0}


def test_other_input_is_pooled_by_pytorch(calls):
    x = maps()
    for y in (x[0], x[:0], x[:1, :2], x.bfloat16(), x.to("meta"), x[:, :, :1]):
        try:
            expected = F.avg_pool2d(y, 2)
        except RuntimeError as error:
            with pytest.raises(RuntimeError) as raised:
                SF.avg_pool2d(y, 2)
            assert str(raised.value) == str(error)
            continue
        actual = SF.avg_pool2d(y, 2)
        assert actual.shape == expected.shape and actual.dtype == expected.dtype
        assert y.is_meta or torch.equal(actual, expected)
    with spikeops.backend("reference"):
        assert torch.equal(SF.avg_pool2d(x, 2), F.avg_pool2d(x, 2))
    torch.compile(SF.avg_pool2d, backend="eager", fullgraph=True)(x, 2)
    torch.jit.trace(lambda x: SF.avg_pool2d(x, 2), (x,), check_trace=False)
    assert calls == {"forward": 0, "backward": 0}


@pytest.mark.parametrize("view", [lambda x: x[..., ::2], lambda x: x.permute(0, 2, 3, 1), lambda x: x.transpose(0, 1), lambda x: x[:, :7]])
def test_views(view):
    """Whatever lies in memory in no plain order is copied first."""
    x = view(maps((8, 16, 16, 32)))
    torch.testing.assert_close(evaluate(SF.avg_pool2d, x, 2), evaluate(F.avg_pool2d, x, 2), rtol=0, atol=0)


def test_gradients_of_gradients(calls):
    x = maps((2, 3, 40, 40), torch.float64).div_(1e6).requires_grad_()
    found = []
    for function in (SF.avg_pool2d, F.avg_pool2d):
        (first,) = torch.autograd.grad(function(x, 2).pow(3).sum(), x, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), x)[0])
    torch.testing.assert_close(*found)
    assert calls == {"forward": 1, "backward": 1}  # the last of three passes back need not be differentiated


def test_several_gradients_at_once():
    x = maps().requires_grad_()
    upstream = torch.stack([maps((6, 15, 7, 9)), torch.ones(6, 15, 7, 9)])
    found = [torch.autograd.grad(function(x, 2), x, upstream, is_grads_batched=True)[0] for function in (SF.avg_pool2d, F.avg_pool2d)]
    assert torch.equal(*found)


def test_it_keeps_no_maps_for_the_backward_pass():
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        SF.avg_pool2d(maps().requires_grad_(), 2)
    assert kept == []


def test_any_number_of_threads():
    x, results, before = maps((50, 15, 24, 24)), [], torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            results.append(evaluate(SF.avg_pool2d, x, 2))
    finally:
        torch.set_num_threads(before)
    assert_the_same(*results)


def test_module():
    pool = snn.AvgPool2d(2, divisor_override=1)
    assert isinstance(pool, torch.nn.AvgPool2d) and pool.state_dict() == {}
    assert torch.equal(pool(maps()), F.avg_pool2d(maps(), 2, divisor_override=1))
    assert torch.equal(pickle.loads(pickle.dumps(pool))(maps()), pool(maps()))


@pytest.mark.parametrize("arguments", [(0,), (2, 0), (2, 2, 3), (2, 2, 0, False, True, 0), (2.0,), ("2",), (None,)], ids=str)
def test_refused_as_by_pytorch(arguments):
    with pytest.raises((RuntimeError, TypeError, ValueError)) as theirs:
        F.avg_pool2d(maps(), *arguments)
    with pytest.raises(theirs.type) as ours:
        SF.avg_pool2d(maps(), *arguments)
    assert str(ours.value) == str(theirs.value)


def test_no_tensor_is_named():
    with pytest.raises(TypeError, match="avg_pool2d: expected x to be a tensor, got list"):
        SF.avg_pool2d([[1.0]], 2)
