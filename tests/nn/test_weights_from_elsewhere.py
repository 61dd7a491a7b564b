"""Gradients reach the parameters wherever a weight comes from, in every block, and hooks run: in blocks that work out gradients by hand
as in those that leave them to autograd."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune

import spikeops.nn as snn

SAMPLES, STEPS, CLASSES = 6, 4, 3
LABELS = torch.tensor([0, 1, 2, 0, 1, 2])


def pruned(layer):
    mask = (torch.rand(layer.weight.shape, generator=torch.Generator().manual_seed(3)) > 0.3).float()
    return prune.custom_from_mask(layer, "weight", mask)


class Doubled(nn.Module):
    def forward(self, weight):
        return 2 * weight


def parametrised(layer):
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


WEIGHTS = {
    "plain": lambda layer: layer,
    "pruned": pruned,
    "weight_norm": parametrizations.weight_norm,
    "old weight_norm": lambda layer: nn.utils.weight_norm(layer),
    "spectral_norm": parametrizations.spectral_norm,
    "old spectral_norm": lambda layer: nn.utils.spectral_norm(layer),
    "orthogonal": parametrizations.orthogonal,
    "parametrised": parametrised,
}
# What is pruned at first, or scaled away, need not all move; but something of each must.
LOCAL = ("ell", "fell", "bell")


def encoder_of(kind, seed=0):
    torch.manual_seed(seed)
    layer = nn.Linear(12, 8, bias=False) if kind == "linear" else nn.Conv2d(2, 4, 3, padding=1, bias=False)
    nn.init.uniform_(layer.weight, 0, 0.4)
    return layer


def local_block(rule, kind="linear", make=lambda layer: layer, update="step", **options):
    shape = (8,) if kind == "linear" else (4, 5, 5)
    encoder = make(encoder_of(kind))
    torch.manual_seed(1)
    classifier = snn.LocalClassifier(shape, CLASSES, **options)
    return snn.LocalBlock(encoder, classifier, rule=rule, time_steps=STEPS, update=update)


def inputs(kind="linear", static=False):
    generator = torch.Generator().manual_seed(2)
    sample = (12,) if kind == "linear" else (2, 5, 5)
    x = (torch.rand(*([] if static else [STEPS]), SAMPLES, *sample, generator=generator) > 0.4).float()
    return x


def behind(module):
    return [parameter for parameter in module.parameters() if parameter.requires_grad]


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("static", [False, True], ids=["sequence", "static"])
@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("make", WEIGHTS)
@pytest.mark.parametrize("rule", LOCAL)
def test_parameters_behind_the_weight_learn(rule, make, kind, static):
    if make == "orthogonal" and kind == "conv":
        pytest.skip("a parametrisation of matrices")
    for at in ("encoder", "classifier"):
        block = local_block(rule, kind, WEIGHTS[make] if at == "encoder" else WEIGHTS["plain"])
        if at == "classifier":
            WEIGHTS[make](block.classifier)
        parameters = {name: parameter.detach().clone() for name, parameter in block.named_parameters()}
        block.learn(inputs(kind, static), LABELS, torch.optim.SGD(block.parameters(), 1.0))
        for name, parameter in block.named_parameters():
            assert parameter.grad is not None, f"{name} got no gradient ({at}: {make})"
            assert parameter.isfinite().all(), f"{name} is not finite ({at}: {make})"
        changed = [name for name, parameter in block.named_parameters() if not torch.equal(parameter, parameters[name])]
        for part in ("encoder", "classifier"):
            assert any(name.startswith(part) for name in changed), f"nothing of the {part} has learned ({at}: {make})"


@pytest.mark.parametrize("update", ["step", "window"])
@pytest.mark.parametrize("static", [False, True], ids=["sequence", "static"])
@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("rule", LOCAL)
def test_the_gradient_of_a_weight_and_of_what_makes_it(rule, kind, static, update):
    """Of a weight that is twice a parameter, the parameter's gradient is twice the weight's; of a masked one, the masked one."""

    class Keep(torch.optim.SGD):
        gradients = ()

        def step(self):
            self.gradients = (*self.gradients, *([p.grad.clone() for p in g["params"]] for g in self.param_groups))

    x, gradients = inputs(kind, static), {}
    for make in ("plain", "parametrised", "pruned"):
        block = local_block(rule, kind, update=update)
        if make == "parametrised":
            with torch.no_grad():
                block.encoder.weight.div_(2)
        if make == "pruned":
            WEIGHTS[make](block.encoder)
        elif make == "plain":
            mask = WEIGHTS["pruned"](copy.deepcopy(block.encoder)).weight_mask
        else:
            WEIGHTS[make](block.encoder)
        optimizer = Keep(block.encoder.parameters(), lr=1.0)
        block.learn(x, LABELS, optimizer)
        gradients[make] = [g for (g,) in optimizer.gradients]
        if make == "pruned":
            plain = local_block(rule, kind, update=update)
            with torch.no_grad():
                plain.encoder.weight.mul_(mask)
            kept = Keep(plain.encoder.parameters(), lr=1.0)
            plain.learn(x, LABELS, kept)
            masked = [g * mask for (g,) in kept.gradients]
            # The sums over samples are taken by other routines of torch.
            torch.testing.assert_close(gradients["pruned"], masked, rtol=1e-5, atol=1e-6)
    assert len(gradients["plain"]) == (STEPS if update == "step" and rule != "bell" else 1)
    assert any(g.any() for g in gradients["plain"])
    torch.testing.assert_close(gradients["parametrised"], [2 * g for g in gradients["plain"]], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rule", LOCAL)
def test_a_class_of_its_own_with_another_weight(rule):
    """WSConv2d standardises its weight in its forward function."""
    torch.manual_seed(0)
    encoder = snn.WSConv2d(2, 4, 3, padding=1, bias=False)
    block = snn.LocalBlock(encoder, snn.LocalClassifier((4, 5, 5), CLASSES), rule=rule, time_steps=STEPS, update="window")
    block.learn(inputs("conv"), LABELS, torch.optim.SGD(block.parameters(), 0.0))
    gradient = encoder.weight.grad
    assert gradient.any()
    # A weight that is standardised does not change with the mean of a kernel, so that the gradient has none.
    torch.testing.assert_close(gradient.mean((1, 2, 3)), torch.zeros(4), atol=1e-6 * gradient.abs().max().item() + 1e-9, rtol=0)


@pytest.mark.parametrize("rule", LOCAL)
@pytest.mark.parametrize("frozen", ["encoder", "classifier", "encoder, classifier"])
def test_frozen_weights_get_no_gradient(rule, frozen):
    for make in ("plain", "parametrised"):
        block = local_block(rule, make=WEIGHTS[make])
        for part in frozen.split(", "):
            getattr(block, part).requires_grad_(False)
        before = copy.deepcopy(block.state_dict())
        block.learn(inputs(), LABELS, torch.optim.SGD(block.parameters(), 1.0))
        for name, parameter in block.named_parameters():
            if name.split(".")[0] in frozen:
                assert parameter.grad is None and torch.equal(parameter, before[name]), name
            else:
                assert parameter.grad is not None and not torch.equal(parameter, before[name]), name


@pytest.mark.parametrize("rule", LOCAL)
def test_no_gradient_work_for_a_frozen_encoder(rule, monkeypatch):
    from spikeops.nn.local import online

    monkeypatch.setattr(online, "_weight_gradient", lambda *_: pytest.fail("the gradient of a frozen weight was worked out"))
    block = local_block(rule)
    block.encoder.requires_grad_(False)
    block.learn(inputs(), LABELS, torch.optim.SGD(block.parameters(), 1.0))


@pytest.mark.parametrize("rule", LOCAL)
def test_a_weight_shared_by_layer_and_classifier_gets_both_gradients(rule):
    """3 units for 3 classes: what each would get alone adds up."""

    def block(shared):
        torch.manual_seed(0)
        encoder = nn.Linear(3, 3, bias=False)
        nn.init.uniform_(encoder.weight, 0.2, 1)
        classifier = snn.LocalClassifier((3,), 3)
        classifier.weight = encoder.weight if shared else nn.Parameter(encoder.weight.detach().clone())
        return snn.LocalBlock(encoder, classifier, rule=rule, time_steps=STEPS, update="window")

    x = (torch.rand(STEPS, SAMPLES, 3, generator=torch.Generator().manual_seed(2)) > 0.3).float()
    apart, shared = block(False), block(True)
    for one in (apart, shared):
        one.learn(x, LABELS, torch.optim.SGD(one.parameters(), 0.0))
    expected = apart.encoder.weight.grad + apart.classifier.weight.grad
    assert apart.classifier.weight.grad.any()
    torch.testing.assert_close(shared.encoder.weight.grad, expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", LOCAL)
def test_hooks_of_parameters_run_and_change_the_gradient(rule):
    block = local_block(rule, feedback="alignment")
    accumulated = []
    for name, parameter in block.named_parameters():
        parameter.register_hook(lambda gradient: gradient * 0)
        parameter.register_post_accumulate_grad_hook(lambda parameter, name=name: accumulated.append(name))
    block.learn(inputs(), LABELS, torch.optim.SGD(block.parameters(), 1.0))
    steps = 1 if rule == "bell" else STEPS
    assert sorted(accumulated) == sorted(steps * ["encoder.weight", "classifier.weight", "classifier.feedback_weight"])
    assert not any(parameter.grad.any() for parameter in block.parameters())


@pytest.mark.parametrize("rule", LOCAL)
def test_weights_that_are_handed_in(rule):
    """What `torch.func.functional_call` puts in the place of parameters gets the gradient, the parameters none."""
    block = local_block(rule, update="window")
    factors = {name: torch.ones(()).requires_grad_() for name, _ in block.named_parameters()}
    given = {name: factors[name] * parameter.detach() for name, parameter in block.named_parameters()}

    class Learn(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = block

        def forward(self, x):
            return self.block.learn(x, LABELS, torch.optim.SGD([torch.zeros(1)], 0.0)).loss

    torch.func.functional_call(Learn(), {f"block.{name}": value for name, value in given.items()}, (inputs(),))
    for name, parameter in block.named_parameters():
        assert parameter.grad is None, name
        assert factors[name].grad is not None and factors[name].grad != 0, name


def test_a_classifier_cannot_take_over_a_weight_that_is_computed():
    for make in ("pruned", "parametrised"):
        with pytest.raises(TypeError, match="LocalClassifier: expected a linear layer whose weight is a parameter of its own"):
            snn.LocalBlock(nn.Linear(12, 8, bias=False), WEIGHTS[make](nn.Linear(8, 3, bias=False)))


# --- the other blocks, whose gradients autograd or the implicit equation carries ---------------------------------------------------


def ring(method, make=lambda layer: layer):
    torch.manual_seed(0)
    layers = [make(nn.Linear(6, 6)) for _ in range(3)]
    return snn.FeedbackRing(
        [layers[0]], layers[1], layers[2], method=method, time_steps=8, backward_time_steps=12, threshold=1.0, backward_threshold=0.05
    )  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", WEIGHTS)
@pytest.mark.parametrize("method", ["ide", "spide"])
def test_rings(method, make):
    net = ring(method, WEIGHTS[make])
    net(torch.rand(5, 6, generator=torch.Generator().manual_seed(1))).square().sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), f"{name} got no gradient"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["ide", "spide"])
def test_rings_with_frozen_and_handed_in_weights(method):
    net, x = ring(method), torch.rand(5, 6, generator=torch.Generator().manual_seed(1))
    net.layers[0].requires_grad_(False)
    net(x).square().sum().backward()
    expected = {name: parameter.grad for name, parameter in net.named_parameters()}
    assert expected["layers.0.weight"] is None and expected["input_layer.weight"].any()
    net = ring(method)
    given = {name: parameter.detach().clone().requires_grad_() for name, parameter in net.named_parameters()}
    torch.func.functional_call(net, given, (x,)).square().sum().backward()
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, gradient in expected.items():
        assert given[name].grad is not None
        if gradient is not None:
            torch.testing.assert_close(given[name].grad, gradient)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
@pytest.mark.parametrize("make", WEIGHTS)
def test_blocks_with_a_local_loss(make):
    torch.manual_seed(0)
    block = snn.LocalLossBlock(WEIGHTS[make](nn.Linear(12, 8, bias=False)), (8,), CLASSES, time_steps=STEPS)
    block.local_losses(block(inputs(static=True)), LABELS).total.backward()
    for name, parameter in block.encoder.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), f"{name} got no gradient"


@pytest.mark.parametrize("make", [make for make in WEIGHTS if make != "orthogonal"])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_layers_of_spikes(make):
    torch.manual_seed(0)
    convolution, linear = (WEIGHTS[make](layer) for layer in (snn.SpikeConv2d(3, 64, 3, bias=False), snn.SpikeLinear(200, 150, bias=False)))
    convolution((torch.rand(4, 3, 8, 8) < 0.05).float()).square().sum().backward()
    linear((torch.rand(300, 200) < 0.05).float()).square().sum().backward()
    for name, parameter in (*convolution.named_parameters(), *linear.named_parameters()):
        assert parameter.grad is not None and parameter.grad.any(), f"{name} got no gradient"
