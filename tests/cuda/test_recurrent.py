"""Recurrent layers (kernels/cuda/recurrent.cu) on the host: those whose neurons are connected one to one take several blocks, and no
more shared memory than one block's neurons need."""

import pytest
import torch
from host_cuda.calls import OnGrid, assert_same
from op_tests.op_calls import CALLS

THREADS = 512

pytestmark = pytest.mark.usefixtures("host_kernels")


@pytest.fixture
def device(host_kernels):
    yield host_kernels.set_device
    host_kernels.set_device()


@pytest.mark.parametrize("name", ["recurrent_lif/one_to_one", "recurrent_lif_backward/one_to_one"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
@pytest.mark.parametrize("N", [THREADS - 1, THREADS, THREADS + 1, 2 * THREADS + 33])
def test_parts_of_a_layer(host_kernels, device, name, dtype, N):
    device(shared_bytes=2 * THREADS * 8)
    layers = 3
    op, arguments = CALLS[name](OnGrid(4, (layers, N), dtype))
    assert_same(op, arguments, f"{name} {layers} x {N} {dtype}")
    assert host_kernels.last_launch()["blocks"] == layers * -(-N // THREADS)
