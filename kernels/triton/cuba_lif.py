"""Current-based leaky integrate-and-fire neurons: forward and backward (kernels/math/cuba_lif.h)."""

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

# Numbers of kernels/math/cuba_lif.h.
DECAY_INPUT_MEMBRANE = tl.constexpr(0)
INPUT_DECAY_MEMBRANE = tl.constexpr(1)
INPUT_MEMBRANE_DECAY = tl.constexpr(2)
MEMBRANE_DECAY_INPUT = tl.constexpr(3)
RESET_NOW = tl.constexpr(0)
RESET_LATE = tl.constexpr(1)


class CubaLif(NamedTuple):
    """Numbers of the layer, in the precision of the state; the first four may be one of each neuron."""

    decay: tl.tensor
    current_decay: tl.tensor
    current_scale: tl.tensor
    threshold: tl.tensor
    input_scale: tl.tensor
    v_rest: tl.tensor
    v_reset: tl.tensor
    reset_amount: tl.tensor
    surrogate_scale: tl.tensor
    surrogate_peak: tl.tensor


class CubaLifOptions(NamedTuple):
    """Numbers and flags of kernels/math/cuba_lif.h, lif.h and surrogate.h."""

    order: int
    reset: int
    reset_timing: int
    strict: int
    takes_threshold: int
    detach_reset: int = 0
    surrogate: int = 0


@triton.jit
def _reset(neuron, OPTIONS: tl.constexpr, u, threshold, fired):
    return reset(u, fired, reset_amount(neuron, threshold, OPTIONS.takes_threshold), neuron.v_reset, OPTIONS.reset)


@triton.jit
def _current(neuron, OPTIONS: tl.constexpr, i, x):
    """The current with the input, after the step, and as the membrane reads it."""
    if OPTIONS.order == DECAY_INPUT_MEMBRANE:
        joined = neuron.current_decay * i + neuron.input_scale * x
        return joined, joined, joined
    elif OPTIONS.order == INPUT_DECAY_MEMBRANE:
        joined = i + neuron.input_scale * x
        after = neuron.current_decay * joined
        return joined, after, after
    elif OPTIONS.order == INPUT_MEMBRANE_DECAY:
        joined = i + neuron.input_scale * x
        return joined, neuron.current_decay * joined, joined
    else:
        joined = neuron.current_decay * i + neuron.input_scale * x
        return joined, joined, i


@triton.jit
def _membrane(neuron, OPTIONS: tl.constexpr, v, read, fired_before, threshold):
    """Membrane potentials: that which decays, that which fires or not, after the step; and whether a reset takes place."""
    base = v
    if OPTIONS.reset_timing == RESET_LATE and OPTIONS.reset == RESET_TO:
        base = tl.where(fired_before, neuron.v_reset, v)
    u = (neuron.v_rest + neuron.decay * (base - neuron.v_rest)) + neuron.current_scale * read
    if OPTIONS.reset_timing == RESET_NOW:
        spike = fires(u, threshold, OPTIONS.strict)
        return base, u, _reset(neuron, OPTIONS, u, threshold, spike), spike
    else:
        if not (OPTIONS.reset_timing == RESET_LATE and OPTIONS.reset == RESET_TO):
            u = _reset(neuron, OPTIONS, u, threshold, fired_before)
        return base, u, u, fired_before


