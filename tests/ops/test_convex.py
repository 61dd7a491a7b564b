"""convex_snn_trial: against the reference, and what it promises."""

import pytest
import torch
from op_tests.compare import assert_identical
from op_tests.layouts import INPUTS, dense_copy, lay_out
from op_tests.pairwise import parametrize
from op_tests.special_numbers import SHARES, strew

import spikeops
import spikeops.functional as SF
from spikeops import reference

DTYPES = [torch.float32, torch.float64]
NEURON = {"dt": 0.01, "leak": 2.0, "spike_cost": 0.05}
LEARNING = {"feedforward_rate": 0.02, "threshold_rate": 0.03, "threshold_drift": 0.5, "buffer_steps": 1}


def network(draw, dtype, neurons=20, inputs=2, readouts=3):
    """(feedforward, recurrent, thresholds), encoder, decoder. Multiples of 1/8, so that excesses tie."""

    def eighths(low, high, *shape):
        return (torch.randint(low, high, shape, generator=draw) / 8).to(dtype)

    encoder = eighths(1, 9, neurons, readouts)
    decoder = 0.1 * encoder.T
    return (eighths(-8, 9, neurons, inputs), -encoder @ decoder, eighths(0, 4, neurons)), encoder, decoder


def inputs(draw, dtype, bins=31, trials=4, K=2):
    """A step from one point to another, then constant."""
    x = (torch.randint(-8, 9, (bins, trials, K), generator=draw) / 8).to(dtype)
    x[2:] = x[1:2]
    return x


def assert_same(actual, expected):
    for name in ("spikes", "readout", "feedforward", "thresholds"):
        index = ("spikes", "readout", "feedforward", "thresholds").index(name)
        assert_identical(actual[index], expected[index].cpu(), name)


@parametrize(dtype=DTYPES, bins=[2, 3, 40], trials=[0, 1, 5], neurons=[1, 15, 16, 50], K=[1, 3], layout=list(INPUTS),
             decodes=[False, True], learns=[False, True], noisy=[False, True], forgetting=[0.0, 0.25])  # fmt: skip
def test_matches_the_reference(draw, dtype, bins, trials, neurons, K, layout, decodes, learns, noisy, forgetting):
    weights, encoder, decoder = network(draw, dtype, neurons, K)
    x = inputs(draw, dtype, bins, trials, K)
    options = dict(NEURON, decoder=decoder if decodes else None)
    if noisy:
        options |= {"sigma_v": 0.3, "noise": torch.randn(bins - 1, trials, neurons, generator=draw, dtype=torch.float64).to(dtype)}
    if learns:
        options |= {"targets": torch.rand(trials, 3, generator=draw).to(dtype), "encoder": encoder, "forgetting": forgetting, **LEARNING}
    x = lay_out(x, layout)
    assert_same(SF.convex_snn_trial(x, *weights, **options), reference.convex_snn_trial(x, *weights, **options))


@pytest.mark.parametrize("dtype", DTYPES)
def test_is_the_same_on_every_device(device, draw, dtype):
    weights, encoder, decoder = network(draw, dtype)
    x, targets = inputs(draw, dtype), torch.rand(4, 3, generator=draw).to(dtype)
    for learning in ({}, {"targets": targets, "encoder": encoder, **LEARNING}):
        options = {"decoder": decoder, **learning}
        moved = {n: o.to(device) if isinstance(o, torch.Tensor) else o for n, o in options.items()}
        actual = SF.convex_snn_trial(x.to(device), *(w.to(device) for w in weights), **NEURON, **moved)
        assert_same(actual, reference.convex_snn_trial(x, *weights, **NEURON, **options))


def test_strided_weights(draw):
    weights, encoder, decoder = network(draw, torch.float32)
    x, targets = inputs(draw, torch.float32), torch.rand(4, 3, generator=draw)
    expected = SF.convex_snn_trial(x, *weights, decoder, targets=targets, encoder=encoder, **NEURON, **LEARNING)
    strided = [lay_out(w, "sliced") for w in (*weights, decoder, targets, encoder)]
    actual = SF.convex_snn_trial(x, *strided[:4], targets=strided[4], encoder=strided[5], **NEURON, **LEARNING)
    assert_same(actual, expected)


def test_one_spike_per_step_of_the_largest_excess():
    """Excesses 1, 3, 3, 2: neuron 1 fires, the first of the largest; it inhibits all by 2, and 0.5 more costs itself."""
    x = torch.tensor([0.0, 1.0, 1.0]).view(3, 1, 1)
    feedforward = torch.tensor([[1.0], [3.0], [3.0], [2.0]])
    trial = SF.convex_snn_trial(x, feedforward, -2 * torch.ones(4, 4), torch.zeros(4), dt=0.5, leak=0.0, spike_cost=0.5)
    assert trial.spikes.flatten().tolist() == [1, 2]
    assert trial.readout[:, 0].tolist() == [[0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 1, 0]]


