"""The ops on the CUDA kernels' own source, compiled for the host: module `spikeops_testing` (see csrc/testing)."""

import importlib
import os
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401  before spikeops_testing, which needs its libraries

REPOSITORY = Path(__file__).resolve().parents[2]
TESTING_DIR = Path(os.environ.get("SPIKEOPS_TESTING_DIR", REPOSITORY / "build" / "testing"))

THREAD_ORDERS = ("forward", "reverse", "shuffled")


@pytest.fixture(scope="session")
def host_kernels():
    """The module `spikeops_testing`; tests that want it are skipped where it was not built."""
    if not list(TESTING_DIR.glob("spikeops_testing*.so")):
        pytest.skip(f"spikeops_testing is not built in {TESTING_DIR} (SPIKEOPS_BUILD_TESTING=ON, SPIKEOPS_TESTING_DIR)")
    sys.path.insert(0, str(TESTING_DIR))
    return importlib.import_module("spikeops_testing")


@pytest.fixture(params=THREAD_ORDERS)
def thread_order(request, host_kernels):
    """Runs the test with the threads of a block, and the blocks, started in each order."""
    host_kernels.set_thread_order(request.param, seed=7)
    yield request.param
    host_kernels.set_thread_order("forward")
