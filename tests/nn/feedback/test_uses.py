"""FeedbackRing in other people's hands: among autograd, autocast, torch.compile, hooks, pruning and layers of their own."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

import spikeops.nn as snn
from spikeops.nn.feedback.subnetworks import SubNetwork

METHODS = ["ide", "spide"]


@pytest.fixture(params=METHODS)
def make(request):
    """A ring of two dense layers; by keyword another layer in between, and options."""

    def make(layer=None, **options):
        torch.manual_seed(3)
        layer = layer or nn.Linear(7, 5)
        ring = snn.FeedbackRing([layer], nn.Linear(5, 7, bias=False), nn.Linear(6, 7), method=request.param, time_steps=12,
                                threshold=0.6, backward_time_steps=20, **options)  # fmt: skip
        with torch.no_grad():
            for name, parameter in ring.named_parameters():
                if name.endswith("bias"):
                    parameter.add_(0.3)
        return ring

    return make


def batch(samples=4, seed=1):
    return torch.rand(samples, 6, generator=torch.Generator().manual_seed(seed))


def gradients(ring):
    return [None if p.grad is None else p.grad.clone() for p in ring.parameters()]


def assert_same(a, b):
    assert len(a) == len(b)
    for x, y in zip(a, b):
        assert torch.equal(x, y)


def test_two_forward_passes_before_their_backward_passes(make):
    """Of batches of different sizes; each pass has kept what it needs."""
    alone = []
    for samples in (4, 6):
        ring = make()
        ring(batch(samples, samples)).sum().backward()
        alone.append(gradients(ring))
    ring = make()
    first, second = ring(batch(4, 4)), ring(batch(6, 6))
    second.sum().backward()
    assert_same(gradients(ring), alone[1])
    ring.zero_grad()
    first.sum().backward()
    assert_same(gradients(ring), alone[0])


def test_frozen_parameters(make):
    """What needs no gradient gets none, and the others' stay the same."""
    ring = make()
    ring(batch()).sum().backward()
    expected = dict(zip(dict(ring.named_parameters()), gradients(ring)))
    for frozen in ("input_layer", "layers", "feedback"):
        ring = make()
        ring.get_submodule(frozen).requires_grad_(False)
        ring(batch()).sum().backward()
        for name, parameter in ring.named_parameters():
            if name.startswith(frozen):
                assert parameter.grad is None, name
            else:
                assert torch.equal(parameter.grad, expected[name]), name
    assert not make().requires_grad_(False)(batch()).requires_grad


def test_a_change_of_the_weights_before_the_backward_pass_is_an_error(make):
    """Not a gradient of weights that the forward pass never saw."""
    for changed in ("layers.0.weight", "feedback.weight"):
        ring = make()
        rate = ring(batch())
        with torch.no_grad():
            ring.get_parameter(changed).add_(1)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            rate.sum().backward()


def test_backward_pass_under_autocast(make):
    expected, ring = make(), make()
    expected(batch()).sum().backward()
    with torch.autocast("cpu", torch.bfloat16):
        ring(batch()).sum().backward()
    for a, b in zip(gradients(ring), gradients(expected)):
        # The products for the weights are autograd's, which autocast reaches: 8 bits.
        torch.testing.assert_close(a, b, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode])
def test_evaluation_between_training_steps(make, context):
    ring, other = make().eval(), make().eval()
    with context():
        rate = ring(batch())
    assert torch.equal(rate, other(batch())) and not rate.requires_grad
    ring.train()(batch()).sum().backward()
    other.train()(batch()).sum().backward()
    assert_same(gradients(ring), gradients(other))


def test_compiled_around(make):
    """The compiler leaves the ring as it is."""
    ring, twin, classifier = make(), make(), nn.Linear(5, 3)
    compiled = torch.compile(nn.Sequential(ring, classifier), backend="aot_eager")
    for training in (True, False):
        ring.train(training)
        twin.train(training)
        for samples in (4, 3):
            outputs, expected = compiled(batch(samples)), classifier(twin(batch(samples)))
            assert torch.equal(outputs, expected)
            for each, loss in ((ring, outputs), (twin, expected)):
                each.zero_grad()
                loss.square().sum().backward()
            assert_same(gradients(ring), gradients(twin))


def test_a_copy_of_a_used_ring(make):
    ring = make()
    ring(batch()).sum().backward()
    twin = copy.deepcopy(ring)
    assert torch.equal(twin(batch()), ring(batch()))


