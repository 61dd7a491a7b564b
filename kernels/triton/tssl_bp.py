"""TSSL-BP neurons (kernels/math/tssl_bp.h): forward, and the O(T) recursion backward."""

import torch
import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops.functional._layout import empty_sequence, like_sequence, time_major
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import (
    block_of_neurons,
    divide,
    exp_bounded,
    next_above,
    scalar,
    synapse_backward_step,
    synapse_step,
)  # fmt: skip

STEPS_PER_WORD = tl.constexpr(32)


@triton.jit
def _fire(x, v, a, theta_m, theta_s, fire_level, STATE: tl.constexpr):
    """One time step: membrane potential before the reset, spike, membrane potential after the reset, post-synaptic current."""
    du = x - theta_m * v
    u = v + du
    spike = u >= fire_level
    return u, spike, tl.where(spike, 0.0, u), synapse_step(a, spike.to(STATE), theta_s)


@sized_kernel
def spikeops_tssl_bp_forward_kernel(
    x, psc, spikes, T: tl.int64, N: tl.int64, theta_m: tl.float64, theta_s: tl.float64, fire_level: tl.float64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    theta_m, theta_s, fire_level = scalar(theta_m, STATE), scalar(theta_s, STATE), scalar(fire_level, STATE)
    v = tl.zeros((BLOCK,), STATE)
    a = tl.zeros((BLOCK,), STATE)
    for t in range(T):
        _, spike, v, a = _fire(tl.load(x + t * N + n, mask).to(STATE), v, a, theta_m, theta_s, fire_level, STATE)
        tl.store(psc + t * N + n, a, mask)
        if spikes is not None:
            tl.store(spikes + t * N + n, spike.to(STATE), mask)


@sized_kernel
def spikeops_tssl_bp_backward_kernel(
    grad_psc, x, u_history, quiet_history, grad_x, T: tl.int64, N: tl.int64,
    theta_m: tl.float64, theta_s: tl.float64, one_minus_theta_m: tl.float64, one_minus_theta_s: tl.float64,
    threshold: tl.float64, fire_level: tl.float64, quiet_level: tl.float64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    theta_m, theta_s = scalar(theta_m, STATE), scalar(theta_s, STATE)
    one_minus_theta_m, one_minus_theta_s = scalar(one_minus_theta_m, STATE), scalar(one_minus_theta_s, STATE)
    threshold, fire_level, quiet_level = scalar(threshold, STATE), scalar(fire_level, STATE), scalar(quiet_level, STATE)

    # Forward again, keeping the membrane potential and, as one bit per step, whether the neuron counts as quiet.
    words = (T + STEPS_PER_WORD - 1) // STEPS_PER_WORD
    v = tl.zeros((BLOCK,), STATE)
    a = tl.zeros((BLOCK,), STATE)
    for w in range(words):
        bits = tl.zeros((BLOCK,), tl.uint32)
        for t in range(w * STEPS_PER_WORD, tl.minimum((w + 1) * STEPS_PER_WORD, T)):
            u, spike, v, a = _fire(tl.load(x + t * N + n, mask).to(STATE), v, a, theta_m, theta_s, fire_level, STATE)
            bits = (bits << 1) | (a < quiet_level).to(tl.uint32)
            tl.store(u_history + t * N + n, u, mask)
        tl.store(quiet_history + w * N + n, bits, mask)
    # Threads may read what another one of their block has written.
    tl.debug_barrier()

    psc_carry = tl.zeros((BLOCK,), STATE)
    membrane_carry = tl.zeros((BLOCK,), STATE)
    # u_history and grad_x may be the same memory: u[t-1] is read before grad_x[t-1] is written.
    u = tl.load(u_history + (T - 1) * N + n, mask)
    for word in range(words):
        w = words - 1 - word
        end = tl.minimum((w + 1) * STEPS_PER_WORD, T)
        bits = tl.load(quiet_history + w * N + n, mask)
        for step in range(end - w * STEPS_PER_WORD):
            t = end - 1 - step
            quiet = (bits & 1) == 1
            bits = bits >> 1
            before = tl.load(u_history + (t - 1) * N + n, mask & (t > 0), other=0.0)
            v = tl.where(before >= fire_level, 0.0, before)
            du = tl.load(x + t * N + n, mask).to(STATE) - theta_m * v
            spike = u >= fire_level

            g = synapse_backward_step(psc_carry, tl.load(grad_psc + t * N + n, mask).to(STATE), theta_s, one_minus_theta_s)
            psc_carry = g
            distance = tl.abs((threshold - u) * 5.0)
            e = exp_bounded(-tl.where(distance > 8.0, 8.0, distance))
            d = 1.0 + e
            quiet_slope = divide(5.0 * e, d * d)
            reciprocal = divide(
                tl.full(du.shape, -1.0, STATE), du
            )  # d spike time / d membrane; infinite where du = 0, which the clamp takes care of
            slope = tl.where(reciprocal < -8.0, -8.0, reciprocal)
            slope = tl.where(slope > 0.0, 0.0, slope)
            at_spike = membrane_carry * u * (-theta_m) * slope - slope * g
            inter = tl.where(spike, at_spike, membrane_carry * one_minus_theta_m)
            membrane_carry = inter
            tl.store(grad_x + t * N + n, tl.where(quiet, g * quiet_slope, inter), mask)
            u = before


def tssl_bp_forward(x, tau_m, tau_s, threshold, return_spikes):
    x = time_major(x)
    psc = empty_sequence(x)
    spikes = empty_sequence(x) if return_spikes else None
    launch_neurons(
        spikeops_tssl_bp_forward_kernel, x.shape[1:].numel(), x, x=x, psc=psc, spikes=spikes, T=x.shape[0],
        theta_m=1 / tau_m, theta_s=1 / tau_s, fire_level=next_above(threshold, state_dtype(x.dtype)),
        STATE=triton_state(x.dtype),
    )  # fmt: skip
    return psc, x.new_empty(0) if spikes is None else spikes


def tssl_bp_backward(grad_psc, x, tau_m, tau_s, threshold):
    x = time_major(x)
    T, N = x.shape[0], x.shape[1:].numel()
    state = state_dtype(x.dtype)
    grad_x = empty_sequence(x)
    launch_neurons(
        spikeops_tssl_bp_backward_kernel, N, x, grad_psc=like_sequence(grad_psc, x), x=x, grad_x=grad_x, T=T,
        # The membrane potential is kept where its gradient will be written, unless the data is narrower than the state.
        u_history=grad_x if x.dtype == state else empty_sequence(x, dtype=state),
        quiet_history=x.new_empty(triton.cdiv(T, STEPS_PER_WORD.value), N, dtype=torch.uint32),
        theta_m=1 / tau_m, theta_s=1 / tau_s, one_minus_theta_m=1 - 1 / tau_m, one_minus_theta_s=1 - 1 / tau_s,
        threshold=threshold, fire_level=next_above(threshold, state), quiet_level=1 / (4 * tau_s),
        STATE=triton_state(x.dtype),
    )  # fmt: skip
    return grad_x
