"""First-order synapse and its adjoint (kernels/math/synapse.h)."""

from typing import NamedTuple

import triton
import triton.language as tl

from spikeops._layout import empty_sequence, time_major
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, scalar, synapse_backward_step, synapse_step
from spikeops.triton._walk import walk


class Synapse(NamedTuple):
    theta_s: tl.tensor
    one_minus_theta_s: tl.tensor


@triton.jit
def _step(neuron, ADJOINT: tl.constexpr, state, inputs):
    if ADJOINT:
        a = synapse_backward_step(state[0], inputs[0], neuron.theta_s, neuron.one_minus_theta_s)
    else:
        a = synapse_step(state[0], inputs[0], neuron.theta_s)
    return (a,), (), (a,)


@sized_kernel
def spikeops_synaptic_filter_kernel(
    source, filtered, T: tl.int64, N: tl.int64, theta_s: tl.float64, one_minus_theta_s: tl.float64,
    ADJOINT: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The filter forwards in time, or its adjoint, which needs no history, backwards in time."""
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = Synapse(scalar(theta_s, STATE), scalar(one_minus_theta_s, STATE))
    state = (tl.zeros((BLOCK,), STATE),)
    walk(_step, neuron, ADJOINT, state, (source,), (block.N,), (filtered,), T, block, STATE, BACK_IN_TIME=ADJOINT)


def _filter(x, tau_s, adjoint):
    x = time_major(x)
    out = empty_sequence(x)
    launch_neurons(
        spikeops_synaptic_filter_kernel, x.shape[1:].numel(), x, source=x, filtered=out, T=x.shape[0],
        theta_s=1 / tau_s, one_minus_theta_s=1 - 1 / tau_s, ADJOINT=adjoint, STATE=triton_state(x.dtype),
    )  # fmt: skip
    return out


def synaptic_filter_forward(x, tau_s):
    return _filter(x, tau_s, adjoint=False)


def synaptic_filter_backward(grad_psc, tau_s):
    return _filter(grad_psc, tau_s, adjoint=True)
