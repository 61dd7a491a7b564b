"""Each op and module under vmap, and its gradients for each sample: what a loop over the batch gives."""

import pytest
import torch
from torch.func import functional_call, grad, vmap
from transform_tests.calls import CALLS, NONE, REFUSED, WORKS, as_tuple, loss
from transform_tests.compare import by_reference, close, gradients, places, refused

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

WITH_GRADIENT = pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.gradient == WORKS])


def stacked(call, function, tensors, in_dims):
    """A loop over the batch."""
    size = next(t.shape[d] for t, d in zip(tensors, in_dims) if d is not None)
    items = [as_tuple(function(*(t if d is None else t.select(d, i) for t, d in zip(tensors, in_dims)))) for i in range(size)]
    return tuple(map(torch.stack, zip(*items)))


def batches(call):
    """The batch of every tensor alone, and of all, as the axis it is and as the last one."""
    given = [place for place, axis in enumerate(call.batched) if axis is not None]
    for chosen in (given, *([place] for place in given if len(given) > 1)):
        yield tuple(axis if place in chosen else None for place, axis in enumerate(call.batched))


def with_batch(call, in_dims):
    """(tensors with an axis of 2 more at the end, where there is a batch; these axes)."""
    tensors = tuple(t if d is None else torch.stack((t, t.flip(d)), -1) for t, d in zip(call.tensors(), in_dims))
    return tensors, tuple(None if d is None else -1 for d in in_dims)


@pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.vmap != NONE and "encode" not in name])
def test_vmap(name):
    call = CALLS[name]
    function = call.make()
    for in_dims in batches(call):
        more, ends = with_batch(call, in_dims)
        if call.vmap == REFUSED:
            with refused(name):
                vmap(function, in_dims=ends)(*more)
            continue
        close(vmap(function, in_dims=ends)(*more), stacked(call, function, more, ends))
    if call.vmap == WORKS:  # nested: over the axis, and over one in front
        more, ends = with_batch(call, call.batched)
        front = tuple(None if d is None else 0 for d in call.batched)
        nested = vmap(vmap(function, in_dims=ends), in_dims=front)
        most = tuple(t if d is None else torch.stack((t, 1 - t, t / 2)) for t, d in zip(more, call.batched))
        expected = [stacked(call, function, [t if d is None else t[i] for t, d in zip(most, front)], ends) for i in range(3)]
        close(nested(*most), tuple(map(torch.stack, zip(*expected))))


@WITH_GRADIENT
def test_per_sample_gradients(name):
    """vmap(grad), with respect to all tensors, and those of weights that are shared."""
    call = CALLS[name]
    if call.vmap == NONE:
        pytest.skip("its value has no batch")
    function = call.make()
    more, ends = with_batch(call, call.batched)
    gradient = grad(loss(function), places(call))

    def of_one(*t):
        return by_reference(gradients, loss(function), tuple(x.detach().clone().requires_grad_() for x in t))

    close(vmap(gradient, in_dims=ends)(*more), stacked(call, of_one, more, ends))


def test_per_sample_gradients_of_a_network():
    """Of its parameters, among them a decay that all neurons of a channel share, by functional_call."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(
        snn.TimeDistributed(torch.nn.Linear(5, 6)), snn.ParametricLIF(0.6, shape=(6,)), snn.TimeDistributed(torch.nn.Linear(6, 4)), snn.TSSLBP()
    ).double()  # fmt: skip
    x, labels = 2 * torch.rand(4, 7, 5, dtype=torch.float64), torch.arange(7) % 4
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def sample_loss(parameters, x, label):
        return torch.nn.functional.cross_entropy(functional_call(network, parameters, (x.unsqueeze(1),)).mean(0), label[None])

    actual = vmap(grad(sample_loss), in_dims=(None, 1, 0))(parameters, x, labels)
    for i in range(7):
        network.zero_grad()
        with spikeops.backend("reference"):
            torch.nn.functional.cross_entropy(network(x[:, i : i + 1]).mean(0), labels[i : i + 1]).backward()
        for name, parameter in network.named_parameters():
            close(actual[name][i], parameter.grad)


# A decay of each item: for the last axis of the neurons, for one in the middle, for all, one number.
@pytest.mark.parametrize("shape", [(5,), (3, 1), (1, 5), (3, 5), (1, 3, 5), ()], ids=str)
@pytest.mark.parametrize("function", [SF.lif, SF.lif_rate, SF.alif], ids=lambda function: function.__name__)
def test_parameters_of_each_item_have_as_many_axes_as_they_like(function, shape):
    draw = torch.Generator().manual_seed(1)
    x = 2 * torch.rand(4, 4, 2, 3, 5, generator=draw, dtype=torch.float64)
    decays, states = (0.3 + 0.6 * torch.rand(4, *shape, generator=draw, dtype=torch.float64) for _ in range(2))

    def run(x, decay, v_init):
        return as_tuple(function(x, decay, v_init=v_init))

    def gradient(x, decay, v_init):
        return grad(lambda *given: sum(output.square().sum() for output in run(*given)), (0, 1, 2))(x, decay, v_init)

    for of_one in (run, gradient):
        expected = [of_one(*item) for item in zip(x, decays, states)]
        close(vmap(of_one)(x, decays, states), tuple(map(torch.stack, zip(*expected))))
        shared = [of_one(x[0], *item) for item in zip(decays, states)]
        close(vmap(of_one, in_dims=(None, 0, 0))(x[0], decays, states), tuple(map(torch.stack, zip(*shared))))


def test_random_spikes_under_vmap():
    """Each item its own, or all the same, as asked for; without a word, an error that names the op."""
    p = torch.full((3, 50), 0.5)
    with pytest.raises(RuntimeError, match="^poisson_encode: .*randomness"):
        vmap(lambda p: SF.poisson_encode(p, 20))(p)
    different = vmap(lambda p: SF.poisson_encode(p, 20), randomness="different")(p)
    same = vmap(lambda p: SF.poisson_encode(p, 20), randomness="same")(p)
    assert different.shape == same.shape == (3, 20, 50)
    assert not torch.equal(different[0], different[1]) and torch.equal(same[0], same[1])
    # 3000 draws: 0.05 is 5 standard errors.
    assert abs(different.mean() - 0.5) < 0.05
    torch.manual_seed(1)
    expected = SF.poisson_encode(p[0], 20)
    torch.manual_seed(1)
    assert torch.equal(vmap(lambda p: SF.poisson_encode(p, 20), randomness="same")(p)[0], expected)


def test_noise_of_trials_under_vmap():
    x = torch.rand(2, 4, 3, 2)
    trial = snn.ConvexSNN(2, 6, 1, sigma_v=0.5)
    with pytest.raises(RuntimeError, match="^convex_snn_trial: .*randomness"):
        vmap(trial)(x)
    assert vmap(trial, randomness="different")(x).shape == (2, 4, 3, 1)
