"""Each op and module under each kind of differentiation and batching: what the reference gives, or an error that names it."""

import itertools
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
import torch._dynamo.compiled_autograd
from torch.autograd import forward_ad
from torch.func import functional_call, functionalize, grad, jacrev, jvp, vjp, vmap
from transform_tests.calls import CALLS, MODULES, NONE, OPS, REFUSED, SURROGATES, WORKS, Call, as_tuple, loss
from transform_tests.table import table

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

BY_NAME = pytest.mark.parametrize("name", CALLS)
WITH_GRADIENT = pytest.mark.parametrize("name", [name for name, call in CALLS.items() if call.gradient == WORKS])


def close(actual, expected):
    """Both in float64, from sums in other orders."""
    for a, e in zip(as_tuple(actual), as_tuple(expected), strict=True):
        torch.testing.assert_close(a, e, rtol=1e-9, atol=1e-9)


def refused(name):
    """An error that names the op or module, and a way out."""
    op = "local_learning_step_" if name == "local_learning_step_" else name.split("/")[0]
    ops = {"LIF": "lif", "IF": "lif", "ParametricLIF": "lif", "TSSLBP": "tssl_bp", "LocalBlock": "lif", "LocalLossBlock": "lif",
           "ConvexSNN": "convex_snn_trial"}  # fmt: skip
    return pytest.raises(NotImplementedError, match=f"^{ops.get(op, op)}: .*(Use|outside|detach)")


def leaves(call, **sizes):
    return tuple(tensor.requires_grad_() for tensor in call.tensors(**sizes))


def by_reference(function):
    """What autograd makes of the function through the reference backend."""
    with spikeops.backend("reference"):
        return function()


def places(call):
    return tuple(range(len(call.shapes)))


def gradients(function, tensors, **options):
    return torch.autograd.grad(function(*tensors), tensors, **options)


def test_the_table_has_every_op_and_module():
    ops = {name.split("/")[0] for family in OPS.values() for name in family}
    assert ops == set(SF.__all__)
    modules = {name.split("/")[0] for family in MODULES.values() for name in family}
    functions = {name for name in snn.__all__ if not isinstance(getattr(snn, name), type)}
    assert modules == set(snn.__all__) - functions


def test_the_table_of_the_documentation():
    page = Path(__file__).parents[2] / "docs" / "transforms.md"
    assert table() in page.read_text(), f"docs/transforms.md should have this table:\n{table()}"


# --- more than one derivative -----------------------------------------------------------------------------------------------


def penalty(function, tensors):
    """The gradient of a gradient penalty."""
    first = gradients(loss(function), tensors, create_graph=True)
    return gradients(lambda *_: sum(g.square().sum() for g in first), tensors, allow_unused=True, materialize_grads=True)


@WITH_GRADIENT
def test_second_derivative(name):
    call = CALLS[name]
    tensors = leaves(call)
    close(penalty(call.make(), tensors), by_reference(lambda: penalty(call.make(), tensors)))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
def test_second_derivative_of_each_neuron(surrogate, reset):
    call = CALLS["lif/parameters"]
    for function, options in itertools.product((SF.lif, SF.lif_rate), (dict(detach_reset=True), dict(strict=True, v_reset=-0.3, v_rest=0.1))):

        def neurons(x, decay, v_init):
            return function(x, 0.4 + decay / 4, 1.0, reset=reset, surrogate=surrogate, v_init=v_init, input_scale=1.2, **options)

        tensors = leaves(call)
        second = penalty(neurons, tensors)
        close(second, by_reference(lambda: penalty(neurons, tensors)))
        assert all(s.isfinite().all() for s in second)


def loop(x, decay, v_reset, surrogate):
    """LIF neurons with reset "to", as anybody would write them."""

    class Spike(torch.autograd.Function):
        @staticmethod
        def forward(ctx, u):
            ctx.save_for_backward(u)
            return (u >= 1).to(u.dtype)

        @staticmethod
        def backward(ctx, g):
            return g * surrogate.derivative(ctx.saved_tensors[0] - 1)

    v, spikes = torch.zeros_like(x[0]), []
    for x_t in x:
        u = decay * v + x_t
        s = Spike.apply(u)
        v = u + s * (v_reset - u)
        spikes.append(s)
    return torch.stack(spikes), v


