"""Self-test of an installed package: every op on every backend that can be used here, against its definition.

The tests of the repository do that thoroughly; this says in a second whether a library on a machine computes what it should.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spikeops._backend import backend
from spikeops._devices import backends
from spikeops._samples import SAMPLES, Sample

# Sizes that leave a part of a vector, of a block and of a segment in time over.
SIZES = ((5, 129), (33, 1000))
# Sums of float32 in another order: a few units in the last place (2^-24) of each of up to 33 steps, with room for exp by another library.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Finding:
    """What came of one op on one backend.

    Attributes:
        op: its name.
        backend: ``native`` or ``triton``.
        device: where.
        fault: what is wrong, empty if nothing is.
    """

    op: str
    backend: str
    device: str
    fault: str


def usable() -> list[tuple[str, str]]:
    """(backend, device) of all that can be used here."""
    found = backends()
    pairs = [("native", "cpu")]
    for name, key in (("native", "cuda"), ("triton", "triton")):
        pairs += [(name, f"cuda:{index}") for index, reason in enumerate(found[key].get("reasons", ())) if not reason]
    return pairs


def check(samples: list[Sample] = SAMPLES) -> list[Finding]:
    """Compare outputs and gradients of each sample with those of the reference, on each backend and device that can be used.

    >>> [finding for finding in spikeops.checkup.check() if finding.fault]
    []
    """
    return [
        Finding(sample.name, name, device, _fault(sample, name, torch.device(device))) for name, device in usable() for sample in samples
    ]


def _fault(sample: Sample, name: str, device: torch.device) -> str:
    try:
        for T, N in SIZES:
            x = sample.x(T, N, device, torch.float32)
            with backend("reference"):
                wanted, wanted_gradient = both(sample, x)
            with backend(name):
                output, gradient = both(sample, x)
            if sample.is_exact and not torch.equal(output, wanted):
                return f"{int((output != wanted).sum())} of {output.numel()} outputs differ at T x N = {T} x {N}"
            for what, got, right in (("outputs", output, wanted), ("gradients", gradient, wanted_gradient)):
                error = _difference(got, right)
                if not error <= TOLERANCE:
                    return f"{what} differ by {error:.1e} of the largest at T x N = {T} x {N}, expected at most {TOLERANCE:.0e}"
    except Exception as error:  # of any kind: this reports what is wrong with an installation
        return f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return ""


def both(sample: Sample, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output, and the gradient of x for one gradient of the output."""
    x = x.detach().requires_grad_()
    output = sample.call(x)
    upstream = torch.linspace(-1, 1, output.numel(), dtype=torch.float32).to(output.device, output.dtype).view_as(output)
    return output.detach(), torch.autograd.grad(output, x, upstream)[0]


def _difference(got: Tensor, right: Tensor) -> float:
    return float((got.double() - right.double()).abs().max() / right.double().abs().max().clamp_min(1e-30))
