"""Surrogate derivatives of the spike function.

A spike is ``s = Heaviside(u - threshold)``, whose derivative is zero almost everywhere. Training replaces the derivative by a
smooth bump around the threshold (Neftci, Mostafa & Zenke, IEEE Signal Processing Magazine 2019). Each class here is one bump,
written in terms of ``d = u - threshold``; all work in every backend.

All take two more numbers, by keyword: ``height``, a factor, and ``center``, the distance from the threshold at which the bump lies:
``height * f(d - center)``. The first seven classes are for every op, with a center of 0; the others, and other centers, for
:func:`spikeops.functional.lif` and its modules.

>>> spikeops.surrogate.ATan(2.0).derivative(torch.tensor([0.0]))
tensor([1.])
>>> spikeops.surrogate.ATan(2.0, height=0.5).derivative(torch.tensor([0.0]))
tensor([0.5000])
"""

from spikeops.surrogate._base import Surrogate
from spikeops.surrogate._bumps import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, SuperSpike, Triangle
from spikeops.surrogate._of_lif import (
    Heaviside,
    MultiGaussian,
    PeriodicExponential,
    SingleExponential,
    Step,
    StraightThrough,
    Window,
)

__all__ = [
    "ATan", "Exponential", "FastSigmoid", "Gaussian", "Heaviside", "MultiGaussian", "PeriodicExponential", "Rectangle", "Sigmoid",
    "SingleExponential", "Step", "StraightThrough", "SuperSpike", "Surrogate", "Triangle", "Window",
]  # fmt: skip
