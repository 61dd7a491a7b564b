"""cuba_lif against its reference, its equations by hand, and the ops that it is made of."""

import pytest
import torch
from op_tests.compare import assert_identical, assert_same_results, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, SPREADS, STEPS, currents, parameter, split_arguments, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF
import spikeops.nn as snn
from spikeops.functional.cuba_lif import ORDERS, TIMINGS


@parametrize(
    T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES, reset=["subtract", "to", "none"],
    order=list(ORDERS), reset_timing=list(TIMINGS), decay=SPREADS, number=SPREADS, i_init=(None, *SPREADS[1:]),
    is_constant=[False, True], reset_amount=[None, 0.6], detach_reset=[False, True],
)  # fmt: skip
def test_matches_the_reference(
    device, draw, T, shape, layout, upstream, dtype, reset, order, reset_timing, decay, number, i_init, is_constant, reset_amount,
    detach_reset,
):  # fmt: skip
    x = currents(draw, T, shape, dtype, layout, device)
    step, state = x[0], state_dtype(dtype)
    tensors, options = split_arguments(
        x=x,
        decay=parameter(draw, decay, shape, state, 0.2, 0.95, device),
        current_decay=parameter(draw, decay, shape, state, 0.2, 0.9, device),
        current_scale=parameter(draw, number, shape, state, 0.3, 1.2, device),
        threshold=parameter(draw, number, shape, state, 0.6, 1.4, device),
        v_init=i_init and parameter(draw, i_init, shape, state, -0.5, 1.5, device),
        i_init=i_init and parameter(draw, i_init, shape, state, -0.5, 1.0, device),
        reset=reset, order=order, reset_timing=reset_timing, reset_amount=reset_amount, detach_reset=detach_reset,
    )  # fmt: skip
    if is_constant:
        tensors["x"], options["time_steps"] = step, T
    actual, expected = run_both("cuba_lif", tensors, options, upstream)
    assert_same_results(actual, expected)
    if is_kept(x, layout):
        spikes, *last = actual.outputs
        assert same_memory_order(spikes, x) and all(same_memory_order(state, step) for state in last)
        assert same_memory_order(actual.grads["x"], tensors["x"])


# Each with decay 0.5, current_decay 0.5, threshold 1 and input 1, 1, 0: (spikes, v_last, i_last).
BY_HAND = {
    # i = 1, 1.5, 0.75; u = 1 (spike, v 0), 1.5 (spike, v 0.5), 1 (spike, v 0)
    "decay_input_membrane": ([1, 1, 1], 0.0, 0.75),
    # i = 0.5, 0.75, 0.375; u = 0.5, 1 (spike, v 0), 0.375
    "input_decay_membrane": ([0, 1, 0], 0.375, 0.375),
    # j = 1, 1.5, 0.75, as the first one; i = 0.5, 0.75, 0.375
    "input_membrane_decay": ([1, 1, 1], 0.0, 0.375),
    # i before = 0, 1, 1.5; u = 0, 1 (spike, v 0), 1.5 (spike, v 0.5); i after = 0.75
    "membrane_decay_input": ([0, 1, 1], 0.5, 0.75),
}


@pytest.mark.parametrize("order", ORDERS)
def test_equations_by_hand(device, order):
    expected, v_last, i_last = BY_HAND[order]
    spikes, v, i = SF.cuba_lif(torch.tensor([[1.0], [1.0], [0.0]], device=device), order=order)
    assert_identical(spikes.flatten(), torch.tensor(expected, dtype=torch.float32, device=device), "spikes")
    assert (v.item(), i.item()) == (v_last, i_last)


