"""Runs an op and its reference on the same numbers, forward and backward, and compares."""

from __future__ import annotations

import dataclasses

import torch

import spikeops.functional as SF
from op_tests.layouts import dense_copy, lay_out
from op_tests.neurons import split_arguments
from spikeops import reference
from spikeops._dtypes import state_dtype

# Largest difference from the reference, relative to the largest magnitude of the tensor. The kernels and autograd order a few
# additions per time step differently: the largest noise measured is 8e-7 and 3e-15.
ROUNDING = {torch.float32: 4e-6, torch.float64: 2e-14}
# The 16-bit types round once more, at the end: one unit in the last place of each element.
LAST_PLACE = {torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}
SMALLEST = {torch.float16: 2.0**-24, torch.bfloat16: 0.0}


@dataclasses.dataclass
class Results:
    outputs: tuple
    upstream: tuple
    grads: dict
    scales: dict = dataclasses.field(default_factory=dict)  # magnitude of what was summed to a parameter's gradient


def evaluate(function, tensors, options, upstream):
    """Outputs of ``function(**tensors, **options)`` and the gradients of all tensors.

    ``upstream`` is the layout of random upstream gradients, or the gradients themselves; None for no backward pass.
    """
    want = upstream is not None
    leaves = {name: t.detach().requires_grad_(want and t.is_floating_point()) for name, t in tensors.items()}
    outputs = function(**leaves, **options)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    if upstream is None:
        return Results(tuple(o.detach() for o in outputs), (), {})
    if isinstance(upstream, str):
        draw = torch.Generator().manual_seed(5)
        upstream = tuple(lay_out(_random(o, draw), upstream, o.device) if o.requires_grad else None for o in outputs)
    # Autograd finds what an output depends on, and what on nothing: a membrane potential, say, that no input has reached yet.
    used = [i for i, gradient in enumerate(upstream) if gradient is not None and outputs[i].requires_grad]
    grads = [None] * len(leaves)
    if used:
        grads = torch.autograd.grad([outputs[i] for i in used], list(leaves.values()), [upstream[i] for i in used], allow_unused=True)
    return Results(tuple(o.detach() for o in outputs), upstream, dict(zip(leaves, grads)))


def _random(output, draw):
    return torch.randn(output.shape, generator=draw, dtype=torch.float64).to(output.dtype)


def run_both(op, tensors, options=None, upstream="contiguous", weights=()):
    """(results of the op, results of the reference on contiguous copies on the CPU). Tensors behind the first are parameters of its
    neurons, or ``weights`` of a layer of them."""
    options = options or {}
    data = next(iter(tensors))
    actual = evaluate(getattr(SF, op), tensors, options, upstream)
    copies = {name: dense_copy(t) for name, t in tensors.items()}
    gradients = None if upstream is None else tuple(map(dense_copy, actual.upstream))
    # Parameters are given to the reference once per neuron, so that their gradients can be summed here without rounding.
    shared = {name: tensor for name, tensor in copies.items() if name != data and name not in weights}
    for name, parameter in shared.items():
        step = copies[data].shape[0 if "time_steps" in options else 1 :]
        copies[name] = parameter.to(state_dtype(copies[data].dtype)).expand(step).contiguous()
    expected = evaluate(getattr(reference, op), copies, options, gradients)
    for name, parameter in shared.items() if expected.grads else ():
        if expected.grads[name] is None:  # what the options leave no use for
            continue
        terms = expected.grads[name].double()
        expected.grads[name] = terms.sum_to_size(parameter.shape).to(parameter.dtype)
        # Over time the terms of a neuron may cancel, as those of a rate that no decay changes: then they are of the size of what comes
        # from above.
        summed = terms.abs().sum_to_size(parameter.shape).amax() if parameter.numel() else 0.0
        above = max((g.double().abs().max().item() for g in gradients if g is not None and g.numel()), default=0.0)
        if options.get("weighting") == "decay" and parameter.numel():
            # The quotient of two sums over time of k * decay ** (k - 1), which a neuron that always fires takes from itself.
            above *= (options.get("time_steps") or copies[data].shape[0]) * (terms.numel() / parameter.numel()) ** 0.5
        expected.scales[name] = max(summed, above)
    for name in weights if expected.grads.get(data) is not None else ():
        # Sums over steps and layers of gradients of the data, where a neuron fired; in 16 bits they are rounded before.
        of_data = expected.grads[data]
        digits = 1 + LAST_PLACE.get(of_data.dtype, 0.0) / ROUNDING[state_dtype(of_data.dtype)]
        expected.scales[name] = of_data.double().abs().flatten(0, -2).sum(0).amax() * digits if of_data.numel() else 0.0
    return actual, expected


