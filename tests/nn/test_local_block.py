"""LocalBlock: its gradients against autograd on the published loops, its options, its errors."""

import pytest
import torch
from torch.nn import functional as F

import spikeops.nn as snn
from spikeops.surrogate import ATan, Exponential

RULES = ("ell", "fell", "bell")
STEPS, SAMPLES, CLASSES = 6, 5, 4


@pytest.fixture
def draw():
    return torch.Generator().manual_seed(3)


class Recorder:
    """An optimiser that changes nothing and remembers the gradients of each step."""

    def __init__(self, block):
        self.block, self.gradients = block, []

    def step(self):
        self.gradients.append({name: p.grad.clone() for name, p in self.block.named_parameters() if p.grad is not None})


class Spike(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, threshold, surrogate):
        ctx.save_for_backward(u)
        ctx.bump = threshold, surrogate
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx, gradient):
        threshold, surrogate = ctx.bump
        return gradient * surrogate.derivative(ctx.saved_tensors[0] - threshold), None, None


def plain_gradients(block, x, labels):
    """Gradients per optimiser step by autograd on loops over time, as the paper states the rules, at weights that stay as they are."""
    target = F.one_hot(labels, CLASSES).to(x.dtype)
    decay, q = block.decay, block.threshold
    m = s = n = o = 0
    losses, found, spikes = [], [], []
    for t in range(STEPS):
        h = block.encoder(x if block.is_static(x) else x[t])
        if block.rule == "ell":
            m, s, n, o = (value.detach() if t else 0 for value in (m, s, n, o))
        m = decay * (m - q * s) + h
        s = Spike.apply(m, q, block.surrogate)
        if block.rule == "fell" and t:
            # The classifier's past sees the layer's spikes as constants.
            n, o = past_classifier(block, spikes)
        n = decay * (n - q * o) + block.classifier(s)
        o = Spike.apply(n, q, block.surrogate)
        spikes.append(s.detach())
        losses.append(F.mse_loss(o, target))
        if block.rule != "bell":
            found.append(gradients(block, losses[-1]))
    return (found if found else [gradients(block, sum(losses))]), torch.stack(spikes), sum(losses).detach()


def past_classifier(block, spikes):
    n = o = 0
    for s in spikes:
        n = block.decay * (n - block.threshold * o) + block.classifier(s)
        o = Spike.apply(n, block.threshold, block.surrogate)
    return n, o


def gradients(block, loss):
    parameters = {name: p for name, p in block.named_parameters() if p.requires_grad}
    return dict(zip(parameters, torch.autograd.grad(loss, list(parameters.values()), retain_graph=True)))


def make_block(kind, rule, **options):
    classifier_options = {name: options.pop(name) for name in ("feedback", "frozen") if name in options}
    torch.manual_seed(0)
    if kind == "linear":
        encoder, shape, size = torch.nn.Linear(12, 9, bias=False), (9,), None
    else:
        encoder, shape, size = torch.nn.Conv2d(2, 3, 3, padding=1, stride=2, bias=False), (3, 4, 3), 18
    classifier = snn.LocalClassifier(shape, CLASSES, decoder_size=size, **classifier_options)
    block = snn.LocalBlock(encoder, classifier, rule, time_steps=STEPS, **options).double()
    with torch.no_grad():  # enough for neurons and classifier to fire now and then
        encoder.weight.mul_(4)
        classifier.weight.mul_(12)
    return block


def batch(draw, kind, is_static):
    sample = (12,) if kind == "linear" else (2, 7, 6)
    steps = () if is_static else (STEPS,)
    x = torch.rand(*steps, SAMPLES, *sample, generator=draw, dtype=torch.float64)
    return x, torch.randint(CLASSES, (SAMPLES,), generator=draw)


def assert_same_gradients(actual, expected):
    assert len(actual) == len(expected)
    for step, (a, e) in enumerate(zip(actual, expected)):
        assert a.keys() == e.keys()
        for name in e:
            off = (a[name] - e[name]).abs().max().item()
            assert off <= 1e-12 * e[name].abs().max().item(), f"step {step}, {name}: off by {off}"


