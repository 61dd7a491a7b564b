"""spike_count against its reference."""

import pytest
import torch
from op_tests.compare import assert_identical, assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, lay_out, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, STEPS, currents, spike_trains
from op_tests.pairwise import parametrize

import spikeops.functional as SF

INTEGERS = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


@parametrize(T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES)
def test_floating_input(device, draw, T, shape, layout, upstream, dtype):
    for make in (spike_trains, currents):
        spikes = make(draw, T, shape, dtype, layout, device)
        actual, expected = run_both("spike_count", {"spikes": spikes}, upstream=upstream)
        # Whole numbers are summed exactly, others by torch in another order.
        assert_same_results(actual, expected, exact=make is spike_trains)
    if is_kept(spikes, layout):
        assert same_memory_order(actual.outputs[0], spikes[0])


@parametrize(T=STEPS, shape=SHAPES, layout=list(INPUTS), dtype=INTEGERS)
def test_integer_input(device, draw, T, shape, layout, dtype):
    values = torch.randint(2 if dtype == torch.bool else 100, (T, *shape), generator=draw)
    spikes = lay_out(values.to(dtype), layout, device)
    expected = spikes.cpu().sum(0, dtype=torch.int64).to(torch.int32)
    assert_identical(SF.spike_count(spikes), expected, "count")


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_negative_integers(device, draw, dtype):
    values = torch.randint(-100, 100, (33, 40), generator=draw).to(dtype)
    assert_identical(SF.spike_count(values.to(device)), values.sum(0, dtype=torch.int32), "count")


@parametrize(T=STEPS, shape=SHAPES, layout=list(INPUTS))
def test_packed_input(device, draw, T, shape, layout):
    spikes = spike_trains(draw, T, shape, torch.float32, device=device)
    # float16 has room for the bits of a word: laid out first, then viewed as words.
    packed = SF.pack_spikes(spikes).cpu().view(torch.float16)
    packed = lay_out(packed, layout if layout != "repeated" else "sliced").view(torch.uint16).to(device)
    assert_identical(SF.spike_count(packed), spikes.cpu().sum(0).to(torch.int32), "count")


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_types_count_beyond_their_own_precision(device, dtype):
    """bfloat16 itself cannot count beyond 256: the sum must be kept in float32."""
    T = 2000
    count = SF.spike_count(torch.ones(T, 3, dtype=dtype, device=device))
    assert count.tolist() == [torch.tensor(float(T), dtype=dtype).item()] * 3