def test_exchanged_layers(make):
    """A ring forgets what it knew of the shapes of the ones before."""
    ring = make()
    ring(batch())
    ring.layers[0], ring.feedback = nn.Linear(7, 9), nn.Linear(9, 7, bias=False)
    assert ring(batch()).shape == (4, 9)
    ring.layers[0] = nn.Linear(7, 8)
    with pytest.raises(ValueError, match="the ring does not close: feedback does not take the output of spiking layer 1"):
        ring(batch())


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class DoubledConvolution(nn.Conv2d):
    def _conv_forward(self, *args):
        return 2 * super()._conv_forward(*args)


def with_weight(weight, kind=nn.Linear):
    layer = kind(*weight.shape[::-1], bias=False)
    with torch.no_grad():
        layer.weight.copy_(weight)
    return layer


def test_classes_of_its_own_and_hooks_are_respected(make):
    """A Linear that does more than a Linear does, or with a hook that changes its output, is not taken for a plain one."""
    weight = torch.rand(5, 7, generator=torch.Generator().manual_seed(2)) * 0.2
    plain = make(with_weight(2 * weight))
    rate = plain(batch())
    assert rate.any() and not torch.equal(rate, make(with_weight(weight))(batch()))
    rate.square().sum().backward()
    hooked = with_weight(weight)
    hooked.register_forward_hook(lambda module, args, output: 2 * output)
    for layer in (with_weight(weight, Doubled), hooked):
        ring = make(layer)
        again = ring(batch())
        assert torch.equal(again, rate)
        again.square().sum().backward()
        torch.testing.assert_close(ring.feedback.weight.grad, plain.feedback.weight.grad)
        torch.testing.assert_close(layer.weight.grad, 2 * plain.layers[0].weight.grad)
    assert SubNetwork("layer", nn.Conv2d(1, 1, 1)).affine and not SubNetwork("layer", DoubledConvolution(1, 1, 1)).affine


def test_pruned_layers_stay_pruned_and_learn(make):
    """Pruning computes the weight in a hook, anew in each forward pass."""
    torch.manual_seed(2)
    layer = prune.l1_unstructured(with_weight(torch.rand(5, 7)), "weight", 0.5)
    ring = make(layer)
    for _ in range(2):
        effective = (layer.weight_orig * layer.weight_mask).detach()
        rate = ring(batch())
        assert torch.equal(rate, make(with_weight(effective))(batch()))
        ring.zero_grad()
        rate.sum().backward()
        assert layer.weight_orig.grad.any() and not layer.weight_orig.grad[layer.weight_mask == 0].any()
        with torch.no_grad():
            layer.weight_orig.add_(0.1)


class Residual(nn.Module):
    """The same network as nn.Sequential(linear, norm), where linear has the identity added to its weight."""

    def __init__(self, linear, norm):
        super().__init__()
        self.linear, self.norm = linear, norm

    def forward(self, x):
        return self.norm(x + self.linear(x))


def batch_normed(block):
    torch.manual_seed(3)
    linear, norm = nn.Linear(7, 7), nn.BatchNorm1d(7)
    nn.init.uniform_(norm.weight, 0.3, 0.6)
    nn.init.uniform_(norm.bias, 0.1, 0.5)
    nn.init.uniform_(norm.running_mean, -0.2, 0.2)
    layer = Residual(linear, norm)
    if not block:
        with torch.no_grad():
            linear.weight += torch.eye(7)
        layer = nn.Sequential(linear, norm)
    ring = snn.FeedbackRing([layer], nn.Linear(7, 7, bias=False), nn.Linear(6, 7), time_steps=12, threshold=0.6, solver_steps=60)
    with torch.no_grad():
        ring.input_layer.bias.add_(0.3)
        ring.feedback.weight.mul_(0.05)
    ring.double()
    return ring, linear, norm


@pytest.mark.parametrize("switch", [False, True])
def test_batch_norm_inside_a_module_of_its_own(switch):
    """Simulates with its running statistics and updates them once, as one that the ring finds itself does; J takes the batch's. A
    switch to evaluation before the backward pass changes nothing."""
    results = []
    for block in (True, False):
        ring, linear, norm = batch_normed(block)
        rate = ring(batch().double())
        assert 0.1 < rate.mean() < 0.9
        ring.train(not switch)
        rate.square().sum().backward()
        assert ring.last_residual < 1e-9
        assert norm.num_batches_tracked == 1 and norm.training != switch and norm.track_running_stats
        results.append([rate, norm.running_mean, norm.running_var, *(p.grad for p in ring.parameters())])
        results[-1].append(ring.eval()(batch().double()))
    for a, b in zip(*results, strict=True):  # I - J^T of batch-norms is ill-conditioned: residuals of 1e-10 are errors of 1e-7
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-6)