@pytest.mark.parametrize("options", [
    {}, {"tau": 3.0, "threshold": 0.6, "surrogate": ATan(2.0)}, {"feedback": "alignment"}, {"frozen": True},
], ids=["plain", "neurons", "alignment", "frozen"])  # fmt: skip
@pytest.mark.parametrize("is_static", [True, False], ids=["static", "sequence"])
@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("rule", RULES)
def test_gradients_are_those_of_autograd(draw, rule, kind, is_static, options):
    block = make_block(kind, rule, **options)
    x, labels = batch(draw, kind, is_static)
    expected, spikes, loss = plain_gradients(block, x, labels)
    recorder = Recorder(block)
    step = block.learn(x, labels, recorder)
    assert 0 < spikes.mean().item() < 1 and 0 < step.count.mean().item() < STEPS
    assert torch.equal(step.spikes, spikes)
    torch.testing.assert_close(step.loss, loss)
    assert_same_gradients(recorder.gradients, expected)


@pytest.mark.parametrize("kind", ["linear", "conv"])
@pytest.mark.parametrize("rule", RULES)
def test_static_input_is_an_input_repeated_in_time(draw, rule, kind):
    """FELL keeps one trace for a static input, and a history for any other."""
    x, labels = batch(draw, kind, True)
    results = []
    for shown in (x, x.expand(STEPS, *x.shape).contiguous()):
        block = make_block(kind, rule)
        step = block.learn(shown, labels, torch.optim.Adam(block.parameters(), 0.01))
        results.append((step.spikes, step.count, step.loss, *block.parameters()))
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("is_static", [True, False], ids=["static", "sequence"])
@pytest.mark.parametrize("rule", ["ell", "fell"])
def test_update_per_window_adds_the_gradients_up(draw, rule, is_static):
    x, labels = batch(draw, "linear", is_static)
    recorders = {update: Recorder(make_block("linear", rule, update=update)) for update in ("step", "window")}
    for recorder in recorders.values():
        for _ in range(2):  # the second batch starts anew
            recorder.block.learn(x, labels, recorder)
    steps = recorders["step"].gradients
    expected = {name: sum(step[name] for step in steps[:STEPS]) for name in steps[0]}
    assert_same_gradients(recorders["window"].gradients, [expected, expected])


@pytest.mark.parametrize("rule", RULES)
def test_shares_of_a_batch_add_up(draw, rule):
    """What several processes do: each has some of the samples (one of them none), the gradients are added up."""
    block, (x, labels) = make_block("conv", rule), batch(draw, "conv", True)
    whole = Recorder(block)
    loss = block.learn(x, labels, whole).loss
    parts = [Recorder(block) for _ in range(3)]
    losses = [block.learn(x[some], labels[some], part, batch_size=SAMPLES).loss
              for part, some in zip(parts, (slice(2), slice(2, None), slice(0)))]  # fmt: skip
    torch.testing.assert_close(sum(losses), loss)
    added = [{name: sum(p.gradients[i][name] for p in parts) for name in step} for i, step in enumerate(whole.gradients)]
    assert_same_gradients(added, whole.gradients)


@pytest.mark.parametrize("rule", RULES)
def test_channels_last(draw, rule):
    x, labels = batch(draw, "conv", True)
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        block = make_block("conv", rule).float().to(memory_format=layout)
        step = block.learn(x.float().to(memory_format=layout), labels, torch.optim.Adam(block.parameters(), 0.01, fused=True))
        results.append((step.spikes, step.count, *(p.detach() for p in block.parameters())))
    assert not results[1][0].is_contiguous() and results[1][0][0].is_contiguous(memory_format=torch.channels_last)
    for a, b in zip(*results):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("update", ["step", "window"])
def test_gradients_lie_in_memory_as_their_weights_do(draw, rule, update):
    """Fused optimizers insist on it, and convolutions of channels-last maps give their gradients in another order."""
    block = snn.LocalBlock(torch.nn.Conv2d(3, 4, 3, bias=False), snn.LocalClassifier((4, 6, 6), CLASSES), rule=rule, time_steps=STEPS,
                           **({} if rule == "bell" else {"update": update}))  # fmt: skip
    x = torch.rand(STEPS * SAMPLES, 3, 8, 8, generator=draw).to(memory_format=torch.channels_last).unflatten(0, (STEPS, SAMPLES))
    block.learn(x, torch.randint(CLASSES, (SAMPLES,), generator=draw), Recorder(block))
    for name, parameter in block.named_parameters():
        assert parameter.grad.stride() == parameter.stride(), name


