"""pack_spikes and unpack_spikes."""

import pytest
import torch
from op_tests.compare import assert_identical
from op_tests.layouts import INPUTS, dense_copy, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, STEPS, spike_trains
from op_tests.pairwise import parametrize

import spikeops.functional as SF
from spikeops import reference

SPIKE_DTYPES = (torch.bool, torch.uint8, torch.int32, torch.int64, *DTYPES)


@parametrize(T=(15, 16, 17, *STEPS), shape=SHAPES, layout=list(INPUTS), dtype=SPIKE_DTYPES)
def test_round_trip(device, draw, T, shape, layout, dtype):
    spikes = spike_trains(draw, T, shape, dtype, layout, device)
    packed = SF.pack_spikes(spikes)
    assert_identical(packed, reference.pack_spikes(dense_copy(spikes)), "packed")
    assert_identical(SF.unpack_spikes(packed, T, dtype), dense_copy(spikes), "unpacked")
    if is_kept(spikes, layout):
        assert same_memory_order(SF.unpack_spikes(packed, T, dtype), spikes)


@pytest.mark.parametrize("source", SPIKE_DTYPES, ids=str)
@pytest.mark.parametrize("target", SPIKE_DTYPES, ids=str)
def test_any_dtype_to_any_other(device, draw, source, target):
    spikes = spike_trains(draw, 20, (50,), source, device=device)
    assert_identical(SF.unpack_spikes(SF.pack_spikes(spikes), 20, target), dense_copy(spikes).to(target), "unpacked")


def test_bits():
    """Time step t is bit t % 16 of word t // 16; bits beyond T are 0."""
    spikes = torch.zeros(18, 2)
    spikes[0, 0] = spikes[3, 0] = spikes[17, 0] = spikes[15, 1] = 1
    assert SF.pack_spikes(spikes).tolist() == [[0b1001, 1 << 15], [0b10, 0]]


@pytest.mark.parametrize("dtype", SPIKE_DTYPES, ids=str)
def test_everything_but_zero_is_a_spike(device, dtype):
    if dtype.is_floating_point:
        tiny = torch.finfo(dtype).smallest_normal
        values = [0.0, -0.0, 0.5, -1.0, tiny, -tiny, float("inf"), float("nan")]
    elif dtype == torch.bool:
        values = [0, 0, 1, 1, 1, 1, 1, 1]
    else:
        values = [0, 0, 1, 2, 100, 128, torch.iinfo(dtype).min or 3, torch.iinfo(dtype).max]
    spikes = torch.tensor(values, dtype=dtype, device=device)
    assert SF.pack_spikes(spikes).tolist() == [0b11111100]


@pytest.mark.parametrize("shift", [32, 33, 62])
def test_large_int64_values_are_spikes(device, shift):
    assert SF.pack_spikes(torch.tensor([0, 1 << shift], device=device)).tolist() == [0b10]
