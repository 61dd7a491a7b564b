"""LIF neurons in their general form: forward and backward (kernels/math/general_lif.h, kernels/math/surrogate_of_lif.h)."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import empty_sequence, empty_step, like_sequence, like_step, sequence
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import (
    block_of_neurons,
    divide,
    exp_nonpositive,
    fires,
    load_decay,
    load_step,
    scalar,
    surrogate_at_distance,
)
from spikeops.triton._walk import launch_back, walk, walk_back

# Numbers of kernels/math/general_lif.h and kernels/math/surrogate_of_lif.h.
_SUBTRACT = tl.constexpr(0)
_SUBTRACT_LATE = tl.constexpr(1)
_SUBTRACT_GUARDED = tl.constexpr(2)
_TO = tl.constexpr(3)
_TO_LATE = tl.constexpr(4)
_TO_LATE_WITH_INPUT = tl.constexpr(5)
_NEAREST = tl.constexpr(2)
_TRACE_BEFORE = tl.constexpr(1)
_TRACE_AFTER = tl.constexpr(2)
_STEP = tl.constexpr(7)
_PERIODIC = tl.constexpr(9)
_WINDOW = tl.constexpr(10)


class GeneralLif(NamedTuple):
    """Numbers of the layer, in the precision of the state; the first four may be one of each neuron."""

    decay: tl.tensor
    threshold: tl.tensor
    input_scale: tl.tensor
    reset_amount: tl.tensor
    v_reset: tl.tensor
    v_rest: tl.tensor
    v_min: tl.tensor
    max_spikes: tl.tensor
    scale: tl.tensor
    peak: tl.tensor
    center: tl.tensor
    a: tl.tensor
    b: tl.tensor
    c: tl.tensor


class GeneralLifOptions(NamedTuple):
    """The modes of GENERAL_LIF_NEURON in csrc/general_lif.cpp but the last, and whether max_spikes is a limit."""

    scheme: int
    strict: int
    detach_reset: int
    count: int
    is_bounded: int
    trace: int
    surrogate: int
    in_thresholds: int
    is_limited: int


@triton.jit
def _nearest_whole(x):
    """Half way the even one."""
    whole_from = 4503599627370496.0 if x.dtype == tl.float64 else 8388608.0
    size = tl.abs(x)
    nearest = tl.where(size < whole_from, (size + whole_from) - whole_from, size)
    return tl.where(x < 0.0, -nearest, nearest)


@triton.jit
def _spikes(neuron, OPTIONS: tl.constexpr, u):
    if OPTIONS.count == 0:
        return fires(u, neuron.threshold, OPTIONS.strict).to(u.dtype)
    else:
        thresholds = divide(u, tl.broadcast_to(neuron.threshold, u.shape))
        most_over = 0.5 if OPTIONS.count == _NEAREST else 0.0
        nearest = _nearest_whole(thresholds)
        over = nearest - thresholds
        count = tl.where(over > most_over, nearest - 1.0, nearest)
        if OPTIONS.strict:
            count = tl.where(over == most_over, nearest - 1.0, count)
        most = count
        if OPTIONS.is_limited:
            most = tl.where(count < neuron.max_spikes, count, neuron.max_spikes)
        return tl.where(count > 0.0, most, 0.0)


@triton.jit
def _charge(neuron, OPTIONS: tl.constexpr, v, x):
    """The spikes of the state before the step, if the reset looks back; what decays; the potential before the reset."""
    late = _spikes(neuron, OPTIONS, v)
    origin = v
    if OPTIONS.scheme == _TO_LATE:
        origin = tl.where(late > 0.0, neuron.v_reset, v)
    u = (neuron.v_rest + neuron.decay * (origin - neuron.v_rest)) + neuron.input_scale * x
    if OPTIONS.scheme == _SUBTRACT_LATE or OPTIONS.scheme == _SUBTRACT_GUARDED:
        u = tl.where(late > 0.0, u - late * neuron.reset_amount, u)
    elif OPTIONS.scheme == _TO_LATE_WITH_INPUT:
        u = tl.where(late > 0.0, neuron.v_reset, u)
    return late, origin, u


@triton.jit
def _reset(neuron, OPTIONS: tl.constexpr, u, spikes, late):
    """The potential after the reset, before the bound."""
    if OPTIONS.scheme == _SUBTRACT:
        return tl.where(spikes > 0.0, u - spikes * neuron.reset_amount, u)
    elif OPTIONS.scheme == _SUBTRACT_GUARDED:
        resets = spikes - late
        return tl.where(resets != 0.0, u - resets * neuron.reset_amount, u)
    elif OPTIONS.scheme == _TO:
        return tl.where(spikes > 0.0, neuron.v_reset, u)
    else:
        return u


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: the membrane potential. Kept: those before the step and before its reset. Outputs: the spikes, and what is traced."""
    v = state[0]
    late, _, u = _charge(neuron, OPTIONS, v, inputs[0])
    spikes = _spikes(neuron, OPTIONS, u)
    after = _reset(neuron, OPTIONS, u, spikes, late)
    if OPTIONS.is_bounded:
        above = after - neuron.v_min
        after = tl.where(above < 0.0, 0.0, above) + neuron.v_min
    if OPTIONS.trace == _TRACE_BEFORE:
        return (after,), (v, u), (spikes, u)
    elif OPTIONS.trace == _TRACE_AFTER:
        return (after,), (v, u), (spikes, after)
    else:
        return (after,), (v, u), (spikes,)


