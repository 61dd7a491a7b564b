"""Everything in this folder runs the Triton kernels on the CPU, in Triton's interpreter. test_triton_interpreter.py starts it in
processes of their own, because TRITON_INTERPRET=1 must be set before triton is imported."""

import pytest
import torch
from op_tests.interpreter import patch_once_a_launch

import spikeops

patch_once_a_launch()


@pytest.fixture(autouse=True)
def triton_backend():
    assert spikeops.backends()["triton"]["interpreted"], "set TRITON_INTERPRET=1, or run test_triton_interpreter.py"
    with spikeops.backend("triton"):
        yield


@pytest.fixture(autouse=True)
def poisoned_memory():
    """torch.empty returns NaN (integers: their largest value), so that an output that was not written shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.empty(1).isnan()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def draw():
    """A seeded generator."""
    return torch.Generator().manual_seed(20)
