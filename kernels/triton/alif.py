"""Leaky integrate-and-fire neurons with an adaptive threshold: forward and backward (kernels/math/alif.h)."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import empty_sequence, empty_step, like_sequence, like_step, sequence
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import (
    RESET_SUBTRACT,
    RESET_TO,
    block_of_neurons,
    fires,
    load_decay,
    load_step,
    reset,
    reset_amount,
    scalar,
    surrogate_derivative,
)
from spikeops.triton._walk import launch_back, walk, walk_back


class Alif(NamedTuple):
    """Numbers of the layer, in the precision of the state; the decays may be one of each neuron."""

    decay: tl.tensor
    adaptation_decay: tl.tensor
    threshold: tl.tensor
    beta: tl.tensor
    input_scale: tl.tensor
    v_rest: tl.tensor
    v_reset: tl.tensor
    reset_amount: tl.tensor
    surrogate_scale: tl.tensor
    surrogate_peak: tl.tensor


class AlifOptions(NamedTuple):
    """Numbers of kernels/math/lif.h and kernels/math/surrogate.h, flags of kernels/math/alif.h."""

    reset: int
    strict: int
    subtracts_threshold: int
    detach_reset: int = 0
    surrogate: int = 0


@triton.jit
def _reset(neuron, OPTIONS: tl.constexpr, u, theta):
    amount = reset_amount(neuron, theta, OPTIONS.subtracts_threshold)
    return reset(u, fires(u, theta, OPTIONS.strict), amount, neuron.v_reset, OPTIONS.reset)


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: membrane potential after the reset, adaptation. Kept: both before, and the potential before the reset. Output: the
    spike."""
    v, a = state
    theta = neuron.threshold + neuron.beta * a
    u = (neuron.v_rest + neuron.decay * (v - neuron.v_rest)) + neuron.input_scale * inputs[0]
    spike = fires(u, theta, OPTIONS.strict).to(u.dtype)
    return (_reset(neuron, OPTIONS, u, theta), neuron.adaptation_decay * a + spike), (u, v, a), (spike,)


@triton.jit
def _step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    """Carry: of the membrane potential and of the adaptation. Parameters: the decays."""
    u, v, a = kept
    grad_v, grad_a = carry
    theta = neuron.threshold + neuron.beta * a
    through_spike = grad_a
    if len(grads) > 0:
        through_spike = grads[0] + grad_a
    kept_v = grad_v
    grad_theta = tl.zeros_like(u)
    if OPTIONS.reset == RESET_SUBTRACT:
        if not OPTIONS.detach_reset:
            through_spike = through_spike - grad_v * reset_amount(neuron, theta, OPTIONS.subtracts_threshold)
        if OPTIONS.subtracts_threshold:
            grad_theta = tl.where(fires(u, theta, OPTIONS.strict), -grad_v, 0.0)
    elif OPTIONS.reset == RESET_TO:
        if not OPTIONS.detach_reset:
            through_spike = through_spike + grad_v * (neuron.v_reset - u)
        kept_v = tl.where(fires(u, theta, OPTIONS.strict), 0.0, grad_v)
    derivative = surrogate_derivative(u - theta, neuron.surrogate_scale, neuron.surrogate_peak, OPTIONS.surrogate)
    grad_distance = through_spike * derivative
    grad_u = kept_v + grad_distance
    grad_theta = grad_theta - grad_distance
    grad_a_before = neuron.adaptation_decay * grad_a + neuron.beta * grad_theta
    return (grad_u * neuron.decay, grad_a_before), grad_u, (grad_u * (v - neuron.v_rest), grad_a * a)


@triton.jit
def _neuron(
    block, decay_tensor, adaptation_decay_tensor, decay, adaptation_decay, threshold, beta, input_scale, v_rest, v_reset,
    reset_amount, surrogate_scale, surrogate_peak,
    DECAY_IS_SHARED: tl.constexpr, ADAPTATION_DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    return Alif(
        load_decay(decay_tensor, decay, block, DECAY_IS_SHARED, STATE),
        load_decay(adaptation_decay_tensor, adaptation_decay, block, ADAPTATION_DECAY_IS_SHARED, STATE),
        scalar(threshold, STATE), scalar(beta, STATE), scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE),
        scalar(reset_amount, STATE), scalar(surrogate_scale, STATE), scalar(surrogate_peak, STATE),
    )  # fmt: skip


@sized_kernel
def spikeops_alif_forward_kernel(
    x, decay_tensor, adaptation_decay_tensor, v_init, a_init, spikes, v_last, a_last, T: tl.int64, N: tl.int64,
    decay: tl.float64, adaptation_decay: tl.float64, threshold: tl.float64, beta: tl.float64, input_scale: tl.float64,
    v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64, surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr, ADAPTATION_DECAY_IS_SHARED: tl.constexpr,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = _neuron(
        block, decay_tensor, adaptation_decay_tensor, decay, adaptation_decay, threshold, beta, input_scale, v_rest, v_reset,
        reset_amount, surrogate_scale, surrogate_peak, DECAY_IS_SHARED, ADAPTATION_DECAY_IS_SHARED, STATE,
    )  # fmt: skip
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE), load_step(a_init, block.n, block.mask, BLOCK, STATE))
    state = walk(_step, neuron, OPTIONS, state, (x,), (0 if IS_CONSTANT else block.N,), (spikes,), T, block, STATE)
    tl.store(v_last + block.n, state[0], block.mask)
    tl.store(a_last + block.n, state[1], block.mask)