def test_a_membrane_at_its_threshold_fires():
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1)
    for threshold, winner in ((0.75, 0), (torch.nextafter(torch.tensor(0.75), torch.tensor(1.0)).item(), -1)):
        trial = SF.convex_snn_trial(x, torch.tensor([[0.75]]), torch.zeros(1, 1), torch.tensor([threshold]), dt=1.0, leak=0.0)
        assert trial.spikes.item() == winner


def test_nan_does_not_fire_and_infinity_does():
    x = torch.tensor([0.0, 1.0]).view(2, 1, 1)
    for implementation in (SF.convex_snn_trial, reference.convex_snn_trial):
        for drive, winner in (([float("nan"), 1.0], 1), ([1.0, float("inf")], 1), ([float("nan"), -1.0], -1)):
            trial = implementation(x, torch.tensor(drive).view(2, 1), torch.zeros(2, 2), torch.zeros(2), dt=1.0, leak=0.0)
            assert trial[0].item() == winner


def test_readout_is_the_decoded_rates(draw):
    weights, _, decoder = network(draw, torch.float64)
    x = inputs(draw, torch.float64)
    rates = SF.convex_snn_trial(x, *weights, **NEURON).readout
    decoded = SF.convex_snn_trial(x, *weights, decoder, **NEURON).readout
    torch.testing.assert_close(decoded, rates @ decoder.T, rtol=0, atol=1e-13)


def test_the_readout_solves_the_optimisation_problem(draw):
    """At rest y hovers above max(0, max_i (F_i x - h_i) / G_i), from the boundary to one decoder weight above it."""
    neurons, step = 40, 0.01
    feedforward = torch.randn(neurons, 2, generator=draw, dtype=torch.float64)
    thresholds = torch.rand(neurons, generator=draw, dtype=torch.float64)
    encoder, decoder = torch.ones(neurons, 1, dtype=torch.float64), step * torch.ones(1, neurons, dtype=torch.float64)
    point = 2 * torch.rand(50, 2, generator=draw, dtype=torch.float64) - 1
    x = point.expand(1500, 50, 2).clone()
    x[0] = 0
    y = SF.convex_snn_trial(x, feedforward, -encoder @ decoder, thresholds, decoder, dt=0.001, leak=2.0).readout[-100:, :, 0]
    surface = (point @ feedforward.T - thresholds).max(1).values.clamp_min(0)
    assert (y >= surface - step).all() and (y <= surface + 1.01 * step).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_noise_is_drawn_by_the_generator_alone(device, draw, dtype):
    weights = [w.to(device) for w in network(draw, dtype)[0]]
    x = inputs(draw, dtype).to(device)

    def run(seed):
        generator = torch.Generator().manual_seed(seed)
        return SF.convex_snn_trial(x, *weights, **NEURON, sigma_v=1.0, generator=generator)

    assert_same(run(3), run(3))
    assert not torch.equal(run(3).spikes, run(4).spikes)
    with spikeops.backend("reference"):
        assert_same(run(3), [output.cpu() for output in run(3)])
    torch.manual_seed(9)
    first = SF.convex_snn_trial(x, *weights, **NEURON, sigma_v=1.0)
    torch.manual_seed(9)
    assert_same(SF.convex_snn_trial(x, *weights, **NEURON, sigma_v=1.0), [output.cpu() for output in first])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("learns", [False, True])
def test_drawn_noise_equals_the_reference(draw, dtype, learns):
    """Bit for bit: 17 steps of 3 trials, four of them per draw of random numbers."""
    weights, encoder, _ = network(draw, dtype)
    x, options = inputs(draw, dtype, 18, 3), NEURON | {"sigma_v": 0.7}
    if learns:
        options |= {"targets": torch.rand(3, 3, generator=draw).to(dtype), "encoder": encoder, **LEARNING}
    actual, expected = (
        run(x, *weights, **options, generator=torch.Generator().manual_seed(2))
        for run in (SF.convex_snn_trial, reference.convex_snn_trial)
    )
    assert_same(actual, expected)


