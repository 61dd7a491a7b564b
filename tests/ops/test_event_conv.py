"""Convolutions on mostly silent spikes against PyTorch's dense ones."""

import itertools

import pytest
import torch
import torch.nn.functional as F

from spikeops.functional._event_conv import EventConv2d

# Sums of up to 3 x 5 x 5 x 40 products in another order: some rounding of the largest of them.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-14}
# kernel, stride, padding, dilation, output padding
GEOMETRY = [((1, 1), (1, 1), (0, 0), (1, 1), (0, 0)), ((3, 3), (1, 1), (1, 1), (1, 1), (0, 0)), ((5, 3), (2, 1), (2, 0), (1, 1), (1, 0)),
            ((3, 3), (2, 2), (1, 1), (1, 1), (1, 1)), ((3, 2), (1, 2), (3, 2), (2, 3), (0, 1)), ((4, 4), (3, 3), (0, 1), (1, 1), (2, 0))]  # fmt: skip


def spikes(batch, channels, height, width, density, dtype, seed=3):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randn(batch, channels, height, width, generator=draw, dtype=torch.float64)
    silent = torch.rand(x.shape, generator=draw, dtype=torch.float64) >= density
    return x.masked_fill(silent, 0).to(dtype).contiguous(memory_format=torch.channels_last)


def both(x, out_channels, geometry, transposed, bias=True):
    kernel, stride, padding, dilation, extra = geometry
    draw = torch.Generator().manual_seed(5)
    ends = (x.shape[1], out_channels) if transposed else (out_channels, x.shape[1])
    weight = torch.randn(*ends, *kernel, generator=draw, dtype=torch.float64).to(x.dtype)
    offset = torch.randn(out_channels, generator=draw, dtype=torch.float64).to(x.dtype) if bias else None
    if transposed:
        dense = F.conv_transpose2d(x, weight, offset, stride, padding, extra, 1, dilation)
    else:
        dense, extra = F.conv2d(x, weight, offset, stride, padding, dilation), (0, 0)
    return EventConv2d.pack(weight, offset, stride, padding, extra, dilation, transposed)(x), dense


