"""Networks by `network.model`: the published architectures, what a plain loop computes, and the same gradients in every way to keep memory."""

import math

import pytest
import torch
import torch.nn.functional as F
from op_tests.saved import saved_bytes

import spikeops
import spikeops.nn as snn
from spiketrain import methods
from spiketrain.errors import UserError
from spiketrain.models.build import MODELS
from spiketrain.models.residual import Block, total
from spiketrain.models.sew_resnet import sew_resnet18
from spiketrain.models.spikformer import spikformer

SMALL = {
    "sew_resnet18": {"model": "sew_resnet18", "width": 4, "time_steps": 4},
    "spikformer": {"model": "spikformer", "width": 16, "depth": 1, "heads": 4, "time_steps": 4},
}
WINDOW = {"surrogate": "Rectangle", "surrogate_parameter": 1, "detach_reset": True}


def config_of(model, network=None, method=None, **sections):
    network = {**SMALL[model], **(network or {})}
    return methods.load_config({"network": network, "method": {"name": "bptt", **WINDOW, **(method or {})}, **sections})


def method_of(config, shape=(3, 8, 8), classes=10):
    torch.manual_seed(0)
    return methods.get("bptt")(config, shape, classes, torch.device("cpu"))


def images(*shape, dtype=torch.float32):
    return 2 * torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(dtype)


def lif(shape, factor):
    return snn.LIF(0.5, factor)


# --- architectures ----------------------------------------------------------------------------------------------------------


def test_sew_resnet18_has_the_layers_of_resnet18():
    """As published, for ImageNet: all layers of ResNet-18, with neurons in the place of ReLUs."""
    models = pytest.importorskip("torchvision.models")
    with torch.device("meta"):
        published = models.resnet18()
        network = sew_resnet18(4, (3, 224, 224), 1000, lif, stem="imagenet")
    assert sum(parameter.numel() for parameter in network.parameters()) == 11_689_512
    assert [p.shape for p in network.parameters()] == [p.shape for p in published.parameters()]
    strides = [[m.stride for m in net.modules() if isinstance(m, torch.nn.Conv2d)] for net in (network, published)]
    assert strides[0] == strides[1]


@pytest.mark.parametrize("depth, width, millions", [(4, 384, 9.32), (4, 256, 4.15), (2, 384, 5.76)])
def test_spikformer_has_as_many_parameters_as_published(depth, width, millions):
    """The paper's table on CIFAR: Spikformer-4-256, -2-384 and -4-384, in millions without the rest."""
    with torch.device("meta"):
        network = spikformer(4, (3, 32, 32), 10, lif, depth=depth, width=width, heads=8 if width == 256 else 12)
    assert sum(parameter.numel() for parameter in network.parameters()) // 10_000 / 100 == millions


@pytest.mark.parametrize("model, side, sides", [
    (sew_resnet18, 32, [32] * 5 + [16, 16, 16, 16, 16] + [8] * 5 + [4] * 5), (spikformer, 32, [32, 32, 32, 16] + [8] * 29),
    (sew_resnet18, 5, [5] * 5 + [3] * 5 + [2] * 5 + [1] * 5),
])  # fmt: skip
def test_maps_shrink_as_published(model, side, sides):
    with torch.device("meta"):
        network, found = model(2, (3, side, side), 10, lif), []
        for neurons in network.neurons().values():
            neurons.register_forward_hook(lambda module, arguments, output: found.append(output.shape[-1]))
        network(torch.empty(2, 3, side, side))
    assert sorted(found) == sorted(sides)


@pytest.mark.parametrize("model", SMALL)
def test_neurons_are_named_in_the_order_of_the_forward_pass(model):
    method, order = method_of(config_of(model)), []
    neurons = method.network.neurons()
    for name, module in neurons.items():
        module.register_forward_hook(lambda module, arguments, output, name=name: order.append(name))
    method.scores(images(2, 3, 8, 8))
    assert order == list(neurons) and len(set(map(id, neurons.values()))) == len(order)


