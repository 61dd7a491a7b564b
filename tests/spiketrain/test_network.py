"""The spiking network: what is computed once is what a loop over time would compute."""

import pytest
import torch

from spiketrain import methods
from spiketrain.errors import UserError
from spiketrain.models.layers import SumPool2d, TimeSharedDropout


def network_of(config, shape=(1, 8, 8)):
    torch.manual_seed(0)
    return methods.get(config.method.name)(config, shape, 10, torch.device("cpu")).network.double()


@pytest.mark.parametrize("method", ["tssl_bp", "bptt"])
@pytest.mark.parametrize("layers", ["6C3-P2-8C3-20-10", "P2-20-10", "20-10", "10"])
def test_image_gives_what_the_same_image_at_each_step_gives(tiny, method, layers):
    """Outputs and gradients, with the image passed once or as a movie of equal frames."""
    network = network_of(tiny(method={"name": method}, network={"layers": layers, "dropout": 0.0, "conv_weight_scale": 4.0}))
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64) * 20
    results = []
    for inputs in (images, images.expand(5, *images.shape).contiguous()):
        network.zero_grad()
        outputs = network(inputs)
        (outputs * torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)).sum().backward()
        results.append([outputs.detach(), *(p.grad.clone() for p in network.parameters())])
    assert results[0][0].shape == (5, 3, 10)
    assert results[0][0].abs().sum() > 0
    for once, movie in zip(*results):
        torch.testing.assert_close(once, movie, rtol=1e-9, atol=1e-11)  # float64: only the order of additions differs


def test_layers_before_the_first_neurons_see_an_image_once(tiny):
    network = network_of(tiny(network={"layers": "6C3-8C3-10"}))
    batches = []
    for stage in network.stages.values():
        if hasattr(stage, "module"):
            stage.module.register_forward_hook(lambda module, arguments, output: batches.append(len(arguments[0])))
    network.eval()(torch.rand(3, 1, 8, 8, dtype=torch.float64))
    assert batches == [3, 15, 15]


