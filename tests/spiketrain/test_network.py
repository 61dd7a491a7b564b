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


@pytest.mark.parametrize("layers", ["P2-6C3-10", "P2-20-10", "10"])
def test_images_reach_any_first_layer_that_knows_time(tiny, layers):
    """Dropout after pooling, neurons, or the output."""
    network = network_of(tiny(method={"name": "bptt"}, network={"layers": layers, "dropout": 0.5, "conv_weight_scale": 4.0}))
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
