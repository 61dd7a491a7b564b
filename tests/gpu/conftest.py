"""These tests run the native CUDA library on a device; tests/ops runs there too."""

from pathlib import Path

import pytest

import spikeops


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True)
def native_backend():
    if reason := spikeops.backends()["cuda"]["reason"]:
        pytest.skip(f"no native CUDA kernels: {reason}")
    with spikeops.backend("native"):
        yield