@triton.jit
def _slope(neuron, OPTIONS: tl.constexpr, u):
    """The surrogate derivative at the membrane potential u."""
    threshold = tl.broadcast_to(neuron.threshold, u.shape)
    if OPTIONS.surrogate == _STEP:
        level = threshold + neuron.center
        value = tl.where(u >= level, neuron.peak, tl.where(u < level, neuron.a, u - level))
    elif OPTIONS.surrogate == _PERIODIC:
        phase = divide(u, threshold) - 0.5
        whole = _nearest_whole(phase)
        whole = tl.where(whole > phase, whole - 1.0, whole)
        above = threshold * (2.0 * (phase - whole) - 1.0)
        below = (u - threshold) - neuron.center
        value = neuron.peak * exp_nonpositive(-(neuron.scale * tl.abs(tl.where(below >= 0.0, above, below))))
    elif OPTIONS.surrogate == _WINDOW:
        spikes = divide(u, threshold) - neuron.center
        under = tl.where(spikes <= neuron.b, neuron.peak, tl.where(spikes > neuron.b, 0.0, spikes))
        value = tl.where(spikes < neuron.a, 0.0, under)
    else:
        value = surrogate_at_distance(neuron, u - threshold, threshold, OPTIONS.surrogate, OPTIONS.in_thresholds)
    if OPTIONS.in_thresholds >= 2:
        value = divide(value, threshold)
    return value


@triton.jit
def _step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    """Carry: of the membrane potential. Grads: none, of the spikes, or of these and the trace. Parameters: decay, threshold,
    input_scale, reset_amount, and the input, whose gradient has its own scale."""
    v, u = kept
    x = inputs[0]
    late, origin, _ = _charge(neuron, OPTIONS, v, x)
    spikes = _spikes(neuron, OPTIONS, u)
    zero = tl.zeros_like(u)
    through_spike = zero
    grad_u = zero
    kept_v = carry[0]
    if len(grads) > 0:
        through_spike = grads[0]
    if len(grads) > 1:
        if OPTIONS.trace == _TRACE_BEFORE:
            grad_u = grads[1]
        else:
            kept_v = kept_v + grads[1]
    if OPTIONS.is_bounded:
        kept_v = tl.where(_reset(neuron, OPTIONS, u, spikes, late) - neuron.v_min <= 0.0, 0.0, kept_v)
    grad_w = kept_v
    grad_amount = zero
    if OPTIONS.scheme == _SUBTRACT:
        if not OPTIONS.detach_reset:
            through_spike = through_spike - grad_w * neuron.reset_amount
        grad_amount = tl.where(spikes > 0.0, -(grad_w * spikes), 0.0)
    elif OPTIONS.scheme == _SUBTRACT_GUARDED:
        if not OPTIONS.detach_reset:
            through_spike = through_spike - grad_w * neuron.reset_amount
        resets = spikes - late
        grad_amount = tl.where(resets != 0.0, -(grad_w * resets), 0.0)
    elif OPTIONS.scheme == _TO:
        if not OPTIONS.detach_reset:
            through_spike = through_spike + grad_w * (neuron.v_reset - u)
        kept_v = tl.where(spikes > 0.0, 0.0, grad_w)
    grad_distance = through_spike * _slope(neuron, OPTIONS, u)
    grad_threshold = -grad_distance
    if OPTIONS.count != 0:
        grad_threshold = -(grad_distance * divide(u, tl.broadcast_to(neuron.threshold, u.shape)))
    grad_u = kept_v + grad_distance + grad_u

    grad_charged = grad_u
    if OPTIONS.scheme == _SUBTRACT_LATE or OPTIONS.scheme == _SUBTRACT_GUARDED:
        grad_amount = grad_amount - tl.where(late > 0.0, grad_u * late, 0.0)
    elif OPTIONS.scheme == _TO_LATE_WITH_INPUT:
        grad_charged = tl.where(late > 0.0, 0.0, grad_u)
    grad_v = grad_charged * neuron.decay
    if OPTIONS.scheme == _TO_LATE:
        grad_v = tl.where(late > 0.0, 0.0, grad_v)
    of_numbers = (grad_charged * (origin - neuron.v_rest), grad_threshold, grad_charged * x, grad_amount)
    return (grad_v,), grad_charged * neuron.input_scale, of_numbers


