"""Each surrogate's derivative in the kernels against its definition in spikeops/surrogate."""

import math

import pytest
import torch
from op_tests.compare import assert_close

import spikeops.functional as SF
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

PARAMETERS = (0.25, 1.0, 2.0, 25.0)
SURROGATES = [
    kind(value) for kind in (ATan, Sigmoid, Exponential, FastSigmoid, Triangle, Rectangle, Gaussian) for value in PARAMETERS
]
# Below, at and above the threshold; 0.125, 0.5, 1 and 12.5 are the borders of the rectangles and triangles.
DISTANCES = [-50.0, -12.5, -3.0, -1.0, -0.5, -0.25, -0.125, -0.01, 0.0, 0.01, 0.125, 0.25, 0.5, 1.0, 3.0, 12.5, 50.0]


def derivative_in_the_kernel(surrogate, distance, threshold):
    x = (distance + threshold)[None].requires_grad_()
    spikes, _ = SF.lif(x, 0.0, threshold, reset="none", surrogate=surrogate)
    return torch.autograd.grad(spikes, x, torch.ones_like(spikes))[0][0]


@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("threshold", [0.0, 1.0])
def test_matches_the_definition(device, surrogate, dtype, threshold):
    distance = torch.tensor(DISTANCES, dtype=dtype)
    if threshold:
        distance = (distance + threshold) - threshold  # what is left of it in the membrane
    expected = surrogate.derivative(distance.double()).to(dtype)
    assert_close(derivative_in_the_kernel(surrogate, distance.to(device), threshold), expected, str(surrogate))


@pytest.mark.parametrize("surrogate", SURROGATES, ids=str)
def test_tails_have_the_right_relative_size(device, surrogate):
    """The comparison above is relative to the peak; here each value counts."""
    distance = torch.tensor([-4.0, -2.0, -1.0, -0.3, 0.0, 0.3, 1.0, 2.0, 4.0])
    expected = surrogate.derivative(distance.double())
    actual = derivative_in_the_kernel(surrogate, distance.to(device), 0.0).cpu().double()
    # exp(-x) turns the rounding of x into a relative error of x * 2^-24; up to x = 87 that is 5e-6. Below exp(-87) = 1.6e-38 it is
    # 0, and the sigmoid's peak is a quarter of its exp.
    assert ((actual - expected).abs() <= 1e-5 * expected + surrogate.coefficients[2] * 7e-38).all()


def test_rectangle_includes_its_border(device):
    inside = torch.tensor([-0.5, 0.5], device=device)
    outside = torch.tensor([math.nextafter(0.5, 1), -math.nextafter(0.5, 1)], dtype=torch.float64, device=device)
    assert derivative_in_the_kernel(Rectangle(1.0), inside, 0.0).tolist() == [1, 1]
    assert derivative_in_the_kernel(Rectangle(1.0), outside, 0.0).tolist() == [0, 0]


@pytest.mark.parametrize("surrogate", SURROGATES[1::4], ids=str)
@pytest.mark.parametrize("distance", [float("inf"), 1e30, -1e30])
def test_far_away_is_finite(device, surrogate, distance):
    values = derivative_in_the_kernel(surrogate, torch.tensor([distance], device=device), 0.0)
    assert values.isfinite().all() and (values >= 0).all() and (values < 1e-3).all()
