"""``with spikeops.pack_saved_spikes()``: spikes are kept as bits, all else as ever, and nothing else changes."""

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from op_tests.saved import saved_bytes, saved_tensors
from torch import nn

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.surrogate import Rectangle

T, B, N = 5, 4, 12
DRAW = torch.Generator().manual_seed(1)
X = 1.2 * torch.rand(T, B, N, generator=DRAW)
MAPS = 1.2 * torch.rand(T, B, 3, 6, 7, generator=DRAW)
WEIGHT = torch.rand(N, N, generator=DRAW)


def packed(function):
    def inside(*arguments):
        with spikeops.pack_saved_spikes():
            return function(*arguments)

    return inside


class Keep(torch.autograd.Function):
    """Keeps a tensor, and nothing else; its gradient is that tensor."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.sum()

    @staticmethod
    def backward(ctx, grad):
        (ctx.seen,) = ctx.saved_tensors
        return grad * ctx.seen


def is_kept_as_bits(function, bits=1):
    """Whether `Keep` keeps what the function returns as so many bits for each number; kept in any way, it comes back as it was."""
    with spikeops.pack_saved_spikes():
        value = function()
        x = value if value.requires_grad else value.detach().requires_grad_()
        loss, (tensor,) = saved_tensors(packed(Keep.apply), x)
    (grad,) = torch.autograd.grad(loss, x)
    seen = loss.grad_fn.seen
    assert torch.equal(seen, value) and torch.equal(grad, value)
    assert (seen.shape, seen.stride(), seen.dtype) == (value.shape, value.stride(), value.dtype)
    if tensor.dtype != torch.uint16:
        assert tensor.dtype == value.dtype
        return False
    spikes = value.untyped_storage().nbytes() // value.element_size()
    assert tensor.nbytes <= 2 * (-(-bits * spikes // 16))
    return True


def x_with_gradient():
    return X.clone().requires_grad_()


SPIKES = {
    "lif": lambda: SF.lif(x_with_gradient(), 0.9)[0],
    "lif with a trace": lambda: SF.lif(x_with_gradient(), 0.9, return_trace="before")[0],
    "lif, rounded": lambda: SF.lif(x_with_gradient(), 0.9, rounding="nearest")[0],
    "lif, thresholds": lambda: SF.lif(x_with_gradient(), 0.9, torch.rand(N, generator=DRAW))[0],
    "lif of a still input": lambda: SF.lif(x_with_gradient()[0], 0.9, time_steps=T)[0],
    "lif that keeps bits": lambda: SF.lif(x_with_gradient(), 0.9, surrogate=Rectangle(1.0), save="bits")[0],
    "lif without gradient": lambda: SF.lif(X, 0.9)[0],
    "alif": lambda: SF.alif(x_with_gradient(), 0.9)[0],
    "cuba_lif": lambda: SF.cuba_lif(3 * x_with_gradient(), 0.9)[0],
    "recurrent_lif": lambda: SF.recurrent_lif(x_with_gradient(), WEIGHT)[0],
    "tssl_bp": lambda: SF.tssl_bp(3 * x_with_gradient(), return_spikes=True)[1],
    "poisson_encode": lambda: SF.poisson_encode(X[0], T),
    "latency_encode": lambda: SF.latency_encode(X[0], T),
    "unpack_spikes": lambda: SF.unpack_spikes(SF.pack_spikes(X > 1), T),
    "LIF": lambda: snn.LIF(0.9)(x_with_gradient()),
    "ParametricLIF": lambda: snn.ParametricLIF(0.9)(x_with_gradient()),
    "ALIF": lambda: snn.ALIF(0.9)(x_with_gradient()),
    "RecurrentLIF": lambda: snn.RecurrentLIF(N, 0.9)(x_with_gradient()),
}  # fmt: skip


@pytest.mark.parametrize("name", SPIKES)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_every_spike_train_is_kept_as_bits(name, backend):
    with spikeops.backend(backend):
        assert is_kept_as_bits(SPIKES[name]), f"{name} is kept as it is"
        value = SPIKES[name]()
        assert value.untyped_storage().nbytes() == value.nbytes, f"{name} does not fill its memory, as a mark says"
        assert 0 < value.sum() < value.numel(), "a poor test: all spikes are alike"


def test_the_spikes_that_a_layer_keeps_of_its_own():
    x = x_with_gradient()
    _, tensors = saved_tensors(packed(lambda: SF.recurrent_lif(x, WEIGHT)))
    assert torch.uint16 in [tensor.dtype for tensor in tensors]


VIEWS = {
    "time in the batch": lambda s: s.flatten(0, 1), "reordered": lambda s: s.permute(2, 0, 1, 4, 3), "a step": lambda s: s[1],
    "steps": lambda s: s[1:3], "every other": lambda s: s[:, :, ::2, 1::3], "more axes": lambda s: s.unsqueeze(1).expand(T, 2, B, 3, 6, 7),
    "no time": lambda s: s.flatten(), "a number": lambda s: s[2, 1, 0, 3, 3], "windows": lambda s: s.unfold(3, 3, 1),
    "detached": lambda s: s.detach(), "one of two": lambda s: s.unbind(1)[1],
}  # fmt: skip


@pytest.mark.parametrize("layout", ["contiguous", "channels_last"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("view", VIEWS)
def test_views(view, dtype, layout):
    x = MAPS.to(dtype)
    if layout == "channels_last":
        x = x.flatten(0, 1).contiguous(memory_format=torch.channels_last).unflatten(0, (T, B))
    assert is_kept_as_bits(lambda: VIEWS[view](SF.lif(x.clone().requires_grad_(), 0.9)[0]))


@pytest.mark.parametrize("numel", [1, 2, 15, 16, 17, 31, 33, 255, 16 * 8192 + 5, 3 * 16 * 8192 + 7])
def test_sizes(numel):
    assert is_kept_as_bits(lambda: SF.poisson_encode(torch.full((numel,), 0.5), 1, torch.Generator().manual_seed(numel)))


COPIES = {
    "another type": lambda s: s.to(torch.bfloat16), "a wider type": lambda s: s.double(), "a copy": lambda s: s.clone(),
    "in order": lambda s: s.transpose(0, 1).contiguous(), "reshaped": lambda s: s.transpose(0, 1).reshape(B, -1),
    "pooled": lambda s: F.max_pool2d(s.flatten(0, 1), 2), "pooled in one dimension": lambda s: F.max_pool1d(s.flatten(1, 2).flatten(2), 3, 2),
    "pooled in three": lambda s: F.max_pool3d(s, 2), "pooled with padding": lambda s: F.max_pool2d(s.flatten(0, 1), 3, 2, 1, ceil_mode=True),
    "pooled to a size": lambda s: F.adaptive_max_pool2d(s.flatten(0, 1), 2), "joined": lambda s: torch.cat([s, s[:2]]),
    "a copy of a kept copy": lambda s: kept(s.clone()).double(), "stacked": lambda s: torch.stack(s.unbind(0)), "a view of a copy": lambda s: s.to(torch.float16).flatten(0, 1)[3:],
}  # fmt: skip


@pytest.mark.parametrize("copy", COPIES)
def test_copies(copy):
    """With a gradient, and made in the block: told by the graph."""
    x = MAPS.clone().requires_grad_()
    assert is_kept_as_bits(lambda: COPIES[copy](SF.lif(x, 0.9)[0]))


def kept(x):
    """The same tensor, which something keeps."""
    Keep.apply(x)
    return x


def many(s, count):
    """The sum of so many times the same spikes, each sum kept."""
    total = s
    for _ in range(count - 1):
        total = kept(total + s)
    return total


SUMS = {
    "two": (2, lambda s: s + s), "of a view": (2, lambda s: s + s.flatten(0, 1).unflatten(0, s.shape[:2])),
    "of other types": (2, lambda s: s + kept(s.double())), "of a step for all": (2, lambda s: s + s[0]),
    "of pooled ones": (2, lambda s: kept(F.max_pool2d(s.flatten(0, 1), 2)) + s[:, :, :, :3, :3].flatten(0, 1)),
    "a view of a sum": (2, lambda s: (s + s).flatten(0, 1)), "a sum of a kept sum": (2, lambda s: kept(s + s) + s),
    "of two kept sums": (3, lambda s: kept(s + s) + kept(s + s)), "of a view of a kept sum": (2, lambda s: kept(s + s).transpose(0, 1) + s[:1, :1]),
    "a copy of a kept sum": (2, lambda s: kept(s + s).double()), "pooled": (2, lambda s: F.max_pool2d(kept(s + s).flatten(0, 1), 2)),
    "joined with spikes": (2, lambda s: torch.cat([kept(s + s), s])), "15 of them": (4, lambda s: many(s, 15)),
    "255 of them": (8, lambda s: many(s, 255)),
}  # fmt: skip


@pytest.mark.parametrize("name", SUMS)
def test_sums(name):
    """As residual connections make them: whole numbers, which are not taken for spikes."""
    bits, add = SUMS[name]
    x = MAPS.clone().requires_grad_()
    with spikeops.pack_saved_spikes():
        assert add(SF.lif(x, 0.9)[0]).max() > 1, "a poor test: no two spikes are added"
    assert is_kept_as_bits(lambda: add(SF.lif(x, 0.9)[0]), bits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("numel", [1, 2, 15, 16, 17, 31, 33, 255, 8192 * 16 + 5])
def test_sizes_of_sums(numel, dtype):
    x = 2 * torch.rand(1, numel, generator=torch.Generator().manual_seed(numel)).to(dtype)
    assert is_kept_as_bits(lambda: many(SF.lif(x.clone().requires_grad_(), 0.9)[0], 5), 3)


def without_gradient(change):
    def changed(s):
        with torch.no_grad():
            change(s)
        return s

    return changed


def with_numpy(s):
    s.detach().numpy()[0] = 0.5
    return s


def with_half(s, value=0.5):
    s.data[0] = value
    return s


def written_into(s):
    out = s.detach()
    torch.mul(out, 2, out=out)
    return s


OTHERS = {
    "arithmetic": lambda s: 0.5 * s, "dropout": lambda s: F.dropout(s, 0.5), "a mean": lambda s: s.mean(0),
    "average pooling": lambda s: F.avg_pool2d(s.flatten(0, 1), 2), "padding": lambda s: F.pad(s, (1, 1), value=0.5),
    "joined with others": lambda s: torch.cat([s, 0.3 * s]), "a copy of a copy": lambda s: s.clone().double(), "a sum of a copy": lambda s: s + s.clone(),
    "a copy of a kept copy, in place": lambda s: without_gradient(lambda copy: copy.mul_(2))(kept(s.clone())).double(),
    "in place": lambda s: s.mul_(2), "in place in a view": lambda s: (s[0].mul_(2), s)[1],
    "in place without gradient": without_gradient(lambda s: s.mul_(2)), "a step in place": without_gradient(lambda s: s[1].add_(0.5)),
    "set": without_gradient(lambda s: s.__setitem__(0, 0.25)), "in place by a detached view": written_into,
    "in place and copied": lambda s: without_gradient(lambda s: s.mul_(2))(s).double(),
    "copied and in place": lambda s: without_gradient(lambda s: s.mul_(2))(s.double()),
    "copied, in place, pooled": lambda s: F.max_pool2d(without_gradient(lambda s: s.mul_(2))(s.double()).flatten(0, 1), 2),
    "data": lambda s: (s.data.mul_(2), s)[1], "data of a view": lambda s: (s.data[1].fill_(0.5), s)[1], "numpy": with_numpy,
    "a sum that nobody kept in a sum": lambda s: (s + s) + s, "a sum in place": lambda s: s.add_(s.detach()),
    "a scaled sum": lambda s: torch.add(s, s, alpha=2), "a sum with another": lambda s: s + 0.5 * s, "a sum with a number": lambda s: s + 1,
    "a sum with no gradient": lambda s: s + s.detach(), "a difference": lambda s: s - s, "a sum, in place": lambda s: without_gradient(lambda sums: sums.mul_(2))(s + s),
    "a sum, data": lambda s: with_half(s + s), "a sum, data with more": lambda s: with_half(s + s, 7.0), "a sum, data below 0": lambda s: with_half(s + s, -1.0),
    "a sum of what was written to": lambda s: without_gradient(lambda sums: sums.mul_(2))(kept(s + s)) + s,
    "256 of them": lambda s: many(s, 256),
    "data, copied": lambda s: (s.data.mul_(2), s)[1].double(), "negated": lambda s: torch._neg_view(s),
    "the bits as another type": lambda s: s.half().detach().view(torch.bfloat16), "far taps at the border": lambda s: F.max_pool2d(s.flatten(0, 1), 2, 1, 1, 4),
}  # fmt: skip


@pytest.mark.parametrize("other", OTHERS)
def test_what_may_hold_other_numbers_is_kept_as_it_is(other):
    x = MAPS.clone().requires_grad_()

    def function():
        torch.manual_seed(0)
        return OTHERS[other](SF.lif(x, 0.9)[0])

    assert not is_kept_as_bits(function)


@pytest.mark.parametrize("make", [
    lambda x: SF.lif(3 * x, max_spikes=3)[0], lambda x: SF.lif(3 * x, max_spikes=None)[0], lambda x: SF.lif(x)[1], lambda x: SF.lif_rate(x),
    lambda x: SF.lif(x, return_trace=True)[2], lambda x: SF.tssl_bp(3 * x), lambda x: SF.leaky_readout(x, 0.9)[0],
    lambda x: SF.synaptic_filter(SF.lif(x)[0], 3.0),
])  # fmt: skip
def test_outputs_that_are_no_spikes(make):
    assert not is_kept_as_bits(lambda: make(x_with_gradient()))


# --- networks ---------------------------------------------------------------------------------------------------------------


def network(dtype=torch.float32):
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), snn.LIF(0.9), nn.Conv2d(8, 8, 3, padding=1), snn.ParametricLIF(0.8)]
    layers += [nn.MaxPool2d(2), nn.Conv2d(8, 8, 3, groups=2, bias=False), snn.ALIF(0.9), nn.Flatten(1), nn.Linear(8, 6), snn.RecurrentLIF(6)]
    neurons = (snn.LIF, snn.ParametricLIF, snn.ALIF, snn.RecurrentLIF)
    return nn.Sequential(*(l if isinstance(l, neurons) else snn.TimeDistributed(l) for l in layers)).to(dtype)


def outputs_and_gradients(net, forward, x=MAPS, backward=lambda loss: loss.backward()):
    net.zero_grad(set_to_none=True)
    x = x.clone().requires_grad_()
    output = forward(x)
    backward(output.float().square().sum())
    return [output.detach(), x.grad, *(parameter.grad for parameter in net.parameters())]


def assert_same(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        assert torch.equal(a, e)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("backend", ["auto", "reference"])
def test_the_same_gradients_bit_for_bit(dtype, backend):
    net, x = network(dtype), MAPS.to(dtype)
    with spikeops.backend(backend):
        assert_same(outputs_and_gradients(net, packed(net), x), outputs_and_gradients(net, net, x))


def test_the_same_gradients_under_autocast():
    net = network()

    def forward(x):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            return net(x)

    assert_same(outputs_and_gradients(net, packed(forward)), outputs_and_gradients(net, forward))
    kept = [tensor.shape for tensor in saved_tensors(packed(forward), MAPS)[1] if tensor.dtype == torch.bfloat16]
    assert torch.Size([T * B, 8, 6, 7]) not in kept[3:], "spikes that autocast made bfloat16 are kept as such"


def test_bytes_of_a_network():
    """Two convolutions and a linear layer keep their spikes as bits, the neurons their currents as ever."""
    net = nn.Sequential(
        snn.TimeDistributed(nn.Conv2d(3, 8, 3, padding=1)), snn.LIF(0.9), snn.TimeDistributed(nn.Conv2d(8, 4, 3, padding=1)), snn.LIF(0.9),
        nn.Flatten(2), nn.Linear(4 * 42, 5),
    )  # fmt: skip
    spikes, weights = T * B * 42 * (8 + 4), 8 * 3 * 9 + 4 * 8 * 9 + 5 * 4 * 42
    # Of the first weight nothing is kept, as the gradient of the maps is not wanted.
    plain, kept = saved_bytes(net, MAPS), saved_bytes(packed(net), MAPS)
    assert plain - kept == 4 * spikes - spikes // 8
    assert kept <= MAPS.nbytes + 4 * spikes + spikes // 8 + 4 * weights


def test_memory_is_freed():
    """That of the spikes as soon as nobody else holds them, that of the bits with the graph."""
    layer, neurons = nn.Linear(N, N), snn.LIF(0.9)
    alive = []

    def forward(x):
        spikes = neurons(x)
        alive.append(weakref.ref(spikes.untyped_storage()))
        return layer(spikes)

    output, tensors = saved_tensors(packed(forward), x_with_gradient())
    (words,) = [weakref.ref(tensor.untyped_storage()) for tensor in tensors if tensor.dtype == torch.uint16]
    assert alive[0]() is None and words() is not None
    del tensors
    assert words() is not None
    output.sum().backward()
    assert words() is None
    gc.disable()
    try:
        output = packed(forward)(x_with_gradient())
        assert alive[1]() is None
    finally:
        gc.enable()


def test_a_train_that_several_ops_keep_is_packed_once():
    layers = [nn.Linear(N, 3) for _ in range(3)]

    def forward(x):
        spikes = snn.LIF(0.9)(x)
        return sum(layer(spikes.flatten(0, 1)) for layer in layers).sum() + layers[0](spikes).sum()

    _, tensors = saved_tensors(packed(forward), x_with_gradient())
    assert sum(tensor.dtype == torch.uint16 for tensor in tensors) == 1
    gradients = [torch.autograd.grad(function(X), layers[0].weight)[0] for function in (forward, packed(forward))]
    assert torch.equal(*gradients)
