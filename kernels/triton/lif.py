"""Leaky integrate-and-fire neurons: forward, rate and backward (kernels/math/lif.h)."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import empty_sequence, empty_step, like_sequence, like_step, sequence
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import (
    RESET_SUBTRACT,
    RESET_TO,
    WEIGHTING_DECAY,
    block_of_neurons,
    divide,
    load_decay,
    load_step,
    next_above,
    reset,
    scalar,
    surrogate_derivative,
)  # fmt: skip
from spikeops.triton._walk import launch_back, walk, walk_back


class Lif(NamedTuple):
    """Numbers of the layer, in the precision of the state; `decay` may be one of each neuron."""

    decay: tl.tensor
    input_scale: tl.tensor
    v_rest: tl.tensor
    v_reset: tl.tensor
    reset_amount: tl.tensor
    fire_level: tl.tensor
    threshold: tl.tensor
    surrogate_scale: tl.tensor
    surrogate_peak: tl.tensor


class LifOptions(NamedTuple):
    """Numbers of kernels/math/lif.h and kernels/math/surrogate.h."""

    reset: int
    detach_reset: int = 0
    surrogate: int = 0
    weighting: int = 0


@triton.jit
def _reset(neuron, OPTIONS: tl.constexpr, u):
    return reset(u, u >= neuron.fire_level, neuron.reset_amount, neuron.v_reset, OPTIONS.reset)


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: the membrane potential after the reset. Kept: that before it. Output: the spike."""
    u = (neuron.v_rest + neuron.decay * (state[0] - neuron.v_rest)) + neuron.input_scale * inputs[0]
    return (_reset(neuron, OPTIONS, u),), (u,), ((u >= neuron.fire_level).to(u.dtype),)


@triton.jit
def _after(neuron, OPTIONS: tl.constexpr, kept):
    return (_reset(neuron, OPTIONS, kept[0]),)


@triton.jit
def _grad_u(neuron, OPTIONS: tl.constexpr, grad_spike, grad_v, u):
    """Gradient of the potential before the reset, from those of the spike and of the potential after the reset."""
    kept = grad_v
    if OPTIONS.reset == RESET_SUBTRACT:
        if not OPTIONS.detach_reset:
            grad_spike += -(grad_v * neuron.reset_amount)
    elif OPTIONS.reset == RESET_TO:
        kept = tl.where(u >= neuron.fire_level, 0.0, grad_v)
        if not OPTIONS.detach_reset:
            grad_spike += grad_v * (neuron.v_reset - u)
    derivative = surrogate_derivative(u - neuron.threshold, neuron.surrogate_scale, neuron.surrogate_peak, OPTIONS.surrogate)
    return kept + grad_spike * derivative


@triton.jit
def _step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    grad_spike = tl.zeros_like(kept[0])
    if len(grads) > 0:
        grad_spike = grads[0]
    grad_u = _grad_u(neuron, OPTIONS, grad_spike, carry[0], kept[0])
    return (grad_u * neuron.decay,), grad_u, (grad_u * (before[0] - neuron.v_rest),)


