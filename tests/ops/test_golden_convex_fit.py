"""The surface fit of L_proj against numbers made by its published code (worden1/ICTAI_snn, experiment4_1).

Reads convexfit_*.npz from $SPIKEOPS_GOLDEN_DIR (default: tests/golden, whose README describes
them). Sizes, numbers and cases all come from the files. The second layer is that with the repair that the files name: the published
line reads memory beyond its input.
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
TOLERANCE = 1e-9


def files(*kinds):
    found = sorted(path for kind in kinds for path in GOLDEN.glob(f"convexfit_{kind}*.npz"))
    skipped = pytest.param(None, marks=pytest.mark.skip(reason=f"no convexfit_*.npz in {GOLDEN}"))
    return pytest.mark.parametrize("path", found or [skipped], ids=lambda path: path.stem if path else "none")


@pytest.fixture(params=["reference", "backend"])
def implementation(request, backend):
    """The reference, and the backend under test."""
    with spikeops.backend("reference" if request.param == "reference" else backend):
        yield request.param


class Fit:
    """A file: its arrays as tensors, and its trials."""

    def __init__(self, path, device):
        with np.load(path) as arrays:
            self.arrays = {name: arrays[name] for name in arrays.files}
        self.device = device
        self.neurons = {"dt": self.number("dt"), "leak": self.number("leak"), "spike_cost": self.number("mu")}
        self.learning = {
            "feedforward_rate": self.number("alpha_F"), "threshold_rate": self.number("alpha_thresh"),
            "threshold_drift": self.number("leak_thresh"), "buffer_steps": self.number("buffer_bins"),
            "forgetting": self.number("beta") if "beta" in self.arrays else 0.0,  # the digit variants have none
        }  # fmt: skip
        for rate in ("alpha_F", "alpha_thresh") if "alpha_F_initial" in self.arrays else ():
            assert self.number(rate) == pytest.approx(self.number(f"{rate}_initial") * np.exp(-1e-4 * self.number("epoch")))

    def tensor(self, name):
        return torch.from_numpy(self.arrays[name]).to(self.device)

    def number(self, name):
        return self.arrays[name].item()

    def shown(self, points):
        """Points as inputs over time."""
        return snn.ConvexSNN.present(points, self.number("num_bins"), self.number("onset_bin"))

    def noise(self, layer):
        """(steps, trials, neurons), and the standard deviation of the membranes."""
        if "noise" not in self.arrays:
            return {"sigma_v": self.number("sigma_v")}
        return {"sigma_v": self.number("sigma_v"), "noise": self.tensor("noise")[:, :, layer].transpose(0, 1).contiguous()}


def assert_close(actual, expected, what):
    assert actual.shape == expected.shape, what
    error, scale = np.abs(actual.cpu().numpy() - expected).max(initial=0), np.abs(expected).max(initial=0)
    assert error <= TOLERANCE * max(scale, 1), f"{what}: off by {error:.2e}, the largest magnitude is {scale:.2e}"


@files("1layer", "2layer")
def test_learning(path, implementation, device):
    """Trial after trial, each with the weights that the one before has left. The layers learn by themselves."""
    fit = Fit(path, device)
    x, targets = fit.shown(fit.tensor("x_values")), fit.tensor("y_targets")
    feedforward, thresholds = fit.tensor("F_weights_initial"), fit.tensor("thresholds_initial")
    recurrent, encoder = fit.tensor("omega"), fit.tensor("G_weights")
    noise, has_second = fit.noise(0), "F_weights_2_initial" in fit.arrays
    rates = []
    for b in range(len(targets)):
        one = noise | ({"noise": noise["noise"][:, b : b + 1]} if "noise" in noise else {})
        learned = SF.convex_snn_trial(
            x[:, b : b + 1], feedforward, recurrent, thresholds, targets=targets[b : b + 1], encoder=encoder, **fit.neurons, **one, **fit.learning
        )  # fmt: skip
        feedforward, thresholds = learned.feedforward, learned.thresholds
        assert_close(feedforward, fit.arrays["F_weights_after_each_trial"][b], f"F after trial {b}")
        assert_close(thresholds, fit.arrays["thresholds_after_each_trial"][b], f"thresholds after trial {b}")
        rates.append(learned.readout)  # in the trial, while the weights change

        # Without noise and learning, and, as published, with the spike costs.
        plain = SF.convex_snn_trial(x[:, b : b + 1], feedforward, recurrent, thresholds, **fit.neurons)
        assert_close(plain.readout[-4:, 0].T, fit.arrays["firing_rates_after_each_trial_last_bins"][b], "rates")
        decoded = SF.convex_snn_trial(x[:, b : b + 1], feedforward, recurrent, thresholds, fit.tensor("D_weights"), **fit.neurons)
        assert_close(decoded.readout[:, 0].T, fit.arrays["readout_after_each_trial"][b], "readout")
    assert has_second == path.stem.startswith("convexfit_2layer")
    if has_second:
        learn_second_layer(fit, torch.cat(rates, dim=1), targets)


def learn_second_layer(fit, rates, targets):
    """Driven by the firing rates of the first layer, as they were while that learned."""
    assert "first layer rates of bin t" in str(fit.arrays["repair"])
    feedforward, thresholds = fit.tensor("F_weights_2_initial"), fit.tensor("thresholds_2_initial")
    noise = fit.noise(1)
    for b in range(len(targets)):
        one = noise | ({"noise": noise["noise"][:, b : b + 1]} if "noise" in noise else {})
        learned = SF.convex_snn_trial(
            rates[:, b : b + 1], feedforward, fit.tensor("omega_2"), thresholds, targets=targets[b : b + 1], encoder=fit.tensor("G_weights_2"),
            command="input", **fit.neurons, **one, **fit.learning,
        )  # fmt: skip
        feedforward, thresholds = learned.feedforward, learned.thresholds
        assert_close(feedforward, fit.arrays["F_weights_2_after_each_trial"][b], f"F of layer 2 after trial {b}")
        assert_close(thresholds, fit.arrays["thresholds_2_after_each_trial"][b], f"thresholds of layer 2 after trial {b}")


@pytest.mark.parametrize("when", ["before", "after"])
@files("1layer", "2layer")
def test_surface(path, when, implementation, device):
    """The readout over a grid, as published the mean over the last bins without a spike cost, and the maxout of one output."""
    fit = Fit(path, device)
    learned = {"before": ("F_weights_initial", "thresholds_initial"), "after": ("F_weights_after_each_trial", "thresholds_after_each_trial")}
    feedforward, thresholds = (fit.tensor(name) for name in learned[when])
    if when == "after":
        feedforward, thresholds = feedforward[-1], thresholds[-1]
    points = fit.tensor("grid_points")
    neurons = fit.neurons | {"spike_cost": 0.0}
    trials = SF.convex_snn_trial(fit.shown(points), feedforward, fit.tensor("omega"), thresholds, fit.tensor("D_weights"), **neurons)
    mean = trials.readout[fit.number("readout_from_bin") :].mean(0)
    assert_close(mean, fit.arrays[f"grid_readout_mean_{when}"], "readout over the grid")
    error = (mean - fit.tensor("grid_target")).abs().mean().cpu()
    assert_close(error, fit.arrays[f"surface_mean_abs_error_{when}"], "mean error")

    encoder = fit.tensor("G_weights")
    if encoder.shape[1] == 1:
        network = snn.ConvexSNN(points.shape[1], *encoder.shape, encoder=encoder).double().to(device)
        network.feedforward.copy_(feedforward)
        network.thresholds.copy_(thresholds)
        y, active = network.maxout(points)
        assert_close(y, fit.arrays[f"grid_maxout_{when}"], "maxout")
        assert np.array_equal(active.cpu().numpy(), fit.arrays[f"grid_active_{when}"])


@files("mnist_1layer")
def test_digits_of_one_layer(path, implementation, device):
    """Trained weights shown the images again: all ten readouts are equal, so that the prediction is class 0 whatever the image.

    Their learning, which scales the recurrent weights by the membranes in each spike, is not part of spikeops.
    """
    fit = Fit(path, device)
    k = fit.tensor("omegak_after_each_trial")[-1]
    feedforward = fit.tensor("F_weights_after_each_trial")[-1].flatten(1)
    weights = feedforward, k**2 * fit.tensor("omega"), fit.tensor("thresholds_after_each_trial")[-1]
    shown = fit.shown(fit.tensor("images").double().flatten(1))
    trials = SF.convex_snn_trial(shown, *weights, k * fit.tensor("D_weights"), **fit.neurons)
    mean = trials.readout[fit.number("readout_from_bin") :].mean(0)
    assert_close(mean, fit.arrays["test_readout_mean"], "readout")
    assert (trials.readout == trials.readout[..., :1]).all() and not fit.arrays["test_prediction"].any()
    rates = SF.convex_snn_trial(shown, *weights, **fit.neurons).readout
    assert_close(rates[-1], fit.arrays["test_rates_last_bin"], "rates")


@files("mnist_2layer")
def test_digits_of_two_layers(path, implementation, device):
    """The first layer, which learns the class times 100. The second, whose membranes have no memory, is not part of spikeops."""
    fit = Fit(path, device)
    feedforward, thresholds = fit.tensor("F_weights_initial").flatten(1), fit.tensor("thresholds_initial")
    x, targets = fit.shown(fit.tensor("images").double().flatten(1)), 100.0 * fit.tensor("label_indices").double()[:, None]
    for b in range(len(targets)):
        learned = SF.convex_snn_trial(
            x[:, b : b + 1], feedforward, fit.tensor("omega"), thresholds, targets=targets[b : b + 1], encoder=fit.tensor("G_weights"),
            **fit.neurons, **fit.learning,
        )  # fmt: skip
        feedforward, thresholds = learned.feedforward, learned.thresholds
        expected = fit.arrays["F_weights_after_each_trial"][b]
        assert_close(feedforward, expected.reshape(len(expected), -1), f"F after trial {b}")
        assert_close(thresholds, fit.arrays["thresholds_after_each_trial"][b], f"thresholds after trial {b}")
