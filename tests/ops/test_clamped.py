"""clamped_lif: against the reference, and what it promises. tests/nn/test_golden_local_snn.py compares it with the published code."""

import pytest
import torch
from op_tests.compare import assert_identical
from op_tests.layouts import INPUTS, lay_out
from op_tests.pairwise import parametrize

import spikeops
import spikeops.functional as SF
from spikeops import reference

DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16]
SHAPES = [(5, 7), (1, 1), (0, 4), (3, 6, 4, 5), (2, 1, 3, 3), (4, 1100), (2, 3, 40, 41), (3, 4, 5)]


def case(draw, shape, dtype, layout="contiguous", device="cpu"):
    """Inputs close to their thresholds, at them, at half of them, and beyond."""
    threshold = torch.randint(-4, 9, shape[1:2], generator=draw) / 8
    near = torch.tensor([0.0, 0.5, 1.0, 1.00003, 0.99997, 1.0001, 2.0, -1.0])
    factor = near[torch.randint(8, shape, generator=draw)]
    x = factor * threshold.view(-1, *[1] * (len(shape) - 2)) + (torch.rand(shape, generator=draw) < 0.2)
    state = torch.float64 if dtype == torch.float64 else torch.float32
    return lay_out(x.to(dtype)[None], layout, device)[0], threshold.to(device, state)


def both(x, threshold, upstream, **options):
    """(count, v, gradients) of the backend under test and of the reference."""
    results = []
    for run in (SF.clamped_lif, reference.clamped_lif):
        leaves = [leaf.detach().requires_grad_() for leaf in (x, threshold)]
        count, v = run(*leaves, **options)
        results.append((count.detach(), v.detach(), *torch.autograd.grad(v, leaves, upstream)))
    return results


@parametrize(dtype=DTYPES, shape=SHAPES, layout=list(INPUTS), time_steps=[1, 2, 3, 10], dt=[3e-5, 1e-3, 0.5], leak=[0.0, 2.0])
def test_matches_the_reference(backend, device, draw, dtype, shape, layout, time_steps, dt, leak):
    x, threshold = case(draw, shape, dtype, layout, device)
    upstream = torch.randn(shape, generator=draw).to(device, threshold.dtype)
    with spikeops.backend(backend):
        actual, expected = both(x, threshold, upstream, time_steps=time_steps, dt=dt, leak=leak, threshold_gain=3.0)
    assert_identical(actual[0], expected[0], "count")
    assert_identical(actual[1], expected[1], "v")
    assert actual[0].dtype == x.dtype and actual[1].dtype == threshold.dtype
    assert torch.equal(actual[2], expected[2]) and actual[2].dtype == x.dtype
    # Sums over as many numbers as there are neurons of a channel, in another order.
    largest = upstream.abs().sum().item() * time_steps + 1
    torch.testing.assert_close(actual[3], expected[3], rtol=0, atol=largest * 3e-6, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_that_are_not_ordinary(dtype):
    """Infinite, missing, tiny and huge inputs and thresholds, each with each."""
    numbers = torch.tensor([0.0, -0.0, 1.0, -1.0, torch.inf, -torch.inf, torch.nan, 1e-40, -1e-40, 3e38, -3e38], dtype=dtype)
    x = numbers[:, None].expand(-1, len(numbers)).contiguous()
    for a, e, name in zip(SF.clamped_lif(x, numbers), reference.clamped_lif(x, numbers), ("count", "v")):
        assert_identical(a, e, name)


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
def test_outputs_keep_the_layout(layout, draw):
    x, threshold = case(draw, (3, 6, 4, 5), torch.float32, layout)
    count, v = SF.clamped_lif(x, threshold)
    assert count.stride() == v.stride() == x.stride()


def test_what_the_formula_says():
    """Nearly min(x, threshold), and as many spikes as steps where x is above it."""
    x = torch.tensor([[0.2, 0.9, -0.3, 0.4]])
    count, v = SF.clamped_lif(x, torch.tensor([0.5, 0.5, -0.7, 0.5]))
    assert count.tolist() == [[0, 3, 3, 0]]
    torch.testing.assert_close(v, torch.tensor([[0.2, 0.5, -0.7, 0.4]]), rtol=0, atol=2e-4)


def test_gradient_is_the_published_one():
    """To x unchanged, clamped or not; to thresholds upwards, with the mean over the batch, and a drift without any spike."""
    x = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]], requires_grad=True)  # two samples of one channel with two pixels
    threshold = torch.tensor([0.5], requires_grad=True)
    count, v = SF.clamped_lif(x, threshold, threshold_gain=10.0, threshold_drift=0.25)
    assert count.flatten().tolist() == [3, 0, 3, 3] and not count.requires_grad
    upstream = torch.tensor([[[1.0, 5.0]], [[2.0, -4.0]]])
    v.backward(upstream)
    assert torch.equal(x.grad, upstream)
    assert threshold.grad.item() == -10 * (3 * 1 + 3 * 2 - 3 * 4) / 2 + 0.25
    silent = torch.zeros(2, 1, requires_grad=True)
    threshold.grad = None
    SF.clamped_lif(silent, threshold, threshold_drift=0.25)[1].sum().backward()
    assert threshold.grad.item() == 0.25


