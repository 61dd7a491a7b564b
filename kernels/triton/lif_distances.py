"""LIF neurons that keep rounded distances from the threshold for their backward pass (kernels/math/lif_distances.h)."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from spikeops.triton._launch import sized_kernel
from spikeops.triton._lif_kept import KeptOptions, Modes, Numbers, kept_step_back, launch_backward, launch_forward
from spikeops.triton._math import block_of_neurons, divide, load_step, reset, scalar, surrogate_at_distance
from spikeops.triton._walk import walk

_MOST_BFLOAT16 = tl.constexpr(float(torch.finfo(torch.bfloat16).max))


class LifDistances(NamedTuple):
    """Numbers of the layer, in the precision of the state."""

    decay: tl.tensor
    input_scale: tl.tensor
    v_rest: tl.tensor
    v_reset: tl.tensor
    reset_amount: tl.tensor
    fire_level: tl.tensor
    threshold: tl.tensor


class LifDistancesBack(NamedTuple):
    """Those of the way back, and of the surrogate."""

    decay: tl.tensor
    step_scale: tl.tensor
    v_reset: tl.tensor
    reset_amount: tl.tensor
    threshold: tl.tensor
    scale: tl.tensor
    peak: tl.tensor
    center: tl.tensor
    a: tl.tensor
    b: tl.tensor
    c: tl.tensor


@triton.jit
def _kept_distance(distance, fired):
    """The bits of a bfloat16: its sign says whether the neuron has fired, and what is finite stays so."""
    size = tl.abs(distance)
    within = tl.where(size < _MOST_BFLOAT16, size, _MOST_BFLOAT16)
    bits = tl.where(size < float("inf"), within, size).to(tl.float32).to(tl.int32, bitcast=True)
    # To nearest, half way the even one, which Triton's interpreter does not do by itself.
    rounded = tl.where(size == size, (bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16, 0x7FC0)
    return (rounded | tl.where(fired, 0, 0x8000)).to(tl.int16)


@triton.jit
def _has_fired(distance):
    """By the sign bit."""
    if distance.dtype == tl.float64:
        return distance.to(tl.int64, bitcast=True) >= 0
    else:
        return distance.to(tl.int32, bitcast=True) >= 0


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: the membrane potential. Outputs: the spike, and the distance."""
    u = (neuron.v_rest + neuron.decay * (state[0] - neuron.v_rest)) + neuron.input_scale * inputs[0]
    fired = u >= neuron.fire_level
    v = reset(u, fired, neuron.reset_amount, neuron.v_reset, OPTIONS.reset)
    return (v,), (), (fired.to(u.dtype), _kept_distance(u - neuron.threshold, fired))


@triton.jit
def _step_back(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: the gradient of the membrane potential and, where x is the same in all steps, the sum of its own. Output: else that."""
    grad_v = state[0]
    grad_spike, distance = inputs
    threshold = tl.broadcast_to(neuron.threshold, distance.shape)
    slope = surrogate_at_distance(neuron, distance, threshold, OPTIONS.surrogate, OPTIONS.in_thresholds)
    if OPTIONS.in_thresholds >= 2:
        slope = divide(slope, threshold)
    grad_u = kept_step_back(
        OPTIONS, grad_v, grad_spike, slope, _has_fired(distance), threshold + distance, neuron.reset_amount, neuron.v_reset
    )
    grad = grad_u * neuron.step_scale
    if len(state) > 1:
        return (grad_u * neuron.decay, state[1] + grad), (), ()
    else:
        return (grad_u * neuron.decay,), (), (grad,)


@sized_kernel
def spikeops_lif_distances_forward_kernel(
    x, v_init, spikes, v_last, kept, T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64, threshold: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = LifDistances(
        scalar(decay, STATE), scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE), scalar(reset_amount, STATE),
        scalar(fire_level, STATE), scalar(threshold, STATE),
    )  # fmt: skip
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE),)
    state = walk(_step, neuron, OPTIONS, state, (x,), (0 if IS_CONSTANT else block.N,), (spikes, kept), T, block, STATE)
    tl.store(v_last + block.n, state[0], block.mask)


@sized_kernel
def spikeops_lif_distances_backward_kernel(
    grad_spikes, grad_v_last, kept, grad_x, grad_v_init, T: tl.int64, N: tl.int64,
    decay: tl.float64, reset_amount: tl.float64, step_scale: tl.float64, sum_scale: tl.float64, v_reset: tl.float64,
    threshold: tl.float64, scale: tl.float64, peak: tl.float64, center: tl.float64, a: tl.float64, b: tl.float64, c: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = LifDistancesBack(
        scalar(decay, STATE), scalar(step_scale, STATE), scalar(v_reset, STATE), scalar(reset_amount, STATE), scalar(threshold, STATE),
        scalar(scale, STATE), scalar(peak, STATE), scalar(center, STATE), scalar(a, STATE), scalar(b, STATE), scalar(c, STATE),
    )  # fmt: skip
    grad_v = load_step(grad_v_last, block.n, block.mask, BLOCK, STATE)
    state = (grad_v, tl.zeros((BLOCK,), STATE)) if IS_CONSTANT else (grad_v,)
    outputs = () if IS_CONSTANT else (grad_x,)
    state = walk(_step_back, neuron, OPTIONS, state, (grad_spikes, kept), (block.N, block.N), outputs, T, block, STATE, True)
    if IS_CONSTANT:
        tl.store(grad_x + block.n, state[1] * scalar(sum_scale, STATE), block.mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + block.n, state[0], block.mask)


def lif_distances_forward(x, v_init, numbers, modes):
    modes = Modes(*modes)
    options = KeptOptions(modes.reset, 0, 0, 0, True)  # whatever the surrogate is
    return launch_forward(
        spikeops_lif_distances_forward_kernel, x, v_init, Numbers(*numbers), modes, options, lambda T: T, torch.bfloat16
    )


def lif_distances_backward(grad_spikes, grad_v_last, distances, numbers, modes, need_v_init):
    numbers = Numbers(*numbers)
    return launch_backward(
        spikeops_lif_distances_backward_kernel, grad_spikes, grad_v_last, distances, numbers, Modes(*modes), need_v_init,
        v_reset=numbers.v_reset, threshold=numbers.threshold, scale=numbers.scale, peak=numbers.peak, center=numbers.center, a=numbers.a,
        b=numbers.b, c=numbers.c,
    )  # fmt: skip
