"""synaptic_filter against its reference."""

import pytest
import torch
from op_tests.compare import assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, STEPS, currents
from op_tests.pairwise import parametrize

import spikeops.functional as SF


@parametrize(T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES, tau_s=[1.0, 2, 3.0, 50.0, 0.7])
def test_matches_the_reference(device, draw, T, shape, layout, upstream, dtype, tau_s):
    x = currents(draw, T, shape, dtype, layout, device)
    actual, expected = run_both("synaptic_filter", {"spikes": x}, {"tau_s": tau_s}, upstream)
    assert_same_results(actual, expected)
    if is_kept(x, layout):
        assert same_memory_order(actual.outputs[0], x)


@pytest.mark.parametrize("tau_s", [2.0, 5.0])
def test_impulse_response(device, tau_s):
    impulse = torch.zeros(10, 1, dtype=torch.float64, device=device)
    impulse[0] = 1
    t = torch.arange(10, dtype=torch.float64, device=device)
    torch.testing.assert_close(SF.synaptic_filter(impulse, tau_s)[:, 0], (1 - 1 / tau_s) ** t / tau_s)


def test_is_the_filter_inside_tssl_bp(device, draw):
    x = currents(draw, 20, (100,), torch.float32, device=device)
    psc, spikes = SF.tssl_bp(x, tau_s=3.0, return_spikes=True)
    assert torch.equal(SF.synaptic_filter(spikes, 3.0), psc)
