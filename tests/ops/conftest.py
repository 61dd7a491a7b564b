"""Fixtures of the op tests."""

import contextlib
import ctypes

import pytest
import torch

import spikeops
from spikeops import _library

with contextlib.suppress(ModuleNotFoundError):  # on a rented GPU, say: then only test_random_draws.py is skipped
    from hypothesis import settings

    # The same examples in every run; no deadline, since machines are shared.
    settings.register_profile("spikeops", derandomize=True, deadline=None)
    settings.load_profile("spikeops")


@pytest.fixture(autouse=True)
def backend(request):
    """The backend under test (option --backend), for all ops called in the test."""
    name = request.config.getoption("--backend")
    device = request.getfixturevalue("device") if "device" in request.fixturenames else "cpu"
    if reason := _cannot_run(name, device):
        pytest.skip(reason)
    with spikeops.backend(name):
        yield name


def _cannot_run(name, device):
    available = spikeops.backends()
    if name == "native" and device == "cuda":
        return available["cuda"]["reason"]
    if name == "triton":
        interpreted = available["triton"]["interpreted"]
        if interpreted != (device == "cpu"):
            return f"triton {'interpreted' if interpreted else 'compiled'}: not for {device} tensors"
        return available["triton"]["reason"]
    return ""


@pytest.fixture
def native(backend):
    """For tests of what only the native libraries have."""
    if backend != "native":
        pytest.skip(f"tests the native libraries, not {backend}")


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request):
    return request.param


@pytest.fixture
def threads():
    """Sets the number of threads for the test, among which all work is shared that can be, whether or not it pays."""
    share_all_work = ctypes.CDLL(str(_library._path("spikeops_cpu"))).spikeops_cpu_share_all_work
    before = torch.get_num_threads()
    share_all_work(1)
    yield torch.set_num_threads
    share_all_work(0)
    torch.set_num_threads(before)


@pytest.fixture
def draw():
    """A seeded generator."""
    return torch.Generator().manual_seed(20)