@pytest.mark.parametrize("model", SMALL)
def test_as_many_outputs_as_classes(model):
    config = config_of(model)
    method = method_of(config, classes=17)
    assert method.scores(images(3, 3, 8, 8)).shape == (3, 17)


# --- what is computed -------------------------------------------------------------------------------------------------------


class Window(torch.autograd.Function):
    """A step at 0, with a gradient of 1 from -1/2 to 1/2."""

    @staticmethod
    def forward(ctx, above):
        ctx.save_for_backward(above)
        return (above >= 0).to(above)

    @staticmethod
    def backward(ctx, grad):
        (above,) = ctx.saved_tensors
        return grad * (above.abs() <= 0.5)


def neurons_by_hand(x, threshold=1.0):
    """LIF with decay 0.5 and a reset by subtraction without a gradient."""
    v, spikes = torch.zeros_like(x[0]), []
    for current in x:
        u = 0.5 * v + current
        s = Window.apply(u - threshold)
        v = u - threshold * s.detach()
        spikes.append(s)
    return torch.stack(spikes)


class ByHand:
    """The networks with their weights in the order of their parameters, time step by time step but for batch norm, which needs them all."""

    def __init__(self, parameters):
        self.weights = iter(parameters)

    def unit(self, x, kernel=3, stride=1, bias=False, pooled=False):
        weight = next(self.weights)
        offset = next(self.weights) if bias else None
        x = torch.stack([F.conv2d(step, weight, offset, stride, kernel // 2) for step in x])
        mean, var = x.mean((0, 1, 3, 4), keepdim=True), x.var((0, 1, 3, 4), keepdim=True, correction=0)
        gain, shift = (next(self.weights).view(-1, 1, 1) for _ in range(2))
        spikes = neurons_by_hand((x - mean) / (var + 1e-5).sqrt() * gain + shift)
        return torch.stack([F.max_pool2d(step, 3, 2, 1) for step in spikes]) if pooled else spikes

    def head(self, x):
        return F.linear(x.mean((3, 4)), next(self.weights), next(self.weights)).mean(0)

    def sew_resnet18(self, x):
        x = self.unit(x)
        for stage in range(4):
            for number in range(2):
                stride = 2 if stage and not number else 1
                out = self.unit(self.unit(x, stride=stride))
                x = out + (x if stride == 1 else self.unit(x, 1, 2))
        return self.head(x)

    def spikformer(self, x, heads=4):
        x = self.unit(self.unit(x))
        x = self.unit(self.unit(x, pooled=True), pooled=True)
        x = x + self.unit(x)
        q, k, v = (self.unit(x, 1, bias=True) for _ in range(3))
        out = torch.zeros_like(x)
        size = x.shape[2] // heads
        for h in range(heads):
            q_h, k_h, v_h = (s[:, :, h * size : (h + 1) * size].flatten(3).transpose(2, 3) for s in (q, k, v))
            attention = q_h @ k_h.transpose(2, 3) * 0.125
            out[:, :, h * size : (h + 1) * size] = (attention @ v_h).transpose(2, 3).unflatten(3, x.shape[3:])
        x = x + self.unit(neurons_by_hand(out, 0.5), 1, bias=True)
        x = x + self.unit(self.unit(x, 1, bias=True), 1, bias=True)
        return self.head(x)


@pytest.mark.parametrize("memory", ["plain", "checkpoint"])
@pytest.mark.parametrize("model", SMALL)
def test_a_training_step_is_that_of_a_plain_loop(model, memory):
    """In float64: loss, gradients and updated weights."""
    optimizer = {"name": "sgd", "lr": 0.05, "momentum": 0.0, "weight_decay": 0.0}
    method = method_of(config_of(model, method={"memory": memory}, optimizer=optimizer), (3, 16, 16))
    method.network.double()
    x, labels = images(3, 3, 16, 16, dtype=torch.float64), torch.tensor([3, 1, 4])
    weights = [parameter.detach().clone().requires_grad_() for parameter in method.network.parameters()]
    loss = F.cross_entropy(getattr(ByHand(weights), model)(x.expand(4, *x.shape)), labels)
    gradients = torch.autograd.grad(loss, weights)
    assert min(gradient.abs().max() for gradient, weight in zip(gradients, weights) if weight.dim() == 4) > 1e-6, "a layer learns nothing"
    method.start_epoch(1)
    result = method.training_step(x, labels, 3)
    torch.testing.assert_close(result.loss, loss.detach(), rtol=1e-10, atol=0)
    # Sums in another order, over 20 layers of which each may magnify them.
    largest = max(gradient.abs().max().item() for gradient in gradients)
    for parameter, weight, gradient in zip(method.network.parameters(), weights, gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-8, atol=1e-9 * largest)
        torch.testing.assert_close(parameter.detach(), weight.detach() - 0.05 * gradient, rtol=1e-9, atol=1e-9 * largest)


@pytest.mark.parametrize("model", SMALL)
def test_image_gives_what_the_same_image_at_each_step_gives(model):
    method = method_of(config_of(model))
    network = method.network.double()
    x, results = images(3, 3, 8, 8, dtype=torch.float64), []
    for inputs in (x, x.expand(4, *x.shape)):
        network.zero_grad()
        outputs = network(inputs)
        outputs.square().sum().backward()
        results.append([outputs.detach(), *(p.grad.clone() for p in network.parameters())])
    largest = max(gradient.abs().max().item() for gradient in results[0][1:])
    for once, film in zip(*results, strict=True):
        torch.testing.assert_close(once, film, rtol=1e-8, atol=1e-9 * largest)


@pytest.mark.parametrize("neurons", [
    {"learn_decays": True}, {"current_decay": 0.5, "normalize_input": True}, {"beta": 0.2, "adaptation_decay": 0.9},
    {"reset": "to", "readout_decay": 0.9, "readout_current_decay": 0.5, "loss": "max"},
])  # fmt: skip
@pytest.mark.parametrize("model", SMALL)
def test_other_neurons_and_a_readout(model, neurons):
    """In training and testing, in both ways to keep memory."""
    found = []
    for memory in ("plain", "checkpoint"):
        method = method_of(config_of(model, method={**neurons, "memory": memory}))
        loss = method.loss(method.forward(images(3, 3, 8, 8)), torch.tensor([3, 1, 4]), 3)
        loss.backward()
        found.append([loss.detach(), *(parameter.grad for parameter in method.network.parameters())])
        assert method.scores(images(3, 3, 8, 8)).isfinite().all()
    assert all(map(torch.equal, *found))


# --- memory -----------------------------------------------------------------------------------------------------------------

WAYS = {
    "packed": {"memory": "packed"}, "bits": {"neurons_keep": "bits"}, "packed, bits": {"memory": "packed", "neurons_keep": "bits"},
    "checkpoint": {"memory": "checkpoint"}, "two blocks": {"memory": "checkpoint", "recomputed_blocks": 2},
    "two blocks, bits": {"memory": "checkpoint", "recomputed_blocks": 2, "neurons_keep": "bits"},
    "all": {"memory": "checkpoint", "neurons_keep": "bits"},
}  # fmt: skip


def trained(model, options, precision="float32", shape=(3, 3, 16, 16)):
    """Loss, gradients and running statistics of two steps without an update between them."""
    method = method_of(config_of(model, method=options, trainer={"precision": precision}), shape[1:])
    for step in range(2):
        method.loss(method.forward(images(*shape) + step), torch.arange(shape[0]), shape[0]).backward()
    with torch.no_grad():
        outputs = method.forward(images(*shape))
    return [outputs, *(parameter.grad for parameter in method.network.parameters()), *method.network.buffers()]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", SMALL)
def test_gradients_and_statistics_are_those_of_plain_training_bit_for_bit(model, way, precision):
    expected = trained(model, {}, precision)
    assert all(map(torch.equal, trained(model, WAYS[way], precision), expected))


@pytest.mark.parametrize("model", SMALL)
def test_what_is_kept_for_the_backward_pass(model):
    """Of all neurons of wide enough networks, in bytes per neuron and step: 12 of a unit and its input, of which batch norm needs 4."""

    def kept(options):
        method = method_of(config_of(model, {"width": 32}, options), (3, 32, 32))
        parameters = sum(4 * p.numel() for p in method.network.parameters() if p.dim() == 4)
        return saved_bytes(lambda: method.forward(images(2, 3, 32, 32))) - parameters

    plain = kept({})
    # Pooling keeps 8 bytes for the place of each maximum, but for what is computed again.
    assert kept(WAYS["packed"]) < 0.8 * plain
    assert kept(WAYS["packed, bits"]) < (0.42 if model == "sew_resnet18" else 0.5) * plain
    assert kept(WAYS["all"]) < 0.05 * plain


def test_sums_of_spikes_are_not_taken_for_spikes():
    """What blocks hand on goes beyond 1, is kept as what it is, and refused by `checkpoint` as one tensor."""
    network, seen = method_of(config_of("sew_resnet18"), (3, 16, 16)).network, []
    unit = network.blocks["stage_1_block_2"].branch["conv_1"]
    unit.layers.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0]))
    with spikeops.pack_saved_spikes():
        network(images(2, 3, 16, 16))
        (x,) = seen
        assert x.max() == 2
        with pytest.raises(ValueError, match="expected spikes to be 0 or 1.*from 0 to 2"):
            snn.checkpoint(unit, x)


