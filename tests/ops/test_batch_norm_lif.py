"""Batch norm with LIF neurons behind it: torch's batch norm and `lif`, the same spikes given the same statistics on all backends, running
statistics, and what is refused."""

import re

import pytest
import torch
from op_cases.batch_norm_lif import GATHERED, GIVEN, OWN, RAW
from op_tests.compare import assert_close, assert_identical
from op_tests.inputs import Inputs
from op_tests.layouts import INPUTS, dense_copy, lay_out
from op_tests.neurons import DTYPES, state_dtype
from op_tests.op_calls import run_on_copies

import spikeops
import spikeops.functional as SF
from spikeops import reference
from spikeops.functional import _provenance
from spikeops.functional._lif_options import RESETS
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle, Window

# One sample, vectors, an odd number of channels, maps smaller and larger than 32 places, more rows than a block.
SHAPES = ((1, 7), (5, 130), (70, 3), (2, 3, 5, 7), (3, 5, 2, 2), (2, 1, 9, 40), (4, 2, 3, 50))
SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5)]
OPTIONS = dict(decay=0.6, threshold=0.75, input_scale=1.2, v_rest=0.1)
# Of float64: sums of some thousand terms in another order, and square roots of them.
EXACT = 1e-12


def tensors(T, shape, dtype=torch.float64, layout="contiguous", seed=0, requires_grad=True, shift=0.5):
    """x of which each channel has another mean and deviation, weight, bias, running statistics."""
    draw = torch.Generator().manual_seed(seed)
    C = shape[1]
    spread = [-1, *[1] * (len(shape) - 2)]
    deviation, mean = (torch.rand(C, generator=draw, dtype=torch.float64) for _ in range(2))
    x = torch.randn(T, *shape, generator=draw, dtype=torch.float64) * (0.5 + deviation).view(spread) + (mean + shift).view(spread)
    parameters = [0.5 + torch.rand(C, generator=draw, dtype=torch.float64) for _ in range(2)]
    running = [torch.rand(C, generator=draw, dtype=torch.float64) + 0.2 for _ in range(2)]
    x = lay_out(x.to(dtype), layout).detach().requires_grad_(requires_grad)
    state = state_dtype(dtype)
    weight, bias = (parameter.to(state).requires_grad_(requires_grad) for parameter in parameters)
    return x, weight, bias, *(statistics.to(state) for statistics in running)


def by_torch(x, running_mean, running_var, weight, bias, training, momentum=0.1, eps=1e-5, **options):
    """torch's batch norm on time folded into the batch, and `lif`."""
    y = torch.nn.functional.batch_norm(x.flatten(0, 1), running_mean, running_var, weight, bias, training, momentum, eps)
    return reference.lif(y.unflatten(0, x.shape[:2]), **options)


def gradients(outputs, leaves):
    draw = torch.Generator().manual_seed(7)
    upstream = [torch.randn(output.shape, generator=draw, dtype=torch.float64).to(output.dtype) for output in outputs]
    return torch.autograd.grad(outputs, leaves, upstream, allow_unused=True)


def close(actual, expected, what, rounding=EXACT):
    scale = max(1.0, expected.double().abs().max().item()) if expected.numel() else 1.0
    difference = (actual.double() - expected.double()).abs().max().item() if expected.numel() else 0.0
    assert actual.shape == expected.shape and difference <= rounding * scale, f"{what}: off by {difference:.2e}, of {scale:.2e}"


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", ["kernels", "reference"])
def test_it_is_torchs_batch_norm_and_lif(backend, training, shape):
    """In float64, where a spike hangs on rounding at one potential in 1e13: outputs, gradients and running statistics."""
    for affine in (True, False):
        x, weight, bias, *running = tensors(6, shape)
        affine_map = (weight, bias) if affine else (None, None)
        leaves = [x, *(parameter for parameter in affine_map if parameter is not None)]
        ours, theirs = ([statistics.clone() for statistics in running] for _ in range(2))
        call = reference.batch_norm_lif if backend == "reference" else SF.batch_norm_lif
        actual = call(x, *ours, *affine_map, training=training, momentum=0.3, reset="to", **OPTIONS)
        expected = by_torch(x, *theirs, *affine_map, training, 0.3, reset="to", **OPTIONS)
        assert torch.equal(actual[0], expected[0]), "other spikes"
        close(actual[1], expected[1], "v_last")
        for name, a, e in zip(("mean", "variance"), ours, theirs):
            close(a, e, f"running {name}")
        for name, a, e in zip(("x", "weight", "bias"), gradients(actual, leaves), gradients(expected, leaves)):
            close(a, e, f"gradient of {name}")


