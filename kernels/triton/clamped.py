"""Neurons that stop at their threshold (kernels/math/clamped.h)."""

import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import dense, empty_step
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, divide, scalar


@sized_kernel
def spikeops_clamped_forward_kernel(
    x, threshold, count, potential, T: tl.int64, N: tl.int64, columns: tl.int64, width: tl.int64, dt: tl.float64, leak: tl.float64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Neuron n has the threshold of channel n // width % columns."""
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    dt, leak = scalar(dt, STATE), scalar(leak, STATE)
    value = tl.load(x + n, mask).to(STATE)
    limit = tl.load(threshold + n // width % columns, mask)
    command, later = divide(value, dt), (value + value) * leak
    v = tl.zeros((BLOCK,), STATE)
    spikes = tl.zeros((BLOCK,), STATE)
    for _ in range(T):
        v = v + dt * (-leak * v + command)
        fires = v > limit
        v = tl.where(fires, v - (v - limit), v)
        spikes += fires.to(STATE)
        command = later
    tl.store(count + n, spikes, mask)
    tl.store(potential + n, v, mask)


def clamped_lif_forward(x, threshold, numbers, T):
    x, state = dense(x), state_dtype(x.dtype)
    channels = x.shape[1]
    count, v = empty_step(x.unsqueeze(0)), empty_step(x.unsqueeze(0), state)
    launch_neurons(
        spikeops_clamped_forward_kernel, x.numel(), x, x=x, threshold=threshold.to(state).contiguous(), count=count, potential=v, T=T,
        columns=channels, width=x.stride(1) if channels > 1 else 1, dt=numbers[0], leak=numbers[1], STATE=triton_state(x.dtype),
    )  # fmt: skip
    return count, v
