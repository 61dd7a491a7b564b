"""leaky_readout against its reference, its equation by hand, the ops that it is a part of, and the readouts of other libraries."""

import pytest
import torch
from op_tests.compare import assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, SPREADS, STEPS, currents, parameter, split_arguments, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF
import spikeops.nn as snn


@parametrize(
    T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES, decay=SPREADS, v_init=(None, *SPREADS[1:]),
    is_constant=[False, True], input_scale=[1.0, 0.3],
)  # fmt: skip
def test_matches_the_reference(device, draw, T, shape, layout, upstream, dtype, decay, v_init, is_constant, input_scale):
    x = currents(draw, T, shape, dtype, layout, device)
    step, state = x[0], state_dtype(dtype)
    tensors, options = split_arguments(
        x=x, decay=parameter(draw, decay, shape, state, 0.2, 0.95, device),
        v_init=v_init and parameter(draw, v_init, shape, state, -0.5, 1.5, device), input_scale=input_scale, v_rest=0.25,
    )  # fmt: skip
    if is_constant:
        tensors["x"], options["time_steps"] = step, T
    actual, expected = run_both("leaky_readout", tensors, options, upstream)
    assert_same_results(actual, expected)
    if is_kept(x, layout):
        assert same_memory_order(actual.outputs[0], x) and same_memory_order(actual.outputs[1], step)


def test_equation_by_hand(device):
    x = torch.tensor([1.0, 0.0, 2.0], device=device)
    trace, v = SF.leaky_readout(x, 0.5, input_scale=0.5, v_rest=1.0, v_init=torch.tensor(3.0, device=device))
    # 1 + (3 - 1) / 2 + 0.5; 1 + 1.5 / 2; 1 + 0.75 / 2 + 1
    assert trace.tolist() == [2.5, 1.75, 2.375] and v.item() == 2.375


@pytest.mark.parametrize("dtype", DTYPES)
def test_it_is_the_potential_of_neurons_that_do_not_reset(device, draw, dtype):
    x = currents(draw, 20, (2, 130), dtype, device=device)
    _, v = SF.lif(x, 0.9, reset="none", v_rest=0.2)
    assert torch.equal(SF.leaky_readout(x, 0.9, v_rest=0.2)[1], v)


def test_it_is_the_filter_of_a_synapse(device, draw):
    x = currents(draw, 30, (2, 130), torch.float64, device=device)
    torch.testing.assert_close(SF.leaky_readout(x, 0.75, input_scale=0.25)[0], SF.synaptic_filter(x, 4.0), rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_give_the_same_trace_as_the_whole(device, draw, dtype):
    x = currents(draw, 50, (2, 300), dtype, device=device)
    whole, v_whole = SF.leaky_readout(x, 0.9)
    pieces, v = [], None
    for piece in x.split([1, 7, 30, 12]):
        part, v = SF.leaky_readout(piece, 0.9, v_init=v)
        pieces.append(part)
    assert torch.equal(torch.cat(pieces), whole) and torch.equal(v, v_whole)


def test_its_decay_is_learned(draw):
    module = snn.LeakyReadout(0.8, learn_decay=True, shape=(5,))
    assert set(module.state_dict()) == {"decay_logit"}
    torch.testing.assert_close(module.decay, torch.full((5,), 0.8))
    module(currents(draw, 30, (4, 5), torch.float32)).square().mean().backward()
    assert module.decay_logit.grad.abs().min() > 0
    with pytest.raises(ValueError, match="LeakyReadout: expected decay between 0 and 1, got 1.0"):
        snn.LeakyReadout(1.0, learn_decay=True)


def of_others(draw):
    x = (torch.randn(40, 64, generator=draw)).requires_grad_()
    return x, torch.randn(40, 64, generator=draw)


def assert_same_trace(theirs, ours, x, weights):
    # Each step rounds the potential, which is at most 10 or so, and the next ones remember it for 10 steps.
    torch.testing.assert_close(ours, theirs, rtol=0, atol=2e-5)
    mine, other = (torch.autograd.grad((trace * weights).sum(), x)[0] for trace in (ours, theirs))
    torch.testing.assert_close(mine, other, rtol=0, atol=2e-5)


def test_snntorch_membranes_without_a_reset(draw):
    cell = pytest.importorskip("snntorch").Leaky(0.9, reset_mechanism="none")
    x, weights = of_others(draw)
    mem, theirs = torch.zeros(64), []
    for current in x.unbind():
        _, mem = cell(current, mem)
        theirs.append(mem)
    assert_same_trace(torch.stack(theirs), SF.leaky_readout(x, 0.9)[0], x, weights)


def test_spikingjelly_neurons_that_do_not_spike(draw):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    x, weights = of_others(draw)
    theirs = torch.stack(neuron.NonSpikingLIFNode(tau=10.0)(x))
    assert_same_trace(theirs, SF.leaky_readout(x, 0.9, input_scale=0.1)[0], x, weights)


def test_norse_leaky_integrators(draw):
    norse = pytest.importorskip("norse.torch")
    x, weights = of_others(draw)
    cell, state, theirs = norse.LIBoxCell(), None, []
    for current in x.unbind():
        v, state = cell(current, state)
        theirs.append(v)
    assert_same_trace(torch.stack(theirs), SF.leaky_readout(x, 0.9, input_scale=0.1)[0], x, weights)


def test_sinabs_exponential_leak(draw):
    layers = pytest.importorskip("sinabs.layers")
    x, weights = of_others(draw)
    theirs = layers.ExpLeak(tau_mem=10.0)(x.unsqueeze(0))[0]
    decay = torch.exp(torch.tensor(-0.1)).item()
    assert_same_trace(theirs, SF.leaky_readout(x, decay)[0], x, weights)
