"""Real training on real images: the presets of the demo, and a slice of MNIST where it is at hand."""

import os
import re
from pathlib import Path

import pytest

LAST_LINE = re.compile(r"best_test_accuracy=(\d\.\d{4}) epoch=(\d+)")
EPOCHS = 6  # of 12 or 20: the demo trains to the end


def best_accuracy(lines):
    match = LAST_LINE.fullmatch(lines[-1])
    assert match, lines[-1]
    return float(match[1])


@pytest.mark.parametrize(
    "preset",
    ["tsslbp", "bptt", "ide", "spide", "ell", "fell", "bell", "localce-lif", "localcorr-lif", "localcecorr-lif"],
)
def test_digits(cli, preset):
    status, lines, errors = cli("train", f"{preset}-digits", "--trainer.threads", 1, "--trainer.epochs", EPOCHS)
    assert status == 0, errors
    # They ended between 94.2 and 97.8 %; chance is 10 %.
    assert best_accuracy(lines) >= 0.9


@pytest.mark.parametrize("preset", ["localce", "localcorr", "localcecorr"])
def test_digits_with_clamped_neurons(cli, preset):
    status, lines, errors = cli("train", f"{preset}-digits", "--trainer.threads", 1, "--trainer.epochs", EPOCHS)
    assert status == 0, errors
    assert best_accuracy(lines) >= 0.85


def mnist_root():
    """Where MNIST lies, if it does: $SPIKEOPS_DATA, or the folder ../shared/data beside the repository."""
    for root in (os.environ.get("SPIKEOPS_DATA"), Path(__file__).parents[3] / "shared" / "data"):
        if root and (Path(root) / "MNIST" / "raw").is_dir():
            return Path(root).resolve()
    return None


MNIST_ROOT = mnist_root()  # before the tests take SPIKEOPS_DATA out of the environment


@pytest.mark.skipif(MNIST_ROOT is None, reason="no MNIST in $SPIKEOPS_DATA or ../shared/data")
def test_slice_of_mnist(cli):
    status, lines, errors = cli(
        *("train", "tsslbp-mnist-cnn", "--data.root", MNIST_ROOT, "--trainer.epochs", 1, "--trainer.threads", 1),
        *("--trainer.limit_train", 6000, "--trainer.limit_test", 1000, "--optimizer.lr", 0.002),
    )
    assert status == 0, errors
    # A tenth of the training images, once; chance is 0.1, three seeds ended between 0.89 and 0.94.
    assert best_accuracy(lines) >= 0.85