class Negated(nn.Module):
    def __init__(self, inplace):
        super().__init__()
        self.inplace = inplace

    def forward(self, x):
        return x.neg_() if self.inplace else -x


def test_modules_that_work_in_place(make):
    """Neither the spikes nor the input are lost."""
    results = []
    for inplace in (True, False):
        torch.manual_seed(2)
        ring = make(nn.Sequential(Negated(inplace), nn.Linear(7, 5)))
        with torch.no_grad():
            ring.layers[0][1].bias.fill_(0.5)
        ring.input_layer = nn.Sequential(Negated(inplace), ring.input_layer)
        x = -batch()
        rate = ring(x)
        assert rate.any() and torch.equal(x, -batch())
        rate.square().sum().backward()
        results.append([rate, *gradients(ring)])
    assert_same(*results)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("convolution", [
    nn.Conv2d(4, 6, 3, 2, 1, groups=2), nn.Conv2d(4, 6, 3, 1, 2, dilation=2), nn.Conv2d(4, 6, (3, 5), (1, 2), (0, 2)),
    nn.Conv2d(4, 6, 3, padding="same", groups=2), nn.ConvTranspose2d(4, 6, 4, 2, 1, groups=2), nn.ConvTranspose2d(4, 6, 3, dilation=2),
    nn.AvgPool2d(3, 2, 1, ceil_mode=True), nn.AvgPool2d(2, divisor_override=3), snn.SpikeConv2d(4, 6, 3), snn.WSConv2d(4, 6, 3),
], ids=str)  # fmt: skip
def test_every_kind_of_layer(method, convolution):
    """Known layers are taken apart; wrapped as something unknown they are called, and transposed by autograd."""

    class Wrapped(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

        def forward(self, x):
            return self.module(x)

    assert SubNetwork("layer", convolution).affine and not SubNetwork("layer", Wrapped(convolution)).affine
    results = []
    for wrap in (nn.Identity, Wrapped):
        torch.manual_seed(3)
        layer = copy.deepcopy(convolution).double()
        ring = snn.FeedbackRing([layer if wrap is nn.Identity else wrap(layer)], None, nn.Conv2d(2, 4, 3, padding=1).double(),
                                method=method, time_steps=12, threshold=0.4, backward_time_steps=30)  # fmt: skip
        rate = ring(torch.rand(3, 2, 9, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(1)))
        rate.square().sum().backward()
        results.append((rate.detach(), gradients(ring)))
    (rate, grads), (other_rate, other_grads) = results
    assert rate.any() and torch.equal(rate, other_rate)
    for a, b in zip(grads, other_grads):
        torch.testing.assert_close(a, b)


def test_sequences_of_features(make):
    """Linear layers work on the last of any number of dimensions."""
    ring = make()
    x = torch.rand(4, 3, 6)
    rate = ring(x)
    rate.sum().backward()
    assert torch.equal(rate.detach().flatten(0, 1), ring(x.flatten(0, 1)).detach())


def test_a_ring_in_a_state_dict(make):
    ring, other = make(), make()
    with torch.no_grad():
        for p in ring.parameters():
            p.mul_(1.5)
    other.load_state_dict(ring.state_dict())
    assert torch.equal(ring(batch()), other(batch()))


@pytest.mark.parametrize("input", ["constant", "spikes"])
@pytest.mark.parametrize("feedback", [True, False])
def test_spike_trains(make, input, feedback):
    """Each layer's rate is the average of its train; modes and statistics stay as they were."""
    ring = make(nn.Linear(7, 5), input=input, dropout=0.5)
    if not feedback:
        ring.feedback = None
        ring.dropout.pop()
    x = batch() if input == "constant" else torch.rand(12, 4, 6)
    trains = ring.spike_trains(x)
    assert ring.training and [train.shape for train in trains] == [(12, 4, 7), (12, 4, 5)]
    assert all(set(train.unique().tolist()) == {0, 1} for train in trains)
    torch.testing.assert_close(trains[-1].mean(0), ring.eval()(x).detach())
    torch.testing.assert_close(torch.stack([train.mean() for train in trains]), ring.last_forward_rates)
