"""The walk through time and back, the same for all neurons (kernels/cpu/walk.h and walk_back.h, kernels/cuda/walk.hpp and
walk_back.hpp). A program takes a block of neurons through all their steps.

A neuron is a few functions, named where its kernel calls a walk:

    step(neuron, OPTIONS, state, inputs) -> state, kept, outputs       one step forward
    after(neuron, OPTIONS, kept) -> state                              the state after the step that left `kept`
    step_back(neuron, OPTIONS, carry, before, kept, inputs, grads) -> carry, grad, parameters
                                                                       the same step back; `before` is the state before it
    arrive(neuron, OPTIONS, state, carry, parameters) -> carry, parameters
                                                                       between the last step forward and the first one back

Both walks pass on `neuron`, its numbers, and OPTIONS, what is known when compiling. `grad` is the gradient of what the scaled
input was added to. All else are tuples of any length, of one number per neuron in the precision of the state:

    state              what passes from step to step
    inputs, outputs    of a step
    kept               what stepping back needs of it
    grads              gradients of the outputs; empty where none are given
    carry              the gradients that pass back
    parameters         gradients of numbers of each neuron: of one step, or added up over time. Empty where none are asked for

Walking back needs what each step has kept. Time is cut into segments of as many steps as registers hold: on the way there, the
state at the beginning of each segment but the last is stored; on the way back, a segment's steps are run once more. A step of a
neuron then moves, in bytes (D of the data, S of the state):

    T <= SEGMENT    3 D                                     reads x and the gradient, writes the gradient of x
    longer T        less than 4 D + 2 S * STATES / SEGMENT  reads x twice, but for the last segment; writes and reads states

The loops over a segment are unrolled, since registers have no addresses. A segment's rows are one tile (neurons, steps), loaded and
stored at once: the compiler takes time in proportion to the number of accesses and to the square of that of all operations. Tiles
are cut into rows, and put together, in registers alone if the VALUES neurons of a thread are what it loads at a time.
"""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops.triton._launch import NUM_WARPS, launch_neurons

# Loads do not depend on a neuron's state: those of several steps are issued before the first is used, so that small layers, which
# have few threads, wait less.
_STEPS_AHEAD = tl.constexpr(4)

_LONGEST_SEGMENT = 16
# What a thread may keep of a segment: beyond 256 bytes registers spill, or leave room for too few threads.
_KEPT_BYTES = 256


@triton.jit
def walk(
    STEP: tl.constexpr, neuron, OPTIONS: tl.constexpr, state, inputs, strides, outputs, T, block, STATE: tl.constexpr,
    BACK_IN_TIME: tl.constexpr = False, AFTER_STEP: tl.constexpr = None, seen=None,
):  # fmt: skip
    """Takes `state` through all steps, from the last to the first where BACK_IN_TIME, and returns it.

    `inputs` and `outputs` are pointers here. Of an input, row t lies t times its stride on: 0 for what is the same in all steps.
    AFTER_STEP(t, outputs, seen) is called after each step."""
    whole = T // _STEPS_AHEAD * _STEPS_AHEAD
    for first in range(0, whole, _STEPS_AHEAD):
        state = _some_steps(STEP, neuron, OPTIONS, state, inputs, strides, outputs, first, _STEPS_AHEAD, T, block, STATE,
                            BACK_IN_TIME, AFTER_STEP, seen)  # fmt: skip
    for step in range(whole, T):
        state = _some_steps(STEP, neuron, OPTIONS, state, inputs, strides, outputs, step, 1, T, block, STATE,
                            BACK_IN_TIME, AFTER_STEP, seen)  # fmt: skip
    return state


@triton.jit
def _some_steps(
    STEP: tl.constexpr, neuron, OPTIONS: tl.constexpr, state, inputs, strides, outputs, first, STEPS: tl.constexpr, T, block,
    STATE: tl.constexpr, BACK_IN_TIME: tl.constexpr, AFTER_STEP: tl.constexpr, seen,
):  # fmt: skip
    rows = ()
    for k in tl.static_range(STEPS):
        t = T - 1 - (first + k) if BACK_IN_TIME else first + k
        row = ()
        for i in tl.static_range(len(inputs)):
            row = row + (tl.load(inputs[i] + t * strides[i] + block.n, block.mask),)
        rows = rows + (row,)
    for k in tl.static_range(STEPS):
        t = T - 1 - (first + k) if BACK_IN_TIME else first + k
        state, _, values = STEP(neuron, OPTIONS, state, [value.to(STATE) for value in rows[k]])
        for i in tl.static_range(len(outputs)):
            tl.store(outputs[i] + t * block.N + block.n, values[i], block.mask)
        if AFTER_STEP is not None:
            AFTER_STEP(t, values, seen)
    return state


