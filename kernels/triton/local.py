"""Steps of layers that learn with a local classifier, in place on their state (kernels/math/local.h).

A step is three kernels, one after the other: units, classes, and the errors' way back. The threads of one Triton kernel have no
order among their writes to memory and the reads of others.
"""

import triton
import triton.language as tl

from spikeops._layout import empty_sequence, like_sequence, time_major
from spikeops.triton._launch import BLOCK, launch, launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, scalar, surrogate_derivative
from spikeops.triton._walk import walk

# Of a classifier's matrix, brought close at a time.
_CLASSES, _UNITS = 16, 128


@triton.jit
def _membrane(before, current, decay, threshold):
    """The membrane potential of this step from that of the last one, before its reset."""
    return decay * tl.where(before >= threshold, before - threshold, before) + current


@triton.jit
def _chain(derivative, decay, threshold):
    """d membrane / d membrane of the step before."""
    return decay * (1.0 - threshold * derivative)


@sized_kernel
def spikeops_local_units_kernel(
    membrane, spikes, derivative, trace, current, N: tl.int64,
    decay: tl.float64, threshold: tl.float64, scale: tl.float64, peak: tl.float64,
    SURROGATE: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Units of all samples."""
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
def spikeops_local_classes_kernel(
    spikes, weight, membrane, count, squared_error, error, derivative, labels, N: tl.int64, columns: tl.int64,
    error_scale: tl.float64, decay: tl.float64, threshold: tl.float64, scale: tl.float64, peak: tl.float64,
    SURROGATE: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, CLASSES: tl.constexpr, UNITS: tl.constexpr,
):  # fmt: skip
    """The classifier of one sample, with N units and `columns` classes: CLASSES of them at a time, from UNITS units at a time."""
    if ALIGNED:
        N = N // 16 * 16
    sample = tl.program_id(0).to(tl.int64)
    error_scale = scalar(error_scale, STATE)
    decay, threshold = scalar(decay, STATE), scalar(threshold, STATE)
    scale, peak = scalar(scale, STATE), scalar(peak, STATE)
    label = tl.load(labels + sample)
    squared = tl.zeros((CLASSES,), STATE)
    for first in range(0, columns, CLASSES):
        k = first + tl.arange(0, CLASSES).to(tl.int64)
        is_class = k < columns
        sums = tl.zeros((CLASSES, UNITS), STATE)
        for start in range(0, N, UNITS):
            n = start + tl.arange(0, UNITS).to(tl.int64)
            fired = tl.load(spikes + sample * N + n, n < N, other=0.0).to(STATE)
            w = tl.load(weight + k[:, None] * N + n[None, :], is_class[:, None] & (n < N)[None, :], other=0.0).to(STATE)
            # Chosen, not multiplied: weights of silent units may be anything.
            sums += tl.where(fired[None, :] != 0.0, w, 0.0)
        i = sample * columns + k
        u = _membrane(tl.load(membrane + i, is_class, other=0.0), tl.sum(sums, 1), decay, threshold)
        slope = surrogate_derivative(u - threshold, scale, peak, SURROGATE)
        spike = (u >= threshold).to(STATE)
        difference = tl.where(is_class, spike - (label == k).to(STATE), 0.0)
        squared += difference * difference
        tl.store(membrane + i, u, is_class)
        tl.store(count + i, tl.load(count + i, is_class, other=0.0) + spike, is_class)
        tl.store(error + i, error_scale * difference * slope, is_class)
        if derivative is not None:
            tl.store(derivative + i, slope, is_class)
    tl.store(squared_error + sample, tl.load(squared_error + sample) + tl.sum(squared, 0))


@sized_kernel
def spikeops_local_feedback_kernel(
    error, feedback, derivative, gradient, N: tl.int64, columns: tl.int64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A block of one sample's N units, and the errors of its `columns` classes. gradient may be derivative itself."""
    if ALIGNED:
        N = N // 16 * 16
    blocks = (N + BLOCK - 1) // BLOCK
    sample = tl.program_id(0).to(tl.int64) // blocks
    n = tl.program_id(0).to(tl.int64) % blocks * BLOCK + tl.arange(0, BLOCK)
    mask = n < N
    sums = tl.zeros((BLOCK,), STATE)
    for k in range(columns):
        e = tl.load(error + sample * columns + k).to(STATE)
        # A class without an error is left out: what it would be brought back through may be anything.
        if e != 0.0:
            sums += e * tl.load(feedback + k * N + n, mask, other=0.0).to(STATE)
    i = sample * N + n
    tl.store(gradient + i, sums * tl.load(derivative + i, mask, other=0.0).to(STATE), mask)


@triton.jit
def _gradient_step(neuron, OPTIONS: tl.constexpr, state, inputs):
    g = state[0] * _chain(inputs[0], neuron[0], neuron[1])
    return (g,), (), (g,)


@sized_kernel
def spikeops_local_gradient_in_time_kernel(
    gradient, derivatives, gradients, T: tl.int64, N: tl.int64, decay: tl.float64, threshold: tl.float64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    g = tl.load(gradient + block.n, block.mask, other=0.0).to(STATE)
    tl.store(gradients + T * block.N + block.n, g, block.mask)
    walk(_gradient_step, (scalar(decay, STATE), scalar(threshold, STATE)), None, (g,), (derivatives,), (block.N,), (gradients,),
         T, block, STATE, BACK_IN_TIME=True)  # fmt: skip


def local_learning_step_(membrane, spikes, gradient, derivative, trace, class_membrane, count, squared_error, error,
                         class_derivative, current, weight, feedback, labels, numbers, surrogate):  # fmt: skip
    decay, threshold, scale, peak, error_scale = numbers
    samples, N, columns = len(membrane), membrane.shape[1:].numel(), class_membrane.shape[1]
    derivative = gradient if derivative is None else derivative
    STATE = triton_state(current.dtype)
    neurons = dict(decay=decay, threshold=threshold, scale=scale, peak=peak, SURROGATE=surrogate, STATE=STATE)
    sizes = dict(N=N, columns=columns, ALIGNED=N % 16 == 0)
    launch_neurons(
        spikeops_local_units_kernel, membrane.numel(), membrane, membrane=membrane, spikes=spikes, derivative=derivative, trace=trace,
        current=_in_order(current, membrane), **neurons,
    )  # fmt: skip
    weight = _like_units(weight, membrane)
    launch(
        spikeops_local_classes_kernel, samples, membrane, spikes=spikes, weight=weight, membrane=class_membrane, count=count,
        squared_error=squared_error, error=error, derivative=class_derivative, labels=labels, error_scale=error_scale,
        CLASSES=_CLASSES, UNITS=_UNITS, num_warps=4, **neurons, **sizes,
    )  # fmt: skip
    launch(
        spikeops_local_feedback_kernel, samples * triton.cdiv(N, BLOCK), membrane, error=error,
        feedback=weight if feedback is None else _like_units(feedback, membrane), derivative=derivative, gradient=gradient,
        STATE=STATE, BLOCK=BLOCK, **sizes,
    )  # fmt: skip


def local_gradient_in_time(gradient, derivatives, decay, threshold):
    derivatives = time_major(derivatives)
    T, N = derivatives.shape[0], derivatives.shape[1:].numel()
    gradients = empty_sequence(derivatives, T + 1)
    launch_neurons(
        spikeops_local_gradient_in_time_kernel, N, derivatives, gradient=_in_order(gradient, derivatives[0]), derivatives=derivatives,
        gradients=gradients, T=T, decay=decay, threshold=threshold, STATE=triton_state(derivatives.dtype),
    )  # fmt: skip
    return gradients


def _in_order(value, like):
    """value in the memory order of a tensor of its shape."""
    return like_sequence(value.unsqueeze(0), like.to(value.dtype).unsqueeze(0))[0]


def _like_units(matrix, membrane):
    """A matrix (classes, ...) in the memory order of a sample's units."""
    if membrane.numel() == 0:
        return matrix
    return like_sequence(matrix, membrane[:1].to(matrix.dtype).expand(matrix.shape))