def test_noise_is_standard_normal():
    """Against PyTorch's inverse of the normal distribution: PPND7 promises a relative error of 1e-7, its tails about 1e-6."""
    words = torch.cat([torch.arange(5000), 2**32 - 1 - torch.arange(5000), torch.arange(0, 2**32, 1_000_003)])
    exact = torch.special.ndtri((words.double() + 0.5) * 2.0**-32)
    torch.testing.assert_close(reference.convex.standard_normal(words), exact, rtol=1e-6, atol=1e-9)
    noise = reference.convex_noise(torch.tensor([1]), 40, 10, 100, torch.float64)
    assert noise.shape == (40, 10, 100)
    # 40 000 numbers: 5 standard errors of the mean and of the variance.
    assert abs(noise.mean().item()) < 5 / 200 and abs(noise.var().item() - 1) < 5 * 2**0.5 / 200


def test_learning_puts_the_boundary_through_the_target():
    """One neuron, rates that make a full step together: after one spike F x - h = G y."""
    x = torch.tensor([[0.0, 0.0], [0.6, 0.8], [0.6, 0.8]], dtype=torch.float64).view(3, 1, 2)
    feedforward, thresholds = torch.tensor([[2.0, 1.0]], dtype=torch.float64), torch.tensor([0.25], dtype=torch.float64)
    encoder, target = torch.tensor([[1.0]], dtype=torch.float64), torch.tensor([[0.7]], dtype=torch.float64)
    learned = SF.convex_snn_trial(
        x, feedforward, -encoder, thresholds, dt=0.1, leak=0.0, targets=target, encoder=encoder, feedforward_rate=0.75,
        threshold_rate=0.25, buffer_steps=1,
    )  # fmt: skip
    assert learned.spikes.flatten().tolist() == [0, 0]
    # x has length 1: three quarters of the error go by F, one by h.
    reached = (learned.feedforward @ x[1, 0]) - learned.thresholds
    torch.testing.assert_close(reached, target[0])


def test_learning_leaves_the_arguments_alone(draw):
    weights, encoder, _ = network(draw, torch.float32)
    before = [w.clone() for w in weights]
    targets = torch.rand(4, 3, generator=draw)
    learned = SF.convex_snn_trial(inputs(draw, torch.float32), *weights, targets=targets, encoder=encoder, **NEURON, **LEARNING)
    assert all(torch.equal(w, b) for w, b in zip(weights, before))
    assert not torch.equal(learned.feedforward, weights[0]) and not torch.equal(learned.thresholds, weights[2])


def test_learning_waits_for_the_buffer(draw):
    weights, encoder, _ = network(draw, torch.float32)
    x, targets = inputs(draw, torch.float32, bins=10), torch.rand(4, 3, generator=draw)
    options = LEARNING | {"buffer_steps": 9}
    learned = SF.convex_snn_trial(x, *weights, targets=targets, encoder=encoder, **NEURON, **options)
    plain = SF.convex_snn_trial(x, *weights, **NEURON)
    assert learned.spikes.max() >= 0
    assert_same(learned, plain)


def test_no_gradient(draw):
    weights, *_ = network(draw, torch.float32)
    trial = SF.convex_snn_trial(inputs(draw, torch.float32), *(w.requires_grad_() for w in weights), **NEURON)
    assert not trial.readout.requires_grad


X, F, W, H, D = torch.zeros(3, 4, 2), torch.zeros(5, 2), torch.zeros(5, 5), torch.zeros(5), torch.zeros(1, 5)
FITTING = dict(x=X, feedforward=F, recurrent=W, thresholds=H, decoder=D, dt=0.1, leak=1.0)


