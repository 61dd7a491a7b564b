"""The CUDA kernel of the convex-optimisation network, run on the host: equal to the CPU kernel byte for byte, in every order of
threads, and to the reference."""

import numpy as np
import pytest
import torch
from host_cuda import convex
from host_cuda.arrays import assert_same_bytes

from spikeops import reference

DTYPES = ("float32", "float64")
# One neuron; half a warp; several warps, the last one not full; more neurons than threads.
NEURONS = (1, 20, 97, 300)


def assert_same(kernels, case, **options):
    actual, expected = (convex.trials(backend, case, **options)[1] for backend in (kernels.cuda, kernels.cpu))
    assert_same_bytes(actual, expected, str(case))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("neurons", NEURONS)
@pytest.mark.parametrize("learns", [False, True])
def test_neurons_and_learning(host_kernels, thread_order, dtype, neurons, learns):
    for steps, trials in ((1, 1), (3, 4), (40, 3)):
        assert_same(host_kernels, convex.Trials(dtype, steps, trials, neurons), learns=learns)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("learns", [False, True])
def test_more_inputs_than_a_tile_holds(host_kernels, thread_order, dtype, learns):
    assert_same(host_kernels, convex.Trials(dtype, 3, 2, 45, inputs=600), learns=learns)


@pytest.mark.parametrize("dtype", DTYPES)
def test_decoder_and_noise(host_kernels, thread_order, dtype):
    case = convex.Trials(dtype, 21, 3, 70)
    for noise in ("given", "drawn"):
        for decodes in (False, True):
            assert_same(host_kernels, case, noise=noise, decodes=decodes)


def test_state_beyond_shared_memory(host_kernels, thread_order):
    """Two float64 numbers a neuron for 3000 neurons are 48 KB: the state lies in scratch memory."""
    assert_same(host_kernels, convex.Trials("float64", 3, 2, 3000), noise="drawn")


def test_no_trials(host_kernels):
    for learns in (False, True):
        assert_same(host_kernels, convex.Trials("float32", 3, 0, 20), learns=learns)


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("learns", [False, True])
def test_against_the_reference(host_kernels, backend, dtype, learns):
    """The same order of operations: every bit agrees, of spikes, rates and learned weights."""
    case = convex.Trials(dtype, 30, 4, 40)
    inputs, actual = convex.trials(getattr(host_kernels, backend), case, noise="given", learns=learns)
    tensors = {name: torch.from_numpy(array.copy()) for name, array in inputs.items()}
    expected = reference.convex_snn_trial(**tensors, **(convex.NUMBERS if learns else convex.NEURONS))
    assert actual["spikes"].max() >= 0
    for name, wanted in zip(("spikes", "readout", "feedforward", "thresholds"), expected):
        if name in actual:
            np.testing.assert_array_equal(actual[name], wanted.numpy(), err_msg=name)
