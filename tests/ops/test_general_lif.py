"""The options of lif beyond the plain neuron against the reference, their equations by hand, and each other."""

import math

import pytest
import torch
from op_tests.compare import assert_close, assert_identical, assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, SPREADS, STEPS, currents, parameter, split_arguments, state_dtype
from op_tests.pairwise import parametrize
from torch import nn

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn
from spikeops import surrogate
from spikeops.surrogate import ATan, Heaviside, PeriodicExponential, SingleExponential, Step, StraightThrough, Window

TIMINGS = [("subtract", "now"), ("subtract", "late"), ("subtract", "guarded"), ("to", "now"), ("to", "late"), ("to", "late_with_input"),
           ("none", "now")]  # fmt: skip


@parametrize(
    T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES, timing=TIMINGS, numbers=SPREADS,
    reset_amount=(None, *SPREADS), v_init=(None, *SPREADS[1:]), is_constant=[False, True], detach_reset=[False, True],
    trace=[False, "before", "after"], v_min=[None, -0.25], count=[None, ("down", None), ("down", 3), ("nearest", 4)],
)  # fmt: skip
def test_matches_the_reference(
    device, draw, T, shape, layout, upstream, dtype, timing, numbers, reset_amount, v_init, is_constant, detach_reset, trace, v_min, count
):
    x = currents(draw, T, shape, dtype, layout, device)
    step, state = x[0], state_dtype(dtype)
    tensors, options = split_arguments(
        x=x, decay=parameter(draw, numbers, shape, state, 0.2, 0.95, device),
        **{name: parameter(draw, numbers, shape, state, 0.6, 1.4, device) for name in ("threshold", "input_scale")},
        reset_amount=reset_amount and parameter(draw, reset_amount, shape, state, 0.5, 1.5, device),
        v_init=v_init and parameter(draw, v_init, shape, state, -0.5, 2.5, device),
        reset=timing[0], reset_timing=timing[1], detach_reset=detach_reset, return_trace=trace, v_reset=-0.125, v_rest=0.0625, v_min=v_min,
    )  # fmt: skip
    if count:
        options |= dict(rounding=count[0], max_spikes=count[1], surrogate=SingleExponential(0.5))
    if is_constant:
        tensors["x"], options["time_steps"] = step, T
    actual, expected = run_both("lif", tensors, options, upstream)
    if is_constant and actual.upstream:  # terms of the sum over time may cancel
        terms = (g for g in (*actual.upstream, expected.grads["x"]) if g is not None and g.numel())
        expected.scales["x"] = max((g.double().abs().max() for g in terms), default=0.0)
    assert_same_results(actual, expected)
    if is_kept(x, layout):
        spikes, v_last, *traces = actual.outputs
        assert same_memory_order(v_last, step) and all(same_memory_order(train, x) for train in (spikes, *traces))
        assert same_memory_order(actual.grads["x"], tensors["x"])


def of_steps(*numbers):
    return torch.tensor(numbers)[:, None]


def trains(*outputs):
    return [output.flatten().tolist() for output in outputs]


def test_late_resets_by_hand():
    x = of_steps(2.5, 0.0, 0.0, 0.5)
    # u = 2.5: spike. u = 1.25 - 1: none. u = 0.125. u = 0.5625.
    spikes, v, trace = SF.lif(x, 0.5, reset_timing="late", return_trace="before")
    assert trains(spikes, trace) == [[1, 0, 0, 0], [2.5, 0.25, 0.125, 0.5625]] and v.item() == 0.5625
    # v = 0.25 instead of 2.5 decays.
    spikes, _, trace = SF.lif(x, 0.5, reset="to", v_reset=0.25, reset_timing="late", return_trace="after")
    assert trains(spikes, trace) == [[1, 0, 0, 0], [2.5, 0.125, 0.0625, 0.53125]]
    # The input of the step after a spike is lost.
    spikes, _, trace = SF.lif(of_steps(2.0, 5.0, 5.0), 0.5, reset="to", reset_timing="late_with_input", return_trace=True)
    assert trains(spikes, trace) == [[1, 0, 1], [2, 0, 5]]


def test_a_guarded_reset_by_hand():
    # u = 2.5: spike, v = 1.5, which still fires. u = 0.75 - 1: no spike, the reset is taken back: v = 0.75.
    spikes, _, trace = SF.lif(of_steps(2.5, 0.0, 0.0), 0.5, reset_timing="guarded", return_trace="after")
    assert trains(spikes, trace) == [[1, 0, 0], [1.5, 0.75, 0.375]]
    # u = 1.5 - 1 + 1.75 - ...: with a spike in the second step nothing more is taken away.
    spikes, _, trace = SF.lif(of_steps(2.5, 1.75), 0.5, reset_timing="guarded", return_trace="after")
    assert trains(spikes, trace) == [[1, 1], [1.5, 1.5]]


