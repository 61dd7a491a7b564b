"""LIF neurons that keep bits for their backward pass (kernels/math/lif_bits.h)."""

import functools
from typing import NamedTuple

import torch
import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops.triton._launch import sized_kernel
from spikeops.triton._lif_kept import Modes, Numbers, kept_step_back, launch_backward, launch_forward
from spikeops.triton._math import RECTANGLE, RESET_TO, block_of_neurons, divide, load_step, reset, scalar
from spikeops.triton._walk import walk

# Numbers of kernels/math/surrogate_of_lif.h.
_STEP = tl.constexpr(7)
_HEIGHT_IN_THRESHOLDS = 2


class LifBits(NamedTuple):
    """Numbers of the layer, in the precision of the state."""

    decay: tl.tensor
    input_scale: tl.tensor
    v_rest: tl.tensor
    v_reset: tl.tensor
    reset_amount: tl.tensor
    fire_level: tl.tensor
    threshold: tl.tensor
    scale: tl.tensor
    center: tl.tensor
    low: tl.tensor
    high: tl.tensor


@triton.jit
def _is_inside(neuron, OPTIONS: tl.constexpr, u):
    if OPTIONS.surrogate == RECTANGLE:
        return tl.abs((u - neuron.threshold) - neuron.center) <= neuron.scale
    elif OPTIONS.surrogate == _STEP:
        return u >= neuron.threshold + neuron.center
    else:
        spikes = divide(u, tl.broadcast_to(neuron.threshold, u.shape)) - neuron.center
        return (spikes >= neuron.low) & (spikes <= neuron.high)


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: the membrane potential, and the bits of the last steps, from bit 7 down. Outputs: the spike, and these bits."""
    v, byte = state
    u = (neuron.v_rest + neuron.decay * (v - neuron.v_rest)) + neuron.input_scale * inputs[0]
    fired = u >= neuron.fire_level
    inside = _is_inside(neuron, OPTIONS, u).to(tl.int32)
    if OPTIONS.reset == RESET_TO:
        byte = (byte >> 2) | (inside << 6) | (fired.to(tl.int32) << 7)
    else:
        byte = (byte >> 1) | (inside << 7)
    return (reset(u, fired, neuron.reset_amount, neuron.v_reset, OPTIONS.reset), byte), (), (fired.to(u.dtype), byte)


@triton.jit
def _put_every_fourth(t, outputs, seen):
    bits, block = seen
    tl.store(bits + t // 4 * block.N + block.n, outputs[1].to(tl.uint8), block.mask & (t % 4 == 3))


@triton.jit
def _put_every_eighth(t, outputs, seen):
    bits, block = seen
    tl.store(bits + t // 8 * block.N + block.n, outputs[1].to(tl.uint8), block.mask & (t % 8 == 7))


@sized_kernel
def spikeops_lif_bits_forward_kernel(
    x, v_init, spikes, v_last, kept, T: tl.int64, N: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64, threshold: tl.float64, scale: tl.float64, center: tl.float64, low: tl.float64, high: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    BITS: tl.constexpr = 2 if OPTIONS.reset == RESET_TO else 1
    STEPS: tl.constexpr = 8 // BITS
    PUT: tl.constexpr = _put_every_fourth if OPTIONS.reset == RESET_TO else _put_every_eighth
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = LifBits(
        scalar(decay, STATE), scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE), scalar(reset_amount, STATE),
        scalar(fire_level, STATE), scalar(threshold, STATE), scalar(scale, STATE), scalar(center, STATE), scalar(low, STATE),
        scalar(high, STATE),
    )  # fmt: skip
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE), tl.zeros((BLOCK,), tl.int32))
    strides = (0 if IS_CONSTANT else block.N,)
    v, byte = walk(_step, neuron, OPTIONS, state, (x,), strides, (spikes,), T, block, STATE, False, PUT, (kept, block))
    tl.store(v_last + block.n, v, block.mask)
    # Of the last byte, the steps that are left, and whether the potential is NaN.
    used = (T % STEPS * BITS).to(tl.int32)
    byte = ((byte | ((v != v).to(tl.int32) << 8)) >> (8 - used)).to(tl.uint8)
    tl.store(kept + T // STEPS * block.N + block.n, byte, block.mask)


@sized_kernel
def spikeops_lif_bits_backward_kernel(
    grad_spikes, grad_v_last, kept, grad_x, grad_v_init, T: tl.int64, N: tl.int64,
    decay: tl.float64, reset_amount: tl.float64, inner: tl.float64, outer: tl.float64, step_scale: tl.float64, sum_scale: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Numbers as in kernels/math/lif_bits.h."""
    BITS: tl.constexpr = 2 if OPTIONS.reset == RESET_TO else 1
    STEPS: tl.constexpr = 8 // BITS
    block = block_of_neurons(N, ALIGNED, BLOCK)
    decay, reset_amount = scalar(decay, STATE), scalar(reset_amount, STATE)
    inner, outer, step_scale = scalar(inner, STATE), scalar(outer, STATE), scalar(step_scale, STATE)
    last = T // STEPS
    is_nan = tl.load(kept + last * block.N + block.n, block.mask, other=0).to(tl.int32) >> (T % STEPS * BITS).to(tl.int32)
    grad_v = load_step(grad_v_last, block.n, block.mask, BLOCK, STATE)
    grad_v = tl.where((is_nan & 1) != 0, float("nan"), grad_v)
    total = tl.zeros((BLOCK,), STATE)
    for done in range(last + 1):
        first = (last - done) * STEPS
        byte = tl.load(kept + (last - done) * block.N + block.n, block.mask, other=0).to(tl.int32)
        grads = ()
        for k in tl.static_range(STEPS):
            t = first + STEPS - 1 - k
            grads = grads + (tl.load(grad_spikes + t * block.N + block.n, block.mask & (t < T), other=0),)
        for k in tl.static_range(STEPS):
            t = first + STEPS - 1 - k
            bit_of_step = byte >> ((STEPS - 1 - k) * BITS)
            slope = tl.where((bit_of_step & 1) != 0, inner, outer)
            grad_u = kept_step_back(OPTIONS, grad_v, grads[k].to(STATE), slope, (bit_of_step & 2) != 0, grad_v, reset_amount, 0.0)
            grad_v = tl.where(t < T, grad_u * decay, grad_v)
            grad = grad_u * step_scale
            if IS_CONSTANT:
                total = tl.where(t < T, total + grad, total)
            else:
                tl.store(grad_x + t * block.N + block.n, grad, block.mask & (t < T))
    if IS_CONSTANT:
        tl.store(grad_x + block.n, total * scalar(sum_scale, STATE), block.mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + block.n, grad_v, block.mask)


