"""Steps of feedback networks, spiking and ternary, in place on their state (kernels/math/feedback.h)."""

import triton.language as tl

from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, load_step, scalar


@sized_kernel
def spikeops_feedback_step_kernel(
    membrane, spikes, rate, drive, current, factor, count, fired, T: tl.int64, N: tl.int64,
    drive_scale: tl.float64, leak: tl.float64, threshold: tl.float64, amplitude: tl.float64,
    TERNARY: tl.constexpr, CURRENT_PER_STEP: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """`amplitude` is what a spike takes from the membrane potential; spiking neurons send 1 on, ternary ones the amplitude."""
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    drive_scale, leak = scalar(drive_scale, STATE), scalar(leak, STATE)
    threshold, amplitude = scalar(threshold, STATE), scalar(amplitude, STATE)
    v = tl.load(membrane + n, mask)
    r = tl.load(rate + n, mask)
    c = load_step(count, n, mask, BLOCK, STATE)
    f = load_step(factor, n, mask, BLOCK, STATE).to(STATE)
    for t in range(T):
        if TERNARY:
            u = v
            if current is not None:
                u = u + tl.load(current + (t * N if CURRENT_PER_STEP else 0) + n, mask).to(STATE)
            if drive is not None:
                u = u + drive_scale * tl.load(drive + t * N + n, mask).to(STATE)
            sign = (u >= threshold).to(STATE) - (u <= -threshold).to(STATE)
            spike = amplitude * sign
            emitted = spike if factor is None else sign * f
            c += tl.abs(sign)
            r = leak * r + spike
            v = leak * (u - spike)
        else:
            u = v
            if drive is not None:
                x = tl.load(drive + t * N + n, mask).to(STATE)
                u = u + (x if factor is None else f * x)
            if current is not None:
                u = u + tl.load(current + (t * N if CURRENT_PER_STEP else 0) + n, mask).to(STATE)
            fires = u >= threshold
            emitted = fires.to(STATE)
            c += emitted
            r = leak * r + emitted
            v = leak * tl.where(fires, u - amplitude, u)
        tl.store(spikes + t * N + n, emitted, mask)
        if fired is not None:
            # Programs may set the same flag, to the same value. As spikes are stored: a tiny one may have become 0.
            any_spike = tl.max((emitted.to(spikes.dtype.element_ty) != 0.0).to(tl.int32) & mask.to(tl.int32), 0)
            tl.store(fired + t, any_spike, any_spike != 0)
    tl.store(membrane + n, v, mask)
    tl.store(rate + n, r, mask)
    if count is not None:
        tl.store(count + n, c, mask)


def _step(membrane, spikes, rate, drive, current, factor, count, fired, **options):
    if fired is not None:
        fired.zero_()
    launch_neurons(
        spikeops_feedback_step_kernel, membrane.numel(), membrane, membrane=membrane, spikes=spikes, rate=rate,
        drive=_in_order(drive, membrane), current=_in_order(current, membrane), factor=_in_order(factor, membrane),
        count=count, fired=fired, T=spikes.shape[0] if spikes.dim() > membrane.dim() else 1,
        CURRENT_PER_STEP=current is not None and current.dim() > membrane.dim(), STATE=triton_state(spikes.dtype), **options,
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
          drive_scale=1.0, leak=leak, threshold=threshold, amplitude=reset_amount, TERNARY=False)  # fmt: skip


def ternary_step_(membrane, spikes, rate, drive, current, gate, count, fired, drive_scale, leak, threshold, amplitude):
    _step(membrane, spikes, rate, drive, current, gate, count, fired,
          drive_scale=drive_scale, leak=leak, threshold=threshold, amplitude=amplitude, TERNARY=True)  # fmt: skip