@pytest.mark.parametrize("changes, error, words", [
    (dict(x=[0.0]), TypeError, "expected x to be a tensor, got list."),
    (dict(x=X.half()), TypeError, "expected x to be float32 or float64, got float16. Call x.float() first."),
    (dict(x=X[0]), ValueError, "expected x to have shape (bins, trials, K), got shape (4, 2)."),
    (dict(x=X[:1]), ValueError, "expected x to have at least two time bins, which make one step, got shape (1, 4, 2)."),
    (dict(feedforward=F.T), ValueError, "expected feedforward to have shape (N, K = 2), got shape (2, 5)."),
    (dict(feedforward=F[:0]), ValueError, "expected at least one neuron and one input, got feedforward of shape (0, 2)."),
    (dict(feedforward=F.double()), TypeError, "expected feedforward to be torch.float32 on cpu like x, got torch.float64 on cpu."),
    (dict(recurrent=W.to("meta")), TypeError, "expected recurrent to be torch.float32 on cpu like x, got torch.float32 on meta."),
    (dict(recurrent=W[:4]), ValueError, "expected recurrent to have shape (N = 5, N = 5), got shape (4, 5)."),
    (dict(thresholds=H[None]), ValueError, "expected thresholds to have shape (N = 5), got shape (1, 5)."),
    (dict(decoder=D.T), ValueError, "expected decoder to have shape (M, N = 5), got shape (5, 1)."),
    (dict(noise=torch.zeros(3, 4, 5)), ValueError, "expected noise to have shape (bins - 1 = 2, trials = 4, N = 5), got shape (3, 4, 5)."),
    (dict(targets=torch.zeros(4, 1)), ValueError, "expected targets and encoder together, got targets only."),
    (dict(encoder=torch.zeros(5, 1)), ValueError, "expected targets and encoder together, got encoder only."),
    (dict(targets=torch.zeros(3, 1), encoder=torch.zeros(5, 1)), ValueError, "expected targets to have shape (trials = 4, Y), got shape (3, 1)."),
    (dict(targets=torch.zeros(4, 1), encoder=torch.zeros(5, 2)), ValueError, "expected encoder to have shape (N = 5, Y = 1), got shape (5, 2)."),
    (dict(dt=0.0), ValueError, "expected dt to be above 0, got 0.0."),
    (dict(leak=-1.0), ValueError, "expected leak to be 0 or above, got -1.0."),
    (dict(sigma_v=float("nan")), ValueError, "expected sigma_v to be finite, got nan."),
    (dict(spike_cost=torch.tensor(0.1)), TypeError, "expected spike_cost to be a number, got Tensor."),
    (dict(threshold_rate="fast"), TypeError, "expected threshold_rate to be a number, got str."),
    (dict(buffer_steps=-1), ValueError, "expected buffer_steps to be 0 or above, got -1."),
    (dict(buffer_steps=0.5), TypeError, "expected buffer_steps to be an int, got float."),
    (dict(generator=3), TypeError, "expected generator to be a torch.Generator, got int."),
], ids=lambda value: "-".join(value) if isinstance(value, dict) else "")  # fmt: skip
def test_bad_input(changes, error, words):
    with pytest.raises(error) as caught:
        SF.convex_snn_trial(**FITTING | changes)
    assert words in str(caught.value)
    assert str(caught.value).startswith("convex_snn_trial: ")


def test_the_op_checks_what_protects_memory(native):
    op = torch.ops.spikeops.convex_snn_trial
    numbers = (0.1, 1.0, *[0.0] * 6, 1.0, 1.0)
    good = (X, F, W, H, D, None, None, None, None, numbers, 0)
    op(*good)
    for place, bad in ((0, X.half()), (0, X[0]), (1, F[:, :1]), (2, W[:4]), (3, H[:4]), (4, D[:, :4]), (5, torch.zeros(1, 4, 5)),
                       (6, torch.zeros(1)), (7, torch.zeros(4, 1)), (9, (0.1,))):  # fmt: skip
        with pytest.raises(RuntimeError, match="expected"):
            op(*(bad if i == place else argument for i, argument in enumerate(good)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("share", (1e-3, *SHARES))
def test_special_numbers(draw, device, share, dtype):
    """With and without learning; one input in three asks for nothing."""
    trials, neurons, inputs, readouts = 3, 40, 3, 2
    x = torch.randn(7, trials, inputs, generator=draw)
    x[2:] = x[1]  # a step, then constant
    x[..., 1] = 0
    encoder = torch.rand(neurons, readouts, generator=draw)
    tensors = {
        "feedforward": torch.randn(neurons, inputs, generator=draw), "recurrent": -0.1 * encoder @ encoder.T,
        "thresholds": torch.rand(neurons, generator=draw) / 8, "decoder": 0.1 * encoder.T,
        "noise": torch.randn(6, trials, neurons, generator=draw),
    }  # fmt: skip
    numbers = dict(dt=0.1, leak=2.0, spike_cost=0.05, sigma_v=0.3)
    learning = {"targets": torch.rand(trials, readouts, generator=draw), "encoder": encoder}
    rates = dict(feedforward_rate=0.02, threshold_rate=0.03, threshold_drift=0.5, buffer_steps=1)
    x, *values = (strew(t.to(dtype), draw, share).to(device) for t in (x, *tensors.values(), *learning.values()))
    x[..., 1].copy_(torch.zeros(7, trials))
    given = dict(zip((*tensors, *learning), values))
    for wanted, options in ((tensors, {}), ((*tensors, *learning), rates)):
        arguments = {name: given[name] for name in wanted}
        actual = SF.convex_snn_trial(x, **arguments, **numbers, **options)
        copies = {name: dense_copy(tensor) for name, tensor in arguments.items()}
        expected = reference.convex_snn_trial(dense_copy(x), **copies, **numbers, **options)
        for name, a, e in zip(("spikes", "readout", "feedforward", "thresholds"), actual, expected):
            assert_identical(a, e, name)
