"""kernels/math again in Triton: the same operations in the same order."""

import functools
import math
from typing import NamedTuple

import torch
import triton
import triton.language as tl

# Numbers of kernels/math/lif.h and kernels/math/surrogate.h.
RESET_SUBTRACT = tl.constexpr(0)
RESET_TO = tl.constexpr(1)
WEIGHTING_DECAY = tl.constexpr(1)
ATAN = tl.constexpr(0)
SIGMOID = tl.constexpr(1)
EXPONENTIAL = tl.constexpr(2)
FAST_SIGMOID = tl.constexpr(3)
TRIANGLE = tl.constexpr(4)
RECTANGLE = tl.constexpr(5)
GAUSSIAN = tl.constexpr(6)
# Of kernels/math/surrogate_of_lif.h.
MULTI_GAUSSIAN = tl.constexpr(8)


@functools.lru_cache(maxsize=1024)
def next_above(x: float, dtype: torch.dtype) -> float:
    """The smallest number of this precision above x, once x is rounded to it."""
    rounded, above = torch.tensor([x, math.inf], dtype=dtype, device="cpu")
    return torch.nextafter(rounded, above).item()


@triton.jit
def scalar(x, STATE: tl.constexpr):
    """A float64 kernel argument, rounded to the state's precision."""
    return tl.full((), x, tl.float64).to(STATE)


@triton.jit
def low_word(x):
    """The low 32 bits of int64."""
    return (x & 0xFFFFFFFF).to(tl.uint32)


class Block(NamedTuple):
    """The neurons of a program: of how many; their places in memory order; which of them exist."""

    N: tl.tensor
    n: tl.tensor
    mask: tl.tensor


@triton.jit
def block_of_neurons(N, ALIGNED: tl.constexpr, BLOCK: tl.constexpr, VALUES: tl.constexpr = 16):
    """This program's neurons. VALUES: how many of them a thread accesses at a time, at most; a power of 2 up to 16."""
    if ALIGNED:
        # The same number; the compiler now sees that rows keep the alignment of the first, and vectorises.
        N = N // VALUES * VALUES
    n = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    return Block(N, n, n < N)


@triton.jit
def load_decay(tensor, number, block, IS_SHARED: tl.constexpr, STATE: tl.constexpr):
    """That of a layer, a number or a tensor of one, or one of each neuron."""
    if tensor is None:
        return scalar(number, STATE)
    elif IS_SHARED:
        return tl.load(tensor).to(STATE)
    else:
        return tl.load(tensor + block.n, block.mask)


@triton.jit
def load_step(values, n, mask, BLOCK: tl.constexpr, STATE: tl.constexpr):
    """One state value per neuron; zeros where the pointer is absent."""
    if values is None:
        return tl.zeros((BLOCK,), STATE)
    else:
        return tl.load(values + n, mask)


@triton.jit
def fires(u, threshold, STRICT: tl.constexpr):
    if STRICT:
        return u > threshold
    else:
        return u >= threshold


@triton.jit
def reset_amount(neuron, threshold, IS_THRESHOLD: tl.constexpr):
    if IS_THRESHOLD:
        return threshold
    else:
        return neuron.reset_amount


@triton.jit
def reset(u, fired, amount, v_reset, RESET: tl.constexpr):
    """The membrane potential after the reset of those that fired."""
    if RESET == RESET_SUBTRACT:
        return tl.where(fired, u - amount, u)
    elif RESET == RESET_TO:
        return tl.where(fired, v_reset, u)
    else:
        return u


@triton.jit
def divide(a, b):
    """IEEE division: the operator `/` is approximate in float32."""
    if a.dtype == tl.float64:
        return a / b
    else:
        return tl.div_rn(a, b)


@triton.jit
def exp_bounded(x):
    """exp(x) for x in [-87, 0], as kernels/math/exp.h: a power of two times a polynomial of the rest. float64: any x."""
    if x.dtype == tl.float64:
        return tl.exp(x)
    else:
        shifted = x * 1.44269504 + 12582912.0
        n = shifted - 12582912.0
        r = (x - n * 0.693359375) - n * -2.12194440e-4
        p = r * 0.008312501013278961 + 0.041890330612659454
        p = p * r + 0.16667115688323975
        p = p * r + 0.499992311000824
        p = p * r + 1.0
        p = p * r + 1.0
        power_of_two = (shifted.to(tl.int32, bitcast=True) + (127 - 0x4B400000)) << 23
        return p * power_of_two.to(tl.float32, bitcast=True)


@triton.jit
def exp_nonpositive(x):
    """exp(x) for any x <= 0; in float32 it is 0 under exp(-87)."""
    if x.dtype == tl.float64:
        return exp_bounded(x)
    else:
        return tl.where(x < -87.0, 0.0, exp_bounded(x))


@triton.jit
def surrogate_derivative(distance, scale, peak, SURROGATE: tl.constexpr):
    """d spike / d membrane at distance = membrane - threshold (kernels/math/surrogate.h)."""
    if SURROGATE == ATAN:
        z = scale * distance
        return divide(peak, 1.0 + z * z)
    elif SURROGATE == SIGMOID:
        e = exp_nonpositive(-(scale * tl.abs(distance)))
        d = 1.0 + e
        return divide(peak * 4.0 * e, d * d)
    elif SURROGATE == EXPONENTIAL:
        return peak * exp_nonpositive(-(scale * tl.abs(distance)))
    elif SURROGATE == FAST_SIGMOID:
        d = 1.0 + scale * tl.abs(distance)
        return divide(peak, d * d)
    elif SURROGATE == TRIANGLE:
        height = 1.0 - scale * tl.abs(distance)
        return tl.where(height < 0.0, 0.0, peak * height)
    elif SURROGATE == RECTANGLE:
        d = tl.abs(distance)
        return tl.where(d <= scale, peak, tl.where(d > scale, 0.0, d))
    else:
        return peak * exp_nonpositive(-(scale * distance * distance))


@triton.jit
def surrogate_at_distance(numbers, distance, threshold, SURROGATE: tl.constexpr, IN_THRESHOLDS: tl.constexpr):
    """That of a neuron in the general form, but for its height in thresholds, where it is a function of the distance
    (kernels/math/surrogate_of_lif.h)."""
    if SURROGATE == MULTI_GAUSSIAN:
        d = distance - numbers.center
        left = d + numbers.c
        right = d - numbers.c
        sides = exp_nonpositive(-(numbers.b * right * right)) + exp_nonpositive(-(numbers.b * left * left))
        return numbers.peak * exp_nonpositive(-(numbers.scale * d * d)) - numbers.a * sides
    else:
        d = distance
        if IN_THRESHOLDS % 2 == 1:
            d = divide(d, threshold)
        return surrogate_derivative(d - numbers.center, numbers.scale, numbers.peak, SURROGATE)


@triton.jit
def synapse_step(a, x, theta_s):
    """First-order synapse: kernels/math/synapse.h."""
    return a + theta_s * (x - a)


@triton.jit
def synapse_backward_step(following, grad_a, theta_s, one_minus_theta_s):
    return theta_s * grad_a + one_minus_theta_s * following