@pytest.mark.parametrize("shape", [(70, 3), (300, 40), (9, 521)], ids=str)
def test_sums_of_many_rows_begin_with_nothing_that_was_in_memory(shape):
    """Those of each block of rows lie in scratch memory, which a call before may have left full."""
    x, weight, bias, *_ = tensors(3, shape)
    blocks = -(-shape[0] // 8)
    found = []
    for _ in range(5):
        outputs = SF.batch_norm_lif(x, weight=weight, bias=bias, training=True, **OPTIONS)
        left = [torch.full((2, blocks, shape[1]), torch.nan, dtype=torch.float64) for _ in range(100)]
        del left
        found.append(gradients(outputs, [x, weight, bias]))
    expected = gradients(by_torch(x, None, None, weight, bias, True, **OPTIONS), [x, weight, bias])
    for actual in found:
        for name, a, e in zip(("x", "weight", "bias"), actual, expected):
            close(a, e, f"gradient of {name}")


@pytest.mark.parametrize("training", [True, False])
def test_without_running_statistics_they_are_those_of_x(training):
    x, weight, bias, *_ = tensors(5, (4, 3, 6))
    actual = SF.batch_norm_lif(x, weight=weight, bias=bias, training=training, **OPTIONS)
    expected = by_torch(x, None, None, weight, bias, True, **OPTIONS)
    assert torch.equal(actual[0], expected[0])
    close(actual[1], expected[1], "v_last")
    for a, e in zip(gradients(actual, [x, weight, bias]), gradients(expected, [x, weight, bias])):
        close(a, e, "gradient")


@pytest.mark.parametrize("layout", INPUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_statistics_of_each_layout(dtype, layout):
    for shape in ((3, 4, 5, 6), (9, 33)):
        x = tensors(7, shape, dtype, layout, requires_grad=False)[0]
        mean, inv_std, moments = torch.ops.spikeops.channel_statistics(x, 1e-3)
        values = dense_copy(x).double().movedim(2, 0).flatten(1)
        close(moments[0], values.mean(1), "mean")
        close(moments[1], values.var(1, correction=0), "variance")
        assert torch.equal(mean, moments[0].to(state_dtype(dtype)))
        close(inv_std, 1 / (values.var(1, correction=0) + 1e-3).sqrt(), "inv_std", EXACT if dtype == torch.float64 else 2.0**-23)


@pytest.mark.parametrize("shape", [(8, 3, 40), (50, 3)], ids=str)
def test_statistics_of_data_far_from_zero(shape):
    """A mean of 1e6 deviations: sums of squares would leave 4 digits of the variance in float64, and none in float32."""
    x, *_ = tensors(9, shape, requires_grad=False)
    x = 1e6 + x
    x[0, 0] += 30  # the first number of each channel, from which distances are taken, is far off itself
    _, _, moments = torch.ops.spikeops.channel_statistics(x, 0.0)
    values = x.movedim(2, 0).flatten(1)
    # As exact as the numbers are.
    close(moments[1], values.var(1, correction=0), "variance", 1e-9)
    constant = torch.full((3, 2, 4), 1e4)
    mean, inv_std, moments = torch.ops.spikeops.channel_statistics(constant, 0.25)
    assert mean.tolist() == [1e4] * 4 and moments[1].tolist() == [0.0] * 4 and inv_std.tolist() == [2.0] * 4


@pytest.mark.parametrize("layout", INPUTS)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("reset", RESETS)
def test_the_definitions_spikes_bit_for_bit(reset, dtype, layout):
    """Given the statistics, as the order of operations is."""
    for shape in ((2, 3, 5, 7), (3, 130), (1, 1)):
        x, weight, bias, mean, var = tensors(9, shape, dtype, layout, requires_grad=False)
        start = torch.rand(shape[1:], generator=torch.Generator().manual_seed(3)).to(state_dtype(dtype))
        for options in (OPTIONS, OPTIONS | {"strict": True, "v_reset": -0.25, "v_init": start}):
            for affine in ((weight, bias), (None, bias), (weight, None), (None, None)):
                spikes, v_last = SF.batch_norm_lif(x, mean, var, *affine, reset=reset, **options)
                expected = reference.batch_norm_lif(dense_copy(x), mean, var, *affine, reset=reset, **options)
                assert_identical(spikes, expected[0], "spikes")
                assert_identical(v_last, expected[1], "v_last")
                assert spikes.dtype == dtype and v_last.dtype == state_dtype(dtype)
    assert 0.02 < spikes.double().mean() < 0.98 or shape == (1, 1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("reset", RESETS)
def test_gradients_of_every_surrogate_and_reset(reset, surrogate, training):
    for detach_reset in (False, True):
        x, weight, bias, mean, var = tensors(12, (2, 3, 4, 9))
        start = torch.rand(3, 1, 1, dtype=torch.float64).requires_grad_()
        options = dict(reset=reset, surrogate=surrogate, detach_reset=detach_reset, training=training, v_init=start, **OPTIONS)
        actual = SF.batch_norm_lif(x, mean.clone(), var.clone(), weight, bias, **options)
        expected = reference.batch_norm_lif(x, mean.clone(), var.clone(), weight, bias, **options)
        leaves = [x, weight, bias, start]
        for name, a, e in zip(("x", "weight", "bias", "v_init"), gradients(actual, leaves), gradients(expected, leaves)):
            close(a, e, f"gradient of {name}")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced"])
@pytest.mark.parametrize("training", [True, False])
def test_gradients_of_each_dtype(training, layout, dtype):
    """A gradient of x in 16 bits is rounded twice, on its way through grad_x and there; statistics and the gradients of weight and bias,
    which are float32, only by the arithmetic."""
    for shape in ((3, 4, 5, 6), (9, 33)):
        x, weight, bias, mean, var = tensors(8, shape, dtype, layout)
        options = dict(training=training, **OPTIONS)
        results = []
        for function in (SF.batch_norm_lif, reference.batch_norm_lif):
            leaves = [x, weight, bias]
            outputs = function(x, mean.clone(), var.clone(), weight, bias, **options)
            results.append((outputs, gradients(outputs, leaves)))
        (actual, of_actual), (expected, of_expected) = results
        assert_identical(actual[0].detach(), expected[0].detach().contiguous(), "spikes")
        for a, e in zip(of_actual, of_expected):
            assert a.dtype == e.dtype
        assert_close(of_actual[0], dense_copy(of_expected[0]), "gradient of x", scale=2 * of_expected[0].abs().max().double()
                     * (1 if dtype == torch.float32 else 1000))  # fmt: skip
        for name, a, e in zip(("weight", "bias"), of_actual[1:], of_expected[1:]):
            assert_close(a, e, f"gradient of {name}", scale=of_expected[0].double().abs().sum(tuple(d for d in range(x.dim()) if d != 2)).max())


def test_two_calls_and_any_number_of_threads_give_the_same_bits():
    threads = torch.get_num_threads()
    try:
        for name, make in RAW.items():
            results = []
            for count in (1, 2, 3):
                torch.set_num_threads(count)
                op, arguments = make(Inputs(5, (64, 40, 9)))
                results.append(run_on_copies(getattr(torch.ops.spikeops, op), arguments))
            for other in results[1:]:
                assert all(map(torch.equal, results[0], other)), name
    finally:
        torch.set_num_threads(threads)


def test_a_sequence_in_pieces():
    x, weight, bias, mean, var = tensors(10, (2, 3, 4), torch.float32, requires_grad=False)
    given = (mean, var, weight, bias)
    spikes, v_last = SF.batch_norm_lif(x, *given, **OPTIONS)
    first, v = SF.batch_norm_lif(x[:4], *given, **OPTIONS)
    second, v = SF.batch_norm_lif(x[4:], *given, v_init=v, **OPTIONS)
    assert torch.equal(torch.cat((first, second)), spikes) and torch.equal(v, v_last)


@pytest.mark.parametrize("training", [True, False])
def test_threshold_dependent_batch_norm(training):
    """alpha * threshold on the normalised input: the same as a weight of that size."""
    for affine in (True, False):
        x, weight, bias, mean, var = tensors(6, (2, 3, 4))
        given, others = (weight, bias) if affine else (None, None), OPTIONS | {"training": training}
        gain = 0.5 * OPTIONS["threshold"]
        leaves = [x, *given] if affine else [x]
        actual = SF.batch_norm_lif(x, mean.clone(), var.clone(), *given, tdbn_alpha=0.5, **others)
        scaled = weight * gain if affine else torch.full((3,), gain, dtype=torch.float64)
        expected = SF.batch_norm_lif(x, mean.clone(), var.clone(), scaled, given[1], **others)
        by_definition = reference.batch_norm_lif(x, mean.clone(), var.clone(), *given, tdbn_alpha=0.5, **others)
        assert torch.equal(actual[0], expected[0]) and torch.equal(actual[0], by_definition[0])
        for a, e, d in zip(gradients(actual, leaves), gradients(expected, leaves), gradients(by_definition, leaves)):
            assert torch.equal(a, e)
            close(a, d, "gradient")


@pytest.mark.parametrize("training", [True, False])
def test_second_derivatives_are_the_definitions(training):
    def of_gradient(function):
        x, weight, bias, mean, var = tensors(4, (3, 2, 3))
        spikes, v_last = function(x, mean.clone(), var.clone(), weight, bias, training=training, reset="to", **OPTIONS)
        factors = torch.cos(torch.arange(x.numel(), dtype=x.dtype)).view(x.shape)
        loss = (spikes * factors).sum() + v_last.square().sum()
        first = torch.autograd.grad(loss, [x, weight, bias], create_graph=True)
        second = torch.autograd.grad(sum((gradient * gradient.detach().cos()).sum() for gradient in first), [x, weight, bias])
        return [*first, *second]

    for place, (a, e) in enumerate(zip(of_gradient(SF.batch_norm_lif), of_gradient(reference.batch_norm_lif))):
        close(a, e, f"gradient {place}", 1e-10)


def test_gathered_statistics_in_two_steps_are_own_ones_in_one():
    """What synchronized statistics do with a single process."""
    op, arguments = RAW["batch_norm_lif_backward"](Inputs(5, (3, 4, 6), torch.float64))
    *others, modes, need = arguments
    ops = torch.ops.spikeops
    own, sums, _ = getattr(ops, op)(*others, (*modes[:-1], OWN), need)
    grad_y, same, _ = getattr(ops, op)(*others, (*modes[:-1], GATHERED), need)
    _, _, x, mean, inv_std, weight, *_ = others
    count = x.numel() // x.shape[2]
    assert torch.equal(sums, same)
    close(ops.batch_norm_backward(grad_y, x, mean, inv_std, weight, sums / count), own, "gradient of x")
    given, *_ = getattr(ops, op)(*others, (*modes[:-1], GIVEN), need)
    scale = (inv_std * weight).view(-1, *[1] * (x.dim() - 3))
    assert torch.equal(given, grad_y * scale)


def test_its_spikes_are_known_as_spikes():
    x, weight, bias, mean, var = tensors(4, (2, 3, 5, 5), torch.float32)
    for training in (True, False):
        spikes, _ = SF.batch_norm_lif(x, mean.clone(), var.clone(), weight, bias, training=training)
        assert _provenance.is_spikes(spikes)
        with spikeops.backend("reference"):
            spikes, _ = SF.batch_norm_lif(x, mean.clone(), var.clone(), weight, bias, training=training)
        assert _provenance.is_spikes(spikes)


def test_running_statistics_get_no_gradient_and_are_moved_in_training_alone():
    x, weight, bias, mean, var = tensors(4, (2, 3, 5))
    before = mean.clone(), var.clone()
    with torch.no_grad():
        SF.batch_norm_lif(x, mean, var, weight, bias)
    assert torch.equal(mean, before[0]) and torch.equal(var, before[1])
    SF.batch_norm_lif(x, mean.requires_grad_(), var, weight, bias)[1].sum().backward()
    assert mean.grad is None and x.grad is not None
    SF.batch_norm_lif(x, mean.detach(), var, weight, bias, training=True, momentum=1.0)
    values = x.detach().movedim(2, 0).flatten(1)
    close(mean, values.mean(1), "mean")
    close(var, values.var(1), "unbiased variance")


X = torch.rand(4, 2, 3, generator=torch.Generator().manual_seed(0))
THREE = torch.ones(3)


@pytest.mark.parametrize("given, error, words", [
    (dict(x=[[1.0]]), TypeError, "expected x to be a tensor, got list."),
    (dict(x=X.int()), TypeError, "expected x to be float32, float64, float16 or bfloat16, got int32."),
    (dict(x=X[0]), ValueError, "expected x to have shape (T, B, C, ...), got shape (2, 3)."),
    (dict(x=X[:0]), ValueError, "expected x to have at least one time step"),
    (dict(x=X[:1, :1], training=True), ValueError, "expected more than one value per channel when training, got 1 in x"),
    (dict(x=X[:1, :1]), ValueError, "expected more than one value per channel when training, got 1 in x"),
    (dict(x=X[:, :0], training=True), ValueError, "expected more than one value per channel when training, got 0 in x"),
    (dict(running_mean=THREE), ValueError, "expected running_mean and running_var, or neither, got running_mean without running_var."),
    (dict(running_var=THREE), ValueError, "expected running_mean and running_var, or neither, got running_var without running_mean."),
    (dict(running_mean=torch.ones(2), running_var=THREE), ValueError, "expected running_mean to have shape (3,), a number for each channel"),
    (dict(weight=torch.ones(3, 1)), ValueError, "expected weight to have shape (3,), a number for each channel of x (T, B, C, ...), got shape (3, 1)."),
    (dict(bias=torch.ones(3, device="meta")), ValueError, "expected bias on the device of x, cpu, got meta."),
    (dict(bias=1.0), TypeError, "expected bias to be a tensor, got float."),
    (dict(weight=torch.ones(3, dtype=torch.int64)), TypeError, "expected weight to be float32, float64, float16 or bfloat16, got int64."),
    (dict(v_init=torch.ones(2)), ValueError, "expected v_init to be broadcastable to one time step of x, shape (2, 3), got shape (2,)."),
    (dict(momentum=1.5), ValueError, "expected momentum, the weight of new statistics in the running ones, to be between 0 and 1, got 1.5."),
    (dict(momentum=None), TypeError, "expected momentum to be a number, got NoneType."),
    (dict(eps=-1e-3), ValueError, "expected eps to be 0 or above, got -0.001."),
    (dict(decay=torch.tensor(0.5)), TypeError, "expected decay to be a number, got Tensor."),
    (dict(threshold=THREE), TypeError, "expected threshold to be a number, got Tensor."),
    (dict(decay=1.5), ValueError, "expected decay, the factor on the membrane potential per time step, to be between 0 and 1, got 1.5."),
    (dict(surrogate=Window()), ValueError, "expected a surrogate that every op knows"),
    (dict(threshold=1e39), ValueError, "expected threshold to be a float32"),
    (dict(threshold=1e30, tdbn_alpha=1e20), ValueError, "expected tdbn_alpha to be a float32"),
], ids=str)  # fmt: skip
@pytest.mark.parametrize("backend", ["kernels", "reference"])
def test_bad_input(backend, given, error, words):
    with pytest.raises(error, match=f"^batch_norm_lif: {re.escape(words)}"):
        if backend == "reference":
            with spikeops.backend("reference"):
                SF.batch_norm_lif(**{"x": X, **given})
        SF.batch_norm_lif(**{"x": X, **given})


def test_one_value_per_channel_is_enough_for_given_statistics():
    spikes, _ = SF.batch_norm_lif(X[:1, :1], THREE, THREE)
    assert spikes.shape == (1, 1, 3)
    nothing, v_last = SF.batch_norm_lif(X[:, :0], THREE, THREE)
    assert nothing.shape == (4, 0, 3) and v_last.shape == (0, 3)


def test_vmap_over_parameters():
    """Each item has its own numbers of channels, statistics and initial potential."""
    x, weight, bias, *_ = tensors(4, (2, 3, 5))
    weights, start = torch.stack((weight, 2 * weight)).detach(), torch.rand(2, 3, 1, dtype=torch.float64)

    def loss(x, weight, start):
        spikes, v_last = SF.batch_norm_lif(x, weight=weight, bias=bias.detach(), training=True, v_init=start, **OPTIONS)
        return spikes.sum() + v_last.square().sum()

    gradient = torch.func.grad(loss, argnums=(0, 1, 2))
    found = torch.vmap(gradient, (None, 0, 0))(x.detach(), weights, start)
    for item in range(2):
        for actual, expected in zip(found, gradient(x.detach(), weights[item], start[item])):
            close(actual[item], expected, "gradient of an item")


def test_vmap_refuses_to_move_running_statistics():
    with pytest.raises(NotImplementedError, match="batch_norm_lif: running statistics are written in place, which vmap cannot do"):
        torch.vmap(lambda x: SF.batch_norm_lif(x, THREE, THREE, training=True)[0])(X.expand(2, -1, -1, -1))
