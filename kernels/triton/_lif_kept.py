"""LIF neurons that keep less than x: what those with bits and those with distances have in common (kernels/math/lif_kept.h)."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import empty_sequence, empty_step, like_sequence, like_step, sequence, time_major
from spikeops.triton._launch import launch_neurons, triton_state
from spikeops.triton._math import GAUSSIAN, RESET_TO, next_above

_NO_RESET = 2


class KeptOptions(NamedTuple):
    """Numbers of kernels/math/lif.h and kernels/math/surrogate_of_lif.h."""

    reset: int
    detach_reset: int
    surrogate: int
    in_thresholds: int
    is_plain: bool  # as against the general form


class Numbers(NamedTuple):
    """The list `numbers` of csrc/lif_kept.cpp."""

    decay: float
    threshold: float
    input_scale: float
    reset_amount: float
    v_reset: float
    v_rest: float
    scale: float
    peak: float
    center: float
    a: float
    b: float
    c: float


class Modes(NamedTuple):
    """The list `modes` of csrc/lif_kept.cpp."""

    reset: int
    strict: int
    detach_reset: int
    surrogate: int
    in_thresholds: int
    time_steps: int

    def options(self, is_plain: bool = True) -> KeptOptions:
        """Of the way back, or of both."""
        # Where there is no reset, no gradient passes one.
        detach_reset = 1 if self.reset == _NO_RESET else self.detach_reset
        return KeptOptions(self.reset, detach_reset, self.surrogate, self.in_thresholds, is_plain)


@triton.jit
def kept_step_back(OPTIONS: tl.constexpr, grad_v, grad_spike, slope, fired, u, reset_amount, v_reset):
    """The gradient of the potential before the reset. Of u only the gradient of a reset to a value asks. The general form adds the
    gradients of traces, which are 0."""
    carry = grad_v
    if not OPTIONS.is_plain:
        carry = grad_v + 0.0
    kept = carry
    if OPTIONS.reset == RESET_TO:
        kept = tl.where(fired, 0.0, carry)
        if not OPTIONS.detach_reset:
            grad_spike += carry * (v_reset - u)
    elif not OPTIONS.detach_reset:
        grad_spike += -(carry * reset_amount)
    grad_u = kept + grad_spike * slope
    if not OPTIONS.is_plain:
        grad_u = grad_u + 0.0
    return grad_u


def launch_forward(kernel, x, v_init, numbers: Numbers, modes: Modes, options: KeptOptions, rows, dtype, **arguments):
    """spikes, v_last, and `rows(T)` rows that are kept, of this dtype. Kernels take bfloat16 as its bits."""
    x = sequence(x, modes.time_steps)
    state = state_dtype(x.dtype)
    spikes, v_last, kept = empty_sequence(x), empty_step(x, state), empty_sequence(x, rows(x.shape[0]), dtype)
    launch_neurons(
        kernel, x.shape[1:].numel(), x, x=x, T=x.shape[0], v_init=None if v_init is None else like_step(v_init, x),
        spikes=spikes, v_last=v_last, kept=kept.view(torch.int16) if dtype == torch.bfloat16 else kept,
        decay=numbers.decay, input_scale=numbers.input_scale, v_rest=numbers.v_rest, v_reset=numbers.v_reset,
        reset_amount=numbers.reset_amount, threshold=numbers.threshold,
        fire_level=next_above(numbers.threshold, state) if modes.strict else numbers.threshold,
        OPTIONS=options, IS_CONSTANT=modes.time_steps > 0, STATE=triton_state(x.dtype), **arguments,
    )  # fmt: skip
    return spikes, v_last, kept


def launch_backward(kernel, grad_spikes, grad_v_last, kept, numbers: Numbers, modes: Modes, need_v_init, **arguments):
    """Gradients of x and of v_init."""
    state, is_constant = state_dtype(grad_spikes.dtype), modes.time_steps > 0
    kept = time_major(kept)
    # The layout of x is that of what is kept.
    step = empty_step(kept, grad_spikes.dtype)
    like = step.expand(grad_spikes.shape[0], *step.shape)
    grad_x = step if is_constant else empty_sequence(like)
    grad_v_init = empty_step(like, state) if need_v_init else None
    is_plain = modes.surrogate <= GAUSSIAN.value and numbers.center == 0 and not modes.in_thresholds
    scales_sum = is_plain and is_constant
    launch_neurons(
        kernel, like.shape[1:].numel(), like, T=like.shape[0], kept=kept,
        grad_spikes=like_sequence(grad_spikes, like),
        grad_v_last=None if grad_v_last is None else like_step(grad_v_last, like), grad_x=grad_x, grad_v_init=grad_v_init,
        decay=numbers.decay, reset_amount=numbers.reset_amount,
        step_scale=1.0 if scales_sum else numbers.input_scale, sum_scale=numbers.input_scale if scales_sum else 1.0,
        OPTIONS=modes.options(is_plain), IS_CONSTANT=is_constant, STATE=triton_state(like.dtype), **arguments,
    )  # fmt: skip
    return grad_x, grad_v_init