@triton.jit
def _neuron(
    block, decay_tensor, threshold_tensor, input_scale_tensor, reset_amount_tensor, decay, threshold, input_scale, reset_amount,
    v_reset, v_rest, v_min, max_spikes, scale, peak, center, a, b, c, IS_SHARED: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    return GeneralLif(
        load_decay(decay_tensor, decay, block, IS_SHARED[0], STATE), load_decay(threshold_tensor, threshold, block, IS_SHARED[1], STATE),
        load_decay(input_scale_tensor, input_scale, block, IS_SHARED[2], STATE),
        load_decay(reset_amount_tensor, reset_amount, block, IS_SHARED[3], STATE),
        scalar(v_reset, STATE), scalar(v_rest, STATE), scalar(v_min, STATE), scalar(max_spikes, STATE), scalar(scale, STATE),
        scalar(peak, STATE), scalar(center, STATE), scalar(a, STATE), scalar(b, STATE), scalar(c, STATE),
    )  # fmt: skip


@sized_kernel
def spikeops_general_lif_forward_kernel(
    x, decay_tensor, threshold_tensor, input_scale_tensor, reset_amount_tensor, v_init, spikes, v_last, trace, T: tl.int64, N: tl.int64,
    decay: tl.float64, threshold: tl.float64, input_scale: tl.float64, reset_amount: tl.float64, v_reset: tl.float64,
    v_rest: tl.float64, v_min: tl.float64, max_spikes: tl.float64, scale: tl.float64, peak: tl.float64, center: tl.float64,
    a: tl.float64, b: tl.float64, c: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = _neuron(
        block, decay_tensor, threshold_tensor, input_scale_tensor, reset_amount_tensor, decay, threshold, input_scale, reset_amount,
        v_reset, v_rest, v_min, max_spikes, scale, peak, center, a, b, c, IS_SHARED, STATE,
    )  # fmt: skip
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE),)
    outputs = (spikes,) if trace is None else (spikes, trace)
    state = walk(_step, neuron, OPTIONS, state, (x,), (0 if IS_CONSTANT else block.N,), outputs, T, block, STATE)
    tl.store(v_last + block.n, state[0], block.mask)


@sized_kernel
def spikeops_general_lif_backward_kernel(
    grad_spikes, grad_v_last, grad_trace, x, decay_tensor, threshold_tensor, input_scale_tensor, reset_amount_tensor, v_init, checkpoints,
    grad_x, grad_decay, grad_threshold, grad_input_scale, grad_reset_amount, grad_v_init, T: tl.int64, N: tl.int64,
    decay: tl.float64, threshold: tl.float64, input_scale: tl.float64, reset_amount: tl.float64, v_reset: tl.float64,
    v_rest: tl.float64, v_min: tl.float64, max_spikes: tl.float64, scale: tl.float64, peak: tl.float64, center: tl.float64,
    a: tl.float64, b: tl.float64, c: tl.float64,
    OPTIONS: tl.constexpr, STATES: tl.constexpr, SEGMENT: tl.constexpr, VALUES: tl.constexpr, IS_CONSTANT: tl.constexpr,
    IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK, VALUES)
    neuron = _neuron(
        block, decay_tensor, threshold_tensor, input_scale_tensor, reset_amount_tensor, decay, threshold, input_scale, reset_amount,
        v_reset, v_rest, v_min, max_spikes, scale, peak, center, a, b, c, IS_SHARED, STATE,
    )  # fmt: skip
    zero = tl.zeros((BLOCK,), STATE)
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE),)
    carry = (load_step(grad_v_last, block.n, block.mask, BLOCK, STATE),)
    # Of the spikes and of the trace, both are given where there is one.
    grads = () if grad_spikes is None else (grad_spikes,) if grad_trace is None else (grad_spikes, grad_trace)
    carry, sums = walk_back(
        _step, None, _step_back, None, neuron, OPTIONS, state, carry, (zero, zero, zero, zero), (x,), (0 if IS_CONSTANT else block.N,),
        grads, grad_x, None, checkpoints, T, block, STATES, SEGMENT, STATE, IS_CONSTANT,
    )  # fmt: skip
    if grad_decay is not None:
        tl.store(grad_decay + block.n, sums[0], block.mask)
    if grad_threshold is not None:
        tl.store(grad_threshold + block.n, sums[1], block.mask)
    if grad_input_scale is not None:
        tl.store(grad_input_scale + block.n, sums[2], block.mask)
    if grad_reset_amount is not None:
        tl.store(grad_reset_amount + block.n, sums[3], block.mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + block.n, carry[0], block.mask)