@pytest.mark.parametrize("rule", RULES)
def test_learns(draw, rule):
    block, (x, labels) = make_block("linear", rule).float(), batch(draw, "linear", True)
    optimizer = torch.optim.Adam(block.parameters(), 0.02)
    losses = [block.learn(x.float(), labels, optimizer) for _ in range(40)]
    assert losses[-1].loss < 0.3 * losses[0].loss
    assert torch.equal(losses[-1].count.argmax(1), labels)
    spikes = block(x.float())
    assert torch.equal(block.classify(spikes.detach()).argmax(1), labels)


def test_aligned_feedback_keeps_its_distance_from_the_weight(draw):
    """It gets the weight's gradients, so that the two differ by the same matrix for ever, but for Adam's rounding."""
    for rule in RULES:
        block, (x, labels) = make_block("linear", rule, feedback="alignment"), batch(draw, "linear", True)
        weight, feedback = block.classifier.weight, block.classifier.feedback_weight
        before, start = (weight - feedback).detach().clone(), weight.detach().clone()
        block.learn(x, labels, torch.optim.Adam(block.parameters(), 0.01))
        torch.testing.assert_close((weight - feedback).detach(), before)
        assert not torch.equal(weight.detach(), start) and before.abs().max() > 0.1


def test_linear_classifier_is_shared():
    linear = torch.nn.Linear(9, CLASSES, bias=False)
    block = snn.LocalBlock(torch.nn.Linear(12, 9, bias=False), linear)
    assert block.classifier.weight is linear.weight
    assert block.classifier.feedback_weight is None


def test_leaves_nothing_that_needs_a_gradient(draw):
    for rule in RULES:
        block, (x, labels) = make_block("linear", rule), batch(draw, "linear", True)
        step = block.learn(x.requires_grad_(), labels, Recorder(block))
        assert not (step.spikes.requires_grad or step.loss.requires_grad or step.count.requires_grad)
        assert x.grad is None


LINEAR, CONV = torch.nn.Linear(12, 9, bias=False), torch.nn.Conv2d(2, 8, 3, bias=False)
TEN = torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize("error, words, call", [
    (ValueError, "expected time_steps, the number of time steps, to be at least 1, got 0", lambda: block_with(time_steps=0)),
    (TypeError, "expected time_steps, the number of time steps, to be an int, got float", lambda: block_with(time_steps=2.0)),
    (ValueError, "expected tau to be above 0, got 0", lambda: block_with(tau=0)),
    (ValueError, "expected threshold to be above 0, got -1", lambda: block_with(threshold=-1)),
    (ValueError, "expected rule to be one of 'ell', 'fell', 'bell', got 'ELL'", lambda: block_with(rule="ELL")),
    (ValueError, "expected update to be one of 'step', 'window', got 'batch'", lambda: block_with(update="batch")),
    (TypeError, "expected surrogate to be one of spikeops.surrogate", lambda: block_with(surrogate="exp")),
    (TypeError, "expected encoder to be torch.nn.Linear or torch.nn.Conv2d, got ReLU", lambda: snn.LocalBlock(torch.nn.ReLU(), LINEAR)),
    (ValueError, "expected encoder to have no bias", lambda: snn.LocalBlock(torch.nn.Linear(3, 9), snn.LocalClassifier((9,), 4))),
    (ValueError, "expected encoder to pad by a number of zeros",
     lambda: snn.LocalBlock(torch.nn.Conv2d(2, 8, 3, bias=False, padding="same"), snn.LocalClassifier((8, 5, 5), 4))),
    (TypeError, "expected classifier to be a LocalClassifier", lambda: snn.LocalBlock(LINEAR, CONV)),
    (ValueError, "expected a linear layer without bias", lambda: snn.LocalBlock(LINEAR, torch.nn.Linear(9, 4))),
    (ValueError, "expected classifier to be for 9 units", lambda: snn.LocalBlock(LINEAR, snn.LocalClassifier((7,), 4))),
    (ValueError, "expected decoder_size to be at least the number of channels, 8,.* got 4",
     lambda: snn.LocalClassifier((8, 6, 6), 4, decoder_size=4)),
    (ValueError, "expected decoder_size to be at least 1, got 0", lambda: snn.LocalClassifier((8, 6, 6), 4, decoder_size=0)),
    (ValueError, "expected classes to be at least 1, got 0", lambda: snn.LocalClassifier((8,), 0)),
    (ValueError, "expected shape to be .units,. or .channels, height, width., got .8, 6.", lambda: snn.LocalClassifier((8, 6), 4)),
    (ValueError, "expected feedback to be one of 'transpose', 'alignment'", lambda: snn.LocalClassifier((8,), 4, feedback="fa")),
    (TypeError, "expected frozen to be True or False, got 1", lambda: snn.LocalClassifier((8,), 4, frozen=1)),
    (ValueError, "expected labels in 0 .. 3, the classes of the classifier, got 4", lambda: learn(labels=torch.tensor([0, 4]))),
    (ValueError, "expected labels in 0 .. 3, the classes of the classifier, got -1", lambda: learn(labels=torch.tensor([-1, 4]))),
    (ValueError, r"expected labels to be int64 of shape \(2,\)", lambda: learn(labels=torch.zeros(3, dtype=torch.int64))),
    (ValueError, r"expected labels to be int64 of shape \(2,\)", lambda: learn(labels=torch.zeros(2))),
    (ValueError, r"expected x to have shape \(N, features\) or \(T, N, features\) with 12 features", lambda: learn(x=torch.zeros(2, 11))),
    (ValueError, r"expected x to have shape \(N, features\)", lambda: learn(x=torch.zeros(12))),
    (ValueError, r"expected x to have at least one time step, got shape \(0, 2, 12\)", lambda: learn(x=torch.zeros(0, 2, 12))),
    (TypeError, "expected x to be float32", lambda: learn(x=torch.zeros(2, 12, dtype=torch.int64))),
    (TypeError, "expected x to be torch.float32 like the encoder's weight, got torch.float64",
     lambda: learn(x=torch.zeros(2, 12, dtype=torch.float64))),
])  # fmt: skip
def test_errors_name_the_argument(error, words, call):
    with pytest.raises(error, match=words):
        call()


