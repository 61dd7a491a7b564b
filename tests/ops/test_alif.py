"""alif against its reference, its equations by hand, and lif."""

import pytest
import torch
from op_tests.compare import assert_identical, assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, SPREADS, STEPS, currents, parameter, split_arguments, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF
import spikeops.nn as snn


@parametrize(
    T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES, reset=["subtract", "to", "none"],
    decay=SPREADS, a_init=(None, *SPREADS[1:]), is_constant=[False, True], reset_amount=[None, 0.6], detach_reset=[False, True],
)  # fmt: skip
def test_matches_the_reference(
    device, draw, T, shape, layout, upstream, dtype, reset, decay, a_init, is_constant, reset_amount, detach_reset
):
    x = currents(draw, T, shape, dtype, layout, device)
    step = x[0]
    tensors, options = split_arguments(
        x=x,
        decay=parameter(draw, decay, shape, state_dtype(dtype), 0.2, 0.95, device),
        adaptation_decay=parameter(draw, decay, shape, state_dtype(dtype), 0.5, 0.99, device),
        v_init=a_init and parameter(draw, a_init, shape, state_dtype(dtype), -0.5, 1.5, device),
        a_init=a_init and parameter(draw, a_init, shape, state_dtype(dtype), 0.0, 2.0, device),
        reset=reset, reset_amount=reset_amount, detach_reset=detach_reset,
    )  # fmt: skip
    if is_constant:
        tensors["x"], options["time_steps"] = step, T
    actual, expected = run_both("alif", tensors, options, upstream)
    assert_same_results(actual, expected)
    if is_kept(x, layout):
        spikes, *last = actual.outputs
        assert same_memory_order(spikes, x) and all(same_memory_order(state, step) for state in last)
        assert same_memory_order(actual.grads["x"], tensors["x"])


def test_equations_by_hand():
    x = torch.tensor([[1.5], [1.0], [2.5], [0.25]])
    spikes, v, a = SF.alif(x, 0.5, adaptation_decay=0.5, beta=1.0)
    # theta = 1: u = 1.5, spike, v = 0.5, a = 1
    # theta = 2: u = 1.25, none, a = 0.5
    # theta = 1.5: u = 3.125, spike, v = 1.625 (the threshold that was reached is taken away), a = 1.25
    # theta = 2.25: u = 1.0625, none, a = 0.625
    assert_identical(spikes, torch.tensor([[1.0], [0.0], [1.0], [0.0]]), "spikes")
    assert_identical(v, torch.tensor([1.0625]), "v_last")
    assert_identical(a, torch.tensor([0.625]), "a_last")
    _, v, _ = SF.alif(x, 0.5, adaptation_decay=0.5, beta=1.0, reset_amount=1.0)
    assert_identical(v, torch.tensor([1.3125]), "v_last, one threshold taken away")


@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
def test_without_adaptation_it_is_lif(device, draw, reset):
    x = currents(draw, 40, (3, 130), torch.float32, device=device).requires_grad_()
    adaptive, plain = SF.alif(x, 0.9, beta=0.0, reset=reset, reset_amount=1.0), SF.lif(x, 0.9, reset=reset)
    gradient = torch.randn(x.shape, generator=draw).to(device)
    assert torch.equal(adaptive[0], plain[0]) and torch.equal(adaptive[1], plain[1])
    assert torch.equal(*(torch.autograd.grad(outputs[0], x, gradient)[0] for outputs in (adaptive, plain)))


@pytest.mark.parametrize("dtype", DTYPES)
def test_pieces_give_the_same_spikes_as_the_whole(device, draw, dtype):
    x = currents(draw, 50, (2, 300), dtype, device=device)
    whole = SF.alif(x, 0.9, beta=0.5)
    pieces, v, a = [], None, None
    for piece in x.split([1, 7, 30, 12]):
        part, v, a = SF.alif(piece, 0.9, beta=0.5, v_init=v, a_init=a)
        pieces.append(part)
    for actual, expected in zip((torch.cat(pieces), v, a), whole, strict=True):
        assert torch.equal(actual, expected)


def test_a_constant_input_makes_it_fire_ever_more_slowly(device):
    spikes, *_ = SF.alif(torch.full((60, 1), 0.6, device=device), 0.9, adaptation_decay=0.98, beta=0.5)
    gaps = spikes.flatten().nonzero().flatten().diff()
    assert len(gaps) > 3 and gaps[0] < gaps[2] <= gaps[-1], f"steps between spikes: {gaps.tolist()}"


def test_decays_are_learned(draw):
    module = snn.ALIF(0.8, adaptation_decay=0.95, learn_decays=True, shape=(5,))
    assert set(module.state_dict()) == {"decay_logit", "adaptation_decay_logit"}
    torch.testing.assert_close(module.decay, torch.full((5,), 0.8))
    torch.testing.assert_close(module.adaptation_decay, torch.full((5,), 0.95))
    module(currents(draw, 30, (4, 5), torch.float32)).square().mean().backward()
    for name, parameter_ in module.named_parameters():
        assert parameter_.grad.abs().min() > 0, f"{name} has no gradient"
    with pytest.raises(ValueError, match="ALIF: expected adaptation_decay between 0 and 1, got 1.0"):
        snn.ALIF(adaptation_decay=1.0, learn_decays=True)
