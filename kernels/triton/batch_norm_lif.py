"""Batch norm and leaky integrate-and-fire neurons in one walk (kernels/math/batch_norm_lif.h)."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import empty_sequence, empty_step, like_sequence, like_step, time_major
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, load_step, next_above, scalar
from spikeops.triton._walk import launch_back, walk, walk_back
from spikeops.triton.channels import ROWS_OF_NEURONS, _channels_of, _totals
from spikeops.triton.lif import LifOptions, _grad_u, _Numbers
from spikeops.triton.lif import _step as _lif_step

GIVEN, OWN = 0, 1


class BatchNormLif(NamedTuple):
    """Numbers of each neuron, then of the layer, in the precision of the state."""

    mean: tl.tensor
    scale: tl.tensor
    bias: tl.tensor
    decay: tl.tensor
    input_scale: tl.tensor
    v_rest: tl.tensor
    v_reset: tl.tensor
    reset_amount: tl.tensor
    fire_level: tl.tensor
    threshold: tl.tensor
    surrogate_scale: tl.tensor
    surrogate_peak: tl.tensor


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """That of LIF neurons whose current is the normalised x."""
    return _lif_step(neuron, OPTIONS, state, ((inputs[0] - neuron.mean) * neuron.scale + neuron.bias,))


@triton.jit
def _step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    """Carry: the gradient of the potential. Parameters: of the gradient of y, and of its product with x - mean."""
    grad_spike = tl.zeros_like(kept[0])
    if len(grads) > 0:
        grad_spike = grads[0]
    grad_u = _grad_u(neuron, OPTIONS, grad_spike, carry[0], kept[0])
    grad_y = grad_u * neuron.input_scale
    return (grad_u * neuron.decay,), grad_y, (grad_y, grad_y * (inputs[0] - neuron.mean))


@triton.jit
def _scale(inv_std, weight, c, mask):
    if weight is None:
        return tl.load(inv_std + c, mask)
    else:
        return tl.load(inv_std + c, mask) * tl.load(weight + c, mask)


@triton.jit
def _neuron(
    block, mean, inv_std, weight, bias, columns, width, BLOCK: tl.constexpr, STATE: tl.constexpr, decay, input_scale, v_rest, v_reset,
    reset_amount, fire_level, threshold=0.0, surrogate_scale=0.0, surrogate_peak=0.0,
):  # fmt: skip
    c = block.n // width % columns
    return BatchNormLif(
        tl.load(mean + c, block.mask), _scale(inv_std, weight, c, block.mask), load_step(bias, c, block.mask, BLOCK, STATE),
        scalar(decay, STATE), scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE), scalar(reset_amount, STATE),
        scalar(fire_level, STATE), scalar(threshold, STATE), scalar(surrogate_scale, STATE), scalar(surrogate_peak, STATE),
    )  # fmt: skip


@sized_kernel
def spikeops_batch_norm_lif_forward_kernel(
    x, mean, inv_std, weight, bias, v_init, spikes, v_last, T: tl.int64, N: tl.int64, columns: tl.int64, width: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64,
    OPTIONS: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Neuron n is of channel n // width % columns."""
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = _neuron(
        block, mean, inv_std, weight, bias, columns, width, BLOCK, STATE, decay, input_scale, v_rest, v_reset, reset_amount, fire_level
    )
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE),)
    state = walk(_step, neuron, OPTIONS, state, (x,), (block.N,), (spikes,), T, block, STATE)
    tl.store(v_last + block.n, state[0], block.mask)