@triton.jit
def walk_back(
    STEP: tl.constexpr, AFTER: tl.constexpr, STEP_BACK: tl.constexpr, ARRIVE: tl.constexpr, neuron, OPTIONS: tl.constexpr,
    state, carry, parameters, inputs, strides, grads, grad_x, input_scale, checkpoints, T, block,
    STATES: tl.constexpr, SEGMENT: tl.constexpr, STATE: tl.constexpr, IS_CONSTANT: tl.constexpr,
):  # fmt: skip
    """Takes `state` through all steps and `carry` back; returns `carry` and `parameters`. Launch kernels with `launch_back`.

    `inputs` and `grads` are pointers here, inputs with their strides as in `walk`. The first STATES numbers of `state` are what
    steps need; the others count something for `arrive`, once, on the way there. Without AFTER, `before` means nothing to step_back.
    `input_scale` may be None: 1. Where IS_CONSTANT, grad_x has one row, the sum over time."""
    total = (tl.zeros(block.n.shape, STATE),) if IS_CONSTANT else ()
    others = (T - 1) // SEGMENT  # segments but the last
    if checkpoints is not None:
        for segment in range(others):
            for i in tl.static_range(STATES):
                tl.store(checkpoints + (segment * STATES + i) * block.N + block.n, state[i], block.mask)
            rows = ()
            for i in tl.static_range(len(inputs)):
                rows = rows + (_load_segment(inputs[i], strides[i], segment * SEGMENT, T, block, SEGMENT, False),)
            for k in tl.static_range(SEGMENT):
                state, _, _ = STEP(neuron, OPTIONS, state, [row[k].to(STATE) for row in rows])
        # Threads may read what another one of their block has written.
        tl.debug_barrier()
    carry, parameters, total = _segment_back(
        STEP, AFTER, STEP_BACK, ARRIVE, neuron, OPTIONS, state, carry, parameters, total, inputs, strides, grads, grad_x,
        input_scale, others * SEGMENT, T, block, STATES, SEGMENT, STATE, IS_CONSTANT, True,
    )  # fmt: skip
    if checkpoints is not None:
        for done in range(others):
            segment = others - 1 - done
            start = ()
            for i in tl.static_range(len(state)):
                if i < STATES:
                    start = start + (tl.load(checkpoints + (segment * STATES + i) * block.N + block.n, block.mask),)
                else:
                    start = start + (tl.zeros(block.n.shape, STATE),)
            carry, parameters, total = _segment_back(
                STEP, AFTER, STEP_BACK, None, neuron, OPTIONS, start, carry, parameters, total, inputs, strides, grads, grad_x,
                input_scale, segment * SEGMENT, T, block, STATES, SEGMENT, STATE, IS_CONSTANT, False,
            )  # fmt: skip
    if IS_CONSTANT:
        tl.store(grad_x + block.n, total[0] if input_scale is None else total[0] * input_scale, block.mask)
    return carry, parameters


@triton.jit
def _segment_back(
    STEP: tl.constexpr, AFTER: tl.constexpr, STEP_BACK: tl.constexpr, ARRIVE: tl.constexpr, neuron, OPTIONS: tl.constexpr,
    state, carry, parameters, total, inputs, strides, grads, grad_x, input_scale, first, T, block,
    STATES: tl.constexpr, SEGMENT: tl.constexpr, STATE: tl.constexpr, IS_CONSTANT: tl.constexpr, IS_LAST: tl.constexpr,
):  # fmt: skip
    """From the state before step `first` through the steps of a segment, of which the last may lack some, and back."""
    rows = ()
    for i in tl.static_range(len(inputs)):
        rows = rows + (_load_segment(inputs[i], strides[i], first, T, block, SEGMENT, IS_LAST),)
    grad_rows = ()
    for i in tl.static_range(len(grads)):
        grad_rows = grad_rows + (_load_segment(grads[i], block.N, first, T, block, SEGMENT, IS_LAST),)

    start = state[:STATES]
    history = ()
    for k in tl.static_range(SEGMENT):
        following, kept, _ = STEP(neuron, OPTIONS, state, [row[k].to(STATE) for row in rows])
        history = history + (kept,)
        if IS_LAST:
            state = _where(first + k < T, following, state)
        else:
            state = following
    if ARRIVE is not None:
        carry, parameters = ARRIVE(neuron, OPTIONS, state, carry, parameters)

    grads_x = ()
    for k in tl.static_range(SEGMENT - 1, -1, -1):
        before = start
        if AFTER is not None and k > 0:
            before = AFTER(neuron, OPTIONS, history[k - 1])
        row, grad_row = [row[k].to(STATE) for row in rows], [row[k].to(STATE) for row in grad_rows]
        carry_before, grad, of_step = STEP_BACK(neuron, OPTIONS, carry, before, history[k], row, grad_row)
        sums = ()
        for i in tl.static_range(len(parameters)):
            sums = sums + (parameters[i] + of_step[i],)
        total_before = (total[0] + grad,) if IS_CONSTANT else ()
        if IS_LAST:
            carry = _where(first + k < T, carry_before, carry)
            parameters = _where(first + k < T, sums, parameters)
            total = _where(first + k < T, total_before, total)
        else:
            carry, parameters, total = carry_before, sums, total_before
        if not IS_CONSTANT:
            grad = grad if input_scale is None else grad * input_scale
            grads_x = (grad.to(grad_x.dtype.element_ty),) + grads_x
    if not IS_CONSTANT:
        _store_segment(grad_x, grads_x, first, T, block, SEGMENT, IS_LAST)
    return carry, parameters, total


