"""FeedbackRing as a module: the simulation against a plain step loop, dropout, modes, state, dtypes, reproducibility."""

import copy

import pytest
import torch
from torch import nn

import spikeops.nn as snn
from spikeops.functional._event_conv import EventConv2d
from spikeops.nn.feedback import forward_pass, incoming


def lenet(**options):
    layers = [nn.AvgPool2d(2), nn.Conv2d(3, 5, 3, padding=1), nn.AvgPool2d(2), nn.Sequential(nn.Flatten(), nn.Linear(20, 12))]
    return snn.FeedbackRing(layers, None, nn.Conv2d(1, 3, 3, padding=1), method="spide", time_steps=7, **options)


def alexnet(method="ide", batch_norm=True, **options):
    def block(i, o, stride=1):
        convolution = nn.Conv2d(i, o, 3, stride, 1)
        return nn.Sequential(convolution, nn.BatchNorm2d(o)) if batch_norm and method == "ide" else convolution

    feedback = nn.ConvTranspose2d(6, 4, 3, 2, 1, 1, bias=False)
    restrict = snn.restrict_spectral_norm if method == "ide" else snn.restrict_frobenius_norm
    return snn.FeedbackRing([block(4, 5), block(5, 6, 2)], restrict(feedback), block(1, 4), method=method, time_steps=7, **options)


def dense(**options):
    recurrent = snn.restrict_spectral_norm(nn.Linear(12, 12, bias=False))
    return snn.FeedbackRing([], recurrent, nn.Sequential(nn.Flatten(), nn.Linear(64, 12)), time_steps=7, **options)


RINGS = {"lenet": lenet, "alexnet-ide": alexnet, "alexnet-spide": lambda **o: alexnet("spide", **o), "dense": dense}


@pytest.fixture(params=RINGS)
def make(request):
    def make(**options):
        torch.manual_seed(5)
        ring = RINGS[request.param](**options)
        with torch.no_grad():  # so that every layer fires
            for name, parameter in ring.named_parameters():
                if name.endswith("bias"):
                    parameter.add_(0.4)
        return ring

    return make


def image(batch=3, dtype=torch.float32):
    return torch.randn(batch, 1, 8, 8, generator=torch.Generator().manual_seed(6)).to(dtype)


def plain_simulation(ring, x):
    """The published equations, step by step, in evaluation mode; firing rates of all layers."""
    current = ring.input_layer(x)
    # The weights change with each use where norms are restricted: look them up once.
    with torch.nn.utils.parametrize.cached():
        membranes, spikes, rates = {}, {}, {}
        for t in range(ring.time_steps):
            for index in range(len(ring.layers) + 1):
                if index:
                    drive = ring.layers[index - 1](spikes[index - 1])
                else:
                    frame = current if ring.input == "constant" else current[t]
                    fed_back = t and ring.feedback is not None
                    drive = frame + ring.feedback(spikes[len(ring.layers)]) if fed_back else frame
                u = membranes.get(index, 0) + drive
                spikes[index] = (u >= ring.threshold).to(u)
                membranes[index] = ring.leak * (u - ring.reset_amount * spikes[index])
                rates[index] = ring.leak * rates.get(index, 0) + spikes[index]
    return [rates[index] / sum(ring.leak**t for t in range(ring.time_steps)) for index in rates]


@torch.no_grad()
@pytest.mark.parametrize("leak", [1.0, 0.9])
def test_simulation(make, leak):
    ring = make(leak=leak).double().eval()
    twin = copy.deepcopy(ring)
    x = image(dtype=torch.float64)
    expected = plain_simulation(twin, x)
    torch.testing.assert_close(ring(x), expected[-1])
    assert 0 < expected[-1].mean() < 1
    if leak == 1:
        averages = torch.stack([rate.mean() for rate in expected])
        torch.testing.assert_close(ring.last_forward_rates, averages)


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_a_leak_that_is_1_in_float32(method):
    """The rate is the plain average, not 0 / 0."""
    results = []
    for leak in (1 - 1e-9, 1.0):
        torch.manual_seed(5)
        ring = alexnet(method, leak=leak, threshold=0.5)
        rate = ring(image())
        rate.sum().backward()
        results.append([rate, ring.last_forward_rates, *(p.grad for p in ring.parameters())])
    assert results[0][0].any()
    assert all(torch.equal(a, b) for a, b in zip(*results))