def lif_bits_forward(x, v_init, numbers, modes):
    numbers, modes = Numbers(*numbers), Modes(*modes)
    steps_per_byte = 4 if modes.reset == RESET_TO.value else 8
    return launch_forward(
        spikeops_lif_bits_forward_kernel, x, v_init, numbers, modes, modes.options(), lambda T: T // steps_per_byte + 1, torch.uint8,
        scale=numbers.scale, center=numbers.center, low=numbers.a, high=numbers.b,
    )  # fmt: skip


def lif_bits_backward(grad_spikes, grad_v_last, bits, numbers, modes, need_v_init):
    numbers, modes = Numbers(*numbers), Modes(*modes)
    state = state_dtype(grad_spikes.dtype)
    unit = numbers.threshold if modes.in_thresholds & _HEIGHT_IN_THRESHOLDS else 1.0
    return launch_backward(
        spikeops_lif_bits_backward_kernel, grad_spikes, grad_v_last, bits, numbers, modes, need_v_init,
        inner=_quotient(numbers.peak, unit, state), outer=_quotient(numbers.a if modes.surrogate == _STEP.value else 0.0, unit, state),
    )  # fmt: skip


@functools.lru_cache(maxsize=1024)
def _quotient(a: float, b: float, dtype: torch.dtype) -> float:
    """In the precision of the state."""
    a, b = (torch.tensor(number, dtype=dtype, device="cpu") for number in (a, b))
    return (a / b).item()