def test_counts_by_hand():
    x = of_steps(2.75, -5.0, 1.25, 9.0)
    options = dict(decay=1.0, return_trace="after")
    assert trains(*SF.lif(x, max_spikes=None, **options)[::2]) == [[2, 0, 0, 6], [0.75, -4.25, -3.0, 0.0]]
    assert trains(*SF.lif(x, max_spikes=3, **options)[::2]) == [[2, 0, 0, 3], [0.75, -4.25, -3.0, 3.0]]
    assert trains(*SF.lif(x, max_spikes=None, v_min=-1.0, **options)[::2]) == [[2, 0, 0, 9], [0.75, -1.0, 0.25, 0.25]]
    assert trains(*SF.lif(x, 1.0, 2.0, max_spikes=4, reset="to", return_trace="after")[::2]) == [[1, 0, 0, 2], [0, -5, -3.75, 0]]
    halves = of_steps(0.5, 1.5, 2.5, 3.5, 3.5001)
    nearest = dict(max_spikes=None, rounding="nearest", reset="none", decay=0.0)
    assert trains(SF.lif(halves, **nearest)[0]) == [[0, 2, 2, 4, 4]]
    assert trains(SF.lif(halves, strict=True, **nearest)[0]) == [[0, 1, 2, 3, 4]]
    wholes = of_steps(-1.0, 0.0, 1.0, 2.0, 2.5, 3.0)
    assert trains(SF.lif(wholes, 0.0, max_spikes=None, reset="none")[0]) == [[0, 0, 1, 2, 2, 3]]
    assert trains(SF.lif(wholes, 0.0, max_spikes=None, reset="none", strict=True)[0]) == [[0, 0, 0, 1, 2, 2]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("rounding", ["down", "nearest"])
def test_counts_of_large_potentials(device, dtype, rounding):
    """Where neighbours are more than 1/2, and more than 1, apart."""
    whole_from = 2.0**23 if dtype == torch.float32 else 2.0**52
    x = torch.tensor([whole_from / 2 + 0.5, whole_from - 0.5, whole_from, whole_from + 1, 3 * whole_from, 1e30, math.inf], dtype=dtype)
    spikes, _ = SF.lif(x[None].to(device), 0.0, reset="none", max_spikes=None, rounding=rounding)
    assert_identical(spikes[0], x.round() if rounding == "nearest" else x.floor(), "spikes")


def test_numbers_of_each_neuron_are_numbers_of_all(draw, device):
    x = currents(draw, 30, (4, 50), torch.float32, device=device)
    numbers = dict(threshold=0.8, input_scale=0.9, reset_amount=0.7)
    plain = SF.lif(x, 0.9, **numbers)
    general = SF.lif(x, 0.9, **{name: torch.full((4, 50), value, device=device) for name, value in numbers.items()})
    for a, b in zip(plain, general):
        assert torch.equal(a, b)


def test_the_threshold_learns_through_the_reset_too(draw):
    x = currents(draw, 20, (40,), torch.float64)
    threshold = torch.ones(40, dtype=torch.float64, requires_grad=True)
    (both,) = torch.autograd.grad(SF.lif(x, 0.9, threshold)[1].sum(), threshold)
    parts = [torch.ones(40, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    of_spikes, of_resets = torch.autograd.grad(SF.lif(x, 0.9, parts[0], reset_amount=parts[1])[1].sum(), parts)
    assert_close(both, of_spikes + of_resets, "gradient of the threshold")
    assert of_spikes.abs().max() > 0 and of_resets.abs().max() > 0


def test_a_trace_is_that_of_the_state_and_learns(draw):
    x = currents(draw, 12, (3, 40), torch.float32).requires_grad_()
    for options in (dict(), dict(reset="to"), dict(reset_timing="late"), dict(reset_timing="guarded"), dict(v_min=-0.1)):
        spikes, v_last, after = SF.lif(x, 0.9, return_trace="after", **options)
        assert torch.equal(after[-1], v_last)
        pieces = [SF.lif(x[: t + 1], 0.9, **options)[1] for t in range(len(x))]
        assert torch.equal(after, torch.stack(pieces))
        weights = torch.randn(x.shape, generator=draw)
        (gradient,) = torch.autograd.grad((after * weights).sum(), x)
        (expected,) = torch.autograd.grad(sum((piece * w).sum() for piece, w in zip(pieces, weights)), x)
        assert_close(gradient, expected, f"gradient of x, {options}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [
    dict(reset_timing="late"), dict(reset="to", reset_timing="late_with_input"), dict(reset_timing="guarded", v_min=-0.2),
    dict(max_spikes=None), dict(max_spikes=2, rounding="nearest"),
], ids=str)  # fmt: skip
def test_pieces_give_the_same_spikes_as_the_whole(device, draw, dtype, options):
    x = 2 * currents(draw, 50, (2, 300), dtype, device=device)
    spikes, v_last = SF.lif(x, 0.9, **options)
    pieces, v = [], None
    for piece in x.split([1, 7, 30, 12]):
        part, v = SF.lif(piece, 0.9, v_init=v, **options)
        pieces.append(part)
    assert torch.equal(torch.cat(pieces), spikes) and torch.equal(v, v_last)


BUMPS = [ATan(2.0, height=0.5), surrogate.Gaussian(0.5, center=0.25, height=-2.0), surrogate.SuperSpike(2.0), Step(0.25, 0.75),
         StraightThrough(), Heaviside(0.5), Window(0.0, 3.0), SingleExponential(0.4), PeriodicExponential(0.5),
         surrogate.MultiGaussian(), surrogate.Exponential(2.0, center=-1.0)]  # fmt: skip


@pytest.mark.parametrize("bump", BUMPS, ids=str)
@pytest.mark.parametrize("threshold", [1.0, 0.625])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_surrogates(device, bump, threshold, dtype):
    """In the kernel and by their definition, at borders too."""
    u = torch.tensor([-3.0, -0.25, -1e-9, 0.0, 1e-9, 0.125, 0.3, 0.6, 0.625, 1.0, 1.1, 1.5, 1.875, 2.0, 3.0, 7.3], dtype=dtype, device=device)
    x = u[None].clone().requires_grad_()
    spikes, *_ = SF.lif(x, 0.0, threshold, reset="none", surrogate=bump)
    (gradient,) = torch.autograd.grad(spikes.sum(), x)
    expected = bump.at(u.cpu(), threshold)
    # PyTorch's exp and ours differ in the last places; of a phase, so do numbers as large as it.
    assert_close(gradient[0], expected, str(bump))


@pytest.mark.parametrize("bump", BUMPS, ids=str)
def test_surrogates_that_lie_off_the_threshold_are_for_lif_alone(bump):
    x = torch.rand(3, 4)
    for call in (SF.lif_rate, SF.alif):
        if bump.suits_every_op:
            call(x, surrogate=bump)
        else:
            with pytest.raises(ValueError, match=rf"{call.__name__}: expected a surrogate that every op knows, got {bump.name}\("):
                call(x, surrogate=bump)


@pytest.mark.parametrize("options, error, words", [
    (dict(reset="to", reset_timing="guarded"), ValueError, 'reset_timing="guarded" is for reset="subtract", got reset=\'to\''),
    (dict(max_spikes=0), ValueError, "max_spikes to be at least 1, got 0"),
    (dict(max_spikes=2**24 + 1), ValueError, "max_spikes to be at most 16777216, or None for no limit"),
    (dict(max_spikes=2, threshold=0.0), ValueError, "threshold, of which there are several in a potential, to be above 0, got 0.0"),
    (dict(max_spikes=True), TypeError, "max_spikes to be an int, got bool"),
    (dict(v_min="0"), TypeError, "v_min to be a number, got str"),
    (dict(return_trace="both"), ValueError, "return_trace to be one of False, True, 'before', 'after', got 'both'"),
    (dict(threshold=torch.ones(5)), ValueError, "threshold to be broadcastable to one time step of x, shape (4,), got shape (5,)"),
    (dict(reset_amount=torch.ones(4, dtype=torch.int64)), TypeError, "reset_amount to be float32, float64"),
    (dict(input_scale=torch.ones(4, device="meta")), ValueError, "input_scale on the device of x, cpu, got meta"),
], ids=lambda value: str(value) if isinstance(value, dict) else "")  # fmt: skip
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_cannot_be_is_said(options, error, words, backend):
    with spikeops.backend(backend), pytest.raises(error) as refused:
        SF.lif(torch.rand(3, 4), **options)
    assert words in str(refused.value) and str(refused.value).startswith("lif: ")


# --- modules ----------------------------------------------------------------------------------------------------------------


def test_numbers_of_a_module_are_parameters_or_buffers(draw):
    module = snn.LIF(0.9, nn.Parameter(torch.ones(5)), reset_amount=torch.full((5,), 0.7), reset_timing="late", return_trace="before",
                     return_state=True)  # fmt: skip
    assert [name for name, _ in module.named_parameters()] == ["threshold"] and set(module.state_dict()) == {"threshold", "reset_amount"}
    x = currents(draw, 10, (3, 5), torch.float32)
    outputs = module(x)
    expected = SF.lif(x, 0.9, module.threshold, reset_amount=module.reset_amount, reset_timing="late", return_trace="before")
    assert len(outputs) == 3 and all(map(torch.equal, outputs, expected))
    outputs[0].sum().backward()
    assert module.threshold.grad.abs().min() > 0
    twin = snn.LIF(0.9, nn.Parameter(torch.zeros(5)), reset_amount=torch.zeros(5), reset_timing="late", return_trace="before")
    twin.load_state_dict(module.state_dict())
    assert torch.equal(twin(x)[0], outputs[0])
    assert module.double()(x.double())[0].dtype == torch.float64


def test_plif_as_published_learns_decay_and_input_scale_as_one(draw):
    x = 3 * currents(draw, 20, (3, 5), torch.float64)
    module = snn.ParametricLIF(0.7, shape=(5,), decay_input=True, input_scale=0.5).double()
    (gradient,) = torch.autograd.grad(module(x).square().mean(), module.decay_logit)
    logit = module.decay_logit.detach().clone().requires_grad_()
    decay = torch.sigmoid(logit)
    (expected,) = torch.autograd.grad(SF.lif(x, decay, input_scale=0.5 * (1 - decay))[0].square().mean(), logit)
    assert_close(gradient, expected, "gradient of the logit")