def test_a_block_starts_from_each_of_the_spike_trains():
    """In a chain of blocks, the first ones computed again: the sums are those of running them one after the other."""
    network = method_of(config_of("sew_resnet18"), (3, 16, 16)).network
    x, sums = images(2, 3, 16, 16), []
    for blocks in (0, 3, len(network.blocks)):
        network.recomputed_blocks = blocks
        handles = [
            block.register_forward_hook(lambda module, arguments, output: sums.append(total(output)))
            for block in network.blocks.values()
        ]
        network(x)
        for handle in handles:
            handle.remove()
    count = len(network.blocks)
    for number in range(count):
        assert torch.equal(sums[number], sums[count + number]) and torch.equal(sums[number], sums[2 * count + number])
    assert isinstance(network.blocks["stage_2_block_1"], Block) and max(s.max() for s in sums) == 3


# --- what is refused --------------------------------------------------------------------------------------------------------

REFUSED = {
    "no such model": ({"model": "sew_resnet81"}, {}, "unknown network 'sew_resnet81'. Did you mean 'sew_resnet18'?"),
    "layers": ({"layers": "20-10"}, {}, "field network.layers: expected it to be left out"),
    "padding": ({"padding": 1}, {}, "field network.padding"),
    "dropout": ({"dropout": 0.5}, {}, "field network.dropout"),
    "weight scale": ({"conv_weight_scale": 2}, {}, "field network.conv_weight_scale"),
    "heads": ({"heads": 2}, {}, "field network.heads.*depth, stem, width"),
    "recomputed": ({}, {"memory": "packed", "recomputed_blocks": 2}, "field method.recomputed_blocks: expected null with method.memory packed"),
    "too many": ({}, {"memory": "checkpoint", "recomputed_blocks": 9}, "at most the 8 blocks"),
    "surrogate": ({}, {"neurons_keep": "bits", "surrogate": "ATan"}, "field method.surrogate: expected Rectangle.*got ATan"),
    "reset": ({}, {"neurons_keep": "bits", "reset": "to", "detach_reset": False}, "field method.detach_reset"),
    "decays": ({}, {"neurons_keep": "bits", "learn_decays": True}, "field method.learn_decays"),
    "synapses": ({}, {"neurons_keep": "bits", "current_decay": 0.5}, "field method.current_decay"),
    "jumps": ({}, {"neurons_keep": "bfloat16", "surrogate": "Rectangle"}, "field method.surrogate: expected another than Rectangle.*bits"),
    "learned": ({}, {"neurons_keep": "bfloat16", "surrogate": "ATan", "learn_decays": True}, "field method.learn_decays.*keep bfloat16"),
    "adaptation": ({}, {"neurons_keep": "bits", "beta": 0.5, "adaptation_decay": 0.9}, "field method.beta"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused_by_its_field(case):
    network, options, words = REFUSED[case]
    with pytest.raises(UserError, match=words):
        method_of(config_of("sew_resnet18", network, options))


@pytest.mark.parametrize("network, words", [
    ({"width": 20}, "field network.width: expected a multiple of 8"), ({"width": 24, "heads": 5}, "multiple of network.heads, 5"),
    ({"stem": "cifar"}, "field network.stem"),
])  # fmt: skip
def test_spikformer_refuses(network, words):
    with pytest.raises(UserError, match=words):
        method_of(config_of("spikformer", network))


def test_layers_refuse_what_is_for_models():
    with pytest.raises(UserError, match="field network.width: an option of networks that network.model names"):
        methods.load_config({"network": {"width": 8}, "method": {"name": "bptt"}})
    config = methods.load_config({"network": {"layers": "4C3-10"}, "method": {"name": "bptt", "memory": "checkpoint"}})
    with pytest.raises(UserError, match="field method.memory: expected plain or packed with network.layers, got checkpoint"):
        method_of(config)
    recurrent = methods.load_config({"network": {"layers": "12R-10"}, "method": {"name": "bptt", **WINDOW, "neurons_keep": "bits"}})
    with pytest.raises(UserError, match="field method.neurons_keep: expected input with recurrent layers"):
        method_of(recurrent)


@pytest.mark.parametrize("name", [name for name in methods.names() if name != "bptt"])
def test_other_methods_train_no_models(name):
    with pytest.raises(UserError, match=f"network.model: {name} trains networks that network.layers spells out"):
        methods.load_config({"network": {"model": "sew_resnet18"}, "method": {"name": name}})


@pytest.mark.parametrize("options", [{"memory": "packed"}, {"neurons_keep": "bits"}, {"memory": "packed", "neurons_keep": "bits"}])
def test_layers_keep_memory_too(options):
    """Networks in the papers' notation: the same gradients."""
    found = []
    for chosen in ({}, options):
        network = {"layers": "6C3-P2-8C3-20-10", "conv_weight_scale": 4.0, "time_steps": 5}
        method = method_of(methods.load_config({"network": network, "method": {"name": "bptt", **WINDOW, **chosen}}), (1, 8, 8))
        method.loss(method.forward(images(3, 1, 8, 8)), torch.tensor([1, 2, 3]), 3).backward()
        found.append([parameter.grad for parameter in method.network.parameters()])
    assert all(map(torch.equal, *found)) and math.isfinite(found[0][0].abs().sum())


def test_every_model_is_tried_here():
    assert set(SMALL) == set(MODELS)


@pytest.mark.parametrize("model", SMALL)
def test_commands(cli, model):
    """On digits: trained, tested, looked at, and gone on with in another way to keep memory."""
    options = [f"--network.{name}={value}" for name, value in SMALL[model].items()]
    options += ["--network.layers=10", "--network.padding=0", "--trainer.limit_train=64", "--trainer.limit_test=32", "--trainer.progress=off"]
    options += ["--trainer.epochs=1", "--trainer.threads=1", "--trainer.out=run", "--method.memory=checkpoint"]
    assert cli("train", "bptt-digits", *options)[0] == 0
    assert cli("eval", "run")[0] == 0
    status, lines, _ = cli("rates", "run")
    assert status == 0 and any("stem" in line for line in lines)
    assert cli("resume", "run", "--trainer.epochs=2", "--method.memory=plain", "--trainer.progress=off")[0] == 0
