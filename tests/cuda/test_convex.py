"""The CUDA kernel of the convex-optimisation network, run on the host: equal to the CPU kernel byte for byte, in every order of
threads, and to the reference."""

import pytest
import torch
from host_cuda import convex
from host_cuda.calls import assert_same, cpu, cuda, run

from spikeops import reference

pytestmark = pytest.mark.usefixtures("host_kernels")

DTYPES = (torch.float32, torch.float64)
# One neuron; half a warp; several warps, the last one not full; more neurons than threads.
NEURONS = (1, 20, 97, 300)


def same(case, **options):
    return assert_same(*convex.trials(case, **options), str(case))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("neurons", NEURONS)
@pytest.mark.parametrize("learns", [False, True])
def test_neurons_and_learning(thread_order, dtype, neurons, learns):
    for steps, trials in ((1, 1), (3, 4), (40, 3)):
        same(convex.Trials(dtype, steps, trials, neurons), learns=learns)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("learns", [False, True])
def test_more_inputs_than_a_tile_holds(thread_order, dtype, learns):
    same(convex.Trials(dtype, 3, 2, 45, inputs=600), learns=learns)


@pytest.mark.parametrize("dtype", DTYPES)
def test_decoder_and_noise(thread_order, dtype):
    case = convex.Trials(dtype, 21, 3, 70)
    for noise in ("given", "drawn"):
        for decodes in (False, True):
            same(case, noise=noise, decodes=decodes)


def test_state_beyond_shared_memory(thread_order):
    """Two float64 numbers a neuron for 3000 neurons are 48 KB: the state lies in scratch memory."""
    same(convex.Trials(torch.float64, 3, 2, 3000), noise="drawn")


@pytest.mark.parametrize("neurons, shared", [(2560, 40 << 10), (2561, 0), (3300, 0)])
def test_shared_memory_that_every_device_has(host_kernels, neurons, shared):
    """Within the 48 KB that a launch has without asking, what the kernel's own arrays take included."""
    host_kernels.set_device(shared_bytes=48 << 10)
    try:
        same(convex.Trials(torch.float64, 1, 1, neurons))
        assert host_kernels.last_launch()["shared_bytes"] == shared
    finally:
        host_kernels.set_device()


def test_no_trials():
    for learns in (False, True):
        same(convex.Trials(torch.float32, 3, 0, 20), learns=learns)


@pytest.mark.parametrize("backend", [cpu, cuda])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("learns", [False, True])
def test_against_the_reference(backend, dtype, learns):
    """The same order of operations: every bit agrees, of spikes, rates and learned weights."""
    tensors = convex.draw_tensors(convex.Trials(dtype, 30, 4, 40), "given", learns)
    actual = run(backend(), *convex.as_arguments(tensors, "given")).values()
    expected = reference.convex_snn_trial(**tensors, **convex.NEURONS, **(convex.LEARNING if learns else {}))
    spikes = next(iter(actual))
    assert spikes.max() >= 0
    for a, e in zip(actual, expected[: 4 if learns else 2]):
        assert torch.equal(a, e)
