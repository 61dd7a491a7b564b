"""The floors of training steps: what each op must read, write and compute."""

import pytest
import torch

import spikeops.functional as SF

from measuring.work import EVENTS, OPTIMIZER, OTHERS, OURS, PRODUCTS, calls_of


def test_bytes_and_operations_of_dense_products():
    a, b = torch.randn(3, 5), torch.randn(5, 7)
    (call,) = calls_of(lambda: a @ b)
    assert (call.kind, call.bytes, call.operations) == (PRODUCTS, 4 * (3 * 5 + 5 * 7 + 3 * 7), 2 * 3 * 5 * 7)
    assert call.seconds(bandwidth=284, peak=1e9) == 1.0 and call.seconds(bandwidth=1e9, peak=105) == 2.0


def test_products_with_few_outputs():
    x, weight = torch.randn(200, 300, requires_grad=True), torch.randn(10, 300, requires_grad=True)
    calls = [call for call in calls_of(lambda: SF.spike_linear(x, weight).sum().backward()) if call.kind == PRODUCTS]
    assert [call.name for call in calls] == ["spikeops::narrow_matmul", "spikeops::narrow_matmul_input", "spikeops::narrow_matmul_weight"]
    assert {call.operations for call in calls} == {2 * 200 * 300 * 10}
    # The gradient of a sum is one number, repeated.
    large, small = 4 * 200 * 300, 4 * 10 * 300
    assert [call.bytes for call in calls] == [large + small + 4 * 200 * 10, 4 + small + large, large + 4 + small]


def test_both_passes_of_a_convolution():
    x, weight = torch.randn(2, 3, 8, 8, requires_grad=True), torch.randn(4, 3, 3, 3, requires_grad=True)
    calls = [call for call in calls_of(lambda: torch.conv2d(x, weight).sum().backward()) if call.kind == PRODUCTS]
    forward = 2 * 2 * 4 * 6 * 6 * 3 * 9
    assert [(call.name, call.operations) for call in calls] == [
        ("aten::convolution", forward), ("aten::convolution_backward", 2 * forward),
    ]  # fmt: skip


@pytest.mark.parametrize("run, bytes_", [
    (lambda x: x.add_(1.0), 2 * 400),  # read and written
    (lambda x: x.add_(x), 2 * 400),  # the same memory is read once
    (lambda x: x.mul(x), 2 * 400),
    (lambda x: x.zero_(), 400),
    (lambda x: x[:1].expand(50) * 2.0, 4 + 200),  # what is repeated is read once
], ids=["in place", "with itself", "one input twice", "filled", "expanded"])  # fmt: skip
def test_bytes_of_other_ops(run, bytes_):
    x = torch.ones(100)
    (call,) = calls_of(lambda: run(x))
    assert (call.kind, call.bytes, call.operations) == (OTHERS, bytes_, 0)


def test_what_is_reserved_or_only_looked_at_differently_costs_nothing():
    x = torch.ones(100)
    assert sum(call.bytes for call in calls_of(lambda: x.view(10, 10).t().new_empty(5))) == 0


def test_ops_take_the_paths_they_take_when_nobody_looks_on():
    spikes, weight = torch.zeros(1000, 784), torch.randn(800, 784)
    spikes[:, ::100] = 1
    (product,) = [call for call in calls_of(lambda: SF.spike_linear(spikes, weight)) if call.operations]
    assert (product.kind, product.operations) == (EVENTS, 2 * int(spikes.sum()) * 800)
    x = torch.randn(5, 100, requires_grad=True)
    kinds = [call.kind for call in calls_of(lambda: SF.lif(x)[0].sum().backward()) if call.name.startswith("spikeops")]
    assert kinds == [OURS, OURS]


def test_fused_optimizers():
    weight = torch.randn(100, requires_grad=True)
    optimizer = torch.optim.Adam([weight], fused=True)
    weight.grad = torch.ones(100)
    optimizer.step()
    (step,) = [call for call in calls_of(optimizer.step) if call.kind == OPTIMIZER]
    assert step.bytes == 7 * 400 + 4  # weight and both moments both ways, the gradient one way, the count of steps


def test_rows_of_the_table():
    step_floors = pytest.importorskip("step_floors")
    pytest.importorskip("yaml")
    from measuring.work import Call

    calls = [Call("aten::mm", PRODUCTS, 0, 2_000_000), Call("spikeops::lif_forward", OURS, 3_000_000, 0)]
    cells = step_floors.row("ell-mnist-dnn", {"spikeops": 0.02, "published": 0.05}, calls, bandwidth=1e9, peak=1e9)
    assert dict(zip(step_floors.HEADER, cells)) == {
        "preset": "ell-mnist-dnn", "ms": "20", "floor, ms": "5", PRODUCTS: "2", EVENTS: "0", OPTIMIZER: "0", OURS: "3", OTHERS: "0",
        "ops": 2, "x published": "2.5", "x published at the floor": "10.0", "goal": 3,
    }  # fmt: skip
