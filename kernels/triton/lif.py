"""Leaky integrate-and-fire neurons: forward, rate and backward (kernels/math/lif.h)."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops.functional._layout import empty_sequence, empty_step, like_sequence, like_step, sequence
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import (
    RESET_SUBTRACT,
    RESET_TO,
    WEIGHTING_DECAY,
    block_of_neurons,
    divide,
    load_step,
    next_above,
    scalar,
    surrogate_derivative,
)  # fmt: skip


@triton.jit
def _decay_of(decay, decay_tensor, n, mask, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr):
    if decay_tensor is None:
        return scalar(decay, STATE)
    elif DECAY_IS_SHARED:
        return tl.load(decay_tensor).to(STATE)
    else:
        return tl.load(decay_tensor + n, mask)


@triton.jit
def _reset(u, spike, reset_amount, v_reset, RESET: tl.constexpr):
    if RESET == RESET_SUBTRACT:
        return tl.where(spike, u - reset_amount, u)
    elif RESET == RESET_TO:
        return tl.where(spike, v_reset, u)
    else:
        return u


@triton.jit
def _current(x, t, N, n, mask, IS_CONSTANT: tl.constexpr):
    """x in time step t; one that is the same in all of them has no time axis."""
    if IS_CONSTANT:
        return tl.load(x + n, mask)
    else:
        return tl.load(x + t * N + n, mask)


@triton.jit
def _membrane(v, x, decay, input_scale, v_rest):
    return (v_rest + decay * (v - v_rest)) + input_scale * x


@triton.jit
def _grad_membrane(grad_spike, grad_v, u, spike, derivative, reset_amount, v_reset,
                   RESET: tl.constexpr, DETACH_RESET: tl.constexpr):  # fmt: skip
    """Gradient with respect to u, from those with respect to the spike and to the membrane potential after the reset."""
    kept = grad_v
    if RESET == RESET_SUBTRACT:
        if not DETACH_RESET:
            grad_spike += -(grad_v * reset_amount)
    elif RESET == RESET_TO:
        kept = tl.where(spike, 0.0, grad_v)
        if not DETACH_RESET:
            grad_spike += grad_v * (v_reset - u)
    return kept + grad_spike * derivative


@sized_kernel
def spikeops_lif_forward_kernel(
    x, decay_tensor, v_init, spikes, v_last, T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64,
    RESET: tl.constexpr, IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    decay = _decay_of(decay, decay_tensor, n, mask, DECAY_IS_SHARED, STATE)
    input_scale, v_rest, v_reset = scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE)
    reset_amount, fire_level = scalar(reset_amount, STATE), scalar(fire_level, STATE)

    v = load_step(v_init, n, mask, BLOCK, STATE)
    for t in range(T):
        u = _membrane(v, _current(x, t, N, n, mask, IS_CONSTANT).to(STATE), decay, input_scale, v_rest)
        spike = u >= fire_level
        v = _reset(u, spike, reset_amount, v_reset, RESET)
        tl.store(spikes + t * N + n, spike.to(STATE), mask)
    tl.store(v_last + n, v, mask)


@sized_kernel
def spikeops_lif_rate_forward_kernel(
    x, decay_tensor, v_init, rate, T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64,
    RESET: tl.constexpr, WEIGHTING: tl.constexpr,
    IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    decay = _decay_of(decay, decay_tensor, n, mask, DECAY_IS_SHARED, STATE)
    input_scale, v_rest, v_reset = scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE)
    reset_amount, fire_level = scalar(reset_amount, STATE), scalar(fire_level, STATE)

    v = load_step(v_init, n, mask, BLOCK, STATE)
    weighted_spikes = tl.zeros((BLOCK,), STATE)
    weights = tl.zeros((BLOCK,), STATE)
    for t in range(T):
        u = _membrane(v, _current(x, t, N, n, mask, IS_CONSTANT).to(STATE), decay, input_scale, v_rest)
        spike = u >= fire_level
        v = _reset(u, spike, reset_amount, v_reset, RESET)
        if WEIGHTING == WEIGHTING_DECAY:
            weighted_spikes = decay * weighted_spikes + spike.to(STATE)
            weights = decay * weights + 1.0
        else:
            weighted_spikes += spike.to(STATE)
    if WEIGHTING == WEIGHTING_DECAY:
        tl.store(rate + n, divide(weighted_spikes, weights), mask)
    else:
        tl.store(rate + n, divide(weighted_spikes, T.to(STATE)), mask)


@sized_kernel
def spikeops_lif_backward_kernel(
    grad_spikes, grad_rate, grad_v_last, x, decay_tensor, v_init, u_history, grad_x, grad_decay, grad_v_init,
    T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64, threshold: tl.float64, surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    RESET: tl.constexpr, DETACH_RESET: tl.constexpr, SURROGATE: tl.constexpr, WEIGHTING: tl.constexpr,
    IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the spikes and the last membrane potential or, where grad_rate is given, of the rate."""
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    decay = _decay_of(decay, decay_tensor, n, mask, DECAY_IS_SHARED, STATE)
    input_scale, v_rest, v_reset = scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE)
    reset_amount, fire_level, threshold = scalar(reset_amount, STATE), scalar(fire_level, STATE), scalar(threshold, STATE)
    surrogate_scale, surrogate_peak = scalar(surrogate_scale, STATE), scalar(surrogate_peak, STATE)

    # The membrane potential of every step again. For the decay-weighted rate also numerator and normaliser, and their
    # derivatives with respect to the decay at fixed spikes.
    v = load_step(v_init, n, mask, BLOCK, STATE)
    weighted_spikes = tl.zeros((BLOCK,), STATE)
    weights = tl.zeros((BLOCK,), STATE)
    d_spikes = tl.zeros((BLOCK,), STATE)
    d_weights = tl.zeros((BLOCK,), STATE)
    for t in range(T):
        u = _membrane(v, _current(x, t, N, n, mask, IS_CONSTANT).to(STATE), decay, input_scale, v_rest)
        spike = u >= fire_level
        v = _reset(u, spike, reset_amount, v_reset, RESET)
        tl.store(u_history + t * N + n, u, mask)
        if grad_rate is not None and WEIGHTING == WEIGHTING_DECAY:
            d_spikes = weighted_spikes + decay * d_spikes
            d_weights = weights + decay * d_weights
            weighted_spikes = decay * weighted_spikes + spike.to(STATE)
            weights = decay * weights + 1.0
    # Threads may read what another one of their block has written.
    tl.debug_barrier()

    grad_v = load_step(grad_v_last, n, mask, BLOCK, STATE)
    sum_u = tl.zeros((BLOCK,), STATE)
    sum_decay = tl.zeros((BLOCK,), STATE)
    grad_spike = tl.zeros((BLOCK,), STATE)
    if grad_rate is not None:
        rate_gradient = tl.load(grad_rate + n, mask)
        if WEIGHTING == WEIGHTING_DECAY:
            grad_spike = divide(rate_gradient, weights)
            sum_decay = rate_gradient * divide(d_spikes - divide(weighted_spikes, weights) * d_weights, weights)
        else:
            grad_spike = divide(rate_gradient, T.to(STATE))
    # u_history and grad_x may be the same memory: u[t-1] is read before grad_x[t-1] is written.
    u = tl.load(u_history + (T - 1) * N + n, mask)
    for step in range(T):
        t = T - 1 - step
        if grad_spikes is not None:
            grad_spike = tl.load(grad_spikes + t * N + n, mask).to(STATE)
        derivative = surrogate_derivative(u - threshold, surrogate_scale, surrogate_peak, SURROGATE)
        grad_u = _grad_membrane(grad_spike, grad_v, u, u >= fire_level, derivative, reset_amount, v_reset, RESET, DETACH_RESET)
        u = tl.load(u_history + (t - 1) * N + n, mask & (t > 0))
        if grad_decay is not None:
            before = _reset(u, u >= fire_level, reset_amount, v_reset, RESET)
            before = tl.where(t > 0, before, load_step(v_init, n, mask, BLOCK, STATE))
            sum_decay += grad_u * (before - v_rest)
        if IS_CONSTANT:
            sum_u += grad_u
        else:
            tl.store(grad_x + t * N + n, grad_u * input_scale, mask)
        grad_v = grad_u * decay
        if grad_rate is not None and WEIGHTING == WEIGHTING_DECAY:
            grad_spike = grad_spike * decay
    if IS_CONSTANT:
        tl.store(grad_x + n, sum_u * input_scale, mask)
    if grad_decay is not None:
        tl.store(grad_decay + n, sum_decay, mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + n, grad_v, mask)


