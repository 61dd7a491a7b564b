"""Threads move several numbers as one access only where every array allows it: with one array at a time that does not begin on a
16-byte border, each op gives the same results, and no kernel touches an address that a device would refuse."""

import numpy as np
import pytest
import torch
from host_cuda import ops
from host_cuda.calls import WAITING, assert_same, build, cuda
from host_cuda.calls import Case as Size
from op_tests.neurons import DTYPES
from op_tests.op_calls import CALLS

pytestmark = pytest.mark.usefixtures("host_kernels")

NEURONS, ALLOCATED = 512, 6  # neurons for wide accesses of every dtype; as many outputs, and copies of arguments, as any op has


def check(host_kernels, op, arguments):
    """With each tensor argument misaligned by itself, then each output. Returns how many."""
    names = [argument.name for argument in getattr(cuda(), op).default._schema.arguments]
    tensors = [name for name, value in zip(names, arguments) if isinstance(value, torch.Tensor) and value.numel() > 1]
    for which in (*tensors, *range(ALLOCATED)):
        assert_same(op, arguments, f"with {which} misaligned", which)
    return len(tensors)


@pytest.mark.parametrize("name", [name for name in CALLS if name.partition("/")[0] not in WAITING])
def test_each_array_of_each_call(host_kernels, name):
    """Of each data type with fewer steps than a segment or with more: calls take turns."""
    neurons = 64 if name.startswith("recurrent") else NEURONS  # which read single numbers, those of all neurons for each
    for place, dtype in enumerate(DTYPES, [*CALLS].index(name)):
        check(host_kernels, *build(name, Size(dtype, (5, 40)[place % 2], neurons)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_each_array_of_local_learning(host_kernels, dtype):
    """Few units and classes: its threads wait for each other, which takes the stand-in long."""
    check(host_kernels, *ops.local_learning_step(Size(dtype, 4, 32), samples=2))


@pytest.mark.parametrize("op", [ops.lif_backward, ops.lif_rate_backward, ops.tssl_bp_backward], ids=lambda op: op.__name__)
@pytest.mark.parametrize("multiprocessors", [0, 132])
def test_each_array_of_a_backward_pass(host_kernels, op, multiprocessors):
    """With the walks of every length, and where few neurons are spread over many multiprocessors."""
    host_kernels.set_device(multiprocessors=multiprocessors)
    try:
        for T in (4, 8, 16, 33, 140):
            for dtype in (torch.float32, torch.bfloat16):
                options = {} if op is ops.tssl_bp_backward else {"per_neuron": True}
                assert check(host_kernels, *op(Size(dtype, T, NEURONS), **options)) > 1
    finally:
        host_kernels.set_device()


def test_a_misaligned_access_is_seen(host_kernels):
    """So that the tests above can fail: the stand-in refuses what a device would."""
    shim = host_kernels.shim
    with pytest.raises(host_kernels.KernelFault, match="misaligned address"):
        shim.copy_lanes(np.zeros(17, np.float32)[1:], np.zeros(16, np.float32))
    out = np.zeros(16, np.float32)
    shim.copy_lanes(np.arange(16, dtype=np.float32), out)
    assert out.tolist() == list(range(16))
