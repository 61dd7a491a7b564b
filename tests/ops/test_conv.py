"""spike_conv2d and SpikeConv2d against PyTorch's conv2d."""

import gc
import pickle

import pytest
import torch
import torch.nn.functional as F
from op_tests.beside_dense import TOLERANCE, assert_close, counted, evaluate
from torch.utils._python_dispatch import TorchDispatchMode

import spikeops
import spikeops.functional as SF
from spikeops import nn as snn
from spikeops.functional._event_conv import EventConv2d


def spikes(samples=40, channels=12, side=9, density=0.05, dtype=torch.float32, layout=torch.channels_last):
    draw = torch.Generator().manual_seed(3)
    return (torch.rand(samples, channels, side, side, generator=draw) < density).to(dtype).contiguous(memory_format=layout)


def weights(channels=12, out_channels=33, kernel=3, groups=1, dtype=torch.float32):
    draw = torch.Generator().manual_seed(4)
    shape = out_channels, channels // groups, kernel, kernel
    return torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype), torch.randn(out_channels, generator=draw).to(dtype)


@pytest.fixture
def calls():
    """How often events were added up: forward and for the gradient of the weights."""
    with counted(EventConv2d, forward="__call__", gradient="weight_gradient") as counts:
        yield counts


# The share of neurons that fire -> where events are added up.
@pytest.mark.parametrize("density, expected", [(0.0, (1, 1)), (0.05, (1, 1)), (0.3, (0, 0)), (0.9, (0, 0))])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_is_conv2d(calls, dtype, layout, density, expected):
    x, (weight, bias) = spikes(density=max(density, 0.001), dtype=dtype, layout=layout), weights(out_channels=64, dtype=dtype)
    actual = evaluate(SF.spike_conv2d, x, weight, bias)
    assert (calls["forward"], calls["gradient"]) == expected
    assert_close(actual, evaluate(F.conv2d, x, weight, bias))


@pytest.mark.parametrize("number", [torch.inf, -torch.inf, torch.nan])
def test_weights_and_gradients_that_are_not_finite(calls, number):
    """0 times infinity is NaN, of silent neurons too."""
    x, (weight, _) = spikes(), weights(out_channels=64)
    assert x[0, 3].any() and not x[0].all()
    upstream = torch.ones(40, 64, 7, 7)
    upstream[7, 5, 2, 2] = number
    broken = weight.clone()
    broken[10, 3, 1, 1] = number
    for w in (weight, broken):
        results = []
        for function in (SF.spike_conv2d, F.conv2d):
            leaf = w.clone().requires_grad_()
            out = function(x, leaf)
            results.append((out.detach(), *torch.autograd.grad(out, leaf, upstream)))
        for actual, expected in zip(*results):
            torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e-5, equal_nan=True)
            assert expected[:, 10].isnan().any() or w is weight or len(expected) == 64
    assert calls == {"forward": 1, "gradient": 0}


@pytest.mark.parametrize("number", [torch.inf, torch.nan, 1e-45, 3e38])
def test_spikes_of_any_size(calls, number):
    x, (weight, bias) = spikes(), weights(out_channels=64)
    weight.clamp_(-1, 1)
    x[x != 0] = number
    actual, expected = SF.spike_conv2d(x, weight, bias), F.conv2d(x, weight, bias)
    torch.testing.assert_close(actual, expected, rtol=1e-5, atol=1e33 if number == 3e38 else 1e-5, equal_nan=True)
    assert calls["forward"] == 1


@pytest.mark.parametrize("geometry", [(2,), (1, 1), ((2, 1), (0, 2), (1, 2)), (1, "same"), (1, [1, 1])], ids=str)
def test_geometry(geometry):
    x, (weight, bias) = spikes(), weights()
    assert_close(evaluate(SF.spike_conv2d, x, weight, bias, *geometry), evaluate(F.conv2d, x, weight, bias, *geometry))


def test_groups(calls):
    x, (weight, bias) = spikes(), weights(groups=3)
    geometry = 1, 0, 1, 3
    assert_close(evaluate(SF.spike_conv2d, x, weight, bias, *geometry), evaluate(F.conv2d, x, weight, bias, *geometry))
    assert calls == {"forward": 0, "gradient": 0}


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_gradient_in_the_memory_order_of_the_weight(calls, layout):
    """Fused optimizers walk both as they lie in memory."""
    x, (weight, bias) = spikes(), weights(out_channels=64)
    weight = weight.contiguous(memory_format=layout)
    _, _, gradient, _ = evaluate(SF.spike_conv2d, x, weight, bias)
    assert gradient.stride() == weight.stride() and calls["gradient"] == 1


def test_no_copy_of_the_weights_waits_for_the_backward_pass(calls):
    x, (weight, _) = spikes(), weights(out_channels=64)

    def as_large_as_the_weights():
        gc.collect()
        tensors = [value for value in gc.get_objects() if type(value) is torch.Tensor]
        return sum(value.device.type == "cpu" and value.numel() == weight.numel() for value in tensors)

    before = as_large_as_the_weights()
    out = SF.spike_conv2d(x, weight.requires_grad_())
    assert as_large_as_the_weights() == before and calls["forward"] == 1
    out.sum().backward()
    assert calls["gradient"] == 1


@pytest.mark.parametrize("density, expected", [(0.05, 1), (0.9, 0)])
def test_weights_are_laid_in_another_order_for_sums_over_events_alone(monkeypatch, density, expected):
    pack, packed = EventConv2d.pack, []
    monkeypatch.setattr(EventConv2d, "pack", staticmethod(lambda *args, **options: packed.append(args) or pack(*args, **options)))
    weight = weights(out_channels=64)[0].requires_grad_()
    SF.spike_conv2d(spikes(density=density), weight).sum().backward()
    assert len(packed) == expected


