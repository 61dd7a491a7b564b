"""tssl_bp against numbers made by the published code.

Reads tsslbp_function_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden, whose README describes them). Shapes,
hyper-parameters and cases all come from the files.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import spikeops
import spikeops.functional as SF

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")
PATTERN = "tsslbp_function_*.npz"
FILES = sorted(GOLDEN.glob(PATTERN)) or [pytest.param(None, marks=pytest.mark.skip(reason=f"no {PATTERN} in {GOLDEN}"))]

# Multiples of the published code's own rounding noise (float32 run against float64 run of the same file).
NOISE_FACTOR = 20
# In float64 only the order of additions differs.
FLOAT64_TOLERANCE = 1e-12
# Closer than this to the threshold or to 1 / (4 tau_s), relative to the largest magnitude, rounding could change a decision.
UNDECIDED = 2e-6


@pytest.fixture(params=FILES, ids=lambda path: path.stem if path else "none")
def golden(request):
    with np.load(request.param) as arrays:
        return {name: arrays[name] for name in arrays.files}


@pytest.fixture(params=["reference", "backend"])
def implementation(request, backend):
    """The reference, and the backend under test."""
    name = "reference" if request.param == "reference" else backend
    with spikeops.backend(name):
        yield name


def scalar(golden, name):
    return golden[name].item()


def decided(golden):
    """Neurons of which no membrane and no current comes close to a threshold without being exactly at it."""

    def apart(values, threshold):
        distance = np.abs(values - threshold)
        return (distance == 0) | (distance > UNDECIDED * np.abs(values).max())

    membranes = apart(golden["mem_before_reset_f64"], scalar(golden, "threshold"))
    currents = apart(golden["syn_output_f64"], 1 / (4 * scalar(golden, "tau_s")))
    return (membranes & currents).all(-1)


def error(actual, expected, where):
    """Largest difference on the given neurons, relative to the largest magnitude."""
    difference = np.abs(actual.astype(np.float64) - expected.astype(np.float64))[where]
    return difference.max(initial=0) / np.abs(expected).max()


@pytest.mark.parametrize("dtype, suffix", [(torch.float32, "_f32"), (torch.float64, "_f64")], ids=["float32", "float64"])
def test_matches_the_published_code(golden, implementation, device, dtype, suffix):
    x, grad_out = (torch.from_numpy(golden[name]).to(device, dtype).movedim(-1, 0) for name in ("x_input_current", "grad_out"))
    assert len(x) == scalar(golden, "n_steps")
    x.requires_grad_()
    tau_m, tau_s, threshold = (scalar(golden, name) for name in ("tau_m", "tau_s", "threshold"))
    psc, spikes = SF.tssl_bp(x, tau_m, tau_s, threshold, return_spikes=True)
    (grad_x,) = torch.autograd.grad(psc, x, grad_out)

    where = decided(golden)
    assert where.mean() > 0.9
    spikes, psc, grad_x = (tensor.detach().movedim(0, -1).cpu().numpy() for tensor in (spikes, psc, grad_x))
    assert np.array_equal(spikes[where], golden["spikes"][where])
    for name, actual in (("syn_output", psc), ("grad_x", grad_x)):
        expected = golden[name + suffix]
        noise = error(golden[name + "_f32"], golden[name + "_f64"], where)
        tolerance = FLOAT64_TOLERANCE if dtype == torch.float64 else NOISE_FACTOR * max(noise, torch.finfo(dtype).eps)
        assert error(actual, expected, where) <= tolerance, name