class _Numbers(NamedTuple):
    """The list `numbers` of LIF_NEURON in csrc/ops.cpp."""

    decay: float
    threshold: float
    input_scale: float
    reset_amount: float
    v_reset: float
    v_rest: float
    surrogate_scale: float
    surrogate_peak: float


class _Modes(NamedTuple):
    """The list `modes` of LIF_NEURON in csrc/ops.cpp."""

    reset: int
    strict: int
    detach_reset: int
    surrogate: int
    time_steps: int


def _launch(kernel, x, decay_tensor, v_init, numbers: _Numbers, modes: _Modes, **arguments) -> None:
    shared = decay_tensor is not None and decay_tensor.numel() == 1
    launch_neurons(
        kernel, x.shape[1:].numel(), x,
        x=x, T=x.shape[0],
        decay_tensor=decay_tensor if decay_tensor is None or shared else like_step(decay_tensor, x),
        v_init=None if v_init is None else like_step(v_init, x),
        decay=numbers.decay, input_scale=numbers.input_scale, v_rest=numbers.v_rest, v_reset=numbers.v_reset,
        reset_amount=numbers.reset_amount,
        fire_level=next_above(numbers.threshold, state_dtype(x.dtype)) if modes.strict else numbers.threshold,
        RESET=modes.reset, IS_CONSTANT=modes.time_steps > 0, DECAY_IS_SHARED=shared, STATE=triton_state(x.dtype),
        **arguments,
    )  # fmt: skip


