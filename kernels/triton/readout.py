"""Leaky readout: forward and backward (kernels/math/readout.h)."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import empty_sequence, empty_step, like_sequence, like_step, sequence
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, load_decay, load_step, scalar
from spikeops.triton._walk import launch_back, walk, walk_back


class Readout(NamedTuple):
    """Numbers of the layer, in the precision of the state; the decay may be one of each neuron."""

    decay: tl.tensor
    input_scale: tl.tensor
    v_rest: tl.tensor


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State and output: the membrane potential. Kept: that before."""
    v = state[0]
    after = (neuron.v_rest + neuron.decay * (v - neuron.v_rest)) + neuron.input_scale * inputs[0]
    return (after,), (v,), (after,)


@triton.jit
def _step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    """Carry: of the membrane potential. Parameters: the decay."""
    grad_trace = tl.zeros_like(carry[0])
    if len(grads) > 0:
        grad_trace = grads[0]
    grad = carry[0] + grad_trace
    return (grad * neuron.decay,), grad, (grad * (kept[0] - neuron.v_rest),)


@sized_kernel
def spikeops_leaky_readout_forward_kernel(
    x, decay_tensor, v_init, trace, v_last, T: tl.int64, N: tl.int64, decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64,
    IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = Readout(load_decay(decay_tensor, decay, block, DECAY_IS_SHARED, STATE), scalar(input_scale, STATE), scalar(v_rest, STATE))
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE),)
    state = walk(_step, neuron, None, state, (x,), (0 if IS_CONSTANT else block.N,), (trace,), T, block, STATE)
    tl.store(v_last + block.n, state[0], block.mask)


@sized_kernel
def spikeops_leaky_readout_backward_kernel(
    grad_trace, grad_v_last, x, decay_tensor, v_init, checkpoints, grad_x, grad_decay, grad_v_init, T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64,
    STATES: tl.constexpr, SEGMENT: tl.constexpr, VALUES: tl.constexpr, IS_CONSTANT: tl.constexpr, DECAY_IS_SHARED: tl.constexpr,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK, VALUES)
    neuron = Readout(load_decay(decay_tensor, decay, block, DECAY_IS_SHARED, STATE), scalar(input_scale, STATE), scalar(v_rest, STATE))
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE),)
    carry = (load_step(grad_v_last, block.n, block.mask, BLOCK, STATE),)
    carry, parameters = walk_back(
        _step, None, _step_back, None, neuron, None, state, carry, (tl.zeros((BLOCK,), STATE),), (x,),
        (0 if IS_CONSTANT else block.N,), () if grad_trace is None else (grad_trace,), grad_x, neuron.input_scale, checkpoints, T, block,
        STATES, SEGMENT, STATE, IS_CONSTANT,
    )  # fmt: skip
    if grad_decay is not None:
        tl.store(grad_decay + block.n, parameters[0], block.mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + block.n, carry[0], block.mask)


def _launch(launcher, kernel, x, decay_tensor, v_init, numbers, modes, **arguments) -> None:
    is_shared = decay_tensor is not None and decay_tensor.numel() == 1
    decay, input_scale, v_rest = numbers  # READOUT_NEURON in csrc/readout.cpp
    launcher(
        kernel, N=x.shape[1:].numel(), like=x, x=x, T=x.shape[0],
        decay_tensor=decay_tensor if decay_tensor is None or is_shared else like_step(decay_tensor, x),
        v_init=None if v_init is None else like_step(v_init, x), decay=decay, input_scale=input_scale, v_rest=v_rest,
        IS_CONSTANT=modes[0] > 0, DECAY_IS_SHARED=is_shared, STATE=triton_state(x.dtype), **arguments,
    )  # fmt: skip


def leaky_readout_forward(x, decay_tensor, v_init, numbers, modes):
    x = sequence(x, modes[0])
    trace, v_last = empty_sequence(x), empty_step(x, state_dtype(x.dtype))
    _launch(
        launch_neurons, spikeops_leaky_readout_forward_kernel, x, decay_tensor, v_init, numbers, modes, trace=trace, v_last=v_last
    )  # fmt: skip
    return trace, v_last


def leaky_readout_backward(grad_trace, grad_v_last, x, decay_tensor, v_init, numbers, modes, need_decay, need_v_init):
    x = sequence(x, modes[0])
    state = state_dtype(x.dtype)
    grad_x = empty_step(x) if modes[0] else empty_sequence(x)
    grad_decay, grad_v_init = (empty_step(x, state) if need else None for need in (need_decay, need_v_init))
    _launch(
        launch_back, spikeops_leaky_readout_backward_kernel, x, decay_tensor, v_init, numbers, modes,
        grad_trace=None if grad_trace is None else like_sequence(grad_trace, x),
        grad_v_last=None if grad_v_last is None else like_step(grad_v_last, x),
        grad_x=grad_x, grad_decay=grad_decay, grad_v_init=grad_v_init, states=1, kept=3,
    )  # fmt: skip
    return grad_x, grad_decay, grad_v_init