@torch.no_grad()
def test_spike_input():
    """Time first; each step has its own input."""
    torch.manual_seed(5)
    recurrent = nn.Conv2d(4, 4, 3, padding=1, bias=False)
    ring = snn.FeedbackRing([], recurrent, nn.Conv2d(2, 4, 3, 2, 1), input="spikes", time_steps=6, threshold=0.3).double()
    x = (torch.rand(6, 3, 2, 8, 8) < 0.5).double()
    ring.eval()
    twin = copy.deepcopy(ring)
    twin.input_layer = snn.TimeDistributed(twin.input_layer)
    rate = ring(x)
    torch.testing.assert_close(rate, plain_simulation(twin, x)[-1])
    assert 0.05 < rate.mean() < 0.95


@torch.no_grad()
def test_layers_without_feedback_take_their_steps_in_chunks(monkeypatch):
    """As many steps at once as fit; the result does not depend on it."""
    from spikeops.nn.feedback import time_loop

    results = []
    for budget in (1, 3000, 1 << 30):
        monkeypatch.setitem(time_loop.CHUNK_BYTES, "cpu", budget)
        torch.manual_seed(5)
        results.append(lenet().double().eval()(image(dtype=torch.float64)))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


def test_silent_layers_are_skipped(monkeypatch):
    """An operator is not applied to spikes that are all zero, and what it would have given is used."""
    from spikeops.nn.feedback.operators import Operator

    torch.manual_seed(5)
    ring = alexnet("spide", batch_norm=False).double().eval()
    with torch.no_grad():
        ring.input_layer.weight.mul_(0.05)  # takes some steps to the first spike
        ring.input_layer.bias.fill_(0.25)
        ring.layers[0].bias.fill_(0.3)
        x = image(dtype=torch.float64)
        expected = plain_simulation(copy.deepcopy(ring), x)
        applied, apply = [], Operator.apply
        monkeypatch.setattr(Operator, "apply", lambda self, x: applied.append(x.shape[0]) or apply(self, x))
        torch.testing.assert_close(ring(x), expected[-1])
    assert expected[-1].any()
    steps = [batch for batch in applied if batch == len(x)]
    assert len(steps) < 3 * ring.time_steps - 5


@pytest.mark.parametrize("leak", [1.0, 0.9])
def test_convolutions_on_events_give_the_same(make, monkeypatch, leak):
    """Whether few neurons or many fire, weights may be added up per spike: the same spikes, in both passes, as with dense layers."""
    results = []
    for events in (True, False):
        monkeypatch.setattr(EventConv2d, "pays", lambda self, density, events=events: events)
        ring = make(leak=leak, dropout=0.2).double()
        rate = ring(image(dtype=torch.float64))
        rate.sum().backward()
        results.append((rate.detach(), ring.last_forward_rates, ring.last_backward_rates, [p.grad for p in ring.parameters()]))
    (rate, forward, backward, gradients), (dense_rate, dense_forward, dense_backward, dense_gradients) = results
    assert torch.equal(rate, dense_rate) and torch.equal(forward, dense_forward)
    assert backward is None or torch.equal(backward, dense_backward)
    for a, b in zip(gradients, dense_gradients):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("leak", [1.0, 0.9])
