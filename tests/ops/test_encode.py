"""poisson_encode and latency_encode."""

import pytest
import torch
from op_tests.compare import assert_identical
from op_tests.layouts import INPUTS, dense_copy, is_kept, lay_out, same_memory_order
from op_tests.neurons import DTYPES, SHAPES
from op_tests.pairwise import parametrize

import spikeops.functional as SF
from spikeops import reference

STEPS = (1, 2, 3, 4, 5, 31, 33)


def probabilities(draw, shape, dtype, layout="contiguous", device="cpu"):
    """From -0.1 to 1.1: some never fire, some always."""
    return lay_out((1.2 * torch.rand(shape, generator=draw) - 0.1).to(dtype), layout, device)


def seeded(seed, device="cpu"):
    return torch.Generator(device).manual_seed(seed)


@parametrize(T=STEPS, shape=SHAPES, dtype=DTYPES, layout=list(INPUTS))
def test_poisson_matches_the_reference(draw, T, shape, dtype, layout):
    p = probabilities(draw, shape, dtype, layout)
    expected = reference.poisson_encode(p, T, seeded(3))
    actual = SF.poisson_encode(p, T, seeded(3))
    assert_identical(actual, expected.contiguous(), "spikes")
    if is_kept(p, layout):
        assert same_memory_order(actual[0], p)


def test_poisson_is_the_same_on_every_device(device, draw):
    p = probabilities(draw, (3, 500), torch.float32)
    assert_identical(SF.poisson_encode(p.to(device), 9, seeded(3)), reference.poisson_encode(p, 9, seeded(3)), "spikes")


@pytest.mark.parametrize("layout", ["sliced", "time_sliced", "offset"])
def test_poisson_sees_strided_input_as_its_copy(draw, layout):
    p = probabilities(draw, (40, 60), torch.float32)
    for encode in (SF.poisson_encode, reference.poisson_encode):
        assert torch.equal(encode(lay_out(p, layout), 5, seeded(1)), encode(p, 5, seeded(1)))


def test_poisson_random_numbers_are_philox():
    """Known answer of Philox4x32-10 from Random123's kat_vectors: counter 0, key 0. The first four words are the first four
    time steps of neuron 0, compared as 24-bit fractions."""
    words = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    seed = torch.zeros(1, dtype=torch.int64)
    for t, word in enumerate(words):
        uniform = (word >> 8) * 2.0**-24
        below, above = torch.tensor([uniform]), torch.nextafter(torch.tensor([uniform]), torch.tensor(1.0))
        for encode in (reference.poisson_encode_from_seed, torch.ops.spikeops.poisson_encode):
            args = (4, seed)
            assert encode(below, *args)[t].item() == 0
            assert encode(above, *args)[t].item() == 1


def test_poisson_depends_on_the_generator_alone(device):
    p = torch.full((1000,), 0.5, device=device)
    first = SF.poisson_encode(p, 10, seeded(7, device))
    assert torch.equal(first, SF.poisson_encode(p, 10, seeded(7, device)))
    assert not torch.equal(first, SF.poisson_encode(p, 10, seeded(8, device)))
    torch.manual_seed(7)
    assert torch.equal(SF.poisson_encode(p, 10), first)
    generator = seeded(7, device)
    SF.poisson_encode(p, 10, generator)
    assert not torch.equal(first, SF.poisson_encode(p, 10, generator))


def test_poisson_extremes(device):
    p = torch.tensor([0.0, -1.0, float("nan"), 1.0, 2.0, float("inf")], device=device)
    assert SF.poisson_encode(p, 100).mean(0).tolist() == [0, 0, 0, 1, 1, 1]


@pytest.mark.parametrize("p", [0.02, 0.5, 0.9])
def test_poisson_statistics(device, p):
    """Rate, and independence of neighbours in time and among neurons, within 5 standard errors (one in 10^6 by chance)."""
    T, N = 100, 4000
    spikes = SF.poisson_encode(torch.full((N,), p, device=device), T, seeded(0, device)).double()
    variance = p * (1 - p)
    assert abs(spikes.mean().item() - p) < 5 * (variance / (T * N)) ** 0.5
    centred = spikes - p
    for a, b in ((centred[1:], centred[:-1]), (centred[4:], centred[:-4]), (centred[:, 1:], centred[:, :-1])):
        assert abs((a * b).mean().item()) < 5 * variance / (T * N) ** 0.5


@parametrize(T=STEPS, shape=SHAPES, dtype=DTYPES, layout=list(INPUTS))
def test_latency_matches_the_reference(device, draw, T, shape, dtype, layout):
    p = probabilities(draw, shape, dtype, layout, device)
    actual = SF.latency_encode(p, T)
    assert_identical(actual, reference.latency_encode(dense_copy(p), T), "spikes")
    if is_kept(p, layout):
        assert same_memory_order(actual[0], p)


@pytest.mark.parametrize("encode", [SF.poisson_encode, SF.latency_encode])
def test_no_gradient(device, encode):
    """Nor a graph that would warn when something else is differentiated."""
    assert not encode(torch.rand(3, device=device, requires_grad=True), 4).requires_grad


def test_latency_of_special_values(device):
    p = torch.tensor([1.0, 3.0, float("inf"), 1e-30, 0.0, -0.0, -2.0, float("-inf"), float("nan")], device=device)
    spikes = SF.latency_encode(p, 5)
    assert spikes.sum(0).tolist() == [1, 1, 1, 1, 0, 0, 0, 0, 0]
    assert spikes[0].nonzero().flatten().tolist() == [0, 1, 2]
    assert spikes[4].nonzero().flatten().tolist() == [3]


def test_latency_rounds_half_up(device):
    """T = 5: p = 7/8 lies half way between steps 0 and 1."""
    spikes = SF.latency_encode(torch.tensor([1.0, 0.876, 0.875, 0.624, 0.125, 0.124], device=device), 5)
    assert spikes.argmax(0).tolist() == [0, 0, 1, 2, 4, 4]