@triton.jit
def _membrane_back(neuron, OPTIONS: tl.constexpr, grad_v, grad_spike, membrane, threshold):
    """Gradients of what decays and the current add up to, of the potential before the step, and of the threshold."""
    _, u, _, resets = membrane
    derivative = surrogate_derivative(u - threshold, neuron.surrogate_scale, neuron.surrogate_peak, OPTIONS.surrogate)
    grad_threshold = tl.zeros_like(u)
    if OPTIONS.reset_timing == RESET_NOW:
        kept, through_spike = grad_v, grad_spike
        if OPTIONS.reset == RESET_SUBTRACT:
            if not OPTIONS.detach_reset:
                through_spike = through_spike - grad_v * reset_amount(neuron, threshold, OPTIONS.takes_threshold)
            if OPTIONS.takes_threshold:
                grad_threshold = tl.where(resets, 0.0 - grad_v, 0.0)
        elif OPTIONS.reset == RESET_TO:
            if not OPTIONS.detach_reset:
                through_spike = through_spike + grad_v * (neuron.v_reset - u)
            kept = tl.where(resets, 0.0, grad_v)
        grad_distance = through_spike * derivative
        grad_free = kept + grad_distance
        return grad_free, grad_free * neuron.decay, grad_threshold - grad_distance
    else:
        grad_distance = grad_spike * derivative
        grad_free = grad_v + grad_distance
        if OPTIONS.reset == RESET_SUBTRACT:
            if OPTIONS.takes_threshold:
                grad_threshold = tl.where(resets, 0.0 - grad_free, 0.0)
        elif OPTIONS.reset == RESET_TO and OPTIONS.reset_timing != RESET_LATE:
            grad_free = tl.where(resets, 0.0, grad_free)
        grad_v_before = grad_free * neuron.decay
        if OPTIONS.reset == RESET_TO and OPTIONS.reset_timing == RESET_LATE:
            grad_v_before = tl.where(resets, 0.0, grad_v_before)
        return grad_free, grad_v_before, grad_threshold - grad_distance


