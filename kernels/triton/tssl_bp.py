"""TSSL-BP neurons (kernels/math/tssl_bp.h): forward, and the O(T) recursion backward."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import empty_sequence, like_sequence, time_major
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
from spikeops.triton._walk import launch_back, walk, walk_back


class TsslBp(NamedTuple):
    """Numbers of the layer, in the precision of the state."""

    theta_m: tl.tensor
    theta_s: tl.tensor
    one_minus_theta_m: tl.tensor
    one_minus_theta_s: tl.tensor
    threshold: tl.tensor
    fire_level: tl.tensor
    quiet_level: tl.tensor


@triton.jit
def _step(neuron, OPTIONS: tl.constexpr, state, inputs):
    """State: membrane potential after the reset, post-synaptic current. Kept: potential before the reset, its change in this step,
    whether the neuron counts as quiet. Outputs: current, spike."""
    v, a = state
    du = inputs[0] - neuron.theta_m * v
    u = v + du
    fires = u >= neuron.fire_level
    spike = fires.to(u.dtype)
    a = synapse_step(a, spike, neuron.theta_s)
    return (tl.where(fires, 0.0, u), a), (u, du, a < neuron.quiet_level), (a, spike)


@triton.jit
def _step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    """Carry: of the current and of the membrane potential."""
    u, du, quiet = kept
    g = synapse_backward_step(carry[0], grads[0], neuron.theta_s, neuron.one_minus_theta_s)
    distance = tl.abs((neuron.threshold - u) * 5.0)
    e = exp_bounded(-tl.where(distance > 8.0, 8.0, distance))
    d = 1.0 + e
    quiet_slope = divide(5.0 * e, d * d)
    # d spike time / d membrane; infinite where du = 0, which the clamp takes care of
    reciprocal = divide(tl.full(du.shape, -1.0, du.dtype), du)
    slope = tl.where(reciprocal < -8.0, -8.0, reciprocal)
    slope = tl.where(slope > 0.0, 0.0, slope)
    at_spike = carry[1] * u * (-neuron.theta_m) * slope - slope * g
    inter = tl.where(u >= neuron.fire_level, at_spike, carry[1] * neuron.one_minus_theta_m)
    return (g, inter), tl.where(quiet, g * quiet_slope, inter), ()


@triton.jit
def _neuron(
    theta_m, theta_s, one_minus_theta_m, one_minus_theta_s, threshold, fire_level, quiet_level, STATE: tl.constexpr,
):  # fmt: skip
    return TsslBp(
        scalar(theta_m, STATE), scalar(theta_s, STATE), scalar(one_minus_theta_m, STATE), scalar(one_minus_theta_s, STATE),
        scalar(threshold, STATE), scalar(fire_level, STATE), scalar(quiet_level, STATE),
    )  # fmt: skip


@sized_kernel
def spikeops_tssl_bp_forward_kernel(
    x, psc, spikes, T: tl.int64, N: tl.int64, theta_m: tl.float64, theta_s: tl.float64, fire_level: tl.float64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = _neuron(theta_m, theta_s, 0.0, 0.0, 0.0, fire_level, 0.0, STATE)
    zero = tl.zeros((BLOCK,), STATE)
    walk(_step, neuron, None, (zero, zero), (x,), (block.N,), (psc,) if spikes is None else (psc, spikes), T, block, STATE)


@sized_kernel
def spikeops_tssl_bp_backward_kernel(
    grad_psc, x, checkpoints, grad_x, T: tl.int64, N: tl.int64,
    theta_m: tl.float64, theta_s: tl.float64, one_minus_theta_m: tl.float64, one_minus_theta_s: tl.float64,
    threshold: tl.float64, fire_level: tl.float64, quiet_level: tl.float64,
    STATES: tl.constexpr, SEGMENT: tl.constexpr, VALUES: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK, VALUES)
    neuron = _neuron(theta_m, theta_s, one_minus_theta_m, one_minus_theta_s, threshold, fire_level, quiet_level, STATE)
    zero = tl.zeros((BLOCK,), STATE)
    walk_back(
        _step, None, _step_back, None, neuron, None, (zero, zero), (zero, zero), (), (x,), (block.N,), (grad_psc,), grad_x, None,
        checkpoints, T, block, STATES, SEGMENT, STATE, False,
    )  # fmt: skip


def tssl_bp_forward(x, tau_m, tau_s, threshold, return_spikes):
    x = time_major(x)
    psc = empty_sequence(x)
    spikes = empty_sequence(x) if return_spikes else None
    launch_neurons(
        spikeops_tssl_bp_forward_kernel, x.shape[1:].numel(), x, x=x, psc=psc, spikes=spikes, T=x.shape[0],
        theta_m=1 / tau_m, theta_s=1 / tau_s, fire_level=next_above(threshold, state_dtype(x.dtype)),
        STATE=triton_state(x.dtype),
    )  # fmt: skip
    return psc, spikes


def tssl_bp_backward(grad_psc, x, tau_m, tau_s, threshold):
    x = time_major(x)
    grad_x = empty_sequence(x)
    launch_back(
        spikeops_tssl_bp_backward_kernel, x.shape[1:].numel(), x, x.shape[0], states=2, kept=3,
        grad_psc=like_sequence(grad_psc, x), x=x, grad_x=grad_x,
        theta_m=1 / tau_m, theta_s=1 / tau_s, one_minus_theta_m=1 - 1 / tau_m, one_minus_theta_s=1 - 1 / tau_s,
        threshold=threshold, fire_level=next_above(threshold, state_dtype(x.dtype)), quiet_level=1 / (4 * tau_s),
        STATE=triton_state(x.dtype),
    )  # fmt: skip
    return grad_x
