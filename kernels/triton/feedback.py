"""Steps of feedback networks, spiking and ternary, in place on their state (kernels/math/feedback.h)."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, load_step, scalar
from spikeops.triton._walk import walk


class Feedback(NamedTuple):
    """Numbers of the layer, in the precision of the state; `factor`, one of each neuron."""

    drive_scale: tl.tensor
    leak: tl.tensor
    threshold: tl.tensor
    amplitude: tl.tensor
    factor: tl.tensor


class FeedbackOptions(NamedTuple):
    """Of the inputs, drive and current, those that are absent are left out."""

    ternary: bool
    has_drive: bool
    has_current: bool
    has_factor: bool


@triton.jit
def _neuron_step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """`amplitude` is what a spike takes from the membrane potential; spiking neurons send 1 on, ternary ones the amplitude."""
    v, r, c = state
    u = v
    if OPTIONS.ternary:
        if OPTIONS.has_current:
            u = u + inputs[-1]
        if OPTIONS.has_drive:
            u = u + neuron.drive_scale * inputs[0]
        sign = (u >= neuron.threshold).to(u.dtype) - (u <= -neuron.threshold).to(u.dtype)
        spike = neuron.amplitude * sign
        emitted = sign * neuron.factor if OPTIONS.has_factor else spike
        c += tl.abs(sign)
        r = neuron.leak * r + spike
        v = neuron.leak * (u - spike)
    else:
        if OPTIONS.has_drive:
            u = u + (neuron.factor * inputs[0] if OPTIONS.has_factor else inputs[0])
        if OPTIONS.has_current:
            u = u + inputs[-1]
        fires = u >= neuron.threshold
        emitted = fires.to(u.dtype)
        c += emitted
        r = neuron.leak * r + emitted
        v = neuron.leak * tl.where(fires, u - neuron.amplitude, u)
    return (v, r, c), (), (emitted,)


@triton.jit
def _flag(t, outputs, seen):
    """Sets the flag of step t where a neuron has fired: programs may set the same one, to the same value."""
    spikes, fired, mask = seen
    # As spikes are stored: a tiny one may have become 0.
    any_spike = tl.max((outputs[0].to(spikes.dtype.element_ty) != 0.0).to(tl.int32) & mask.to(tl.int32), 0)
    tl.store(fired + t, any_spike, any_spike != 0)


@sized_kernel
def spikeops_feedback_step_kernel(
    membrane, spikes, rate, drive, current, factor, count, fired, T: tl.int64, N: tl.int64,
    drive_scale: tl.float64, leak: tl.float64, threshold: tl.float64, amplitude: tl.float64,
    OPTIONS: tl.constexpr, CURRENT_PER_STEP: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = Feedback(
        scalar(drive_scale, STATE), scalar(leak, STATE), scalar(threshold, STATE), scalar(amplitude, STATE),
        load_step(factor, block.n, block.mask, BLOCK, STATE).to(STATE),
    )  # fmt: skip
    state = (
        tl.load(membrane + block.n, block.mask), tl.load(rate + block.n, block.mask),
        load_step(count, block.n, block.mask, BLOCK, STATE),
    )  # fmt: skip
    inputs, strides = (), ()
    if drive is not None:
        inputs, strides = inputs + (drive,), strides + (block.N,)
    if current is not None:
        inputs, strides = inputs + (current,), strides + (block.N if CURRENT_PER_STEP else block.N * 0,)
    if fired is None:
        state = walk(_neuron_step, neuron, OPTIONS, state, inputs, strides, (spikes,), T, block, STATE)
    else:
        state = walk(_neuron_step, neuron, OPTIONS, state, inputs, strides, (spikes,), T, block, STATE,
                     AFTER_STEP=_flag, seen=(spikes, fired, block.mask))  # fmt: skip
    tl.store(membrane + block.n, state[0], block.mask)
    tl.store(rate + block.n, state[1], block.mask)
    if count is not None:
        tl.store(count + block.n, state[2], block.mask)


def _step(membrane, spikes, rate, drive, current, factor, count, fired, ternary, **numbers):
    if fired is not None:
        fired.zero_()
    launch_neurons(
        spikeops_feedback_step_kernel, membrane.numel(), membrane, membrane=membrane, spikes=spikes, rate=rate,
        drive=_in_order(drive, membrane), current=_in_order(current, membrane), factor=_in_order(factor, membrane),
        count=count, fired=fired, T=spikes.shape[0] if spikes.dim() > membrane.dim() else 1,
        CURRENT_PER_STEP=current is not None and current.dim() > membrane.dim(), STATE=triton_state(spikes.dtype),
        OPTIONS=FeedbackOptions(ternary, drive is not None, current is not None, factor is not None), **numbers,
    )  # fmt: skip


def _in_order(value, membrane):
    """value, with or without a time axis, in the memory order of membrane."""
    if value is None:
        return None
    strides = membrane.stride() if value.dim() == membrane.dim() else (membrane.numel(), *membrane.stride())
    if all(actual == wanted for actual, wanted, size in zip(value.stride(), strides, value.shape) if size != 1):
        return value
    return value.new_empty_strided(value.shape, strides).copy_(value)


def feedback_step_(membrane, spikes, rate, drive, current, mask, count, fired, leak, threshold, reset_amount):
    _step(membrane, spikes, rate, drive, current, None if drive is None else mask, count, fired,
          drive_scale=1.0, leak=leak, threshold=threshold, amplitude=reset_amount, ternary=False)  # fmt: skip


def ternary_step_(membrane, spikes, rate, drive, current, gate, count, fired, drive_scale, leak, threshold, amplitude):
    _step(membrane, spikes, rate, drive, current, gate, count, fired,
          drive_scale=drive_scale, leak=leak, threshold=threshold, amplitude=amplitude, ternary=True)  # fmt: skip
