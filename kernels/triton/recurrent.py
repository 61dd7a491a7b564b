"""Recurrent spiking neurons: forward and backward (kernels/math/recurrent.h). A program takes a layer through all steps; what its
neurons tell each other goes through memory. Neurons connected one to one tell each other nothing: a layer of them is cut into parts.
A loop of its own, not that of `_walk.py`: neurons wait for each other in each step."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops.triton._launch import NUM_WARPS, launch, sized_kernel, triton_state
from spikeops.triton._math import fires, scalar
from spikeops.triton.cuba_lif import _current, _current_back, _membrane, _membrane_back


class Recurrent(NamedTuple):
    """Numbers of the layer, in the precision of the state; the first five may be one of each neuron."""

    decay: tl.tensor
    current_decay: tl.tensor
    current_scale: tl.tensor
    threshold: tl.tensor
    adaptation_decay: tl.tensor
    beta: tl.tensor
    input_scale: tl.tensor
    reset_amount: tl.tensor
    v_reset: tl.tensor
    v_rest: tl.tensor
    surrogate_scale: tl.tensor
    surrogate_peak: tl.tensor


class RecurrentOptions(NamedTuple):
    """The list `modes` of RECURRENT_NEURON in csrc/recurrent.cpp, and whether neurons are connected one to one."""

    order: int
    reset: int
    reset_timing: int
    strict: int
    detach_reset: int
    takes_threshold: int
    surrogate: int
    one_to_one: int


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, v, i, a, total, spike_before):
    """The state after the step, and the spike."""
    threshold = neuron.threshold + neuron.beta * a
    _, after, read = _current(neuron, OPTIONS, i, total)
    _, u, following, _ = _membrane(neuron, OPTIONS, v, read, spike_before > 0.0, threshold)
    spike = fires(u, threshold, OPTIONS.strict).to(u.dtype)
    return following, after, neuron.adaptation_decay * a + spike, spike


@triton.jit
def _or_number(tensor, number, place, mask, STATE: tl.constexpr):
    if tensor is None:
        return scalar(number, STATE)
    else:
        return tl.load(tensor + place, mask, other=0.0)


@triton.jit
def _or_zero(tensor, place, mask, BLOCK: tl.constexpr, STATE: tl.constexpr):
    if tensor is None:
        return tl.zeros((BLOCK,), STATE)
    else:
        return tl.load(tensor + place, mask, other=0.0).to(STATE)


@triton.jit
def _total(x, spikes, s_init, weight, weight_from, bias, t, n, mask, spike_before, size, first, N, OPTIONS: tl.constexpr,
           BLOCK: tl.constexpr, STATE: tl.constexpr):  # fmt: skip
    """The input of step t, with what comes back of the spikes of the step before."""
    returned = _or_zero(bias, n, mask, BLOCK, STATE)
    if OPTIONS.one_to_one:
        returned = returned + tl.load(weight + n, mask, other=0.0) * spike_before
    elif t > 0:
        for j in range(N):
            if tl.load(spikes + (t - 1) * size + first + j).to(STATE) != 0.0:
                returned = returned + tl.load(weight_from + j * N + n, mask, other=0.0)
    elif s_init is not None:
        for j in range(N):
            spike = tl.load(s_init + first + j)
            if spike != 0.0:
                returned = returned + spike * tl.load(weight_from + j * N + n, mask, other=0.0)
    return tl.load(x + t * size + first + n, mask, other=0.0).to(STATE) + returned


@triton.jit
def _neuron(numbers, place, mask, tensors, STATE: tl.constexpr):
    return Recurrent(
        _or_number(tensors[0], numbers[0], place, mask, STATE), _or_number(tensors[1], numbers[1], place, mask, STATE),
        _or_number(tensors[2], numbers[2], place, mask, STATE), _or_number(tensors[3], numbers[3], place, mask, STATE),
        _or_number(tensors[4], numbers[4], place, mask, STATE), scalar(numbers[5], STATE), scalar(numbers[6], STATE),
        scalar(numbers[7], STATE), scalar(numbers[8], STATE), scalar(numbers[9], STATE), scalar(numbers[10], STATE),
        scalar(numbers[11], STATE),
    )  # fmt: skip


@sized_kernel
def spikeops_recurrent_lif_forward_kernel(
    x, weight, weight_from, bias, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, adaptation_decay_tensor,
    v_init, i_init, a_init, s_init, spikes, v_last, i_last, a_last, T: tl.int64, N: tl.int64, rows: tl.int64, parts: tl.int64,
    decay: tl.float64, current_decay: tl.float64, current_scale: tl.float64, threshold: tl.float64, adaptation_decay: tl.float64,
    beta: tl.float64, input_scale: tl.float64, reset_amount: tl.float64, v_reset: tl.float64, v_rest: tl.float64,
    surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    OPTIONS: tl.constexpr, STATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    first, size = program // parts * N, rows * N
    n = program % parts * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    mask, place = n < N, first + n
    neuron = _neuron(
        (decay, current_decay, current_scale, threshold, adaptation_decay, beta, input_scale, reset_amount, v_reset, v_rest,
         surrogate_scale, surrogate_peak),
        place, mask, (decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, adaptation_decay_tensor), STATE,
    )  # fmt: skip
    v, i = _or_zero(v_init, place, mask, BLOCK, STATE), _or_zero(i_init, place, mask, BLOCK, STATE)
    a, spike = _or_zero(a_init, place, mask, BLOCK, STATE), _or_zero(s_init, place, mask, BLOCK, STATE)
    for t in range(T):
        total = _total(x, spikes, s_init, weight, weight_from, bias, t, n, mask, spike, size, first, N, OPTIONS, BLOCK, STATE)
        v, i, a, spike = _step(neuron, OPTIONS, v, i, a, total, spike)
        tl.store(spikes + t * size + place, spike.to(spikes.dtype.element_ty), mask)
        tl.debug_barrier()
    tl.store(v_last + place, v, mask)
    tl.store(i_last + place, i, mask)
    tl.store(a_last + place, a, mask)


@sized_kernel
def spikeops_recurrent_lif_backward_kernel(
    grad_spikes, grad_v_last, grad_i_last, grad_a_last, spikes, x, weight, weight_from, bias, decay_tensor, current_decay_tensor,
    current_scale_tensor, threshold_tensor, adaptation_decay_tensor, v_init, i_init, a_init, s_init, kept, grad_totals, grad_x,
    grad_decay, grad_current_decay, grad_current_scale, grad_threshold, grad_adaptation_decay, grad_v_init, grad_i_init, grad_a_init,
    grad_s_init, T: tl.int64, N: tl.int64, rows: tl.int64, parts: tl.int64,
    decay: tl.float64, current_decay: tl.float64, current_scale: tl.float64, threshold: tl.float64, adaptation_decay: tl.float64,
    beta: tl.float64, input_scale: tl.float64, reset_amount: tl.float64, v_reset: tl.float64, v_rest: tl.float64,
    surrogate_scale: tl.float64, surrogate_peak: tl.float64,
    OPTIONS: tl.constexpr, STATE: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0).to(tl.int64)
    first, size = program // parts * N, rows * N
    n = program % parts * BLOCK + tl.arange(0, BLOCK).to(tl.int64)
    mask, place = n < N, first + n
    neuron = _neuron(
        (decay, current_decay, current_scale, threshold, adaptation_decay, beta, input_scale, reset_amount, v_reset, v_rest,
         surrogate_scale, surrogate_peak),
        place, mask, (decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, adaptation_decay_tensor), STATE,
    )  # fmt: skip
    v, i = _or_zero(v_init, place, mask, BLOCK, STATE), _or_zero(i_init, place, mask, BLOCK, STATE)
    a, spike = _or_zero(a_init, place, mask, BLOCK, STATE), _or_zero(s_init, place, mask, BLOCK, STATE)
    for t in range(T):
        total = _total(x, spikes, s_init, weight, weight_from, bias, t, n, mask, spike, size, first, N, OPTIONS, BLOCK, STATE)
        tl.store(kept + (4 * t) * size + place, v, mask)
        tl.store(kept + (4 * t + 1) * size + place, i, mask)
        tl.store(kept + (4 * t + 2) * size + place, a, mask)
        tl.store(kept + (4 * t + 3) * size + place, total, mask)
        v, i, a, _ = _step(neuron, OPTIONS, v, i, a, total, spike)
        spike = tl.load(spikes + t * size + place, mask, other=0.0).to(STATE)

    zero = tl.zeros((BLOCK,), STATE)
    carry_v, carry_i = _or_zero(grad_v_last, place, mask, BLOCK, STATE), _or_zero(grad_i_last, place, mask, BLOCK, STATE)
    carry_a, brought = _or_zero(grad_a_last, place, mask, BLOCK, STATE), zero
    of_decay, of_current_decay, of_current_scale, of_threshold, of_adaptation_decay = zero, zero, zero, zero, zero
    for back in range(T):
        t = T - 1 - back
        v, i = tl.load(kept + (4 * t) * size + place, mask, other=0.0), tl.load(kept + (4 * t + 1) * size + place, mask, other=0.0)
        a, total = tl.load(kept + (4 * t + 2) * size + place, mask, other=0.0), tl.load(kept + (4 * t + 3) * size + place, mask, other=0.0)
        spike_before = zero
        if t > 0:
            spike_before = tl.load(spikes + (t - 1) * size + place, mask, other=0.0).to(STATE)
        else:
            spike_before = _or_zero(s_init, place, mask, BLOCK, STATE)
        joined, _, read = _current(neuron, OPTIONS, i, total)
        theta = neuron.threshold + neuron.beta * a
        membrane = _membrane(neuron, OPTIONS, v, read, spike_before > 0.0, theta)
        grad_spike = brought
        if grad_spikes is not None:
            grad_spike = tl.load(grad_spikes + t * size + place, mask, other=0.0).to(STATE) + brought
        grad_free, carry_v, grad_theta = _membrane_back(neuron, OPTIONS, carry_v, grad_spike + carry_a, membrane, theta)
        carry_i, grad_joined, through_decay = _current_back(neuron, OPTIONS, grad_free, carry_i, i, joined)
        of_decay += grad_free * (membrane[0] - neuron.v_rest)
        of_current_decay += through_decay
        of_current_scale += grad_free * read
        of_threshold += grad_theta
        of_adaptation_decay += carry_a * a
        carry_a = neuron.adaptation_decay * carry_a + neuron.beta * grad_theta
        grad_total = neuron.input_scale * grad_joined
        tl.store(grad_x + t * size + place, grad_total.to(grad_x.dtype.element_ty), mask)

        if OPTIONS.one_to_one:
            brought = tl.load(weight + n, mask, other=0.0) * grad_total
        else:
            # Of this step and of the one after in turn, so that no neuron is behind another by more than a barrier.
            row = grad_totals + (t % 2) * size + first
            tl.store(row + n, grad_total, mask)
            tl.debug_barrier()
            brought = zero
            for j in range(N):
                brought += tl.load(row + j) * tl.load(weight + j * N + n, mask, other=0.0)

    if grad_decay is not None:
        tl.store(grad_decay + place, of_decay, mask)
    if grad_current_decay is not None:
        tl.store(grad_current_decay + place, of_current_decay, mask)
    if grad_current_scale is not None:
        tl.store(grad_current_scale + place, of_current_scale, mask)
    if grad_threshold is not None:
        tl.store(grad_threshold + place, of_threshold, mask)
    if grad_adaptation_decay is not None:
        tl.store(grad_adaptation_decay + place, of_adaptation_decay, mask)
    if grad_v_init is not None:
        tl.store(grad_v_init + place, carry_v, mask)
    if grad_i_init is not None:
        tl.store(grad_i_init + place, carry_i, mask)
    if grad_a_init is not None:
        tl.store(grad_a_init + place, carry_a, mask)
    if grad_s_init is not None:
        tl.store(grad_s_init + place, brought, mask)


_MOST_OF_A_PART = 512  # neurons; four to a thread, for all that a step of one keeps in registers

# Of RECURRENT_NEURON in csrc/recurrent.cpp: what there is one of for each neuron, and the list `numbers`.
_PER_NEURON = ("decay", "current_decay", "current_scale", "threshold", "adaptation_decay")
_INITIAL = ("v_init", "i_init", "a_init", "s_init")
_NUMBERS = (*_PER_NEURON, "beta", "input_scale", "reset_amount", "v_reset", "v_rest", "surrogate_scale", "surrogate_peak")


def _launch(kernel, x, weight, bias, tensors, numbers, modes, **arguments) -> None:
    state, N = state_dtype(x.dtype), x.shape[-1]
    layers = x.shape[1:-1].numel() if N else 0
    weight = weight.to(state).contiguous()

    def laid_out(tensor):
        return None if tensor is None else tensor.to(state).expand(x.shape[1:]).contiguous()

    names = [*(f"{name}_tensor" for name in _PER_NEURON), *_INITIAL]
    one_to_one = weight.dim() == 1
    block = max(triton.next_power_of_2(N), 32 * NUM_WARPS)
    if one_to_one:
        block = min(block, _MOST_OF_A_PART)
    parts = triton.cdiv(N, block) if one_to_one else 1
    launch(
        kernel, layers * parts, x, x=x.contiguous(), weight=weight, weight_from=weight if one_to_one else weight.T.contiguous(),
        bias=None if bias is None else bias.to(state).contiguous(), **dict(zip(names, map(laid_out, tensors), strict=True)),
        T=x.shape[0], N=N, rows=layers, parts=parts, **dict(zip(_NUMBERS, numbers, strict=True)),
        OPTIONS=RecurrentOptions(*modes, int(one_to_one)), STATE=triton_state(x.dtype), BLOCK=block, **arguments,
    )  # fmt: skip


def recurrent_lif_forward(x, weight, bias, *others):
    *tensors, numbers, modes = others
    spikes = x.new_empty(x.shape)
    last = [x.new_empty(x.shape[1:], dtype=state_dtype(x.dtype)) for _ in range(3)]
    _launch(
        spikeops_recurrent_lif_forward_kernel, x, weight, bias, tensors, numbers, modes, spikes=spikes,
        **dict(zip(("v_last", "i_last", "a_last"), last)),
    )  # fmt: skip
    return spikes, *last


def recurrent_lif_backward(grad_spikes, grad_v_last, grad_i_last, grad_a_last, spikes, x, weight, bias, *others):
    *tensors, numbers, modes, needs = others
    state, (T, *step) = state_dtype(x.dtype), x.shape
    grad_x = x.new_empty(x.shape)
    names = [f"grad_{name}" for name in (*_PER_NEURON, *_INITIAL)]
    grads = [x.new_empty(step, dtype=state) if need else None for need in needs]

    def laid_out(tensor, dtype):
        return None if tensor is None else tensor.to(dtype).contiguous()

    _launch(
        spikeops_recurrent_lif_backward_kernel, x, weight, bias, tensors, numbers, modes,
        grad_spikes=laid_out(grad_spikes, x.dtype), grad_v_last=laid_out(grad_v_last, state),
        grad_i_last=laid_out(grad_i_last, state), grad_a_last=laid_out(grad_a_last, state), spikes=spikes.contiguous(),
        kept=x.new_empty((T, 4, *step), dtype=state), grad_totals=x.new_empty((2, *step), dtype=state), grad_x=grad_x,
        **dict(zip(names, grads, strict=True)),
    )  # fmt: skip
    return grad_x, *grads
