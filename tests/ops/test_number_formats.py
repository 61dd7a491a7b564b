"""kernels/math: conversions between float32 and the 16-bit formats, and exp, seen through ops that do nothing else."""

import pytest
import torch
from op_tests.compare import assert_identical

import spikeops.functional as SF
from spikeops.surrogate import Exponential, Rectangle

HALVES = (torch.float16, torch.bfloat16)


def all_patterns(dtype):
    return torch.arange(-(2**15), 2**15, dtype=torch.int32).to(torch.int16).view(dtype)


def widen(x):
    """16-bit numbers as float32: one time step of a neuron without decay and reset leaves them in v_last."""
    return SF.lif(x[None], decay=0.0, reset="none")[1]


def narrow(x, dtype):
    """float32 numbers rounded to 16 bits: an upstream gradient of v_last comes out as the gradient of a 16-bit input."""
    silent = torch.zeros(1, len(x), dtype=dtype, device=x.device, requires_grad=True)
    _, v_last = SF.lif(silent, decay=0.0, reset="none", surrogate=Rectangle(1.0))
    return torch.autograd.grad(v_last, silent, x)[0][0]


def assert_same_numbers(actual, expected, what):
    """Equal, or NaN on both sides. Zeros of either sign are equal."""
    assert_identical(actual + 0.0, expected + 0.0, what)  # -0 + 0 = 0


@pytest.mark.parametrize("dtype", HALVES)
def test_widening_all_patterns(device, dtype):
    x = all_patterns(dtype)
    assert_same_numbers(widen(x.to(device)), x.float(), "float32")


@pytest.mark.parametrize("dtype", HALVES)
def test_narrowing_around_every_pattern(device, dtype):
    """All 16-bit numbers, the numbers half way between neighbours (ties), and the float32 numbers next to both."""
    numbers = all_patterns(dtype).float()
    numbers = numbers[numbers.isfinite()].sort().values
    # Half way: the largest finite number has no neighbour but infinity, one step further on.
    step = numbers[-1] - numbers[-2]
    ties = (numbers[1:].double() + numbers[:-1].double()) / 2
    ties = torch.cat([ties, (numbers[-1:].double() + step / 2), -(numbers[-1:].double() + step / 2)]).float()
    exact = torch.cat([numbers, ties])
    infinity = torch.tensor(float("inf"))
    x = torch.cat([exact, torch.nextafter(exact, infinity), torch.nextafter(exact, -infinity)])
    assert_same_numbers(narrow(x.to(device), dtype), x.to(dtype), str(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_narrowing_random_patterns_and_special_values(device, draw, dtype):
    bits = torch.randint(-(2**31), 2**31, (200_000,), generator=draw).to(torch.int32)
    special = torch.tensor(
        [0.0, -0.0, float("inf"), float("-inf"), float("nan"), 1e-45, -1e-45, 65504, 65519.99, 65520, 3.4e38, 2**-25]
    )
    x = torch.cat([bits.view(torch.float32), special])
    assert_same_numbers(narrow(x.to(device), dtype), x.to(dtype), str(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_round_trip_of_all_patterns(device, dtype):
    """A synapse with tau_s = 1 passes its input on."""
    x = all_patterns(dtype)
    assert_same_numbers(SF.synaptic_filter(x[None].to(device), 1.0)[0], x, str(dtype))


def exp_through_the_surrogate(x):
    """exp(x) for x <= 0: the gradient of one spike at distance x from the threshold 0."""
    x = x[None].requires_grad_()
    spikes, _ = SF.lif(x, 0.0, 0.0, surrogate=Exponential(1.0))
    return torch.autograd.grad(spikes, x, torch.ones_like(spikes))[0][0]


def test_exp_float32(device):
    x = -torch.cat([torch.linspace(0, 87, 200_001), torch.logspace(-40, 1.9, 20_001, dtype=torch.float64).float()])
    expected = x.double().exp()
    error = (exp_through_the_surrogate(x.to(device)).cpu().double() / expected - 1).abs().max()
    # kernels/math/exp.h promises 2e-7 for exp itself; the rest is room for rounding the argument.
    assert error < 4e-7


def test_exp_float32_far_below(device):
    """0 under exp(-87), neither the garbage of an exponent that does not fit nor NaN."""
    values = exp_through_the_surrogate(-torch.tensor([87.5, 100.0, 1e4, 3e38, torch.inf], device=device)).cpu()
    assert_identical(values, torch.zeros(5), "exp")
    assert exp_through_the_surrogate(-torch.tensor([87.0], device=device)).item() > 1.6e-38


def test_exp_float64(device):
    x = -torch.linspace(0, 700, 100_001, dtype=torch.float64)
    actual = exp_through_the_surrogate(x.to(device)).cpu()
    assert (actual / x.exp() - 1).abs().max() < 1e-15
