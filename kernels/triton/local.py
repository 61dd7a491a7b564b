"""Steps of layers that learn with a local classifier, in place on their state (kernels/math/local.h)."""

import triton
import triton.language as tl

from spikeops.functional._layout import empty_sequence, like_sequence, time_major
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, scalar, surrogate_derivative


@triton.jit
def _membrane(before, current, decay, threshold):
    """The membrane potential of this step from that of the last one, before its reset."""
    return decay * tl.where(before >= threshold, before - threshold, before) + current


@triton.jit
def _chain(derivative, decay, threshold):
    """d membrane / d membrane of the step before."""
    return decay * (1.0 - threshold * derivative)


@sized_kernel
def local_encoder_step_kernel(
    membrane, spikes, derivative, trace, current, N: tl.int64,
    decay: tl.float64, threshold: tl.float64, scale: tl.float64, peak: tl.float64,
    SURROGATE: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    decay, threshold = scalar(decay, STATE), scalar(threshold, STATE)
    scale, peak = scalar(scale, STATE), scalar(peak, STATE)
    before = tl.load(membrane + n, mask, other=0.0)
    u = _membrane(before, tl.load(current + n, mask, other=0.0).to(STATE), decay, threshold)
    slope = surrogate_derivative(u - threshold, scale, peak, SURROGATE)
    if trace is not None:
        chain = _chain(surrogate_derivative(before - threshold, scale, peak, SURROGATE), decay, threshold)
        e = chain * tl.load(trace + n, mask, other=0.0) + 1.0
        tl.store(trace + n, e, mask)
        slope = slope * e
    tl.store(membrane + n, u, mask)
    tl.store(spikes + n, (u >= threshold).to(STATE), mask)
    tl.store(derivative + n, slope, mask)


@sized_kernel
def local_classifier_step_kernel(
    membrane, count, squared_error, error, derivative, current, labels, N: tl.int64, columns: tl.int64,
    error_scale: tl.float64, decay: tl.float64, threshold: tl.float64, scale: tl.float64, peak: tl.float64,
    SURROGATE: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """N samples, each with its `columns` classes one after the other: their squared errors are to be added up."""
    N, sample, mask = block_of_neurons(N, ALIGNED, BLOCK)
    error_scale = scalar(error_scale, STATE)
    decay, threshold = scalar(decay, STATE), scalar(threshold, STATE)
    scale, peak = scalar(scale, STATE), scalar(peak, STATE)
    label = tl.load(labels + sample, mask, other=-1)
    squared = tl.zeros((BLOCK,), STATE)
    for k in range(columns):
        n = sample * columns + k
        before = tl.load(membrane + n, mask, other=0.0)
        u = _membrane(before, tl.load(current + n, mask, other=0.0).to(STATE), decay, threshold)
        slope = surrogate_derivative(u - threshold, scale, peak, SURROGATE)
        spike = (u >= threshold).to(STATE)
        difference = spike - (label == k).to(STATE)
        squared += difference * difference
        tl.store(membrane + n, u, mask)
        tl.store(count + n, tl.load(count + n, mask, other=0.0) + spike, mask)
        tl.store(error + n, error_scale * difference * slope, mask)
        if derivative is not None:
            tl.store(derivative + n, slope, mask)
    tl.store(squared_error + sample, tl.load(squared_error + sample, mask, other=0.0) + squared, mask)


@sized_kernel
def local_gradient_in_time_kernel(
    gradient, derivatives, gradients, T: tl.int64, N: tl.int64, decay: tl.float64, threshold: tl.float64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    decay, threshold = scalar(decay, STATE), scalar(threshold, STATE)
    g = tl.load(gradient + n, mask, other=0.0).to(STATE)
    tl.store(gradients + T * N + n, g, mask)
    for step in range(T):
        t = T - 1 - step
        g = g * _chain(tl.load(derivatives + t * N + n, mask, other=0.0).to(STATE), decay, threshold)
        tl.store(gradients + t * N + n, g, mask)


def local_encoder_step_(membrane, spikes, derivative, trace, current, numbers, surrogate):
    decay, threshold, scale, peak = numbers
    launch_neurons(
        local_encoder_step_kernel, membrane.numel(), membrane, membrane=membrane, spikes=spikes, derivative=derivative, trace=trace,
        current=_in_order(current, membrane), decay=decay, threshold=threshold, scale=scale, peak=peak, SURROGATE=surrogate,
        STATE=triton_state(current.dtype),
    )  # fmt: skip


def local_classifier_step_(membrane, count, squared_error, error, derivative, current, labels, error_scale, numbers, surrogate):
    decay, threshold, scale, peak = numbers
    launch_neurons(
        local_classifier_step_kernel, membrane.shape[0], membrane, membrane=membrane, count=count, squared_error=squared_error,
        error=error, derivative=derivative, current=_in_order(current, membrane), labels=labels, columns=membrane.shape[1],
        error_scale=error_scale, decay=decay, threshold=threshold, scale=scale, peak=peak, SURROGATE=surrogate,
        STATE=triton_state(current.dtype),
    )  # fmt: skip


def local_gradient_in_time(gradient, derivatives, decay, threshold):
    derivatives = time_major(derivatives)
    T, N = derivatives.shape[0], derivatives.shape[1:].numel()
    gradients = empty_sequence(derivatives, T + 1)
    launch_neurons(
        local_gradient_in_time_kernel, N, derivatives, gradient=_in_order(gradient, derivatives[0]), derivatives=derivatives,
        gradients=gradients, T=T, decay=decay, threshold=threshold, STATE=triton_state(derivatives.dtype),
    )  # fmt: skip
    return gradients


def _in_order(value, like):
    """value in the memory order of a tensor of its shape."""
    return like_sequence(value.unsqueeze(0), like.to(value.dtype).unsqueeze(0))[0]
