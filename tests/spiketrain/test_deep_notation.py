"""Networks of bptt with batch norm, residual blocks, pooling and biases, against what the notation says by hand."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from spikeops import functional as SF
from spikeops import nn as snn
from spiketrain import methods
from spiketrain.errors import UserError
from spiketrain.training import checkpoint
from spiketrain.training.trainer import Trainer


@pytest.fixture
def method_of(tiny):
    def make(layers, name="bptt", shape=(2, 6, 6), **network):
        config = tiny(method={"name": name}, network={"layers": layers, "padding": 0, "dropout": 0.0, "time_steps": 4, **network})
        torch.manual_seed(0)
        return methods.get(name)(config, shape, 10, torch.device("cpu"))

    return make


def movie(*shape, seed=1):
    return 3 * torch.rand(4, 3, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def folded(function, x):
    return function(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def normed(x, norm):
    """Batch norm in training: over samples, time steps and places."""
    dims = [d for d in range(x.dim()) if d != 2]
    mean, var = x.mean(dims, keepdim=True), x.var(dims, correction=0, keepdim=True)
    shape = (-1, *[1] * (x.dim() - 3))
    return (x - mean) / (var + norm.eps).sqrt() * norm.weight.view(shape) + norm.bias.view(shape)


def lif(x):
    return SF.lif(x, decay=0.5, threshold=1.0)[0]


def check(network, x, expected):
    torch.testing.assert_close(network(x), expected, rtol=1e-9, atol=1e-10)  # float64: only the order of additions differs
    expected.square().sum().backward()
    by_hand = [weight.grad.clone() for weight in network.parameters()]
    network.zero_grad()
    network(x).square().sum().backward()
    assert any(grad.abs().sum() > 0 for grad in by_hand)
    for weight, grad in zip(network.parameters(), by_hand):
        torch.testing.assert_close(weight.grad, grad, rtol=1e-8, atol=1e-9)


def test_batch_norm_lies_between_weights_and_neurons(method_of):
    network = method_of("5C3-BN-8-BN-10").network.double()
    conv, norm_1, _, linear_1, norm_2, _, linear_2 = (getattr(stage, "module", stage) for stage in network.stages.values())
    assert isinstance(norm_1, nn.BatchNorm2d) and isinstance(norm_2, nn.BatchNorm1d)
    for norm in (norm_1, norm_2):
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    x = movie(2, 6, 6)
    spikes = lif(normed(folded(lambda x: F.conv2d(x, conv.weight), x), norm_1))
    spikes = lif(normed(spikes.flatten(2) @ linear_1.weight.t(), norm_2))
    assert 0 < spikes.mean() < 1
    check(network, x, spikes @ linear_2.weight.t())


@pytest.mark.parametrize("adds", ["spikes", "currents"])
@pytest.mark.parametrize("fits", [True, False])
def test_residual_blocks_of_convolutions(method_of, adds, fits):
    first = "4C3" if fits else "4C3s"
    end = ")+" if adds == "spikes" else "+)"
    network = method_of(f"({first}-BN-4C3-BN{end}-10", shape=(4, 6, 6), padding=1).network.double()
    block = network.stages["block_1"]
    (conv_1, norm_1), (conv_2, norm_2) = block.stages["conv_1"].module, block.stages["conv_2"].module
    assert (block.shortcut is None) == fits and (block.shortcut_neurons is None) == (fits or adds == "currents")
    x = movie(4, 6, 6)
    past = x
    if not fits:
        conv, norm = block.shortcut.module
        assert (conv.kernel_size, conv.stride, conv.bias) == ((1, 1), (2, 2), None)
        past = normed(folded(lambda x: F.conv2d(x, conv.weight, stride=2), x), norm)
        past = lif(past) if adds == "spikes" else past
    inner = lif(normed(folded(lambda x: F.conv2d(x, conv_1.weight, stride=1 if fits else 2, padding=1), x), norm_1))
    current = normed(folded(lambda x: F.conv2d(x, conv_2.weight, padding=1), inner), norm_2)
    result = lif(current) + past if adds == "spikes" else lif(current + past)
    check(network, x, result.flatten(2) @ network.stages["linear_1"].module.weight.t())


def test_residual_blocks_of_units(method_of):
    network = method_of("(12-8)+-(8-8+)-10", linear_weight_scale=2.0).network.double()
    (one, two), x = (network.stages[f"block_{i}"] for i in (1, 2)), movie(2, 6, 6)
    weights = [stage.module.weight for block in (one, two) for name, stage in block.stages.items() if name.startswith("linear")]
    (shortcut,) = one.shortcut.module
    y = lif(lif(x.flatten(2) @ weights[0].t()) @ weights[1].t()) + lif(x.flatten(2) @ shortcut.weight.t())
    y = lif(lif(y @ weights[2].t()) @ weights[3].t() + y)
    check(network, x, y @ network.stages["linear_1"].module.weight.t())


def test_kinds_of_pooling(method_of):
    x = movie(2, 7, 7)
    for part, pool in (("AP2", F.avg_pool2d), ("MP2", F.max_pool2d), ("P2", F.avg_pool2d)):
        network = method_of(f"{part}-10", shape=(2, 7, 7)).network.double()
        check(network, x, folded(lambda x: pool(x, 2), x).flatten(2) @ network.stages["linear_1"].module.weight.t())  # noqa: B023


def test_biases_are_everywhere_but_before_batch_norms(method_of):
    def biased(network):
        return [name for name, layer in network.named_modules() if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None]

    layers = "4C3-4C3-BN-(6C3-BN-6C3)+-8-10"
    assert biased(method_of(layers, padding=1).network) == []
    assert biased(method_of(layers, padding=1, bias=True).network) == [
        "stages.conv_1.module", "stages.block_1.stages.conv_2.module", "stages.block_1.shortcut.module.0", "stages.linear_1.module",
        "stages.linear_2.module",
    ]  # fmt: skip
    network = method_of("8-10", bias=True).network.double()
    linear_1, linear_2 = (network.stages[f"linear_{i}"].module for i in (1, 2))
    x = movie(2, 6, 6)
    check(network, x, F.linear(lif(F.linear(x.flatten(2), linear_1.weight, linear_1.bias)), linear_2.weight, linear_2.bias))


@pytest.mark.parametrize("layers", ["4C3-BN-10", "(4C3-4C3)+-10", "MP2-4C3-10", "AP2-(4C3+)-10", "(8-8)+-10"])
def test_an_image_gives_what_the_same_image_at_each_step_gives(method_of, layers):
    network = method_of(layers, bias=True, padding=1, conv_weight_scale=3.0).network.double()
    images = 4 * torch.rand(3, 2, 6, 6, dtype=torch.float64)
    for mode in (True, False):
        network.train(mode)
        once, movie = network(images), network(images.expand(4, *images.shape).contiguous())
        assert once.shape == (4, 3, 10)
        torch.testing.assert_close(once, movie, rtol=1e-9, atol=1e-10)


def test_layers_of_neurons_are_named_by_their_weights(method_of):
    method = method_of("4C3-BN-MP2-(4C3-BN-4C3-BN)+-(6C3s-6C3)+-8-10", padding=1, shape=(2, 8, 8))
    images, labels = torch.rand(3, 2, 8, 8), torch.arange(3)
    names = ["conv_1", "block_1.conv_1", "block_1.conv_2", "block_2.shortcut", "block_2.conv_1", "block_2.conv_2", "linear_1"]
    activity = method.activity(images, labels)
    assert [layer.name for layer in activity.layers] == names == list(method.spike_trains(images))
    assert [layer.neurons for layer in activity.layers] == [256, 64, 64, 24, 24, 24, 8]
    assert not activity.is_counted  # spikes run past layers


def test_synapses_through_maximum_pooling_and_batch_norm(method_of):
    method = method_of("4C3-BN-MP2-12-10", shape=(1, 8, 8), padding=1)
    assert method.network.synapses((1, 8, 8)) == [4 * 22 * 22, 4 * 8 * 8 * 12, 12 * 10]


@pytest.mark.parametrize("layers, padding, words", [
    ("(4C3-4C3)+-10", 0, "makes 4x2x2 of 2x6x6, and its shortcut 4x6x6: choose network.padding"), ("(2C3s)+-10", 0, "its shortcut 2x3x3"),
    ("(4C9)+-10", 0, "shrinks its input to nothing"),
])  # fmt: skip
def test_blocks_that_do_not_fit_are_named(method_of, layers, padding, words):
    with pytest.raises(UserError, match=words):
        method_of(layers, padding=padding)


@pytest.mark.parametrize("method", [name for name in methods.names() if name != "bptt"])
@pytest.mark.parametrize("layers, word", [("8-BN-10", "'BN'"), ("MP2-8-10", "'MP2'"), ("(8)+-10", r"'\(8\)\+'")])
def test_other_methods_refuse_them_before_anything_is_written(tiny, method, layers, word):
    with pytest.raises(UserError, match=f"{word} in .* which only networks of bptt have"):
        Trainer(tiny(method={"name": method}, network={"layers": layers, "dropout": 0.0, "padding": 0}))


def test_a_run_resumes_bit_for_bit(tiny, tmp_path, cli):
    import yaml

    network = {"layers": "4C3-BN-MP2-(4C3-BN-4C3-BN)+-12-10", "bias": True}
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(tiny(method={"name": "bptt"}, network=network).to_dict()))
    assert cli("train", "--config", "a.yaml", "--trainer.out", "whole")[0] == 0
    assert cli("train", "--config", "a.yaml", "--trainer.out", "parts", "--trainer.epochs", 1)[0] == 0
    assert cli("resume", "parts", "--trainer.epochs", 2)[0] == 0
    whole, parts = (checkpoint.load(tmp_path / name / "last.ckpt")["method"]["network"] for name in ("whole", "parts"))
    assert whole.keys() == parts.keys() and any("running_mean" in name for name in whole)
    for name, tensor in whole.items():
        assert torch.equal(tensor, parts[name]), name
    assert cli("eval", "parts")[0] == 0


def test_learned_decays_and_other_neurons_within_blocks(tiny):
    config = tiny(method={"name": "bptt", "learn_decays": True, "current_decay": 0.3}, network={"layers": "(4C3-4C3)+-10"})
    method = methods.get("bptt")(config, (1, 8, 8), 10, torch.device("cpu"))
    neurons = list(method.network.neurons().values())
    assert len(neurons) == 3 and all(isinstance(each, snn.CubaLIF) for each in neurons)