@triton.jit
def _where(condition, a, b):
    chosen = ()
    for i in tl.static_range(len(a)):
        chosen = chosen + (tl.where(condition, a[i], b[i]),)
    return chosen


@triton.jit
def _load_segment(pointer, stride, first, T, block, SEGMENT: tl.constexpr, IS_LAST: tl.constexpr):
    """SEGMENT rows from row `first` on."""
    t = first + tl.arange(0, SEGMENT)
    mask = block.mask[:, None]
    mask = mask & (t < T)[None, :] if IS_LAST else tl.broadcast_to(mask, block.n.shape[0], SEGMENT)
    tiles = (tl.load(pointer + t[None, :] * stride + block.n[:, None], mask),)
    for level in tl.static_range(5):
        if len(tiles) < SEGMENT:
            halves = ()
            for i in tl.static_range(len(tiles)):
                early, late = tiles[i].reshape(block.n.shape[0], 2, SEGMENT >> (level + 1)).permute(0, 2, 1).split()
                halves = halves + (early, late)
            tiles = halves
    return [tile.reshape(block.n.shape[0]) for tile in tiles]


@triton.jit
def _store_segment(pointer, rows, first, T, block, SEGMENT: tl.constexpr, IS_LAST: tl.constexpr):
    t = first + tl.arange(0, SEGMENT)
    mask = block.mask[:, None]
    mask = mask & (t < T)[None, :] if IS_LAST else tl.broadcast_to(mask, block.n.shape[0], SEGMENT)
    tiles = [row.reshape(block.n.shape[0], 1) for row in rows]
    for level in tl.static_range(5):
        if len(tiles) > 1:
            joined = ()
            for i in tl.static_range(0, len(tiles), 2):
                joined = joined + (tl.join(tiles[i], tiles[i + 1]).permute(0, 2, 1).reshape(block.n.shape[0], 2 << level),)
            tiles = joined
    tl.store(pointer + t[None, :] * block.N + block.n[:, None], tiles[0], mask)


class Segments(NamedTuple):
    """How a kernel walks back: steps of a segment, neurons of a thread, segments but the last."""

    steps: int
    values: int
    others: int


def segments(T: int, state_bytes: int, kept: int, longest: int = _LONGEST_SEGMENT) -> Segments:
    """For T steps, each of which keeps so many numbers of the state's size, gradients and inputs included."""
    steps = min(max(triton.next_power_of_2(T), 4), longest)
    fitting = max(_KEPT_BYTES // (steps * kept * state_bytes), 1)
    values = min(1 << (fitting.bit_length() - 1), 4)
    return Segments(steps, values, (T - 1) // steps)


def launch_back(kernel, N: int, like, T: int, states: int, kept: int, longest: int = _LONGEST_SEGMENT, **arguments) -> None:
    """Runs a kernel that calls `walk_back` over N neurons, for T steps, with `states` numbers of state. Steps of many operations take
    long to compile: `longest` is how many of them are a segment, at most."""
    dtype = state_dtype(like.dtype)
    plan = segments(T, dtype.itemsize, kept, longest)
    # Absent where there is one segment: what is compiled then has no loop over segments.
    checkpoints = like.new_empty(plan.others, states, N, dtype=dtype) if plan.others else None
    launch_neurons(
        kernel, N, like, T=T, checkpoints=checkpoints, STATES=states, SEGMENT=plan.steps, VALUES=plan.values,
        BLOCK=32 * NUM_WARPS * plan.values, **arguments,
    )  # fmt: skip
