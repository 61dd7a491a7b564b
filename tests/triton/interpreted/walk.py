"""The walk through time and back with a neuron of more than one state and more than one learnable number per neuron: a linear
filter of second order, whose gradients autograd knows."""

import pytest
import torch
import triton
import triton.language as tl

from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons
from spikeops.triton._walk import launch_back, segments, walk, walk_back


@triton.jit
def step(neuron, OPTIONS: tl.constexpr, state, inputs):
    decay, coupling = neuron
    a = decay * state[0] + inputs[0]
    b = decay * state[1] + coupling * a
    return (a, b), (a, b), (b,)


@triton.jit
def after(neuron, OPTIONS: tl.constexpr, kept):
    return kept


@triton.jit
def step_back(neuron, OPTIONS: tl.constexpr, carry, before, kept, inputs, grads):
    decay, coupling = neuron
    grad_b = carry[1] + grads[0]
    grad_a = carry[0] + grad_b * coupling
    of_decay = grad_a * before[0] + grad_b * before[1]
    return (grad_a * decay, grad_b * decay), grad_a, (of_decay, grad_b * kept[0])


@sized_kernel
def filter_kernel(
    x, a, b, decay, coupling, out, T: tl.int64, N: tl.int64, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK)
    neuron = (tl.load(decay + block.n, block.mask), tl.load(coupling + block.n, block.mask))
    state = (tl.load(a + block.n, block.mask), tl.load(b + block.n, block.mask))
    state = walk(step, neuron, None, state, (x,), (block.N,), (out,), T, block, STATE)
    tl.store(a + block.n, state[0], block.mask)
    tl.store(b + block.n, state[1], block.mask)


@sized_kernel
def filter_back_kernel(
    grad, grad_a, grad_b, x, a, b, decay, coupling, grad_x, grad_decay, grad_coupling, checkpoints, T: tl.int64, N: tl.int64,
    STATES: tl.constexpr, SEGMENT: tl.constexpr, VALUES: tl.constexpr, STATE: tl.constexpr, ALIGNED: tl.constexpr,
    BLOCK: tl.constexpr,
):  # fmt: skip
    block = block_of_neurons(N, ALIGNED, BLOCK, VALUES)
    neuron = (tl.load(decay + block.n, block.mask), tl.load(coupling + block.n, block.mask))
    state = (tl.load(a + block.n, block.mask), tl.load(b + block.n, block.mask))
    carry = (tl.load(grad_a + block.n, block.mask), tl.load(grad_b + block.n, block.mask))
    zero = tl.zeros((BLOCK,), STATE)
    carry, parameters = walk_back(
        step, after, step_back, None, neuron, None, state, carry, (zero, zero), (x,), (block.N,), (grad,), grad_x, None,
        checkpoints, T, block, STATES, SEGMENT, STATE, False,
    )  # fmt: skip
    tl.store(grad_a + block.n, carry[0], block.mask)
    tl.store(grad_b + block.n, carry[1], block.mask)
    tl.store(grad_decay + block.n, parameters[0], block.mask)
    tl.store(grad_coupling + block.n, parameters[1], block.mask)


# Within a segment, a whole one, and several of which the last is whole, has one step, or lacks one.
@pytest.mark.parametrize("T", [1, 3, 4, 5, 16, 17, 31, 32, 50])
def test_two_states_and_two_parameters(draw, T):
    N = 70
    x = torch.randn(T, N, generator=draw, dtype=torch.float64)
    a, b, decay, coupling, grad_a, grad_b = torch.rand(6, N, generator=draw, dtype=torch.float64)
    grad = torch.randn(T, N, generator=draw, dtype=torch.float64)

    leaves = [tensor.clone().requires_grad_() for tensor in (x, a, b, decay, coupling)]
    _, state_a, state_b, *_ = leaves
    outputs = []
    for row in leaves[0]:
        state_a = leaves[3] * state_a + row
        state_b = leaves[3] * state_b + leaves[4] * state_a
        outputs.append(state_b)
    expected = torch.autograd.grad([torch.stack(outputs), state_a, state_b], leaves, [grad, grad_a, grad_b])

    STATE = triton_state(x.dtype)
    out, last_a, last_b = torch.empty_like(x), a.clone(), b.clone()
    launch_neurons(filter_kernel, N, x, x=x, a=last_a, b=last_b, decay=decay, coupling=coupling, out=out, T=T, STATE=STATE)
    grad_x, grad_decay, grad_coupling = torch.empty_like(x), torch.empty_like(a), torch.empty_like(a)
    launch_back(
        filter_back_kernel, N, x, T, states=2, kept=3, x=x, a=a, b=b, decay=decay, coupling=coupling, grad=grad, grad_a=grad_a,
        grad_b=grad_b, grad_x=grad_x, grad_decay=grad_decay, grad_coupling=grad_coupling, STATE=STATE,
    )  # fmt: skip
    for got, wanted in [(out, torch.stack(outputs)), (last_a, state_a), (last_b, state_b)]:
        torch.testing.assert_close(got, wanted.detach(), rtol=0, atol=0)
    # Autograd adds up in another order: T additions of float64.
    for got, wanted in zip((grad_x, grad_a, grad_b, grad_decay, grad_coupling), expected, strict=True):
        torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12 * float(wanted.abs().max()))


def test_segments():
    """One for short sequences; what a thread keeps of it stays within its registers."""
    for T in range(1, 200):
        for state_bytes in (4, 8):
            for kept in range(1, 7):
                plan = segments(T, state_bytes, kept)
                assert plan.others * plan.steps < T <= (plan.others + 1) * plan.steps
                assert plan.others == 0 or T > 16
                assert plan.values in (1, 2, 4)
                assert plan.values == 1 or plan.steps * plan.values * kept * state_bytes <= 256