@pytest.mark.parametrize("kind", ["units", "rows"])
@pytest.mark.parametrize("layers", ["P2-6C3-10", "P2-20-10", "10"])
def test_images_reach_any_first_layer_that_knows_time(tiny, layers, kind):
    """Dropout after pooling, neurons, or the output."""
    options = {"layers": layers, "dropout": 0.5, "dropout_kind": kind, "conv_weight_scale": 4.0}
    network = network_of(tiny(method={"name": "bptt"}, network=options))
    images = 20 * torch.rand(3, 1, 8, 8, dtype=torch.float64)
    for mode in (True, False):
        network.train(mode)
        results = []
        for x in (images, images.expand(network.time_steps, *images.shape)):
            torch.manual_seed(4)
            results.append(network(x))
        assert results[0].abs().sum() > 0
        torch.testing.assert_close(*results, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("sides, size", [((4, 4), 2), ((5, 7), 2), ((9, 6), 3), ((4, 4), 1)])
def test_sum_pooling(sides, size, layout):
    x = torch.rand(2, 3, *sides, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()
    whole = x[:, :, : sides[0] // size * size, : sides[1] // size * size]
    expected = 1.1 * whole.unflatten(2, (-1, size)).unflatten(4, (-1, size)).sum((3, 5))
    pool = SumPool2d(size, 1.1)
    torch.testing.assert_close(pool(x), expected)
    assert torch.autograd.gradcheck(pool, x)


@pytest.mark.parametrize("channels, size", [(1, 2), (12, 2), (15, 3), (16, 2)])
def test_sum_pooling_of_many_maps_is_that_of_few(channels, size):
    """Many maps are summed by another algorithm: bit for bit the same, in the same layout."""
    draw = torch.Generator().manual_seed(3)
    many = torch.randn(400, channels, 21, 21, generator=draw).contiguous(memory_format=torch.channels_last)
    pooled = SumPool2d(size)(many)
    few = torch.cat([SumPool2d(size)(maps) for maps in many.split(1)])
    assert torch.equal(pooled, few)
    assert pooled.is_contiguous(memory_format=torch.channels_last)


def test_dropout_keeps_the_same_units_at_all_steps():
    torch.manual_seed(0)
    dropout = TimeSharedDropout(0.25)
    x = torch.ones(4, 10, 200)
    y = dropout(x)
    assert (y == y[0]).all()
    assert y.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert 0.2 < (y[0] == 0).float().mean() < 0.3  # 2,000 draws: more than five standard deviations of room
    assert dropout.eval()(x) is x


def published_dropout(x, p):
    """The published layer of TSSL-BP, for its x (N, C, H, W, T): a dropout3d of x as (N, C * H, W, 1, 1, T).

    dropout3d drops what it takes for channels as wholes, by one draw for each place in the first two axes: in the torch of that time it was
    `feature_dropout`, whatever the number of axes (since then it takes these six for a batch of one more, and drops whole samples). So
    there is a draw for each sample, channel and row, which holds for all columns and all time steps. What has one row and one column,
    units behind a fully connected layer (N, units, 1, 1, T), is dropped unit by unit.
    """
    n, c, h, w, t = x.shape
    return torch.feature_dropout(x.reshape(n, c * h, w, 1, 1, t), p, True).reshape(x.shape)


def time_first(x):
    return x.movedim(-1, 0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 12, 6, 4), (3, 5, 1, 7), (2, 1, 4, 1), (4, 30, 1, 1)])
def test_dropout_of_rows_is_the_published_layer(shape, layout):
    """The same draws, in the same order, for the same units; gradients are those draws as well."""
    draw = torch.Generator().manual_seed(1)
    published = torch.rand(*shape, 5, generator=draw, dtype=torch.float64)
    torch.manual_seed(7)
    expected = time_first(published_dropout(published, 0.2))
    x = time_first(published).flatten(0, 1).contiguous(memory_format=layout).unflatten(0, (5, shape[0])).requires_grad_()
    dropout = TimeSharedDropout(0.2, "rows")
    torch.manual_seed(7)
    y = dropout(x)
    assert torch.equal(y, expected)
    assert y.stride() == x.stride()
    gradient = torch.rand(y.shape, generator=draw, dtype=torch.float64)
    y.backward(gradient)
    torch.testing.assert_close(x.grad, gradient * (y / x).detach(), rtol=1e-14, atol=0)
    assert dropout.eval()(x) is x


def test_dropout_of_rows_drops_each_row_on_its_own():
    torch.manual_seed(0)
    dropout = TimeSharedDropout(0.25, "rows")
    x = torch.ones(4, 10, 20, 10, 3)
    y = dropout(x)
    assert (y == y[:1, ..., :1]).all(), "one draw for all time steps and columns"
    kept = y[0, ..., 0]
    assert kept.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert 0.2 < (kept == 0).float().mean() < 0.3  # 2,000 draws: more than five standard deviations of room
    for axis, name in enumerate(("samples", "channels", "rows")):
        assert (kept.amax(axis) != kept.amin(axis)).float().mean() > 0.5, f"{name} share their draws"
    assert not torch.equal(dropout(x), y), "every pass has draws of its own"
    units = torch.rand(4, 10, 20)
    torch.manual_seed(3)
    of_rows = dropout(units)
    torch.manual_seed(3)
    assert torch.equal(of_rows, TimeSharedDropout(0.25)(units))


def test_a_network_drops_rows_as_the_published_one(tiny):
    """TSSL-BP's network with the published layer in its own order of axes, (N, C, H, W, T): outputs and gradients."""
    options = {"layers": "4C3-6C3-P2-12-10", "dropout": 0.3, "dropout_kind": "rows", "conv_weight_scale": 4.0}
    network = network_of(tiny(network=options)).train()
    images = torch.rand(3, 1, 8, 8, dtype=torch.float64) * 20

    def step_by_step():
        x = network.static_gain.double().view(-1, 1, 1, 1, 1) * images
        for name, stage in network.stages.items():
            if name.startswith("dropout"):
                maps = x if x.dim() == 5 else x[..., None, None]
                x = published_dropout(maps.movedim(0, -1), 0.3).movedim(-1, 0).view(x.shape)
            else:
                x = stage(x)
        return x

    results = []
    for forward in (lambda: network(images), step_by_step):
        network.zero_grad()
        torch.manual_seed(5)
        outputs = forward()
        (outputs * torch.linspace(-1, 1, outputs.numel(), dtype=torch.float64).view_as(outputs)).sum().backward()
        results.append([outputs.detach(), *(p.grad.clone() for p in network.parameters())])
    assert results[0][0].abs().sum() > 0
    for ours, published in zip(*results):
        torch.testing.assert_close(ours, published, rtol=1e-9, atol=1e-11)  # float64: only the order of additions differs
    assert not torch.equal(network(images), results[0][0]), "nothing was dropped"


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_rings_drop_units_alone(tiny, method):
    config = tiny(method={"name": method}, network={"layers": "4C3-10", "feedback": "4C3", "dropout_kind": "rows"})
    with pytest.raises(UserError, match="network.dropout_kind: the networks of ide and spide drop units, got rows"):
        network_of(config)


def test_dropout_follows_each_hidden_block_as_published(tiny):
    network = network_of(tiny(network={"layers": "2C3-4C3-P2-8-10", "dropout": 0.2}))
    kinds = [name.split("_")[0] for name in network.stages]
    assert kinds == [
        "conv",
        "neuron",
        "dropout",
        "conv",
        "neuron",
        "pool",
        "dropout",
        "linear",
        "neuron",
        "dropout",
        "linear",
        "neuron",
    ]


def test_initial_weights_are_scaled(tiny):
    plain = network_of(tiny(network={"dropout": 0.0}))
    scaled = network_of(tiny(network={"dropout": 0.0, "conv_weight_scale": 5.0, "linear_weight_scale": 3.0}))
    factors = [(b / a).mean().item() for a, b in zip(plain.parameters(), scaled.parameters())]
    assert factors == pytest.approx([5.0, 3.0, 3.0], rel=1e-6)


def test_network_that_shrinks_to_nothing_is_refused(tiny):
    with pytest.raises(UserError, match="shrinks"):
        network_of(tiny(network={"layers": "4C5-P2-4C5-10", "padding": 0}))


@pytest.mark.parametrize("method", ["tssl_bp", "bptt"])
def test_recorded_spikes_are_zeros_and_ones(tiny, method):
    config = tiny(method={"name": method})
    torch.manual_seed(0)
    built = methods.get(method)(config, (1, 8, 8), 10, torch.device("cpu"))
    trains = built.spike_trains(torch.rand(3, 1, 8, 8) * 4)
    assert list(trains) == ["conv_1", "linear_1", "linear_2"][: 3 if method == "tssl_bp" else 2]
    assert trains["conv_1"].shape == (5, 3, 4, 8, 8)
    for spikes in trains.values():
        assert set(spikes.unique().tolist()) <= {0.0, 1.0}
    assert trains["conv_1"].sum() > 0
