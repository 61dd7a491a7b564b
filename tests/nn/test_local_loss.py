"""Local losses of spiking layers: the hand-written gradients, samples without spikes, what learns and what does not."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import spikeops.nn as snn


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


FEATURES = {
    "linear": torch.randn(9, 20, generator=generator()),
    "one pair alike": torch.tensor([[1.0, 2.0, 4.0], [2.0, 4.0, 8.0], [0.0, 1.0, 0.0]]),
    "one sample": torch.randn(1, 5, generator=generator()),
    "maps": torch.randn(6, 5, 4, 3, generator=generator()),
    "maps, channels last": torch.randn(6, 5, 4, 3, generator=generator()).to(memory_format=torch.channels_last),
    "few channels": torch.randn(6, 3, 4, 3, generator=generator()),
    "one row": torch.randn(6, 5, 1, 3, generator=generator()),
}


@pytest.mark.parametrize("std", [True, False])
@pytest.mark.parametrize("x", FEATURES.values(), ids=FEATURES)
def test_loss_and_gradient_are_those_of_the_two_matrices(x, std):
    classes = 4
    x = x.double().requires_grad_()
    labels = torch.randint(classes, (len(x),), generator=generator(2))
    loss = snn.similarity_matching_loss(x, labels, classes, std=std)
    wanted = snn.similarity_matrix(F.one_hot(labels, classes).double())
    expected = F.mse_loss(snn.similarity_matrix(x, std=std), wanted)
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=1e-14)
    gradients = [torch.autograd.grad(3 * value, x)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-14)


def test_gradient_is_that_of_finite_differences():
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    for name in ("linear", "maps"):
        x = FEATURES[name][:6].double().requires_grad_()
        torch.autograd.gradcheck(lambda x: snn.similarity_matching_loss(x, labels, 3), x)


@pytest.mark.parametrize("silent", [0.0, 1.0])
def test_sample_without_a_difference_has_no_similarity_and_no_gradient(silent):
    x = FEATURES["linear"].clone()
    x[3] = silent
    x.requires_grad_()
    labels = torch.arange(9) % 3
    similarity = snn.similarity_matrix(x)
    assert (similarity[3] == 0).all() and (similarity[:, 3] == 0).all()
    for loss in (similarity.square().sum(), snn.similarity_matching_loss(x, labels, 3)):
        (grad,) = torch.autograd.grad(loss, x)
        assert grad.isfinite().all() and (grad[3] == 0).all() and (grad[:3] != 0).all()


def test_channel_without_variation_gets_no_gradient():
    x = FEATURES["maps"].clone()
    x[2, 1] = 0.5
    x.requires_grad_()
    (grad,) = torch.autograd.grad(snn.similarity_matching_loss(x, torch.arange(6) % 2, 2), x)
    assert grad.isfinite().all() and (grad[2, 1] == 0).all() and (grad[2, 0] != 0).any()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_features_are_compared_in_float32(dtype):
    x = FEATURES["linear"].to(dtype).requires_grad_()
    labels = torch.arange(9) % 3
    exact = snn.similarity_matching_loss(x.float(), labels, 3)
    for autocast in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            loss = snn.similarity_matching_loss(x, labels, 3)
        assert loss.dtype == torch.float32 and torch.equal(loss, exact)
        assert torch.autograd.grad(loss, x)[0].dtype == dtype


def make_block(**options):
    torch.manual_seed(3)
    return snn.LocalLossBlock(nn.Linear(12, 30), (30,), classes=3, **options)


X = torch.randn(4, 8, 12, generator=generator())
LABELS = torch.arange(8) % 3


@pytest.mark.parametrize("loss", ["pred", "sim", "predsim"])
def test_losses_and_their_parts(loss):
    block = make_block(loss=loss, beta=0.75)
    spikes = block(X)
    assert spikes.shape == (4, 8, 30) and set(spikes.unique().tolist()) == {0.0, 1.0}
    losses = block.local_losses(spikes, LABELS)
    rate = spikes.mean(0)
    weights = {"pred": (1, None), "sim": (None, 1), "predsim": (0.25, 0.75)}[loss]
    parts = [
        lambda: F.cross_entropy(block.classifier(rate), LABELS),
        lambda: snn.similarity_matching_loss(block.projection(rate), LABELS, 3),
    ]
    for actual, weight, part in zip((losses.pred, losses.sim), weights, parts):
        assert (actual is None) == (weight is None)
        if weight is not None:
            torch.testing.assert_close(actual, weight * part())
    torch.testing.assert_close(losses.total, sum(part for part in (losses.pred, losses.sim) if part is not None))
    assert (losses.logits is None) == (loss == "sim")


def test_classifier_starts_at_zero():
    block = make_block(loss="pred")
    losses = block.local_losses(block(X), LABELS)
    assert (block.classifier.weight == 0).all()
    losses.total.backward()
    assert (block.encoder.weight.grad == 0).all() and (block.classifier.weight.grad != 0).any()


@pytest.mark.parametrize("batch_norm", [True, False])
def test_static_input_is_shown_at_all_time_steps(batch_norm):
    """Batch norm over copies is batch norm over one of them."""
    block = make_block(batch_norm=batch_norm, time_steps=5)
    x = 2 * X[0]
    spikes = block(x)
    expected = block(x.expand(5, 8, 12))
    assert 0 < spikes.mean() < 1
    # The mean over five copies can round the last bit of a current otherwise, and move a spike.
    assert (spikes != expected).float().mean() < 0.01


def test_maps():
    block = snn.LocalLossBlock(nn.Conv2d(2, 8, 3, padding=1), (8, 6, 5), classes=3, decoder_size=60)
    spikes = block(torch.randn(4, 8, 2, 6, 5, generator=generator()))
    assert spikes.shape == (4, 8, 8, 6, 5)
    assert block.classifier.in_features == block.pool.out_features <= 60
    losses = block.local_losses(spikes, LABELS)
    projected = F.conv2d(spikes.mean(0), block.projection.weight, padding=1)
    torch.testing.assert_close(losses.sim, 0.99 * snn.similarity_matching_loss(projected, LABELS, 3))
    losses.total.backward()
    assert all(p.grad is not None for p in block.parameters())


def test_a_block_fed_without_a_graph_learns_alone():
    below, block = make_block(), snn.LocalLossBlock(nn.Linear(30, 20), (20,), classes=3)
    block.local_losses(block(below(X).detach()), LABELS).total.backward()
    assert all(p.grad is None for p in below.parameters())
    assert all(p.grad is not None for p in block.parameters())


@pytest.mark.parametrize("loss", ["pred", "sim", "predsim"])
def test_each_loss_separates_three_classes(loss):
    centres = torch.randn(3, 12, generator=generator(5))
    block = make_block(loss=loss, time_steps=6)
    optimizer = torch.optim.Adam(block.parameters(), 5e-3)
    draw = generator(7)
    history = []
    for _ in range(80):
        labels = torch.randint(3, (24,), generator=draw)
        losses = block.local_losses(block(centres[labels] + 0.3 * torch.randn(24, 12, generator=draw)), labels)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        history.append(losses.total.item())
    assert history[-1] < 0.3 * history[0]


def test_clamped_neurons():
    """The losses see the membrane potential, without a bias in the classifier; the next layer gets the counts."""
    block = snn.LocalLossBlock(nn.Linear(12, 30, bias=False), (30,), 3, "predsim", beta=0.25, neuron="clamped")
    assert isinstance(block.neuron, snn.ClampedLIF) and block.time_steps == block.neuron.time_steps == 3
    assert {name for name, _ in block.named_parameters()} == {
        "encoder.weight", "norm.weight", "norm.bias", "neuron.threshold", "classifier.weight", "projection.weight"
    }  # fmt: skip
    nn.init.normal_(block.classifier.weight)
    counts, v = block(X[0])
    assert counts.shape == v.shape == (8, 30) and not counts.requires_grad
    assert set(counts.unique().tolist()) <= {0.0, 1.0, 2.0, 3.0} and len(counts.unique()) > 1
    losses = block.local_losses((counts, v), LABELS)
    torch.testing.assert_close(losses.pred, 0.75 * F.cross_entropy(v @ block.classifier.weight.T, LABELS))
    torch.testing.assert_close(losses.sim, 0.25 * snn.similarity_matching_loss(v @ block.projection.weight.T, LABELS, 3))
    losses.total.backward()
    assert all(p.grad is not None for p in block.parameters())


def test_clamped_maps_are_compared_as_they_are():
    block = snn.LocalLossBlock(nn.Conv2d(2, 8, 3, padding=1, bias=False), (8, 6, 5), 3, "sim", neuron="clamped")
    assert "projection" not in {name.split(".")[0] for name, _ in block.named_parameters()}
    counts, v = block(torch.randn(8, 2, 6, 5, generator=generator()))
    assert block.neuron.threshold.shape == (8,)
    torch.testing.assert_close(block.local_losses((counts, v), LABELS).total, snn.similarity_matching_loss(v, LABELS, 3))
    pixels = snn.LocalLossBlock(nn.Conv2d(2, 8, 3, padding=1), (8, 6, 5), 3, "sim", neuron=block.neuron, similarity_std=False)
    assert pixels.kind == "clamped"
    torch.testing.assert_close(pixels.local_losses((counts, v), LABELS).total, snn.similarity_matching_loss(v, LABELS, 3, std=False))


def test_relu_layer():
    block = snn.LocalLossBlock(nn.Linear(12, 30), (30,), 3, "predsim", beta=0.25, neuron="relu")
    h = block(X[0])
    torch.testing.assert_close(h, F.relu(block.currents(X[0])))
    assert block.classifier.bias is not None and block.time_steps is None
    losses = block.local_losses(h, LABELS)
    torch.testing.assert_close(losses.sim, 0.25 * snn.similarity_matching_loss(block.projection(h), LABELS, 3))


def test_neurons_that_know_no_time():
    for neuron in ("clamped", "relu"):
        block = snn.LocalLossBlock(nn.Linear(12, 30), (30,), 3, neuron=neuron)
        with pytest.raises(ValueError, match=rf"expected x to have shape \(N, features\) for {neuron} neurons, got shape \(4, 8, 12\)"):
            block(X)
    block = snn.LocalLossBlock(nn.Linear(12, 30), (30,), 3, neuron="clamped")
    counts, v = block(X[0])
    with pytest.raises(TypeError, match=r"expected spikes to be \(counts, v\), as forward returned them, got Tensor"):
        block.local_losses(counts, LABELS)
    with pytest.raises(ValueError, match=r"expected v to have shape \(N, 30\), got shape \(8, 29\)"):
        block.local_losses((counts, v[:, :29]), LABELS)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"neuron": "iaf"}, "expected neuron to be one of 'lif', 'clamped', 'relu', got 'iaf'"),
        ({"neuron": "relu", "time_steps": 3}, "expected time_steps to be None for relu neurons, which know no time, got 3"),
        ({"neuron": snn.ClampedLIF(29)}, "expected neuron to have 30 units, as shape says, got 29"),
        ({"neuron": snn.ClampedLIF(30), "time_steps": 4}, "expected time_steps to be that of neuron, 3, or None, got 4"),
        ({"loss": "mse"}, "expected loss to be one of 'pred', 'sim', 'predsim', got 'mse'"),
        ({"beta": 1.5}, r"expected beta in \[0, 1\], got 1.5"),
        ({"beta": float("nan")}, "expected beta to be finite, got nan"),
        ({"shape": (3, 4)}, r"expected shape to be \(units,\) or \(C, H, W\), whole numbers without zeros, got \(3, 4\)"),
        ({"shape": (0,)}, r"without zeros, got \(0,\)"),
        ({"shape": 30}, "without zeros, got 30"),
        ({"classes": 1}, "expected classes to be 2 or more, got 1"),
        ({"time_steps": 0}, "expected time_steps to be 1 or more, got 0"),
        ({"shape": (30, 4, 4), "decoder_size": 20}, "expected decoder_size to be at least the number of channels, 30, got 20"),
    ],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        snn.LocalLossBlock(nn.Linear(12, 30), **{"shape": (30,), "classes": 3, **options})


@pytest.mark.parametrize(
    "options, message",
    [
        ({"encoder": F.relu}, "expected encoder to be a torch.nn.Module, got function"),
        ({"similarity_std": 1}, "expected similarity_std to be True or False, got 1"),
        ({"classes": 3.0}, "expected classes to be an int, got float"),
        ({"time_steps": 2.5}, "expected time_steps to be an int, got float"),
        ({"decoder_size": None}, "expected decoder_size to be an int, got NoneType"),
        ({"beta": "high"}, "expected beta to be a number, got str"),
    ],
)
def test_options_of_wrong_types_are_refused(options, message):
    with pytest.raises(TypeError, match=message):
        snn.LocalLossBlock(**{"encoder": nn.Linear(12, 30), "shape": (30,), "classes": 3, **options})


@pytest.mark.parametrize("loss", ["pred", "sim", "predsim"])
def test_single_sample_is_normalised_as_in_evaluation(loss):
    """Where a batch leaves one value per unit: the last one of an epoch may have one sample. Batch norm alone would refuse it."""
    block, learning = make_block(loss=loss), make_block(loss=loss)
    for other in (block, learning):
        other(X[0])  # running statistics that are not those of the start
    statistics = {name: buffer.clone() for name, buffer in learning.named_buffers()}
    spikes = learning(X[1, :1])
    assert torch.equal(spikes, block.eval()(X[1, :1])) and spikes.sum() > 0
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in learning.named_buffers())
    losses = learning.local_losses(spikes, LABELS[:1])
    losses.total.backward()
    assert losses.total.isfinite() and all(p.grad.isfinite().all() for p in learning.parameters() if p.grad is not None)
    assert learning.norm.weight.grad is not None


@pytest.mark.parametrize("loss", ["pred", "sim", "predsim"])
def test_batch_without_samples(loss):
    """Its mean loss is NaN, as elsewhere in PyTorch, and no weight gets a gradient of it."""
    block = make_block(loss=loss)
    for x in (X[:, :0], X[0, :0]):
        losses = block.local_losses(block(x), LABELS[:0])
        losses.total.backward()
        assert losses.total.isnan() and (block.encoder.weight.grad == 0).all()


def test_wrong_input_is_refused():
    block = make_block()
    with pytest.raises(ValueError, match=r"expected x to have shape \(N, features\) or \(T, N, features\), got shape \(12,\)"):
        block(X[0, 0])
    with pytest.raises(TypeError, match="expected x to be float32, float64, float16 or bfloat16, got int64"):
        block(X.long())
    with pytest.raises(ValueError, match=r"expected x to have at least one time step, got shape \(0, 8, 12\)"):
        block(X[:0])
    with pytest.raises(ValueError, match=r"expected encoder to map x to shape \(N, 30\), as shape says, got shape \(32, 29\)"):
        snn.LocalLossBlock(nn.Linear(12, 29), (30,), classes=3)(X)
    spikes = block(X)
    with pytest.raises(ValueError, match=r"expected spikes to have shape \(T, N, 30\), got shape \(4, 8, 12\)"):
        block.local_losses(X, LABELS)
    with pytest.raises(ValueError, match=r"expected labels to be int64 of shape \(8,\), .* of shape \(7,\)"):
        block.local_losses(spikes, LABELS[:7])
    with pytest.raises(ValueError, match="expected labels to be int64 .* got torch.int32"):
        block.local_losses(spikes, LABELS.int())
    with pytest.raises(ValueError, match="expected labels from 0 to 2, got labels from 0 to 3"):
        block.local_losses(spikes, LABELS + torch.tensor([0] * 7 + [2]))
    with pytest.raises(ValueError, match="expected labels from 0 to 2, got labels from -1 to 2"):
        block.local_losses(spikes, LABELS - torch.tensor([1] + [0] * 7))


def test_wrong_features_are_refused():
    with pytest.raises(ValueError, match=r"expected x to have shape \(N, F\) or \(N, C, H, W\), got shape \(2, 3, 4\)"):
        snn.similarity_matrix(torch.zeros(2, 3, 4))
    with pytest.raises(ValueError, match=r"expected labels to have shape \(9,\)"):
        snn.similarity_matching_loss(FEATURES["linear"], LABELS, 3)
    with pytest.raises(ValueError, match="expected classes to be 2 or more, got 1"):
        snn.similarity_matching_loss(X[0], LABELS, 1)
