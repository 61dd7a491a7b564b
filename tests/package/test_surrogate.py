"""The surrogate objects: shapes of the bumps, their coefficients, and refused parameters."""

import dataclasses
import math

import pytest
import torch

import spikeops
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Surrogate, Triangle

KINDS = [ATan, Sigmoid, Exponential, FastSigmoid, Triangle, Rectangle, Gaussian]
# Integral over all distances, as a function of the parameter.
AREAS = {ATan: lambda a: 1, Sigmoid: lambda a: 1, Exponential: lambda a: 2 / a, FastSigmoid: lambda a: 2 / a, Triangle: lambda a: 1,
         Rectangle: lambda a: 1, Gaussian: lambda a: 1}  # fmt: skip
PEAKS = {ATan: lambda a: a / 2, Sigmoid: lambda a: a / 4, Exponential: lambda a: 1, FastSigmoid: lambda a: 1, Triangle: lambda a: 1 / a,
         Rectangle: lambda a: 1 / a, Gaussian: lambda a: 1 / (a * math.sqrt(2 * math.pi))}  # fmt: skip
VALUES = (0.5, 1.0, 3.0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", VALUES)
def test_bump(kind, value):
    """Symmetric, falling on both sides, with the peak and the area of its definition."""
    surrogate = kind(value)
    half = torch.cat(
        [torch.linspace(0, 20, 400_001, dtype=torch.float64), torch.logspace(math.log10(20.01), 7, 20_000, dtype=torch.float64)]
    )
    right, left = surrogate.derivative(half), surrogate.derivative(-half)
    torch.testing.assert_close(right, left, rtol=1e-12, atol=1e-300)
    assert (right.diff() <= 0).all() and (right >= 0).all()
    peak = PEAKS[kind](value)
    assert right[0].item() == pytest.approx(peak)
    # Trapezoids: the error is that of the jump of the rectangle, half a step of 5e-5 wide.
    assert 2 * torch.trapezoid(right, half).item() == pytest.approx(AREAS[kind](value), rel=5e-4)


@pytest.mark.parametrize("kind, distance, expected", [
    (ATan(2.0), 1 / math.pi, 0.5), (Sigmoid(4.0), 0.25, 4 * math.e / (1 + math.e) ** 2), (Exponential(1.0), 1.0, 1 / math.e),
    (FastSigmoid(25.0), 0.04, 0.25), (Triangle(2.0), 1.0, 0.25), (Rectangle(1.0), 0.5, 1.0), (Rectangle(1.0), 0.51, 0.0),
    (Gaussian(0.5), 0.5, math.exp(-0.5) / (0.5 * math.sqrt(2 * math.pi))),
], ids=str)  # fmt: skip
def test_known_values(kind, distance, expected):
    assert kind.derivative(torch.tensor(distance, dtype=torch.float64)).item() == pytest.approx(expected)


def test_kinds_have_different_numbers():
    """The numbers are those of kernels/math/surrogate.h."""
    assert [kind().coefficients[0] for kind in KINDS] == list(range(7))


@pytest.mark.parametrize("kind", KINDS)
def test_objects(kind):
    surrogate = kind(0.75)
    assert surrogate == kind(0.75) and hash(surrogate) == hash(kind(0.75)) and surrogate != kind(0.5)
    assert surrogate.name == kind.__name__ and isinstance(surrogate, Surrogate)
    name = dataclasses.fields(kind)[0].name
    assert repr(surrogate) == f"{kind.__name__}({name}=0.75)"
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(surrogate, name, 1.0)
    assert set(spikeops.surrogate.__all__) == {"Surrogate", *(k.__name__ for k in KINDS)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, -1.0, float("nan"), float("inf")])
def test_refused_values(kind, value):
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(ValueError, match=f"{kind.__name__}: expected {name} to be finite and above 0, got {value}"):
        kind(value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [True, "2", None, torch.tensor(1.0)], ids=lambda v: type(v).__name__)
def test_refused_types(kind, value):
    name = dataclasses.fields(kind)[0].name
    with pytest.raises(TypeError, match=f"{kind.__name__}: expected {name} to be a number, got {type(value).__name__}"):
        kind(value)