@triton.jit
def _current_back(neuron, OPTIONS: tl.constexpr, grad_free, grad_i, i, joined):
    """Gradients of the current before the step, of the scaled input, and of the current's decay."""
    grad_read = grad_free * neuron.current_scale
    # The zeros are those of kernels/math, where the same lines serve all orders: a sum of theirs is never -0.
    if OPTIONS.order == DECAY_INPUT_MEMBRANE:
        grad_joined = (grad_i + grad_read) + 0.0
        return neuron.current_decay * grad_joined + 0.0, grad_joined, grad_joined * i
    elif OPTIONS.order == INPUT_DECAY_MEMBRANE:
        grad_after = grad_i + grad_read
        grad_joined = neuron.current_decay * grad_after + 0.0
        return grad_joined, grad_joined, grad_after * joined
    elif OPTIONS.order == INPUT_MEMBRANE_DECAY:
        grad_after = grad_i + 0.0
        grad_joined = neuron.current_decay * grad_after + grad_read
        return grad_joined + 0.0, grad_joined, grad_after * joined
    else:
        grad_joined = grad_i + 0.0
        return neuron.current_decay * grad_joined + grad_read, grad_joined, grad_joined * i


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: membrane potential, current. Kept: both before. Output: the spike."""
    v, i = state
    _, after, read = _current(neuron, OPTIONS, i, inputs[0])
    _, u, following, _ = _membrane(neuron, OPTIONS, v, read, fires(v, neuron.threshold, OPTIONS.strict), neuron.threshold)
    return (following, after), (v, i), (fires(u, neuron.threshold, OPTIONS.strict).to(u.dtype),)


@triton.jit
def _step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    """Carry: of the membrane potential and of the current. Parameters: decay, current_decay, current_scale, threshold."""
    v, i = kept
    grad_v, grad_i = carry
    joined, _, read = _current(neuron, OPTIONS, i, inputs[0])
    membrane = _membrane(neuron, OPTIONS, v, read, fires(v, neuron.threshold, OPTIONS.strict), neuron.threshold)
    grad_spike = tl.zeros_like(v)
    if len(grads) > 0:
        grad_spike = grads[0]
    grad_free, grad_v_before, grad_threshold = _membrane_back(neuron, OPTIONS, grad_v, grad_spike, membrane, neuron.threshold)
    grad_i_before, grad_joined, grad_current_decay = _current_back(neuron, OPTIONS, grad_free, grad_i, i, joined)
    parameters = (grad_free * (membrane[0] - neuron.v_rest), grad_current_decay, grad_free * read, grad_threshold)
    return (grad_v_before, grad_i_before), grad_joined, parameters


@triton.jit
def _neuron(
    block, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, decay, current_decay, current_scale, threshold,
    input_scale, v_rest, v_reset, reset_amount, surrogate_scale, surrogate_peak, IS_SHARED: tl.constexpr, STATE: tl.constexpr,
):  # fmt: skip
    return CubaLif(
        load_decay(decay_tensor, decay, block, IS_SHARED[0], STATE),
        load_decay(current_decay_tensor, current_decay, block, IS_SHARED[1], STATE),
        load_decay(current_scale_tensor, current_scale, block, IS_SHARED[2], STATE),
        load_decay(threshold_tensor, threshold, block, IS_SHARED[3], STATE),
        scalar(input_scale, STATE), scalar(v_rest, STATE), scalar(v_reset, STATE), scalar(reset_amount, STATE),
        scalar(surrogate_scale, STATE), scalar(surrogate_peak, STATE),
    )  # fmt: skip


@sized_kernel
def spikeops_cuba_lif_forward_kernel(
    x, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, v_init, i_init, spikes, v_last, i_last,
    T: tl.int64, N: tl.int64,
    decay: tl.float64, current_decay: tl.float64, current_scale: tl.float64, threshold: tl.float64, input_scale: tl.float64,
    v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64, surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    OPTIONS: tl.constexpr, IS_CONSTANT: tl.constexpr, IS_SHARED: tl.constexpr,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = _neuron(
        block, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, decay, current_decay, current_scale,
        threshold, input_scale, v_rest, v_reset, reset_amount, surrogate_scale, surrogate_peak, IS_SHARED, STATE,
    )  # fmt: skip
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE), load_step(i_init, block.n, block.mask, BLOCK, STATE))
    state = walk(_step, neuron, OPTIONS, state, (x,), (0 if IS_CONSTANT else block.N,), (spikes,), T, block, STATE)
    tl.store(v_last + block.n, state[0], block.mask)
    tl.store(i_last + block.n, state[1], block.mask)


@sized_kernel
def spikeops_cuba_lif_backward_kernel(
    grad_spikes, grad_v_last, grad_i_last, x, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, v_init,
    i_init, checkpoints, grad_x, grad_decay, grad_current_decay, grad_current_scale, grad_threshold, grad_v_init, grad_i_init,
    T: tl.int64, N: tl.int64,
    decay: tl.float64, current_decay: tl.float64, current_scale: tl.float64, threshold: tl.float64, input_scale: tl.float64,
    v_rest: tl.float64, v_reset: tl.float64, reset_amount: tl.float64, surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    OPTIONS: tl.constexpr, STATES: tl.constexpr, SEGMENT: tl.constexpr, VALUES: tl.constexpr, IS_CONSTANT: tl.constexpr,
    IS_SHARED: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK, VALUES)
    neuron = _neuron(
        block, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, decay, current_decay, current_scale,
        threshold, input_scale, v_rest, v_reset, reset_amount, surrogate_scale, surrogate_peak, IS_SHARED, STATE,
    )  # fmt: skip
    zero = tl.zeros((BLOCK,), STATE)
    state = (load_step(v_init, block.n, block.mask, BLOCK, STATE), load_step(i_init, block.n, block.mask, BLOCK, STATE))
    carry = (load_step(grad_v_last, block.n, block.mask, BLOCK, STATE), load_step(grad_i_last, block.n, block.mask, BLOCK, STATE))
    carry, parameters = walk_back(
        _step, None, _step_back, None, neuron, OPTIONS, state, carry, (zero, zero, zero, zero), (x,),
        (0 if IS_CONSTANT else block.N,), () if grad_spikes is None else (grad_spikes,), grad_x, neuron.input_scale, checkpoints, T,
        block, STATES, SEGMENT, STATE, IS_CONSTANT,
    )  # fmt: skip
    if grad_decay is not None:
        tl.store(grad_decay + block.n, parameters[0], block.mask)
    if grad_current_decay is not None:
        tl.store(grad_current_decay + block.n, parameters[1], block.mask)
    if grad_current_scale is not None:
        tl.store(grad_current_scale + block.n, parameters[2], block.mask)
    if grad_threshold is not None:
        tl.store(grad_threshold + block.n, parameters[3], block.mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + block.n, carry[0], block.mask)
    if grad_i_init is not None:
        tl.store(grad_i_init + block.n, carry[1], block.mask)


# Of CUBA_LIF_NEURON in csrc/cuba_lif.cpp: the tensors that neurons may share, and the list `numbers`.
_PER_NEURON = ("decay", "current_decay", "current_scale", "threshold")
_NUMBERS = (*_PER_NEURON, "input_scale", "reset_amount", "v_reset", "v_rest", "surrogate_scale", "surrogate_peak")


class _Modes(NamedTuple):
    """The list `modes` there."""

    order: int
    reset: int
    reset_timing: int
    strict: int
    detach_reset: int
    takes_threshold: int
    surrogate: int
    time_steps: int


def _launch(launcher, kernel, x, tensors, initial, numbers, modes: _Modes, options: CubaLifOptions, **arguments) -> None:
    is_shared = tuple(tensor is not None and tensor.numel() == 1 for tensor in tensors)

    def laid_out(tensor):
        return None if tensor is None else like_step(tensor, x)

    given = {f"{name}_tensor": t if shared else laid_out(t) for name, t, shared in zip(_PER_NEURON, tensors, is_shared, strict=True)}
    v_init, i_init = map(laid_out, initial)
    launcher(
        kernel, N=x.shape[1:].numel(), like=x, x=x, T=x.shape[0], **given, v_init=v_init, i_init=i_init,
        **dict(zip(_NUMBERS, numbers, strict=True)), OPTIONS=options, IS_CONSTANT=modes.time_steps > 0, IS_SHARED=is_shared,
        STATE=triton_state(x.dtype), **arguments,
    )  # fmt: skip


def cuba_lif_forward(
    x, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, v_init, i_init, numbers, modes
):  # fmt: skip
    modes = _Modes(*modes)
    x = sequence(x, modes.time_steps)
    state = state_dtype(x.dtype)
    spikes, v_last, i_last = empty_sequence(x), empty_step(x, state), empty_step(x, state)
    _launch(
        launch_neurons, spikeops_cuba_lif_forward_kernel, x, (decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor),
        (v_init, i_init), numbers, modes,
        CubaLifOptions(modes.order, modes.reset, modes.reset_timing, modes.strict, modes.takes_threshold),
        spikes=spikes, v_last=v_last, i_last=i_last,
    )  # fmt: skip
    return spikes, v_last, i_last


def cuba_lif_backward(
    grad_spikes, grad_v_last, grad_i_last, x, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, v_init,
    i_init, numbers, modes, *needs,
):  # fmt: skip
    modes = _Modes(*modes)
    x = sequence(x, modes.time_steps)
    state = state_dtype(x.dtype)
    grad_x = empty_step(x) if modes.time_steps else empty_sequence(x)
    grads = [empty_step(x, state) if need else None for need in needs]
    _launch(
        launch_back, spikeops_cuba_lif_backward_kernel, x,
        (decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor), (v_init, i_init), numbers, modes,
        CubaLifOptions(modes.order, modes.reset, modes.reset_timing, modes.strict, modes.takes_threshold, modes.detach_reset,
                       modes.surrogate),
        grad_spikes=None if grad_spikes is None else like_sequence(grad_spikes, x),
        grad_v_last=None if grad_v_last is None else like_step(grad_v_last, x),
        grad_i_last=None if grad_i_last is None else like_step(grad_i_last, x),
        grad_x=grad_x, **dict(zip((f"grad_{name}" for name in (*_PER_NEURON, "v_init", "i_init")), grads, strict=True)),
        states=2, kept=4,
    )  # fmt: skip
    return grad_x, *grads