def test_second_derivative_is_that_of_a_plain_loop():
    """Through the spike in the reset too: its derivative is the surrogate wherever it stands."""
    surrogate = SURROGATES[0]
    tensors = leaves(CALLS["lif"])
    expected = penalty(lambda x: loop(x, 0.9, -0.2, surrogate), tensors)
    close(penalty(lambda x: SF.lif(x, 0.9, reset="to", v_reset=-0.2, surrogate=surrogate), tensors), expected)


def test_second_derivative_of_tssl_bp_is_that_of_its_gradient():
    """By finite differences: the spikes stay where they are, and the gradient is a smooth function of the current."""
    (x,) = leaves(CALLS["tssl_bp"])
    upstream = torch.rand_like(x).requires_grad_()

    def gradient(x, upstream):
        return torch.autograd.grad(SF.tssl_bp(x), x, upstream, create_graph=True)[0]

    assert gradient(x, upstream).abs().sum() > 0.1
    assert torch.autograd.gradcheck(gradient, (x, upstream))


@pytest.mark.parametrize("name", ["lif/to", "lif_rate", "tssl_bp", "synaptic_filter"])
def test_third_derivative(name):
    call = CALLS[name]
    tensors = leaves(call)

    def third():
        first = gradients(loss(call.make()), tensors, create_graph=True)
        second = gradients(lambda *_: sum(g.pow(3).sum() for g in first), tensors, create_graph=True, allow_unused=True, materialize_grads=True)
        return gradients(lambda *_: sum(g.square().sum() for g in second), tensors, allow_unused=True, materialize_grads=True)

    close(third(), by_reference(third))


def test_without_an_upstream_gradient_for_all_outputs():
    """Of the membrane alone, and of the spikes alone."""
    call = CALLS["lif/parameters"]
    for output in (0, 1):
        tensors = leaves(call)
        close(penalty(lambda *t: call.function(*t)[output], tensors), by_reference(lambda: penalty(lambda *t: call.function(*t)[output], tensors)))


@pytest.mark.parametrize("name", [name for name in CALLS if name.startswith("FeedbackRing")])
def test_second_derivative_of_rings_is_refused(name):
    call = CALLS[name]
    ring, (x,) = call.make(), leaves(call)
    with pytest.raises(RuntimeError, match="^FeedbackRing: .* no second derivative.*create_graph"):
        torch.autograd.grad(ring(x).sum(), x, create_graph=True)


def test_second_derivative_of_the_similarity_loss():
    """Whose first ones are written by hand: of features, and of maps by the spread of their channels."""
    labels = torch.arange(6) % 3
    for shape in ((6, 5), (6, 4, 3, 3)):
        x = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
        assert torch.autograd.gradgradcheck(lambda x: snn.similarity_matching_loss(x, labels, 3), x)
        weights = torch.rand(6, dtype=torch.float64)
        by_func = vmap(grad(lambda x, w: w * snn.similarity_matching_loss(x, labels, 3)), in_dims=(None, 0))(x.detach(), weights)
        (plain,) = torch.autograd.grad(snn.similarity_matching_loss(x, labels, 3), x)
        close(by_func, torch.stack([w * plain for w in weights]))


def test_learning_of_local_blocks_is_refused():
    block, optimizer = CALLS["LocalBlock"].make(torch.float32), None

    def learn(x):
        return block.learn(x, torch.zeros(3, dtype=torch.int64), optimizer).loss

    with pytest.raises(NotImplementedError, match="^LocalBlock.learn: .*outside the transform"):
        grad(learn)(torch.rand(4, 3, 5))


# --- torch.func -------------------------------------------------------------------------------------------------------------


@BY_NAME
def test_func_grad(name):
    call = CALLS[name]
    function, tensors = call.make(), call.tensors()
    gradient = grad(loss(function), places(call))
    if call.gradient == REFUSED:
        with refused(name):
            gradient(*tensors)
        return
    plain = leaves(call)
    if call.gradient == NONE:
        value = grad(lambda x: x.sum() + sum(output.sum() for output in as_tuple(function(x))))(*tensors)
        return close(value, torch.ones_like(value))
    close(gradient(*tensors), by_reference(lambda: gradients(loss(function), plain)))
    second = grad(lambda *t: sum(g.square().sum() for g in gradient(*t)), places(call))
    close(second(*tensors), penalty(function, plain))


