"""The surrogate objects: shapes of the bumps, their coefficients, and refused parameters."""

import dataclasses
import math

import pytest
import torch

import spikeops
from spikeops.surrogate import (
    ATan,
    Exponential,
    FastSigmoid,
    Gaussian,
    Heaviside,
    MultiGaussian,
    PeriodicExponential,
    Rectangle,
    Sigmoid,
    SingleExponential,
    Step,
    StraightThrough,
    SuperSpike,
    Surrogate,
    Triangle,
    Window,
)
from spikeops.surrogate._of_numbers import from_coefficients

KINDS = [ATan, Sigmoid, Exponential, FastSigmoid, Triangle, Rectangle, Gaussian]
# Those for lif alone.
OF_LIF = [Heaviside, MultiGaussian, PeriodicExponential, SingleExponential, Step, StraightThrough, Window]
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
    everything = (*KINDS, SuperSpike, *OF_LIF)
    assert set(spikeops.surrogate.__all__) == {"Surrogate", *(k.__name__ for k in everything)}


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


U = torch.linspace(-3, 5, 4001, dtype=torch.float64)


@pytest.mark.parametrize("kind", [*KINDS, SuperSpike, *OF_LIF])
@pytest.mark.parametrize("threshold", [1.0, 0.7])
def test_height_and_center(kind, threshold):
    """A factor, and a shift; of what is measured in thresholds, a shift of them."""
    plain, other = kind(), kind(height=-0.5, center=0.25)
    shift = 0.25 * threshold if kind in (SingleExponential, Window) else 0.25
    if kind is not PeriodicExponential:  # only its lower part is shifted
        torch.testing.assert_close(other.at(U, threshold), -0.5 * plain.at(U - shift, threshold), rtol=1e-9, atol=1e-9)
    assert not other.suits_every_op and plain.suits_every_op == (kind not in OF_LIF)
    assert repr(other) == repr(plain).replace(")", ("" if repr(plain).endswith("()") else ", ") + "height=-0.5, center=0.25)")
    with pytest.raises(ValueError, match=f"{kind.__name__}: expected height to be finite, got inf"):
        kind(height=float("inf"))


@pytest.mark.parametrize("kind", [*KINDS, SuperSpike, *OF_LIF])
def test_by_coefficients(kind):
    surrogate = kind(height=1.5, center=0.25)
    found = from_coefficients(*surrogate.all_coefficients)
    torch.testing.assert_close(found.at(U, 0.7), surrogate.at(U, 0.7), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("surrogate, u, expected", [
    (SuperSpike(3.0), 2.0, 3 / 4), (Heaviside(0.25), 0.24, 0.0), (Heaviside(0.25), 0.25, 2.0), (Heaviside(0.0), 0.45, 0.0),
    (Window(0, 3), -0.001, 0.0), (Window(0, 3), 0.0, 2.0), (Window(0, 3), 1.5, 2.0), (Window(0, 3), 1.51, 0.0), (Step(0.1, 0.8), 0.49, 0.1),
    (Step(0.1, 0.8), 0.5, 0.8), (StraightThrough(), -7.0, 1.0), (SingleExponential(0.5), 0.75, 4 / math.e),
    (PeriodicExponential(0.5), 0.25, math.exp(-0.5)), (PeriodicExponential(0.5), 1.0, 1.0), (PeriodicExponential(0.5), 1.125, math.exp(-0.5)),
    (PeriodicExponential(0.5), 1.375, math.exp(-0.5)),
    (MultiGaussian(1.0, 0.25, 2.0), 0.5, (1.25 - 0.25 * math.exp(-0.125)) / math.sqrt(2 * math.pi)),
], ids=str)  # fmt: skip
def test_known_values_at_a_threshold_of_a_half(surrogate, u, expected):
    threshold = 1.0 if isinstance(surrogate, SuperSpike) else 0.5
    assert surrogate.at(torch.tensor(u, dtype=torch.float64), threshold).item() == pytest.approx(expected)