@triton.jit
def _rate_step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: the potential; weighted sum of the spikes and sum of the weights; their derivatives with respect to the decay at
    fixed spikes."""
    v, spikes, weights, d_spikes, d_weights = state
    state, kept, outputs = _step(neuron, OPTIONS, (v,), inputs)
    if OPTIONS.weighting == WEIGHTING_DECAY:
        d_spikes = spikes + neuron.decay * d_spikes
        d_weights = weights + neuron.decay * d_weights
        spikes = neuron.decay * spikes + outputs[0]
        weights = neuron.decay * weights + 1.0
    else:
        spikes += outputs[0]
        weights += 1.0
    return (state[0], spikes, weights, d_spikes, d_weights), kept, ()


@triton.jit
def _rate_arrive(neuron, OPTIONS: tl.constexpr, state, carry, parameters):
    """The gradient of the rate becomes that of the last spike."""
    _, spikes, weights, d_spikes, d_weights = state
    grad_v, grad_rate = carry
    if OPTIONS.weighting == WEIGHTING_DECAY and len(parameters) > 0:
        parameters = (grad_rate * divide(d_spikes - divide(spikes, weights) * d_weights, weights),)
    return (grad_v, divide(grad_rate, weights)), parameters


@triton.jit
def _rate_step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    grad_v, grad_spike = carry
    grad_u = _grad_u(neuron, OPTIONS, grad_spike, grad_v, kept[0])
    if OPTIONS.weighting == WEIGHTING_DECAY:
        grad_spike = grad_spike * neuron.decay
    return (grad_u * neuron.decay, grad_spike), grad_u, (grad_u * (before[0] - neuron.v_rest),)


@triton.jit
def _neuron(
    block, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr, decay_tensor, decay, input_scale, v_rest, v_reset, reset_amount,
    fire_level, threshold=0.0, surrogate_scale=0.0, surrogate_peak=0.0,
):  # fmt: skip
    return Lif(
        load_decay(decay_tensor, decay, block, DECAY_IS_SHARED, STATE),
        scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE), scalar(reset_amount, STATE),
        scalar(fire_level, STATE), scalar(threshold, STATE), scalar(surrogate_scale, STATE), scalar(surrogate_peak, STATE),
    )  # fmt: skip


@sized_kernel
def spikeops_lif_forward_kernel(
    x, decay_tensor, v_init, spikes, v_last, T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = _neuron(
        block, DECAY_IS_SHARED, STATE, decay_tensor, decay, input_scale, v_rest, v_reset, reset_amount, fire_level
    )  # fmt: skip
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE),)
    state = walk(_step, neuron, OPTIONS, state, (x,), (0 if IS_CONSTANT else block.N,), (spikes,), T, block, STATE)
    tl.store(v_last + block.n, state[0], block.mask)


@sized_kernel
def spikeops_lif_rate_forward_kernel(
    x, decay_tensor, v_init, rate, T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = _neuron(
        block, DECAY_IS_SHARED, STATE, decay_tensor, decay, input_scale, v_rest, v_reset, reset_amount, fire_level
    )  # fmt: skip
    zero = tl.zeros((BLOCK,), STATE)
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE), zero, zero, zero, zero)
    state = walk(_rate_step, neuron, OPTIONS, state, (x,), (0 if IS_CONSTANT else block.N,), (), T, block, STATE)
    tl.store(rate + block.n, divide(state[1], state[2]), block.mask)


@sized_kernel
def spikeops_lif_backward_kernel(
    grad_spikes, grad_rate, grad_v_last, x, decay_tensor, v_init, checkpoints, grad_x, grad_decay, grad_v_init,
    T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64, threshold: tl.float64, surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    OPTIONS: tl.constexpr, STATES: tl.constexpr, SEGMENT: tl.constexpr, VALUES: tl.constexpr,
    IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr,
    ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of the spikes and the last membrane potential or, where grad_rate is given, of the rate."""
    block = block_of_neurons(N, ALIGNED, BLOCK, VALUES)
    neuron = _neuron(
        block, DECAY_IS_SHARED, STATE, decay_tensor, decay, input_scale, v_rest, v_reset, reset_amount, fire_level, threshold,
        surrogate_scale, surrogate_peak,
    )  # fmt: skip
    zero = tl.zeros((BLOCK,), STATE)
    v = load_step(v_init, block.n, block.mask, BLOCK, STATE)
    grad_v = load_step(grad_v_last, block.n, block.mask, BLOCK, STATE)
    parameters = () if grad_decay is None else (zero,)
    AFTER: tl.constexpr = None if grad_decay is None else _after
    strides = (0 if IS_CONSTANT else block.N,)
    if grad_rate is None:
        carry, parameters = walk_back(
            _step, AFTER, _step_back, None, neuron, OPTIONS, (v,), (grad_v,), parameters, (x,), strides,
            () if grad_spikes is None else (grad_spikes,), grad_x, neuron.input_scale, checkpoints, T, block,
            STATES, SEGMENT, STATE, IS_CONSTANT,
        )  # fmt: skip
    else:
        carry, parameters = walk_back(
            _rate_step, AFTER, _rate_step_back, _rate_arrive, neuron, OPTIONS, (v, zero, zero, zero, zero),
            (grad_v, tl.load(grad_rate + block.n, block.mask)), parameters, (x,), strides,
            (), grad_x, neuron.input_scale, checkpoints, T, block, STATES, SEGMENT, STATE, IS_CONSTANT,
        )  # fmt: skip
    if grad_decay is not None:
        tl.store(grad_decay + block.n, parameters[0], block.mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + block.n, carry[0], block.mask)


class _Numbers(NamedTuple):
    """The list `numbers` of LIF_NEURON in csrc/lif.cpp."""

    decay: float
    threshold: float
    input_scale: float
    reset_amount: float
    v_reset: float
    v_rest: float
    surrogate_scale: float
    surrogate_peak: float


class _Modes(NamedTuple):
    """The list `modes` of LIF_NEURON in csrc/lif.cpp."""

    reset: int
    strict: int
    detach_reset: int
    surrogate: int
    time_steps: int


def _launch(
    kernel, x, decay_tensor, v_init, numbers: _Numbers, modes: _Modes, launcher=launch_neurons, **arguments
) -> None:  # fmt: skip
    shared = decay_tensor is not None and decay_tensor.numel() == 1
    launcher(
        kernel, N=x.shape[1:].numel(), like=x,
        x=x, T=x.shape[0],
        decay_tensor=decay_tensor if decay_tensor is None or shared else like_step(decay_tensor, x),
        v_init=None if v_init is None else like_step(v_init, x),
        decay=numbers.decay, input_scale=numbers.input_scale, v_rest=numbers.v_rest, v_reset=numbers.v_reset,
        reset_amount=numbers.reset_amount,
        fire_level=next_above(numbers.threshold, state_dtype(x.dtype)) if modes.strict else numbers.threshold,
        IS_CONSTANT=modes.time_steps > 0, DECAY_IS_SHARED=shared, STATE=triton_state(x.dtype),
        **arguments,
    )  # fmt: skip


def lif_forward(x, decay_tensor, v_init, numbers, modes):
    x = sequence(x, modes[-1])
    spikes, v_last = empty_sequence(x), empty_step(x, state_dtype(x.dtype))
    numbers, modes = _Numbers(*numbers), _Modes(*modes)
    options = LifOptions(modes.reset)
    _launch(spikeops_lif_forward_kernel, x, decay_tensor, v_init, numbers, modes, spikes=spikes, v_last=v_last, OPTIONS=options)
    return spikes, v_last


def lif_rate_forward(x, decay_tensor, v_init, numbers, modes, weighting):
    x = sequence(x, modes[-1])
    rate = empty_step(x)
    numbers, modes = _Numbers(*numbers), _Modes(*modes)
    options = LifOptions(modes.reset, weighting=weighting)
    _launch(spikeops_lif_rate_forward_kernel, x, decay_tensor, v_init, numbers, modes, rate=rate, OPTIONS=options)
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
        threshold=numbers.threshold, surrogate_scale=numbers.surrogate_scale, surrogate_peak=numbers.surrogate_peak,
        OPTIONS=LifOptions(modes.reset, modes.detach_reset, modes.surrogate, weighting),
        launcher=launch_back, states=1, kept=2,
    )  # fmt: skip
    return grad_x, grad_decay, grad_v_init