@WITH_GRADIENT
def test_jacobian(name):
    call = CALLS[name]
    function, tensors = call.make(), call.tensors(batch=2, width=6 if name == "spike_conv2d" else 5)

    def first_output(*t):
        return as_tuple(function(*t))[0].flatten()[:7]

    close(jacrev(first_output, places(call))(*tensors), by_reference(lambda: torch.autograd.functional.jacobian(first_output, tensors)))


@BY_NAME
def test_forward_mode(name):
    call = CALLS[name]
    function, tensors = call.make(), call.tensors()
    tangents = tuple(torch.cos(9 * t) for t in tensors)

    def dual():
        with forward_ad.dual_level():
            outputs = as_tuple(function(*map(forward_ad.make_dual, tensors, tangents)))
            return tuple(forward_ad.unpack_dual(output).tangent for output in outputs)

    ways = (lambda: as_tuple(jvp(function, tensors, tangents)[1]), dual)
    for way in ways:
        if call.forward == REFUSED:
            with refused(name):
                way()
        elif call.forward == NONE:
            assert all(tangent is None or not tangent.any() for tangent in way())
        else:
            # What carries gradients back, transposed.
            outputs, pull = vjp(function, *tensors)
            _, push = vjp(pull, outputs)
            close(way(), push(tangents)[0])


def test_tangents_of_the_reference_pass_through_the_surrogate():
    """The way out that the refusal names: the transpose of the gradient."""
    call = CALLS["lif/to"]
    tensors = call.tensors()
    tangents = tuple(torch.cos(9 * t) for t in tensors)
    outputs, pull = vjp(call.function, *tensors)
    with spikeops.backend("reference"):
        actual = jvp(call.function, tensors, tangents)[1]
    close(actual, vjp(pull, outputs)[1](tangents)[0])


# --- other ways to the same -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lif/parameters", "tssl_bp"])
def test_batched_backward_passes(name):
    """What torch.autograd.functional does with vectorize=True, where kernels run under vmap in a backward pass."""
    call = CALLS[name]
    tensors = call.tensors()

    def output(*t):
        return as_tuple(call.function(*t))[0]

    close(
        torch.autograd.functional.jacobian(output, tensors, vectorize=True),
        by_reference(lambda: torch.autograd.functional.jacobian(output, tensors)),
    )


def test_functionalize():
    """Alone, and on either side of a gradient."""
    call = CALLS["lif/parameters"]
    function, tensors = call.function, call.tensors()
    gradient = grad(loss(function), places(call))
    close(functionalize(function)(*tensors), function(*tensors))
    close(functionalize(gradient)(*tensors), gradient(*tensors))
    close(grad(functionalize(loss(function)), places(call))(*tensors), gradient(*tensors))


def test_compiled_autograd():
    """The backward pass of plain calls, compiled."""
    network = torch.nn.Sequential(torch.nn.Linear(5, 6), snn.ParametricLIF(0.5, shape=(6,)), snn.TSSLBP())
    x = torch.rand(4, 2, 5)
    gradients = []
    for context in (nullcontext(), torch._dynamo.compiled_autograd._enable(torch.compile(backend="eager"))):
        network.zero_grad()
        with context:
            network(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in network.parameters()])
    for compiled, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(compiled, plain)


# --- vmap -------------------------------------------------------------------------------------------------------------------


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
        return by_reference(lambda: gradients(loss(function), tuple(x.detach().clone().requires_grad_() for x in t)))

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
        by_reference(lambda: torch.nn.functional.cross_entropy(network(x[:, i : i + 1]).mean(0), labels[i : i + 1])).backward()
        for name, parameter in network.named_parameters():
            close(actual[name][i], parameter.grad)


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
    call = CALLS["convex_snn_trial"]
    assert isinstance(call, Call)
    x = torch.rand(2, 4, 3, 2)
    trial = snn.ConvexSNN(2, 6, 1, sigma_v=0.5)
    with pytest.raises(RuntimeError, match="^convex_snn_trial: .*randomness"):
        vmap(trial)(x)
    assert vmap(trial, randomness="different")(x).shape == (2, 4, 3, 1)
