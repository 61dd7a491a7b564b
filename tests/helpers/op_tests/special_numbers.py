"""Numbers that are not ordinary, strewn over the inputs of ops: every backend must do with them what the reference does."""

from __future__ import annotations

import math

import torch
from op_cases import CALLS as PUBLIC_CALLS
from op_cases.lif import neurons

import spikeops.functional as SF
from op_tests.compare import assert_agree, assert_identical, dense_copies, evaluate
from op_tests.layouts import dense_copy
from op_tests.neurons import split_arguments
from op_tests.op_calls import CALLS
from spikeops import reference
from spikeops.functional._lif_options import RESETS, WEIGHTINGS
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

THRESHOLD = 1.0  # of the neurons in these tests
SURROGATES = (ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(5.0), Triangle(1.3), Rectangle(1.1), Gaussian(0.5))


def special_numbers(dtype: torch.dtype) -> list[float]:
    """Infinite, NaN, zeros of both signs, denormal, the smallest normal, and huge ones whose sums and products overflow; the
    threshold and its neighbours."""
    info = torch.finfo(dtype)
    smallest = info.tiny * info.eps  # denormal
    magnitudes = [
        math.inf, 0.0, smallest, 3 * smallest, info.tiny - smallest, info.tiny, info.max, info.max / 2, math.sqrt(info.max),
        THRESHOLD, THRESHOLD * (1 + info.eps), THRESHOLD * (1 - info.eps / 2),
    ]  # fmt: skip
    return [math.nan, *magnitudes, *(-m for m in magnitudes)]


def summable_numbers(dtype: torch.dtype) -> list[float]:
    """Those of which a sum with ordinary numbers is the same in every order of addition."""
    return [n for n in special_numbers(dtype) if not 1e-30 < abs(n) < math.inf]


# How many of the numbers are special. Many soon make everything NaN; of few, one neuron meets one.
SHARES = (0.01, 0.15)


def strew(tensor: torch.Tensor, draw: torch.Generator, share: float, numbers=special_numbers) -> torch.Tensor:
    """A copy in the same memory order with special numbers in random places: all of them in turn, in a share of the places and one at least. A single number stays as
    it is."""
    if not tensor.is_floating_point() or tensor.numel() < 2:
        return tensor
    special = torch.tensor(numbers(tensor.dtype), dtype=torch.float64).to(tensor.dtype)
    count = max(1, round(share * tensor.numel()))
    places = torch.randperm(tensor.numel(), generator=draw)[:count]
    first = torch.randint(len(special), (), generator=draw)
    values = tensor.detach().cpu().flatten().clone()
    values[places] = special[(first + torch.arange(count)) % len(special)]
    mixed = torch.empty_like(tensor.detach())  # keeps the memory order of a dense tensor
    mixed.copy_(values.view(tensor.shape))
    return mixed.requires_grad_(tensor.requires_grad)


# (op, argument): what each backend adds up in an order of its own.
SUMMED = {(call.function, call.summed) for call in PUBLIC_CALLS.values() if call.summed}


def strew_arguments(op: str, arguments, share: float):
    """The same for all tensors among the arguments of an op of torch.ops.spikeops."""
    draw = torch.Generator().manual_seed(2)
    schema = getattr(torch.ops.spikeops, op).default._schema.arguments
    numbers = [summable_numbers if (op, a.name) in SUMMED else special_numbers for a in schema]
    return tuple(strew(a, draw, share, n) if isinstance(a, torch.Tensor) else a for a, n in zip(arguments, numbers))


def finite_magnitude(tensor):
    return tensor.double().abs().masked_fill(~tensor.isfinite(), 0)


def check_special(call, arguments, share: float):
    """Results of a call of the case files on tensors that hold special numbers are those of its definition in every bit, gradients up
    to rounding. What its neurons share is given once for each: a sum of gradients would not be finite."""
    tensors, options = split_arguments(**arguments)
    step = next(iter(tensors.values())).shape[0 if "time_steps" in options else 1 :]
    if call.differentiable:
        tensors |= {name: tensors[name].expand(step).contiguous() for name in [*tensors][1:]}
    arguments = tensors | options
    with torch.no_grad():
        results = zip(call(arguments), call.define(dense_copies(arguments)), strict=True)
    for i, (actual, expected) in enumerate(results):
        assert_identical(actual, expected, f"{call}, result {i}")
    if not call.differentiable:
        return
    function, definition = getattr(SF, call.function), getattr(reference, call.function)
    draw = torch.Generator().manual_seed(3)
    ordinary = evaluate(function, tensors, options, "contiguous").upstream
    upstream = tuple(None if g is None else strew(g, draw, share) for g in ordinary)
    actual = evaluate(function, tensors, options, upstream)
    copies = tuple(None if g is None else dense_copy(g) for g in upstream)
    expected = evaluate(definition, dense_copies(tensors), options, copies)
    for name, e in expected.grads.items():
        assert (actual.grads[name] is None) == (e is None), name
        if e is not None:
            magnitudes = (finite_magnitude(g).reshape(-1, *step).amax(0) for g in (*copies, e) if g is not None)
            assert_agree(actual.grads[name], e, f"{call}, gradient of {name}", scale=sum(magnitudes))


def special_call(name: str, inputs, share: float):
    """(op, arguments) of a call of op_calls.CALLS, its inputs strewn with special numbers."""
    op, arguments = CALLS[name](inputs)
    return op, strew_arguments(op, arguments, share)


MODES = [(reset, surrogate) for reset in RESETS for surrogate in SURROGATES]


def special_modes(inputs, share: float, reset: str, surrogate):
    """(op, arguments) of backward passes of neurons with a reset and a surrogate."""
    for detach_reset in (False, True):
        neuron = neurons(inputs, "per_neuron", True, reset, not detach_reset, detach_reset, surrogate)
        of_steps, of_neurons = inputs.gradient(), inputs.gradient(False, inputs.state)
        yield "lif_backward", strew_arguments("lif_backward", (of_steps, of_neurons, *neuron, True, True), share)
        yield "lif_backward", strew_arguments("lif_backward", (of_steps, None, *neuron, True, True), share)
        rate = (inputs.gradient(False), *neuron, WEIGHTINGS["decay"], True, True)
        yield "lif_rate_backward", strew_arguments("lif_rate_backward", rate, share)