def test_gradients_that_nobody_asks_for():
    x, threshold = torch.rand(4, 3), torch.rand(3)
    SF.clamped_lif(x.requires_grad_(), threshold)[1].sum().backward()
    assert threshold.grad is None and (x.grad == 1).all()
    SF.clamped_lif(x.detach(), threshold.requires_grad_())[1].sum().backward()
    assert threshold.grad is not None


def test_any_number_of_threads_gives_the_same_gradient(draw, threads):
    x, threshold = case(draw, (64, 37, 9, 9), torch.float32)
    upstream, found = torch.randn(x.shape, generator=draw), []
    for count in (1, 2):
        threads(count)
        found.append(both(x, threshold, upstream)[0])
    assert all(torch.equal(a, b) for a, b in zip(*found))


@pytest.mark.parametrize("error, message, arguments, options", [
    (TypeError, "expected x to be float32, float64, float16 or bfloat16, got int64", (torch.ones(2, 3).long(), torch.ones(3)), {}),
    (TypeError, "expected threshold to be a tensor, got float", (torch.ones(2, 3), 1.0), {}),
    (ValueError, r"expected x to have shape \(N, units\) or \(N, C, ...\), got shape \(3,\)", (torch.ones(3), torch.ones(3)), {}),
    (ValueError, r"expected threshold to have shape \(3,\), one for each unit or channel of x, got shape \(2,\)",
     (torch.ones(2, 3), torch.ones(2)), {}),
    (ValueError, "expected time_steps, the number of time steps, to be at least 1, got 0", (torch.ones(2, 3), torch.ones(3)), {"time_steps": 0}),
    (ValueError, "expected dt to be above 0, got 0", (torch.ones(2, 3), torch.ones(3)), {"dt": 0}),
    (ValueError, "expected leak to be finite, got nan", (torch.ones(2, 3), torch.ones(3)), {"leak": float("nan")}),
    (ValueError, "expected threshold_gain to be a float32", (torch.ones(2, 3), torch.ones(3)), {"threshold_gain": 1e39}),
    (TypeError, "expected threshold_drift to be a number, got str", (torch.ones(2, 3), torch.ones(3)), {"threshold_drift": "no"}),
])  # fmt: skip
def test_wrong_arguments(error, message, arguments, options):
    with pytest.raises(error, match="clamped_lif: " + message):
        SF.clamped_lif(*arguments, **options)


def test_module_holds_the_thresholds():
    torch.manual_seed(0)
    neurons = spikeops.nn.ClampedLIF(400)
    assert neurons.threshold.abs().max() <= 0.05 and neurons.threshold.mean().abs() < 0.005
    x = torch.rand(8, 400)
    count, v = neurons(x)
    train = neurons.spike_train(x)
    assert train.shape == (3, 8, 400) and torch.equal(train.sum(0), count) and set(train.unique().tolist()) <= {0.0, 1.0}
    v.sum().backward()
    assert neurons.threshold.grad is not None
    with pytest.raises(ValueError, match="ClampedLIF: expected units to be at least 1, got 0"):
        spikeops.nn.ClampedLIF(0)
