"""Shared by the pipeline's tests: small configurations, and a cache folder that is not the user's."""

import copy
import importlib.util
import os

import pytest
import torch

MISSING = [name for name in ("yaml", "sklearn", "matplotlib", "tensorboard") if importlib.util.find_spec(name) is None]


class ModuleWithoutPackages(pytest.Module):
    """A test file that is skipped before it is imported."""

    def collect(self):
        pytest.skip(f"the training pipeline needs the extra [train]: missing {', '.join(MISSING)}", allow_module_level=True)


def pytest_pycollect_makemodule(module_path, parent):
    return ModuleWithoutPackages.from_parent(parent, path=module_path) if MISSING else None


# Small enough for a second or two per run, with everything random switched on: shuffling, dropout, augmentation.
TINY = {
    "preset": "tiny",
    "seed": 3,
    "data": {"name": "digits", "augment": True},
    "network": {"layers": "4C3-P2-12-10", "padding": 1, "dropout": 0.2, "time_steps": 5},
    "method": {"name": "tssl_bp"},
    "optimizer": {"lr": 0.002, "clip_norm": 1.0, "weight_clamp": 4.0},
    "trainer": {"epochs": 2, "batch_size": 32, "limit_train": 200, "limit_test": 60, "threads": 1, "progress": "off"},
}


@pytest.fixture(autouse=True)
def own_folders(tmp_path, monkeypatch):
    """Every test works in a folder of its own and with an empty cache."""
    monkeypatch.chdir(tmp_path)
    # But for matplotlib, whose list of the fonts takes a process that has none some seconds.
    fonts = os.environ.get("MPLCONFIGDIR") or os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "matplotlib")
    monkeypatch.setenv("MPLCONFIGDIR", fonts)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("SPIKEOPS_DATA", raising=False)


@pytest.fixture(autouse=True)
def own_threads():
    """A run may set the number of threads of the whole process: set it back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True)
def own_device(request, monkeypatch):
    """What the tests compare is what a CPU computes; those of GPUs name their device."""
    if "usual_device" not in request.fixturenames:
        monkeypatch.setattr("spiketrain.training.devices.usual", lambda: "cpu")


@pytest.fixture
def usual_device():
    """For tests of what auto means."""


@pytest.fixture
def pictures():
    """For tests of runs that look at their pictures."""


@pytest.fixture(autouse=True)
def no_other_pictures(request, monkeypatch):
    """Drawing takes most of the time of runs as small as these."""
    if "pictures" not in request.fixturenames:
        monkeypatch.setattr("spiketrain.training.trainer.Trainer._draw", lambda trainer, run: None)


@pytest.fixture
def tiny():
    """``tiny(section={...})``: the small configuration with changes."""

    from spiketrain.config import merge
    from spiketrain.methods import load_config

    def build(**changes):
        return load_config(merge(copy.deepcopy(TINY), changes))

    return build


@pytest.fixture
def cli(capsys):
    """``cli("train", ...)``: run a command here; returns (exit status, lines of stdout, lines of stderr)."""

    from spiketrain.cli import main

    def run(*arguments):
        capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return status, printed.out.splitlines(), printed.err.splitlines()

    return run


@pytest.fixture
def own_code(tmp_path):
    """Modules of one's own in the working folder; see `OwnCode`."""
    from own_code import OwnCode

    code = OwnCode(tmp_path)
    yield code
    code.forget()


@pytest.fixture
def assert_error(cli):
    """``assert_error(words, "train", ...)``: the command fails with one line on stderr that holds all the words."""

    def check(words, *arguments):
        status, _, errors = cli(*arguments)
        assert status == 2
        assert len(errors) == 1, errors
        assert errors[0].startswith("spiketrain: error: ")
        for word in [words] if isinstance(words, str) else words:
            assert word in errors[0]

    return check
