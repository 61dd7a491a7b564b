"""First-order synapse and its adjoint (kernels/math/synapse.h)."""

import triton.language as tl

from spikeops.functional._layout import empty_sequence, time_major
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, scalar, synapse_backward_step, synapse_step


@sized_kernel
def spikeops_synaptic_filter_kernel(
    source, filtered, T: tl.int64, N: tl.int64, theta_s: tl.float64, one_minus_theta_s: tl.float64,
    ADJOINT: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The filter forwards in time, or its adjoint backwards in time."""
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    theta_s, one_minus_theta_s = scalar(theta_s, STATE), scalar(one_minus_theta_s, STATE)
    a = tl.zeros((BLOCK,), STATE)
    for step in range(T):
        t = T - 1 - step if ADJOINT else step
        value = tl.load(source + t * N + n, mask).to(STATE)
        a = synapse_backward_step(a, value, theta_s, one_minus_theta_s) if ADJOINT else synapse_step(a, value, theta_s)
        tl.store(filtered + t * N + n, a, mask)


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