def assert_close(result, dense):
    assert result.shape == dense.shape and result.dtype == dense.dtype
    assert result.is_contiguous(memory_format=torch.channels_last)
    if dense.numel():
        error = ((result - dense).abs().max() / dense.abs().max().clamp_min(1)).item()
        assert error <= TOLERANCE[dense.dtype], f"off by {error:.1e}"


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("geometry", GEOMETRY, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_geometry(dtype, geometry, transposed):
    x = spikes(3, 5, 9, 11, 0.2, dtype)
    assert_close(*both(x, 7, geometry, transposed))


# Channels around the widths of vectors, of their groups, and of the blocks that are looked through for events.
@pytest.mark.parametrize(
    "channels, out_channels", list(itertools.product([1, 15, 16, 17, 40], [1, 15, 16, 17, 32, 47, 64, 65, 112, 150]))
)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_every_number_of_channels(dtype, channels, out_channels):
    x = spikes(2, channels, 5, 4, 0.1, dtype)
    assert_close(*both(x, out_channels, GEOMETRY[1], False, bias=channels % 2 == 1))


@pytest.mark.parametrize("density", [0.0, 0.001, 0.5, 1.0])
def test_any_number_of_events(density):
    assert_close(*both(spikes(4, 20, 6, 6, density, torch.float32), 33, GEOMETRY[1], False))


def both_gradients(x, out_channels, geometry):
    """(gradient of the weights from events, the dense one)."""
    kernel, stride, padding, dilation, _ = geometry
    weight = torch.zeros(out_channels, x.shape[1], *kernel, dtype=x.dtype)
    out = F.conv2d(x, weight, None, stride, padding, dilation)
    upstream = torch.randn(out.shape, generator=torch.Generator().manual_seed(6), dtype=torch.float64).to(x.dtype)
    dense = torch.nn.grad.conv2d_weight(x, weight.shape, upstream, stride, padding, dilation)
    return EventConv2d.pack(weight, None, stride, padding, dilation=dilation).weight_gradient(x, upstream, weight), dense


def assert_same_gradient(actual, dense):
    assert actual.shape == dense.shape and actual.dtype == dense.dtype
    # Sums over all samples and pixels.
    error = ((actual - dense).abs().max() / dense.abs().max().clamp_min(1)).item()
    assert error <= TOLERANCE[dense.dtype], f"off by {error:.1e}"


@pytest.mark.parametrize("geometry", GEOMETRY, ids=str)
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_weight_gradient_for_every_geometry(dtype, geometry):
    assert_same_gradient(*both_gradients(spikes(3, 5, 9, 11, 0.2, dtype), 7, geometry))


@pytest.mark.parametrize("channels, out_channels", list(itertools.product([1, 17, 40], [1, 16, 17, 47, 64, 65, 112, 150])))
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_weight_gradient_for_every_number_of_channels(dtype, channels, out_channels):
    assert_same_gradient(*both_gradients(spikes(2, channels, 5, 4, 0.1, dtype), out_channels, GEOMETRY[1]))


@pytest.mark.parametrize("samples", [1, 15, 16, 17, 40])
@pytest.mark.parametrize("density", [0.0, 0.01, 1.0])
def test_weight_gradient_of_any_number_of_samples_and_events(samples, density):
    assert_same_gradient(*both_gradients(spikes(samples, 4, 6, 6, density, torch.float32), 33, GEOMETRY[1]))


def test_contiguous_and_empty_input():
    whole = spikes(3, 5, 6, 7, 0.2, torch.float32)
    for x in (whole.contiguous(), whole[:0], whole[:, :, ::2]):
        assert_close(*both(x, 7, GEOMETRY[1], False))


def test_same_for_any_number_of_threads(threads):
    x, results = spikes(16, 20, 8, 8, 0.1, torch.float32), []
    for count in (1, 2):
        threads(count)
        results.append((both(x, 40, GEOMETRY[1], False)[0], both_gradients(x, 40, GEOMETRY[1])[0]))
    assert all(torch.equal(one, two) for one, two in zip(*results))


def test_pays_only_while_few_fire():
    conv = EventConv2d.pack(torch.zeros(64, 64, 5, 5))
    assert [conv.pays(density) for density in (0.0, 0.05, 0.2, 0.9)] == [True, True, True, False]
    assert [conv.gradient_pays(density, 100, 40_000) for density in (0.0, 0.05, 0.2, 0.9)] == [True, True, False, False]


def test_pays_only_for_pixels_enough():
    """Weights are laid in order, and gradients of parts cleared and added up, once for all pixels: of large weights and small maps that is
    more than the dense convolution."""
    conv = EventConv2d.pack(torch.zeros(512, 512, 3, 3))
    assert [conv.pays(0.01, pixels) for pixels in (100, 1000)] == [False, True]
    assert [conv.gradient_pays(0.01, 8, pixels) for pixels in (300, 3000)] == [False, True]
    assert not conv.gradient_pays(0.01, 100, 300) and conv.pays(0.01)


@pytest.mark.parametrize("change, message", [(dict(x=torch.zeros(1, 4, 3, 3)), "weight"), (dict(x=torch.zeros(3, 3)), "weight"),
                                             (dict(x=torch.zeros(1, 3, 3, 3, dtype=torch.bfloat16)), "float32 or float64"),
                                             (dict(bias=torch.zeros(8)), "bias"), (dict(out=torch.zeros(1, 17, 1, 1)), "channels of out"),
                                             (dict(out=torch.zeros(2, 7, 3, 3)), "batch size"), (dict(out=torch.zeros(1, 7, 3, 3)), "order"),
                                             (dict(out=torch.zeros(1, 7, 3, 3).double()), "dtype"), (dict(stride=[1]), "pairs")])  # fmt: skip
def test_bad_input(change, message):
    good = dict(out=torch.zeros(1, 3, 3, 7).permute(0, 3, 1, 2), x=torch.zeros(1, 3, 3, 3), weight=torch.zeros(1, 1, 3, 16), bias=None,
                stride=[1, 1], padding=[0, 0], dilation=[1, 1], transposed=False)  # fmt: skip
    torch.ops.spikeops.event_conv_(**good)
    with pytest.raises(RuntimeError, match=message):
        torch.ops.spikeops.event_conv_(**{**good, **change})


def test_bad_input_for_the_weight_gradient():
    x, upstream = torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4).contiguous(memory_format=torch.channels_last)
    good = [x, upstream, [1, 1], [1, 1], [0, 0], [1, 1], 2]
    torch.ops.spikeops.event_conv_weight(*good)
    for place, value, message in (
        (1, upstream[:1], "batch size"),
        (1, upstream.double(), "dtype"),
        (2, [1], "pairs"),
        (6, 0, "part"),
    ):
        with pytest.raises(RuntimeError, match=message):
            torch.ops.spikeops.event_conv_weight(*good[:place], value, *good[place + 1 :])


def test_opcheck():
    x = spikes(2, 5, 6, 7, 0.2, torch.float32)
    weight = EventConv2d.pack(torch.ones(7, 5, 3, 3)).weight
    out = torch.empty(2, 7, 6, 7).contiguous(memory_format=torch.channels_last)
    arguments = (out, x, weight, None, [1, 1], [1, 1], [1, 1], False)
    torch.library.opcheck(torch.ops.spikeops.event_conv_.default, arguments)
    torch.library.opcheck(torch.ops.spikeops.event_conv_weight.default, (x, out.zero_(), [3, 3], [1, 1], [1, 1], [1, 1], 3))


def test_output_into_given_memory():
    x = spikes(2, 5, 6, 7, 0.2, torch.float32)
    conv = EventConv2d.pack(torch.ones(7, 5, 3, 3), padding=(1, 1))
    out = torch.full((2, 7, 6, 7), float("nan")).contiguous(memory_format=torch.channels_last)
    assert conv(x, out) is out and torch.equal(out, conv(x))