@sized_kernel
def spikeops_alif_backward_kernel(
    grad_spikes, grad_v_last, grad_a_last, x, decay_tensor, adaptation_decay_tensor, v_init, a_init, checkpoints, grad_x, grad_decay,
    grad_adaptation_decay, grad_v_init, grad_a_init, T: tl.int64, N: tl.int64,
    decay: tl.float64, adaptation_decay: tl.float64, threshold: tl.float64, beta: tl.float64, input_scale: tl.float64,
    v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64, surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    OPTIONS: tl.constexpr, STATES: tl.constexpr, SEGMENT: tl.constexpr, VALUES: tl.constexpr, IS_CONSTANT: tl.constexpr,
    DECAY_IS_SHARED: tl.constexpr, ADAPTATION_DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK, VALUES)
    neuron = _neuron(
        block, decay_tensor, adaptation_decay_tensor, decay, adaptation_decay, threshold, beta, input_scale, v_rest, v_reset,
        reset_amount, surrogate_scale, surrogate_peak, DECAY_IS_SHARED, ADAPTATION_DECAY_IS_SHARED, STATE,
    )  # fmt: skip
    zero = tl.zeros((BLOCK,), STATE)
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE), load_step(a_init, block.n, block.mask, BLOCK, STATE))
    carry = (load_step(grad_v_last, block.n, block.mask, BLOCK, STATE), load_step(grad_a_last, block.n, block.mask, BLOCK, STATE))
    carry, parameters = walk_back(
        _step, None, _step_back, None, neuron, OPTIONS, state, carry, (zero, zero), (x,), (0 if IS_CONSTANT else block.N,),
        () if grad_spikes is None else (grad_spikes,), grad_x, neuron.input_scale, checkpoints, T, block,
        STATES, SEGMENT, STATE, IS_CONSTANT,
    )  # fmt: skip
    if grad_decay is not None:
        tl.store(grad_decay + block.n, parameters[0], block.mask)
    if grad_adaptation_decay is not None:
        tl.store(grad_adaptation_decay + block.n, parameters[1], block.mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + block.n, carry[0], block.mask)
    if grad_a_init is not None:
        tl.store(grad_a_init + block.n, carry[1], block.mask)


# The lists `numbers` and `modes` of ALIF_NEURON in csrc/alif.cpp.
_NUMBERS = (
    "decay", "adaptation_decay", "threshold", "beta", "input_scale", "reset_amount", "v_reset", "v_rest", "surrogate_scale",
    "surrogate_peak",
)  # fmt: skip


class _Modes(NamedTuple):
    reset: int
    strict: int
    detach_reset: int
    subtracts_threshold: int
    surrogate: int
    time_steps: int


def _launch(launcher, kernel, x, decays, initial, numbers, modes: _Modes, options: AlifOptions, **arguments) -> None:
    def is_shared(tensor):
        return tensor is not None and tensor.numel() == 1

    def laid_out(tensor):
        return None if tensor is None else like_step(tensor, x)

    decay, adaptation_decay = (tensor if is_shared(tensor) else laid_out(tensor) for tensor in decays)
    v_init, a_init = map(laid_out, initial)
    launcher(
        kernel, N=x.shape[1:].numel(), like=x, x=x, T=x.shape[0], decay_tensor=decay, adaptation_decay_tensor=adaptation_decay,
        v_init=v_init, a_init=a_init, **dict(zip(_NUMBERS, numbers, strict=True)), OPTIONS=options, IS_CONSTANT=modes.time_steps > 0,
        DECAY_IS_SHARED=is_shared(decay), ADAPTATION_DECAY_IS_SHARED=is_shared(adaptation_decay), STATE=triton_state(x.dtype),
        **arguments,
    )  # fmt: skip


def alif_forward(x, decay_tensor, adaptation_decay_tensor, v_init, a_init, numbers, modes):
    modes = _Modes(*modes)
    x = sequence(x, modes.time_steps)
    state = state_dtype(x.dtype)
    spikes, v_last, a_last = empty_sequence(x), empty_step(x, state), empty_step(x, state)
    _launch(
        launch_neurons, spikeops_alif_forward_kernel, x, (decay_tensor, adaptation_decay_tensor), (v_init, a_init), numbers, modes,
        AlifOptions(modes.reset, modes.strict, modes.subtracts_threshold), spikes=spikes, v_last=v_last, a_last=a_last,
    )  # fmt: skip
    return spikes, v_last, a_last


def alif_backward(
    grad_spikes, grad_v_last, grad_a_last, x, decay_tensor, adaptation_decay_tensor, v_init, a_init, numbers, modes,
    need_decay, need_adaptation_decay, need_v_init, need_a_init,
):  # fmt: skip
    modes = _Modes(*modes)
    x = sequence(x, modes.time_steps)
    state = state_dtype(x.dtype)
    grad_x = empty_step(x) if modes.time_steps else empty_sequence(x)
    needs = (need_decay, need_adaptation_decay, need_v_init, need_a_init)
    grads = [empty_step(x, state) if need else None for need in needs]
    _launch(
        launch_back, spikeops_alif_backward_kernel, x, (decay_tensor, adaptation_decay_tensor), (v_init, a_init), numbers, modes,
        AlifOptions(modes.reset, modes.strict, modes.subtracts_threshold, modes.detach_reset, modes.surrogate),
        grad_spikes=None if grad_spikes is None else like_sequence(grad_spikes, x),
        grad_v_last=None if grad_v_last is None else like_step(grad_v_last, x),
        grad_a_last=None if grad_a_last is None else like_step(grad_a_last, x),
        grad_x=grad_x,
        **dict(zip(("grad_decay", "grad_adaptation_decay", "grad_v_init", "grad_a_init"), grads)),
        states=2, kept=4,
    )  # fmt: skip
    return grad_x, *grads