def run_call(call, arguments, upstream="contiguous"):
    """(results of a call of the case files, results of its definition), as :func:`run_both` has them."""
    assert not (call.differentiable and (call.run or call.definition)), f"{call}: gradients are compared of the functions themselves"
    tensors, options = split_arguments(**arguments)
    if not call.differentiable:
        return (Results(tuple(run(arguments)), (), {}) for run in (call, lambda given: call.define(dense_copies(given))))
    return run_both(call.function, tensors, options, upstream, [name for name in call.weights if name in tensors])


def dense_copies(arguments):
    return {name: dense_copy(value) for name, value in arguments.items()}


def assert_identical(actual, expected, what):
    """Equal in dtype, shape and every bit, the sign of a zero too; a NaN equals any other."""
    actual, expected = dense_copy(actual), dense_copy(expected)
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    differing = actual != expected
    if expected.is_floating_point():
        differing |= (expected == 0) & (actual.signbit() != expected.signbit())
        differing &= ~(actual.isnan() & expected.isnan())
    if differing.any():
        first = tuple(differing.nonzero()[0].tolist())
        raise AssertionError(
            f"{what}: {differing.sum()} of {expected.numel()} elements differ, the first at {first}: {actual[first]}, expected {expected[first]}"
        )


def assert_close(actual, expected, what, rounding=None, scale=None):
    """Equal up to rounding, relative to ``scale``: by default to ROUNDING and to the largest magnitude of ``expected``."""
    actual, expected, scale = dense_copy(actual), dense_copy(expected), dense_copy(scale)
    assert actual.dtype == expected.dtype, f"{what}: {actual.dtype}, expected {expected.dtype}"
    assert actual.shape == expected.shape, f"{what}: {tuple(actual.shape)}, expected {tuple(expected.shape)}"
    if expected.numel() == 0:
        return
    precise = expected.double()
    assert precise.isfinite().all(), f"{what}: the reference is not finite"
    dtype = expected.dtype
    rounding = ROUNDING[state_dtype(dtype)] if rounding is None else rounding
    allowed = rounding * (precise.abs().max() if scale is None else scale)
    if dtype in LAST_PLACE:
        allowed = allowed + LAST_PLACE[dtype] * precise.abs() + SMALLEST[dtype]
    difference = (actual.double() - precise).abs()
    assert (difference <= allowed).all(), f"{what}: off by {difference.max():.2e}, largest magnitude {precise.abs().max():.2e}"


def assert_same_results(actual, expected, exact=True):
    """Outputs equal in every bit (or, not ``exact``, up to rounding), gradients up to rounding."""
    assert len(actual.outputs) == len(expected.outputs)
    for i, (a, e) in enumerate(zip(actual.outputs, expected.outputs)):
        assert_identical(a, e, f"output {i}") if exact else assert_close(a, e, f"output {i}")
    state = state_dtype(expected.outputs[0].dtype)
    for name, e in expected.grads.items():
        a = actual.grads[name]
        if e is None:
            assert a is None or not a.any(), f"gradient of {name}: {a} where the reference has none"
        else:
            assert a is not None, f"gradient of {name}: none where the reference has {e}"
            assert_close(a, e, f"gradient of {name}", ROUNDING[state], expected.scales.get(name))


def assert_agree(actual, expected, what, rounding=None, scale=None):
    """NaN and infinite where ``expected`` is; elsewhere equal up to rounding, relative to the magnitudes ``scale`` (which broadcast)
    that were added up."""
    actual, expected, scale = dense_copy(actual), dense_copy(expected), dense_copy(scale)
    assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), what
    finite = expected.isfinite()
    assert_identical(actual.where(~finite, 0), expected.where(~finite, 0), f"{what}, where not finite")
    rounding = ROUNDING[state_dtype(expected.dtype)] if rounding is None else rounding
    allowed = rounding * scale.double()
    if expected.dtype in LAST_PLACE:
        allowed = allowed + LAST_PLACE[expected.dtype] * expected.double().abs() + SMALLEST[expected.dtype]
    # Products may be denormal, and lose digits.
    allowed = allowed + 8 * torch.finfo(expected.dtype).tiny
    too_far = finite & ((actual.double() - expected.double()).abs() > allowed)
    if too_far.any():
        first = tuple(too_far.nonzero()[0].tolist())
        raise AssertionError(f"{what}: {too_far.sum()} elements are off, the first at {first}: {actual[first]}, expected {expected[first]}")