_NAMES = ("decay", "threshold", "input_scale", "reset_amount")
# The list `numbers` of GENERAL_LIF_NEURON in csrc/general_lif.cpp.
_NUMBERS = (*_NAMES, "v_reset", "v_rest", "v_min", "max_spikes", "scale", "peak", "center", "a", "b", "c")


def _launch(launcher, kernel, x, tensors, v_init, numbers, modes, **arguments) -> None:
    is_shared = tuple(tensor is not None and tensor.numel() == 1 for tensor in tensors)
    laid_out = (None if t is None else t if shared else like_step(t, x) for t, shared in zip(tensors, is_shared))
    launcher(
        kernel, N=x.shape[1:].numel(), like=x, x=x, T=x.shape[0], **{f"{name}_tensor": tensor for name, tensor in zip(_NAMES, laid_out)},
        v_init=None if v_init is None else like_step(v_init, x), **dict(zip(_NUMBERS, numbers, strict=True)),
        OPTIONS=GeneralLifOptions(*modes[:-1], int(numbers[7] > 0)), IS_CONSTANT=modes[-1] > 0, IS_SHARED=is_shared,
        STATE=triton_state(x.dtype), **arguments,
    )  # fmt: skip


def traced_lif_forward(x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes):
    return _forward(x, (decay, threshold, input_scale, reset_amount), v_init, numbers, modes, True)


def general_lif_forward(x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes):
    return _forward(x, (decay, threshold, input_scale, reset_amount), v_init, numbers, modes, False)[:2]


def _forward(x, tensors, v_init, numbers, modes, with_trace):
    x = sequence(x, modes[-1])
    spikes, v_last, trace = empty_sequence(x), empty_step(x, state_dtype(x.dtype)), empty_sequence(x) if with_trace else None
    _launch(
        launch_neurons, spikeops_general_lif_forward_kernel, x, tensors, v_init, numbers, modes, spikes=spikes, v_last=v_last, trace=trace
    )
    return spikes, v_last, trace


def general_lif_backward(
    grad_spikes, grad_v_last, x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes, *needs
):  # fmt: skip
    return traced_lif_backward(
        grad_spikes, grad_v_last, None, x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes, *needs
    )


def traced_lif_backward(
    grad_spikes, grad_v_last, grad_trace, x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes, *needs
):  # fmt: skip
    x = sequence(x, modes[-1])
    state = state_dtype(x.dtype)
    grad_x = empty_step(x) if modes[-1] else empty_sequence(x)
    grads = [empty_step(x, state) if need else None for need in needs]
    if grad_trace is not None and grad_spikes is None:
        grad_spikes = x.new_zeros(()).expand(grad_trace.shape)
    _launch(
        launch_back, spikeops_general_lif_backward_kernel, x, (decay, threshold, input_scale, reset_amount), v_init, numbers, modes,
        grad_spikes=None if grad_spikes is None else like_sequence(grad_spikes, x),
        grad_v_last=None if grad_v_last is None else like_step(grad_v_last, x),
        grad_trace=None if grad_trace is None else like_sequence(grad_trace, x),
        grad_x=grad_x, **{f"grad_{name}": grad for name, grad in zip((*_NAMES, "v_init"), grads)}, states=1, kept=4, longest=8,
    )  # fmt: skip
    return grad_x, *grads