def block_with(rule="ell", **options):
    return snn.LocalBlock(LINEAR, snn.LocalClassifier((9,), 4), rule, **options)


def learn(x=torch.zeros(2, 12), labels=TEN):
    block = block_with()
    return block.learn(x, labels, Recorder(block))


def test_maps_of_another_size_than_the_classifier_expects():
    block = snn.LocalBlock(CONV, snn.LocalClassifier((8, 6, 6), 4))
    with pytest.raises(ValueError, match=r"expected spikes of shape \(N, \*\(8, 6, 6\)\), got shape \(1, 8, 4, 4\)"):
        block.learn(torch.zeros(1, 2, 6, 6), torch.zeros(1, dtype=torch.int64), Recorder(block))


@pytest.mark.parametrize("shape, size, kernel, padding, features", [
    ((12, 24, 24), 1024, (4, 2), (0, 0), 864), ((64, 8, 8), 1024, (2, 2), (0, 0), 1024), ((4, 7, 7), 64, (2, 2), (1, 1), 64),
    ((3, 5, 9), 3, (8, 16), (4, 8), 3), ((5, 4, 4), 1000, (1, 1), (0, 0), 80),
])  # fmt: skip
def test_pooling_window(shape, size, kernel, padding, features):
    classifier = snn.LocalClassifier(shape, CLASSES, decoder_size=size)
    assert (classifier.pool_kernel, classifier.pool_padding, classifier.weight.shape[1]) == (kernel, padding, features)
    spikes = (torch.rand(3, *shape) < 0.4).float()
    pooled = torch.nn.functional.avg_pool2d(spikes, kernel, padding=padding).flatten(1)
    for layout in (torch.contiguous_format, torch.channels_last):
        classifier.zero_grad()
        current = classifier(spikes.to(memory_format=layout))
        torch.testing.assert_close(current, pooled @ classifier.weight.t())
        current.sum().backward()
        torch.testing.assert_close(classifier.weight.grad, pooled.sum(0).expand(CLASSES, -1))


def test_surrogate_default_is_the_published_one():
    assert block_with().surrogate == Exponential(1.0)


@pytest.mark.parametrize("rule", RULES)
def test_a_block_with_nothing_to_learn(draw, rule):
    block = make_block("linear", rule, frozen=True)
    block.encoder.requires_grad_(False)
    x, labels = batch(draw, "linear", True)
    step = block.learn(x, labels, torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0))
    assert torch.equal(step.spikes, block(x)) and all(p.grad is None for p in block.parameters())


@pytest.mark.parametrize("rule", RULES)
def test_loss_and_count_of_16_bit_blocks_are_float32(draw, rule):
    block = make_block("linear", rule).bfloat16()
    x, labels = batch(draw, "linear", True)
    step = block.learn(x.bfloat16(), labels, torch.optim.SGD(block.parameters(), lr=0.1))
    assert step.spikes.dtype == torch.bfloat16
    assert step.loss.dtype == step.count.dtype == torch.float32
