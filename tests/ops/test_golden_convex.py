"""convex_snn_trial and ConvexSNN against numbers made by the code of Mancoo et al.

Reads convex_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden, whose README describes them). Shapes, hyper-parameters and
cases all come from the files.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

GOLDEN = Path(os.environ.get("SPIKEOPS_GOLDEN_DIR") or Path(__file__).parents[1] / "golden")

# In float64 only the order of additions differs.
TOLERANCE = 1e-10


def files(kind):
    pattern = f"convex_{kind}*.npz"
    found = sorted(GOLDEN.glob(pattern))
    skipped = pytest.param(None, marks=pytest.mark.skip(reason=f"no {pattern} in {GOLDEN}"))
    return pytest.mark.parametrize("path", found or [skipped], ids=lambda path: path.stem if path else "none")


@pytest.fixture(params=["reference", "backend"])
def implementation(request, backend):
    """The reference, and the backend under test."""
    name = "reference" if request.param == "reference" else backend
    with spikeops.backend(name):
        yield name


class Golden:
    """The arrays of a file: tensors on a device, and the numbers that both kinds of trial have."""

    def __init__(self, path, device="cpu"):
        with np.load(path) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.device = device

    def tensor(self, name):
        return torch.from_numpy(self.arrays[name]).to(self.device)

    def number(self, name):
        return self.arrays[name].item()

    @property
    def x(self):
        """The inputs, time first."""
        x = self.tensor("x_samples").movedim(-1, 0)
        assert len(x) == self.number("num_bins")
        return x

    @property
    def neurons(self):
        numbers = {"dt": "dt", "leak": "leak", "spike_cost": "mu", "sigma_v": "sigma_v"}
        return {ours: self.number(theirs) for ours, theirs in numbers.items()}


def assert_close(actual, expected):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual.cpu().numpy(), expected, rtol=0, atol=TOLERANCE)


@files("trial")
def test_trials(path, implementation, device):
    golden = Golden(path, device)
    weights = [golden.tensor(name) for name in ("F_weights", "omega", "thresholds")]
    trials = SF.convex_snn_trial(golden.x, *weights, **golden.neurons)
    assert_close(trials.readout.permute(1, 2, 0), golden.arrays["firing_rates"])
    decoded = SF.convex_snn_trial(golden.x, *weights, golden.tensor("D_weights"), **golden.neurons)
    assert torch.equal(decoded.spikes, trials.spikes)
    assert_close(decoded.readout.permute(1, 2, 0), golden.arrays["readout_D_times_rates"])

    expected = golden.arrays["spikes_derived_from_rates"][..., 1:]  # nothing fires before the first step
    fired = np.where(expected.any(1), expected.argmax(1), -1)
    assert np.array_equal(trials.spikes.T.cpu().numpy(), fired)


@files("update")
def test_learning(path, implementation, device):
    golden = Golden(path, device)
    x, targets = golden.x, golden.tensor("y_targets")
    recurrent, encoder = golden.tensor("omega"), golden.tensor("G_weights")
    learning = {
        "feedforward_rate": golden.number("alpha_F"),
        "threshold_rate": golden.number("alpha_thresh"),
        "threshold_drift": golden.number("leak_thresh"),
        "buffer_steps": golden.number("buffer_bins"),
    }
    feedforward, thresholds = golden.tensor("F_weights_initial"), golden.tensor("thresholds_initial")
    for b in range(len(targets)):
        _, _, feedforward, thresholds = SF.convex_snn_trial(
            x[:, b : b + 1], feedforward, recurrent, thresholds, targets=targets[b : b + 1], encoder=encoder, **golden.neurons, **learning
        )  # fmt: skip
        assert_close(feedforward, golden.arrays["F_weights_after_each_trial"][b])
        assert_close(thresholds, golden.arrays["thresholds_after_each_trial"][b])

    # All trials in one call give the same bits.
    initial = golden.tensor("F_weights_initial"), recurrent, golden.tensor("thresholds_initial")
    together = SF.convex_snn_trial(x, *initial, targets=targets, encoder=encoder, **golden.neurons, **learning)
    assert torch.equal(together.feedforward, feedforward) and torch.equal(together.thresholds, thresholds)


@files("maxout")
def test_maxout(path):
    """The convex function that the network computes at rest."""
    golden = Golden(path)
    points, encoder = golden.tensor("x_points"), golden.tensor("G_weights")
    network = snn.ConvexSNN(points.shape[1], *encoder.shape, encoder=encoder).double()
    network.feedforward.copy_(golden.tensor("F_weights"))
    for case in ("a", "b"):
        network.thresholds.copy_(golden.tensor(f"thresholds_{case}"))
        y, active = network.maxout(points)
        assert_close(y, golden.arrays[f"y_out_{case}"])
        assert np.array_equal(active.numpy(), golden.arrays[f"active_index_{case}"])