@sized_kernel
def spikeops_batch_norm_lif_backward_kernel(
    grad_spikes, grad_v_last, x, mean, inv_std, weight, bias, v_init, checkpoints, grad_x, sums, products, grad_v_init,
    T: tl.int64, N: tl.int64, columns: tl.int64, width: tl.int64,
    decay: tl.float64, input_scale: tl.float64, v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64,
    fire_level: tl.float64, threshold: tl.float64, surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    OPTIONS: tl.constexpr, STATES: tl.constexpr, SEGMENT: tl.constexpr, VALUES: tl.constexpr, IS_GIVEN: tl.constexpr,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Gradients of y, or, IS_GIVEN, of x; sums of each neuron over time: of the gradient of y, and of its product with x - mean."""
    block = block_of_neurons(N, ALIGNED, BLOCK, VALUES)
    neuron = _neuron(
        block, mean, inv_std, weight, bias, columns, width, BLOCK, STATE, decay, input_scale, v_rest, v_reset, reset_amount, fire_level,
        threshold, surrogate_scale, surrogate_peak,
    )  # fmt: skip
    zero = tl.zeros((BLOCK,), STATE)
    v = load_step(v_init, block.n, block.mask, BLOCK, STATE)
    grad_v = load_step(grad_v_last, block.n, block.mask, BLOCK, STATE)
    carry, parameters = walk_back(
        _step, None, _step_back, None, neuron, OPTIONS, (v,), (grad_v,), (zero, zero), (x,), (block.N,),
        () if grad_spikes is None else (grad_spikes,), grad_x, neuron.scale if IS_GIVEN else None, checkpoints, T, block,
        STATES, SEGMENT, STATE, False,
    )  # fmt: skip
    tl.store(sums + block.n, parameters[0], block.mask)
    tl.store(products + block.n, parameters[1], block.mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + block.n, carry[0], block.mask)


@sized_kernel
def spikeops_batch_norm_backward_kernel(
    grad_y, x, mean, inv_std, weight, sums, grad_x, T: tl.int64, N: tl.int64, columns: tl.int64, width: tl.int64, count: tl.float64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The gradient of x from that of y, through the statistics."""
    block = block_of_neurons(N, ALIGNED, BLOCK)
    c = block.n // width % columns
    count = scalar(count, tl.float64)
    middle, scale = tl.load(mean + c, block.mask), _scale(inv_std, weight, c, block.mask)
    of_y = (tl.load(sums + c, block.mask, other=0.0) / count).to(STATE)
    slope = tl.load(sums + columns + c, block.mask, other=0.0) / count * tl.load(inv_std + c, block.mask, other=0.0).to(tl.float64)
    slope = slope.to(STATE)
    for t in range(T):
        n = t * block.N + block.n
        gradient, value = tl.load(grad_y + n, block.mask).to(STATE), tl.load(x + n, block.mask).to(STATE)
        gradient = ((gradient - of_y) - (value - middle) * slope) * scale
        tl.store(grad_x + n, gradient.to(grad_x.dtype.element_ty), block.mask)


class _Modes(NamedTuple):
    """The list `modes` of BATCH_NORM_LIF in csrc/batch_norm_lif.cpp."""

    reset: int
    strict: int
    detach_reset: int
    surrogate: int
    statistics: int


def _norm(x, mean, inv_std, weight, bias=None):
    """The numbers of channels as kernels take them, and where the channels of x lie."""
    state = state_dtype(x.dtype)
    given = {"mean": mean, "inv_std": inv_std, "weight": weight, "bias": bias}
    channels = _channels_of(x, 1, ROWS_OF_NEURONS)
    arguments = {name: None if value is None else value.to(state).contiguous() for name, value in given.items()}
    return channels, arguments | {"columns": channels.C, "width": channels.inner}


def _launch(kernel, x, norm, v_init, numbers, modes, launcher=launch_neurons, **arguments) -> None:
    numbers = _Numbers(*numbers[:8])
    launcher(
        kernel, N=x.shape[1:].numel(), like=x, x=x, T=x.shape[0], v_init=None if v_init is None else like_step(v_init, x), **norm,
        decay=numbers.decay, input_scale=numbers.input_scale, v_rest=numbers.v_rest, v_reset=numbers.v_reset,
        reset_amount=numbers.reset_amount,
        fire_level=next_above(numbers.threshold, state_dtype(x.dtype)) if modes.strict else numbers.threshold,
        STATE=triton_state(x.dtype), **arguments,
    )  # fmt: skip


def batch_norm_lif_forward(x, mean, inv_std, weight, bias, v_init, numbers, modes):
    x, modes = time_major(x), _Modes(*modes)
    _, norm = _norm(x, mean, inv_std, weight, bias)
    spikes, v_last = empty_sequence(x), empty_step(x, state_dtype(x.dtype))
    _launch(
        spikeops_batch_norm_lif_forward_kernel, x, norm, v_init, numbers, modes, spikes=spikes, v_last=v_last,
        OPTIONS=LifOptions(modes.reset),
    )  # fmt: skip
    return spikes, v_last


def batch_norm_lif_backward(grad_spikes, grad_v_last, x, mean, inv_std, weight, bias, v_init, numbers, modes, need_v_init):
    x, modes, state = time_major(x), _Modes(*modes), state_dtype(x.dtype)
    channels, norm = _norm(x, mean, inv_std, weight, bias)
    grad_x, grad_v_init = empty_sequence(x), empty_step(x, state) if need_v_init else None
    # Apart: where the second of two rows begins would be another kernel for some numbers of neurons.
    sums, products = (x.new_empty(x.shape[1:].numel(), dtype=state) for _ in range(2))
    _launch(
        spikeops_batch_norm_lif_backward_kernel, x, norm, v_init, numbers, modes,
        grad_spikes=None if grad_spikes is None else like_sequence(grad_spikes, x),
        grad_v_last=None if grad_v_last is None else like_step(grad_v_last, x), grad_x=grad_x, sums=sums, products=products,
        grad_v_init=grad_v_init,
        threshold=numbers[1], surrogate_scale=numbers[6], surrogate_peak=numbers[7],
        OPTIONS=LifOptions(modes.reset, modes.detach_reset, modes.surrogate), IS_GIVEN=modes.statistics == GIVEN,
        launcher=launch_back, states=1, kept=3,
    )  # fmt: skip
    totals = _totals(sums, products, norm["inv_std"], channels)
    if modes.statistics == OWN:
        _launch_norm_backward(grad_x, x, norm, totals, float(x.shape[0] * channels.rows * channels.inner), grad_x)
    return grad_x, totals, grad_v_init


def batch_norm_backward(grad_y, x, mean, inv_std, weight, means):
    x = time_major(x)
    _, norm = _norm(x, mean, inv_std, weight)
    grad_x = empty_sequence(x)
    _launch_norm_backward(like_sequence(grad_y, x), x, norm, means.contiguous(), 1.0, grad_x)
    return grad_x


def _launch_norm_backward(grad_y, x, norm, sums, count, grad_x) -> None:
    norm = {name: value for name, value in norm.items() if name != "bias"}
    launch_neurons(
        spikeops_batch_norm_backward_kernel, N=x.shape[1:].numel(), like=x, T=x.shape[0], grad_y=grad_y, x=x, sums=sums, grad_x=grad_x,
        count=count, STATE=triton_state(x.dtype), **norm,
    )  # fmt: skip