@pytest.mark.parametrize("reset, timing, potentials", [
    # i = 1, 1.5, 0.75, 0.5. u = 1 (spike); 0.5 + 1.5 - 1 = 1 (spike); 0.5 + 0.75 - 1 = 0.25; 0.125 + 0.5 = 0.625
    ("subtract", "late", [1.0, 1.0, 0.25, 0.625]),
    ("subtract", "late_with_input", [1.0, 1.0, 0.25, 0.625]),
    # u = 1 (spike); reset before: 0 + 1.5 (spike); 0 + 0.75; 0.375 + 0.5
    ("to", "late", [1.0, 1.5, 0.75, 0.875]),
    # u = 1 (spike); reset, with the input of the step: 0; 0 + 0.75; 0.375 + 0.5
    ("to", "late_with_input", [1.0, 0.0, 0.75, 0.875]),
])  # fmt: skip
def test_a_late_reset_by_hand(device, reset, timing, potentials):
    x = torch.tensor([[1.0], [1.0], [0.0], [0.125]], device=device)
    for steps, expected in enumerate(potentials, 1):
        spikes, v, _ = SF.cuba_lif(x[:steps], reset=reset, reset_timing=timing)
        assert v.item() == expected
        assert spikes[-1].item() == (expected >= 1), "a spike is told before its reset"


@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
def test_without_a_synapse_it_is_lif(device, draw, reset):
    x = currents(draw, 40, (3, 130), torch.float32, device=device).requires_grad_()
    with_synapse, plain = SF.cuba_lif(x, 0.9, current_decay=0.0, reset=reset), SF.lif(x, 0.9, reset=reset)
    gradient = torch.randn(x.shape, generator=draw).to(device)
    assert torch.equal(with_synapse[0], plain[0]) and torch.equal(with_synapse[1], plain[1])
    assert torch.equal(*(torch.autograd.grad(outputs[0], x, gradient)[0] for outputs in (with_synapse, plain)))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("order, reset_timing", [*((order, "now") for order in ORDERS), *(("decay_input_membrane", timing) for timing in TIMINGS)])
def test_pieces_give_the_same_spikes_as_the_whole(device, draw, dtype, order, reset_timing):
    x = currents(draw, 50, (2, 300), dtype, device=device)
    options = dict(decay=0.9, current_scale=0.4, order=order, reset_timing=reset_timing)
    whole = SF.cuba_lif(x, **options)
    pieces, v, i = [], None, None
    for piece in x.split([1, 7, 30, 12]):
        part, v, i = SF.cuba_lif(piece, **options, v_init=v, i_init=i)
        pieces.append(part)
    for actual, expected in zip((torch.cat(pieces), v, i), whole, strict=True):
        assert torch.equal(actual, expected)


def test_everything_learnable_learns(draw):
    threshold, scale = (torch.nn.Parameter(torch.full((5,), value)) for value in (1.0, 0.5))
    module = snn.CubaLIF(0.8, threshold, current_decay=0.6, current_scale=scale, learn_decays=True, shape=(5,))
    assert set(module.state_dict()) == {"decay_logit", "current_decay_logit", "threshold", "current_scale"}
    torch.testing.assert_close(module.decay, torch.full((5,), 0.8))
    torch.testing.assert_close(module.current_decay, torch.full((5,), 0.6))
    module(currents(draw, 30, (4, 5), torch.float32)).square().mean().backward()
    for name, parameter_ in module.named_parameters():
        assert parameter_.grad.abs().min() > 0, f"{name} has no gradient"
    with pytest.raises(ValueError, match="CubaLIF: expected current_decay between 0 and 1, got 1.0"):
        snn.CubaLIF(current_decay=1.0, learn_decays=True)


def test_what_cannot_be_is_named():
    x = torch.rand(3, 4)
    with pytest.raises(ValueError, match="expected current_decay, the factor on the current per time step, to be between 0 and 1, got 2"):
        SF.cuba_lif(x, current_decay=2.0)
    with pytest.raises(ValueError, match="expected threshold to be broadcastable to one time step of x"):
        SF.cuba_lif(x, threshold=torch.ones(5))
    with pytest.raises(TypeError, match=r"unexpected keyword argument 'alpha'. Hint: here that is current_decay="):
        SF.cuba_lif(x, alpha=0.5)
