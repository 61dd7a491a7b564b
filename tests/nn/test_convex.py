"""ConvexSNN: the function of its trials, fitting, and what it says of wrong shapes."""

import pytest
import torch

import spikeops.functional as SF
import spikeops.nn as snn

LEARNING = dict(feedforward_rate=0.1, threshold_rate=0.1, buffer_steps=100)


def network(neurons=60, outputs=1, **options):
    torch.manual_seed(0)
    return snn.ConvexSNN(2, neurons, outputs, decoder_scale=0.02, feedforward_scale=2.0, **options)


def points(count, seed=1):
    return 2 * torch.rand(count, 2, generator=torch.Generator().manual_seed(seed)) - 1


def test_module_is_its_function():
    net = network(outputs=3, spike_cost=0.05)
    x = net.present(points(5), bins=40)
    expected = SF.convex_snn_trial(
        x, net.feedforward, -(net.encoder @ net.decoder), net.thresholds, net.decoder, dt=1e-3, leak=2.0, spike_cost=0.05
    )
    assert torch.equal(net(x), expected.readout)
    assert torch.equal(net.trials(x).spikes, expected.spikes)
    torch.testing.assert_close(net.rates(x) @ net.decoder.T, expected.readout)


def test_present():
    x = snn.ConvexSNN.present(torch.tensor([[1.0, 2.0]]), bins=4, onset=2)
    assert x[:, 0].tolist() == [[0, 0], [0, 0], [1, 2], [1, 2]]


def test_drawn_weights_have_their_scales():
    torch.manual_seed(0)
    net = snn.ConvexSNN(100, 400, 7, decoder_scale=0.3, feedforward_scale=2.0, threshold=0.7)
    assert (net.encoder >= 0).all() and torch.equal(net.decoder, 0.3 * net.encoder.T)
    torch.testing.assert_close(net.encoder.norm(dim=1), torch.ones(400))
    assert net.feedforward.square().sum(1).mean().sqrt().item() == pytest.approx(2.0, rel=0.02)  # 40 000 numbers: 0.4 %
    assert (net.thresholds == 0.7).all()


@pytest.mark.parametrize("function", [lambda p: p.square().sum(1), lambda p: p.abs().sum(1)], ids=["smooth", "not_smooth"])
def test_fits_a_convex_function(function):
    net, samples, tests = network(), points(600), points(200, seed=2)

    def error():
        readout = net(net.present(tests, bins=250))[-50:, :, 0].mean(0)
        return (readout - function(tests)).square().mean().sqrt().item()

    before = error()
    net.fit(net.present(samples, bins=250), function(samples)[:, None], **LEARNING)
    # One spike is worth 0.02; six seeds of both functions ended between 0.017 and 0.054, from 1.29 and more.
    assert error() < 0.1 < 1.0 < before
    rest, _ = net.maxout(tests)
    readout = net(net.present(tests, bins=250))[-50:, :, 0]
    assert (readout - rest).abs().max() < 0.021


def test_fit_keeps_what_it_learned_and_pieces_of_trials_equal_all():
    samples = points(30)
    whole, pieces = network(), network()
    x, targets = whole.present(samples, bins=150), samples.square().sum(1, keepdim=True)
    before = whole.feedforward.clone()
    trials = whole.fit(x, targets, **LEARNING)
    assert torch.equal(whole.feedforward, trials.feedforward) and not torch.equal(whole.feedforward, before)
    for some in (slice(0, 7), slice(7, 30)):
        pieces.fit(x[:, some], targets[some], **LEARNING)
    assert torch.equal(pieces.feedforward, whole.feedforward) and torch.equal(pieces.thresholds, whole.thresholds)


def test_state_is_the_weights():
    net, other = network(), network()
    assert set(net.state_dict()) == {"feedforward", "thresholds", "encoder", "decoder"}
    samples = points(10)
    net.fit(net.present(samples, bins=150), samples.square().sum(1, keepdim=True), **LEARNING)
    other.load_state_dict(net.state_dict())
    x = net.present(points(5), bins=50)
    assert torch.equal(net(x), other(x))
    assert net.double()(x.double()).dtype == torch.float64


def test_noise_follows_the_generator():
    net = network(sigma_v=1.0)
    x = net.present(points(5), bins=50)
    first, again, other = (net(x, generator=torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)


def test_wrong_shapes():
    with pytest.raises(ValueError, match=r"ConvexSNN: expected encoder to have shape \(5, 2\), got \(5, 1\)"):
        snn.ConvexSNN(2, 5, 2, encoder=torch.ones(5, 1))
    with pytest.raises(ValueError, match="expected a network with one output, this one has 3"):
        network(outputs=3).maxout(points(2))
    with pytest.raises(ValueError, match="expected targets to have shape"):
        net = network()
        net.fit(net.present(points(3), bins=4), torch.zeros(2, 1), **LEARNING)
