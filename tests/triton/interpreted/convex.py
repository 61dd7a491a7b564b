"""Trials of the convex-optimisation network in Triton's interpreter against the reference."""

import pytest
import torch
from op_tests.compare import assert_identical
from op_tests.layouts import INPUTS, lay_out
from op_tests.pairwise import parametrize

import spikeops.functional as SF
from spikeops import reference

LEARNING = {"feedforward_rate": 0.02, "threshold_rate": 0.03, "threshold_drift": 0.5, "buffer_steps": 1}
NEURON = {"dt": 0.01, "leak": 2.0, "spike_cost": 0.05}
DTYPES = [torch.float32, torch.float64]


def eighths(draw, low, high, shape, dtype):
    """Multiples of 1/8, so that excesses tie."""
    return (torch.randint(low, high, shape, generator=draw) / 8).to(dtype)


def case(draw, dtype, bins=25, trials=3, neurons=20, K=2, outputs=3):
    """x, (feedforward, recurrent, thresholds), decoder, encoder: a step from one point to another, then constant."""
    encoder = eighths(draw, 1, 9, (neurons, outputs), dtype)
    decoder = 0.1 * encoder.T
    x = eighths(draw, -8, 9, (bins, trials, K), dtype)
    x[2:] = x[1:2]
    feedforward, thresholds = eighths(draw, -8, 9, (neurons, K), dtype), eighths(draw, 0, 4, (neurons,), dtype)
    return x, (feedforward, -encoder @ decoder, thresholds), decoder, encoder


def check(x, weights, **options):
    actual = SF.convex_snn_trial(x, *weights, **options)
    expected = reference.convex_snn_trial(x, *weights, **options)
    assert_identical(actual.spikes, expected[0], "spikes")
    assert_identical(actual.readout, expected[1], "readout")
    if "targets" in options:
        assert_identical(actual.feedforward, expected[2], "feedforward")
        assert_identical(actual.thresholds, expected[3], "thresholds")
    else:
        assert actual.feedforward is weights[0] and actual.thresholds is weights[2]
    return actual


@parametrize(dtype=DTYPES, bins=[2, 3, 25], trials=[0, 1, 4], neurons=[1, 15, 16, 50], K=[1, 3], outputs=[1, 3], layout=list(INPUTS),
             decodes=[False, True], learns=[False, True], noisy=[False, True])  # fmt: skip
def test_matches_the_reference(draw, dtype, bins, trials, neurons, K, outputs, layout, decodes, learns, noisy):
    x, weights, decoder, encoder = case(draw, dtype, bins, trials, neurons, K, outputs)
    options = dict(NEURON, decoder=decoder if decodes else None)
    if noisy:
        options |= {"sigma_v": 0.3, "noise": torch.randn(bins - 1, trials, neurons, generator=draw).to(dtype)}
    if learns:
        options |= {"targets": torch.rand(trials, outputs, generator=draw).to(dtype), "encoder": encoder, **LEARNING}
    check(lay_out(x, layout), weights, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_neurons_fire_one_at_a_time(draw, dtype):
    """Some steps have spikes and some have none, of which several neurons were entitled to one."""
    x, weights, *_ = case(draw, dtype, bins=60, trials=5)
    spikes = check(x, weights, **NEURON).spikes
    assert 0 < (spikes >= 0).float().mean() < 1 and len(spikes.unique()) > 5


@pytest.mark.parametrize("dtype", DTYPES)
def test_drawn_noise_equals_the_reference(draw, dtype):
    """17 steps, four of them per draw; the words of 3 trials of 60 neurons reach both tails of the normal distribution."""
    x, weights, *_ = case(draw, dtype, bins=18, neurons=60)
    noisy = dict(NEURON, sigma_v=0.7)
    actual, expected = (
        run(x, *weights, **noisy, generator=torch.Generator().manual_seed(2))
        for run in (SF.convex_snn_trial, reference.convex_snn_trial)
    )
    assert_identical(actual.spikes, expected[0], "spikes")
    assert_identical(actual.readout, expected[1], "readout")


def test_equal_excesses_go_to_the_first_and_nan_never_fires():
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1)
    nan, inf = float("nan"), float("inf")
    for drive, winner in (
        ([1.0, 3.0, 3.0, 2.0], 1),
        ([nan, 1.0, 0.0, 1.0], 1),
        ([1.0, inf, inf, nan], 1),
        ([nan, -1.0, nan, -1.0], -1),
    ):
        trial = check(x, (torch.tensor(drive).view(4, 1), torch.zeros(4, 4), torch.zeros(4)), dt=1.0, leak=0.0)
        assert trial.spikes.item() == winner


@pytest.mark.parametrize("threshold, winner", [(0.75, 0), (0.75 + 2.0**-24, -1)])
def test_a_membrane_at_its_threshold_fires(threshold, winner):
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1)
    trial = check(x, (torch.tensor([[0.75]]), torch.zeros(1, 1), torch.tensor([threshold])), dt=1.0, leak=0.0)
    assert trial.spikes.item() == winner


def test_strided_weights(draw):
    x, weights, decoder, encoder = case(draw, torch.float32)
    targets = torch.rand(3, 3, generator=draw)
    strided = [lay_out(w, "sliced") for w in (*weights, decoder, encoder, targets)]
    check(x, strided[:3], decoder=strided[3], **NEURON)
    check(x, strided[:3], decoder=strided[3], encoder=strided[4], targets=strided[5], **NEURON, **LEARNING)


@pytest.mark.parametrize("dtype", DTYPES)
def test_learning_leaves_the_arguments_alone(draw, dtype):
    """Weights whose transpose is contiguous are not written to either."""
    x, (feedforward, recurrent, thresholds), _, encoder = case(draw, dtype, trials=4)
    weights = feedforward.t().contiguous().t(), recurrent, thresholds
    before = [w.clone() for w in weights]
    learned = check(x, weights, targets=torch.rand(4, 3, generator=draw).to(dtype), encoder=encoder, **NEURON, **LEARNING)
    assert all(torch.equal(w, b) for w, b in zip(weights, before))
    assert not torch.equal(learned.feedforward, feedforward) and not torch.equal(learned.thresholds, thresholds)