def test_loops_that_ask_nothing_give_the_same(make, monkeypatch, leak):
    """As on a GPU, where every operator is applied to all spikes of every step, and writes over its last result."""
    from spikeops.nn.feedback import time_loop

    monkeypatch.setattr(EventConv2d, "pays", lambda self, density: False)
    results = []
    for flags in (time_loop._flags, lambda *args: None):
        monkeypatch.setattr(time_loop, "_flags", flags)
        ring = make(leak=leak, dropout=0.2).double()
        rate = ring(image(dtype=torch.float64))
        rate.sum().backward()
        results.append([rate.detach(), ring.last_forward_rates, *(p.grad for p in ring.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_the_share_of_neurons_that_fire_is_known(monkeypatch):
    """Also of signed spikes behind dropout masks, whose size is that of the gate."""
    asked, counted = [], []
    density = incoming._density
    monkeypatch.setattr(incoming, "_density", lambda spikes, *rest: asked.append(density(spikes, *rest)) or counted.append(
        (spikes != 0).double().mean().item()) or asked[-1])  # fmt: skip
    torch.manual_seed(5)
    alexnet("spide", dropout=0.3)(image()).sum().backward()
    assert len(asked) > 20 and max(asked) > 0.1
    torch.testing.assert_close(asked, counted, rtol=1e-5, atol=1e-7)


def test_dropout_is_one_mask_per_forward_pass(recorder):
    torch.manual_seed(5)
    ring = dense(dropout=0.5)
    masks = []
    draw = ring.draw_mask
    ring.draw_mask = lambda *args: masks.append(draw(*args)) or masks[-1]
    ring(image())
    first, masks[:] = list(masks), []
    assert len(first) == 2 and all(set(mask.unique().tolist()) == {0, 2} for mask in first)
    ring(image())
    assert not torch.equal(first[0], masks[0])
    # A dropped input is missing at every step, as is a dropped feedback.
    ring.zero_grad()
    dropped = (masks[0] == 0) & (masks[1] == 0)
    potentials = recorder.potentials(recorder.forward[1])
    assert dropped.any() and (potentials[:, dropped] == 0).all()
    masks.clear()
    ring.eval()(image())
    assert masks == [None, None]


def test_dropout_per_sub_network():
    rates = [0, 0, 0, 0, 0.5]
    ring = lenet(dropout=rates)
    assert ring.dropout == rates
    masks = {}
    draw = ring.draw_mask
    ring.draw_mask = lambda name, *args: masks.setdefault(name, draw(name, *args))
    ring(image())
    assert [name for name, mask in masks.items() if mask is not None] == ["layers[3]"]


def test_rates_per_layer(make):
    ring = make()
    assert ring.last_forward_rates is None and ring.last_backward_rates is None
    rate = ring(image())
    layers = len(ring.layers) + 1
    assert ring.last_forward_rates.shape == (layers,) and not ring.last_forward_rates.requires_grad
    torch.testing.assert_close(ring.last_forward_rates[-1], rate.mean())
    rate.sum().backward()
    if ring.method == "spide":
        assert ring.last_backward_rates.shape == (layers,) and 0 < ring.last_backward_rates[-1] <= 1
    ring.train()
    listed = ring.firing_rates(image())
    assert ring.training and all(isinstance(value, float) and 0 <= value <= 1 for value in listed) and len(listed) == layers


def training_step(ring, optimizer, x):
    optimizer.zero_grad()
    loss = ring(x).square().sum()
    loss.backward()
    optimizer.step()
    return loss.detach()


def test_resuming_continues_as_if_nothing_had_happened(make, tmp_path):
    """The state dict and the random generator's state are all that it takes."""
    first = make(dropout=0.2)
    optimizer = torch.optim.SGD(first.parameters(), lr=0.05, momentum=0.9)
    training_step(first, optimizer, image())
    torch.save({"ring": first.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}, tmp_path / "state")
    saved = torch.load(tmp_path / "state", weights_only=True)
    expected = [training_step(first, optimizer, image()) for _ in range(3)]

    second = make(dropout=0.2)
    optimizer = torch.optim.SGD(second.parameters(), lr=0.05, momentum=0.9)
    second.load_state_dict(saved["ring"])
    optimizer.load_state_dict(saved["optimizer"])
    torch.set_rng_state(saved["rng"])
    actual = [training_step(second, optimizer, image()) for _ in range(3)]
    assert torch.equal(torch.stack(actual), torch.stack(expected))
    for name, value in first.state_dict().items():
        assert torch.equal(second.state_dict()[name], value), name


def test_evaluation_leaves_the_statistics_alone():
    torch.manual_seed(5)
    ring = alexnet()
    statistics = {name: value.clone() for name, value in ring.state_dict().items() if "running" in name or "batches" in name}
    assert statistics
    with torch.no_grad():
        ring.eval()(image())
        ring.firing_rates(image())
    for name, value in statistics.items():
        assert torch.equal(ring.state_dict()[name], value), name
    ring.train()(image())
    counts = {name: value.item() for name, value in ring.state_dict().items() if name.endswith("num_batches_tracked")}
    assert counts == {"layers.0.1.num_batches_tracked": 1, "layers.1.1.num_batches_tracked": 1,
                      "input_layer.1.num_batches_tracked": 2}  # fmt: skip


def test_a_step_without_gradients_in_train_mode_updates_the_statistics_too():
    rings = []
    for enabled in (True, False):
        torch.manual_seed(5)
        rings.append(alexnet())
        with torch.set_grad_enabled(enabled):
            rings[-1](image())
    for name, value in rings[0].state_dict().items():
        assert torch.equal(rings[1].state_dict()[name], value), name


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dtypes(make, dtype):
    ring = make().to(dtype)
    rate = ring(image(dtype=dtype))
    rate.sum().backward()
    assert rate.dtype == dtype and all(p.grad.dtype == dtype for p in ring.parameters())


def test_autocast_does_not_reach_inside(make):
    ring = make().eval()
    with torch.no_grad():
        expected = make().eval()(image())
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(ring(image()), expected)


def test_same_results_with_any_number_of_threads(make):
    """The same spikes in both passes, whatever the number of threads; convolutions sum the gradients of their weights in another
    order."""
    results = []
    for threads in (1, 2):
        torch.set_num_threads(threads)
        ring = make()
        rate = ring(image(8))
        rate.sum().backward()
        results.append((rate, ring.last_backward_rates, [p.grad for p in ring.parameters()]))
    (rate, backward_rates, gradients), (other_rate, other_backward_rates, other_gradients) = results
    assert torch.equal(rate, other_rate)
    if backward_rates is not None:
        assert torch.equal(backward_rates, other_backward_rates)
    scale = max(gradient.abs().max() for gradient in gradients)
    for a, b in zip(gradients, other_gradients):
        assert (a - b).abs().max() <= 1e-5 * scale


def test_same_results_again(make):
    results = []
    for _ in range(2):
        ring = make(dropout=0.3)
        rate = ring(image())
        rate.sum().backward()
        results.append([rate, *(p.grad for p in ring.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results))


def test_copies(make):
    ring = make().eval()
    twin = copy.deepcopy(ring)
    assert torch.equal(ring(image()), twin(image()))


def test_copies_of_a_ring_that_has_run_with_modules_that_are_not_known(tmp_path):
    ring = snn.FeedbackRing([nn.Sequential(nn.Linear(5, 5), nn.Tanh())], nn.Linear(5, 5), nn.Linear(3, 5)).eval()
    x = torch.rand(2, 3)
    rate = ring(x)
    torch.save(ring, tmp_path / "ring.pt")
    for twin in (copy.deepcopy(ring), torch.load(tmp_path / "ring.pt", weights_only=False)):
        assert torch.equal(twin(x), rate) and len(twin.known_shapes) == 1


@torch.no_grad()
def test_shapes_are_not_remembered_without_end(monkeypatch):
    monkeypatch.setattr(forward_pass, "MAX_KNOWN_SHAPES", 2)
    ring = snn.FeedbackRing([nn.Conv2d(2, 2, 3, 1, 1)], nn.Conv2d(2, 2, 3, 1, 1), nn.Conv2d(1, 2, 3, 1, 1)).eval()
    for side in (4, 5, 6, 4):
        assert ring(torch.rand(2, 1, side, side)).shape == (2, 2, side, side)
        assert len(ring.known_shapes) <= 2


def test_a_ring_learns():
    """Two classes of images, told apart after a few steps, by both methods."""
    labels = torch.arange(16) % 2
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(7)) * 0.3
    x[labels == 1, :, :4] += 1
    for method in ("ide", "spide"):
        torch.manual_seed(8)
        ring = alexnet(method, threshold=0.5)
        classifier = nn.Linear(6 * 16, 2)
        optimizer = torch.optim.Adam([*ring.parameters(), *classifier.parameters()], lr=0.01)
        for _ in range(15):
            optimizer.zero_grad()
            nn.functional.cross_entropy(classifier(ring(x).flatten(1)), labels).mul(20).backward()
            optimizer.step()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in ring.parameters())
        with torch.no_grad():
            assert (classifier(ring.eval()(x).flatten(1)).argmax(1) == labels).all(), method