@pytest.mark.parametrize("samples", [1, 3, 15, 40])
def test_memory_for_the_gradient_of_the_weights(samples):
    """Parts of the samples have one each: no more than there are samples, and of large weights few."""
    asked = []

    class Asked(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, arguments=(), kwargs=None):
            if function is torch.ops.spikeops.event_conv_weight.default:
                asked.append(arguments[-1])
            return function(*arguments, **(kwargs or {}))

    for channels, most in ((12, 16), (512, 7)):
        x = spikes(samples, channels, side=3, density=0.01)
        grad_out, weight = torch.randn(samples, 512, 3, 3), torch.randn(512, channels, 3, 3)
        conv = EventConv2d.pack(weight, padding=(1, 1))
        with Asked():
            gradient = conv.weight_gradient(x, grad_out, weight)
        assert asked.pop() == min(samples, most)
        expected = torch.nn.grad.conv2d_weight(x, weight.shape, grad_out, padding=1)
        assert (gradient - expected).abs().max() <= 1e-5 * expected.abs().max()


def test_only_the_gradients_that_are_needed(calls):
    x, (weight, bias) = spikes(), weights(out_channels=64)
    out = SF.spike_conv2d(x, weight, bias.requires_grad_())
    out.sum().backward()
    torch.testing.assert_close(bias.grad, torch.full((64,), 40 * 49.0))
    assert weight.grad is None and calls == {"forward": 1, "gradient": 0}


def test_where_there_is_no_kernel(calls):
    x, (weight, _) = spikes(), weights(out_channels=64)
    with spikeops.backend("reference"):
        torch.testing.assert_close(SF.spike_conv2d(x, weight), F.conv2d(x, weight), rtol=0, atol=0)
    assert SF.spike_conv2d(x.bfloat16(), weight.bfloat16()).dtype == torch.bfloat16
    with torch.autocast("cpu", torch.bfloat16):
        assert SF.spike_conv2d(x, weight).dtype == torch.bfloat16
    assert SF.spike_conv2d(x.to("meta"), weight.to("meta")).shape == (40, 64, 7, 7)
    assert SF.spike_conv2d(x[:0], weight).shape == (0, 64, 7, 7)
    assert SF.spike_conv2d(x[0], weight).shape == (64, 7, 7)
    torch.compile(SF.spike_conv2d, backend="eager", fullgraph=True)(x, weight)
    assert calls == {"forward": 0, "gradient": 0}


def test_transforms_of_functions(calls):
    x, (weight, _) = spikes(), weights(out_channels=64)
    mapped = torch.func.vmap(lambda one: SF.spike_conv2d(one, weight))(x[None])
    torch.testing.assert_close(mapped[0], F.conv2d(x, weight))
    gradient = torch.func.grad(lambda w: SF.spike_conv2d(x, w).square().sum())(weight)
    torch.testing.assert_close(gradient, torch.func.grad(lambda w: F.conv2d(x, w).square().sum())(weight))
    assert calls == {"forward": 0, "gradient": 0}


@pytest.mark.parametrize("change", [
    {"weight": torch.zeros(5, 11, 3, 3)}, {"weight": torch.zeros(5, 12, 10, 3)}, {"bias": torch.zeros(4)}, {"stride": 0},
    {"padding": -1}, {"stride": (1, 1, 1)}, {"weight": torch.zeros(5, 12, 3, 3).double()}, {"groups": 5},
], ids=str)  # fmt: skip
def test_errors_are_those_of_conv2d(change):
    arguments = {"weight": torch.zeros(5, 12, 3, 3), "bias": torch.zeros(5), **change}
    with pytest.raises(RuntimeError) as expected:
        F.conv2d(spikes(), **arguments)
    with pytest.raises(RuntimeError) as actual:
        SF.spike_conv2d(spikes(), **arguments)
    assert str(actual.value).splitlines()[0] == str(expected.value).splitlines()[0]


@pytest.mark.parametrize("name", ["spikes", "weight"])
def test_what_is_no_tensor(name):
    arguments = {"spikes": spikes(), "weight": weights()[0], name: [1.0]}
    with pytest.raises(TypeError, match=f"spike_conv2d: expected {name} to be a tensor, got list"):
        SF.spike_conv2d(**arguments)


def test_module_is_a_conv2d(calls):
    torch.manual_seed(0)
    ours, dense = snn.SpikeConv2d(12, 64, 3, padding=1), torch.nn.Conv2d(12, 64, 3, padding=1)
    ours.load_state_dict(dense.state_dict())
    ours = pickle.loads(pickle.dumps(ours))
    x = spikes()
    torch.testing.assert_close(ours(x), dense(x), rtol=1e-5, atol=1e-5)
    assert calls["forward"] == 1
    reflecting = snn.SpikeConv2d(12, 5, 3, padding=1, padding_mode="reflect")
    assert reflecting(x).shape == (40, 5, 9, 9) and calls["forward"] == 1


def test_in_time(calls):
    layer = snn.TimeDistributed(snn.SpikeConv2d(12, 64, 3, bias=False))
    x = torch.stack([spikes()] * 2)
    fired, _ = SF.lif(layer(x))
    fired.sum().backward()
    assert layer.module.weight.grad.shape == (64, 12, 3, 3)
    assert fired.shape == (*x.shape[:2], 64, 7, 7) and calls == {"forward": 1, "gradient": 1}
