"""These tests run the native CUDA library and the Triton kernels on a device; tests/ops runs there too."""

from pathlib import Path

import pytest

import spikeops


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.gpu)


@pytest.fixture(autouse=True, params=["native", "triton"])
def backend(request):
    part = "cuda" if request.param == "native" else "triton"
    if reason := spikeops.backends()[part]["reason"]:
        pytest.skip(f"no {request.param} kernels for GPUs: {reason}")
    with spikeops.backend(request.param):
        yield request.param
