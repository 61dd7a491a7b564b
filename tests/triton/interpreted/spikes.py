"""Counting, packing, encoding and row sums in Triton's interpreter against the reference."""

import pytest
import torch
from op_tests.compare import assert_identical, assert_same_results, run_both
from op_tests.layouts import INPUTS, is_kept, same_memory_order
from op_tests.neurons import DTYPES, spike_trains
from op_tests.row_sums import sum_in_order

import spikeops.functional as SF
from spikeops import reference

INTEGERS = (torch.bool, torch.uint8, torch.int32, torch.int64)
triton_ops = torch.ops.spikeops_triton


def same(actual, expected):
    # uint16 has no comparison
    assert actual.dtype == expected.dtype
    assert_identical(actual.double(), expected.double(), "result")


@pytest.mark.parametrize("dtype", [*DTYPES, *INTEGERS], ids=str)
def test_count_and_pack(draw, dtype):
    for T in (1, 15, 16, 17, 33):
        spikes = spike_trains(draw, T, (20,), dtype)
        same(SF.spike_count(spikes), reference.spike_count(spikes))
        packed = SF.pack_spikes(spikes)
        same(packed, reference.pack_spikes(spikes))
        same(SF.unpack_spikes(packed, T, dtype), spikes)
        same(SF.spike_count(packed), reference.spike_count(spikes.int()))


@pytest.mark.parametrize("N", [0, 1, 129, 256, 600])
def test_neurons(draw, N):
    spikes = spike_trains(draw, 18, (N,), torch.float32)
    packed = SF.pack_spikes(spikes)
    same(packed, reference.pack_spikes(spikes))
    same(SF.unpack_spikes(packed, 18), spikes)
    assert_same_results(*run_both("spike_count", {"spikes": spikes}))


@pytest.mark.parametrize("layout", INPUTS)
def test_layouts(draw, layout):
    spikes = spike_trains(draw, 17, (2, 3, 2, 5), torch.float32, layout)
    packed = SF.pack_spikes(spikes)
    same(packed, reference.pack_spikes(spikes))
    unpacked = SF.unpack_spikes(packed, 17)
    same(unpacked, spikes)
    actual, expected = run_both("spike_count", {"spikes": spikes}, upstream="expanded")
    assert_same_results(actual, expected)
    if is_kept(spikes, layout):
        assert same_memory_order(packed[0], spikes[0]) and same_memory_order(unpacked, spikes)
        assert same_memory_order(actual.outputs[0], spikes[0])


def test_counts_sum_values_and_words():
    assert SF.spike_count(torch.tensor([[3, -1], [2, 0]])).tolist() == [5, -1]
    assert SF.spike_count(torch.tensor([[200], [200]], dtype=torch.uint8)).tolist() == [400]
    every_word = torch.arange(2**16, dtype=torch.int32).to(torch.uint16)[None]
    assert SF.spike_count(every_word).tolist() == [word.bit_count() for word in range(2**16)]


def test_any_nonzero_value_is_a_spike():
    values = torch.tensor([0.0, -0.0, 1e-45, -2.0, torch.inf, torch.nan])[None]
    assert SF.unpack_spikes(SF.pack_spikes(values), 1, torch.bool).tolist() == [[False, False, True, True, True, True]]
    assert SF.pack_spikes(values.bfloat16())[0, :2].tolist() == [0, 0]
    assert SF.pack_spikes(torch.tensor([[2**40]])).tolist() == [[1]]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_encodings(dtype):
    p = torch.linspace(-0.2, 1.2, 300, dtype=torch.float64).to(dtype)
    p[7] = torch.nan
    for T in (1, 2, 4, 5, 11):
        same(SF.latency_encode(p, T), reference.latency_encode(p, T))
        for seed in (0, 1, 2**63 - 1):
            seed = torch.tensor([seed])
            same(triton_ops.poisson_encode(p, T, seed), reference.poisson_encode_from_seed(p, T, seed))


@pytest.mark.parametrize("op", ["latency_encode", "poisson_encode"])
def test_encodings_keep_the_layout(draw, op):
    p = torch.rand(2, 4, 5, 3, generator=draw).permute(0, 3, 1, 2)
    torch.manual_seed(9)
    actual = getattr(SF, op)(p, 6)
    torch.manual_seed(9)
    same(actual, getattr(reference, op)(p, 6))
    assert same_memory_order(actual[0], p)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("columns", [1, 31, 4096, 4097, 9000])
def test_row_sum_order(draw, columns, dtype):
    # Values of very different size: a float64 sum in another order has other last bits.
    x = torch.randn(3, columns, generator=draw, dtype=torch.float64)
    x = (x * 10 ** torch.empty_like(x).uniform_(-8, 8, generator=draw)).to(dtype)
    expected = torch.tensor([sum_in_order(row) for row in x], dtype=torch.float64)
    assert torch.equal(triton_ops.row_sum(x), expected.to(dtype))


def test_row_sum_of_nothing():
    assert triton_ops.row_sum(torch.empty(2, 0)).tolist() == [0.0, 0.0]
    assert triton_ops.row_sum(torch.empty(0, 3)).shape == (0,)