def lif_forward(x, decay_tensor, v_init, numbers, modes):
    x = sequence(x, modes[-1])
    spikes, v_last = empty_sequence(x), empty_step(x, state_dtype(x.dtype))
    _launch(spikeops_lif_forward_kernel, x, decay_tensor, v_init, _Numbers(*numbers), _Modes(*modes), spikes=spikes, v_last=v_last)
    return spikes, v_last


def lif_rate_forward(x, decay_tensor, v_init, numbers, modes, weighting):
    x = sequence(x, modes[-1])
    rate = empty_step(x)
    numbers, modes = _Numbers(*numbers), _Modes(*modes)
    _launch(spikeops_lif_rate_forward_kernel, x, decay_tensor, v_init, numbers, modes, rate=rate, WEIGHTING=weighting)
    return rate


def lif_backward(grad_spikes, grad_v_last, x, decay_tensor, v_init, numbers, modes, need_decay, need_v_init):
    neuron = (x, decay_tensor, v_init, numbers, modes)
    return _backward(*neuron, need_decay, need_v_init, grad_spikes=grad_spikes, grad_v_last=grad_v_last)


def lif_rate_backward(grad_rate, x, decay_tensor, v_init, numbers, modes, weighting, need_decay, need_v_init):
    neuron = (x, decay_tensor, v_init, numbers, modes)
    return _backward(*neuron, need_decay, need_v_init, grad_rate=grad_rate, weighting=weighting)


def _backward(
    x, decay_tensor, v_init, numbers, modes, need_decay, need_v_init,
    grad_spikes=None, grad_v_last=None, grad_rate=None, weighting=0,
):  # fmt: skip
    numbers, modes = _Numbers(*numbers), _Modes(*modes)
    x = sequence(x, modes.time_steps)
    state = state_dtype(x.dtype)
    grad_x = empty_step(x) if modes.time_steps else empty_sequence(x)
    grad_decay, grad_v_init = (empty_step(x, state) if need else None for need in (need_decay, need_v_init))
    _launch(
        spikeops_lif_backward_kernel, x, decay_tensor, v_init, numbers, modes,
        grad_spikes=None if grad_spikes is None else like_sequence(grad_spikes, x),
        grad_rate=None if grad_rate is None else like_step(grad_rate, x),
        grad_v_last=None if grad_v_last is None else like_step(grad_v_last, x),
        grad_x=grad_x, grad_decay=grad_decay, grad_v_init=grad_v_init,
        # The membrane potential is kept where its gradient will be written, unless that has no time axis or narrower data.
        u_history=grad_x if x.dtype == state and not modes.time_steps else empty_sequence(x, dtype=state),
        threshold=numbers.threshold, surrogate_scale=numbers.surrogate_scale, surrogate_peak=numbers.surrogate_peak,
        DETACH_RESET=modes.detach_reset, SURROGATE=modes.surrogate, WEIGHTING=weighting,
    )  # fmt: skip
    return grad_x, *(x.new_empty(0, dtype=state) if grad is None else grad for grad in (grad_decay, grad_v_init))
