"""lif against its reference: data types, sizes, memory layouts, parameters."""

import pytest
import torch
from op_tests.compare import assert_close, assert_identical, assert_same_results, evaluate, run_both
from op_tests.layouts import INPUTS, UPSTREAM, is_kept, same_memory_order
from op_tests.neurons import DTYPES, SHAPES, SPREADS, STEPS, currents, parameter, split_arguments, state_dtype
from op_tests.pairwise import parametrize

import spikeops.functional as SF


@parametrize(
    T=STEPS, shape=SHAPES, layout=list(INPUTS), upstream=list(UPSTREAM), dtype=DTYPES, reset=["subtract", "to", "none"],
    decay=SPREADS, v_init=(None, *SPREADS[1:]), is_constant=[False, True],
)  # fmt: skip
def test_matches_the_reference(device, draw, T, shape, layout, upstream, dtype, reset, decay, v_init, is_constant):
    x = currents(draw, T, shape, dtype, layout, device)
    step = x[0]
    tensors, options = split_arguments(
        x=x,
        decay=parameter(draw, decay, shape, state_dtype(dtype), 0.2, 0.95, device),
        v_init=v_init and parameter(draw, v_init, shape, state_dtype(dtype), -0.5, 1.5, device),
        reset=reset,
    )
    if is_constant:
        tensors["x"], options["time_steps"] = step, T
    actual, expected = run_both("lif", tensors, options, upstream)
    assert_same_results(actual, expected)
    if is_kept(x, layout):
        spikes, v_last = actual.outputs
        assert same_memory_order(spikes, x)
        assert same_memory_order(v_last, step)
        assert same_memory_order(actual.grads["x"], tensors["x"])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("op", ["lif", "lif_rate"])
def test_a_constant_current_is_that_current_in_every_step(device, draw, op, dtype):
    current = currents(draw, 1, (3, 129), dtype, device=device)[0]
    constant = evaluate(getattr(SF, op), {"x": current}, {"decay": 0.8, "time_steps": 7}, "contiguous")
    repeated = evaluate(getattr(SF, op), {"x": current.expand(7, 3, 129)}, {"decay": 0.8}, constant.upstream)
    for a, b in zip(constant.outputs, repeated.outputs):
        assert_identical(a, b.cpu(), op)
    assert_close(constant.grads["x"], repeated.grads["x"].cpu().sum(0), "gradient")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("parameter_dtype", DTYPES)
def test_parameters_may_have_another_dtype(device, draw, dtype, parameter_dtype):
    x = currents(draw, 6, (3, 40), dtype, device=device)
    tensors = {
        "x": x,
        "decay": parameter(draw, "per_channel", (3, 40), parameter_dtype, 0.2, 0.95, device),
        "v_init": parameter(draw, "per_neuron", (3, 40), parameter_dtype, -0.5, 1.5, device),
    }
    actual, expected = run_both("lif", tensors)
    assert_same_results(actual, expected)
    assert actual.outputs[1].dtype == state_dtype(dtype)


@pytest.mark.parametrize("options", [
    {"input_scale": 0.5}, {"input_scale": -1.0}, {"v_rest": 0.3}, {"v_rest": -0.3, "input_scale": 2.0}, {"reset_amount": 0.4},
    {"threshold": 0.25}, {"threshold": -0.5, "reset_amount": 1.0}, {"reset": "to", "v_reset": -0.2, "v_rest": -0.1},
    {"decay": 0.0}, {"decay": 1.0}, {"decay": 1, "threshold": 2},
], ids=str)  # fmt: skip
def test_scalar_options(device, draw, options):
    x = currents(draw, 12, (2, 33), torch.float32, device=device)
    assert_same_results(*run_both("lif", {"x": x}, options))


def test_equations_by_hand():
    x = torch.tensor([[0.6], [0.6], [0.6], [2.5]])
    spikes, v = SF.lif(x, decay=0.5)
    # u = 0.6, 0.9, 1.05 (spike, v = 0.05), 2.525 (spike: one subtraction however large the overshoot)
    assert_identical(spikes, torch.tensor([[0.0], [0.0], [1.0], [1.0]]), "spikes")
    torch.testing.assert_close(v, torch.tensor([1.525]))
    spikes, v = SF.lif(x, decay=0.5, reset="to", v_reset=-0.25)
    # u = 0.6, 0.9, 1.05 (spike, v = -0.25), 2.375 (spike)
    assert_identical(spikes, torch.tensor([[0.0], [0.0], [1.0], [1.0]]), "spikes")
    assert_identical(v, torch.tensor([-0.25]), "v_last")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset", ["subtract", "to", "none"])
def test_pieces_give_the_same_spikes_as_the_whole(device, draw, dtype, reset):
    x = currents(draw, 50, (2, 300), dtype, device=device)
    spikes, v_last = SF.lif(x, 0.9, reset=reset)
    pieces, v = [], None
    for piece in x.split([1, 7, 30, 12]):
        part, v = SF.lif(piece, 0.9, reset=reset, v_init=v)
        pieces.append(part)
    assert torch.equal(torch.cat(pieces), spikes)
    assert torch.equal(v, v_last)


def test_gradient_flows_through_pieces(device, draw):
    x = currents(draw, 20, (65,), torch.float64, device=device).requires_grad_()
    gradient = torch.randn(20, 65, generator=draw, dtype=torch.float64).to(device)

    whole, _ = SF.lif(x, 0.9)
    expected = torch.autograd.grad(whole, x, gradient)[0]
    first, v = SF.lif(x[:8], 0.9)
    second, _ = SF.lif(x[8:], 0.9, v_init=v)
    actual = torch.autograd.grad(torch.cat([first, second]), x, gradient)[0]
    torch.testing.assert_close(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_without_gradients(device, draw, mode):
    x = currents(draw, 9, (130,), torch.float32, device=device).requires_grad_()
    decay = torch.tensor(0.8, device=device, requires_grad=True)
    expected = SF.lif(x, decay)
    with mode():
        outputs = SF.lif(x, decay)
    for output, e in zip(outputs, expected):
        assert torch.equal(output, e) and not output.requires_grad and e.requires_grad


@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_vmap(draw):
    x = currents(draw, 6, (3, 5), torch.float32)
    mapped = torch.func.vmap(lambda one: SF.lif(one, 0.8)[0], in_dims=1, out_dims=1)(x)
    assert torch.equal(mapped, SF.lif(x, 0.8)[0])


def test_gradient_of_one_output_alone(device, draw):
    """An output without an upstream gradient counts as zero."""
    x = currents(draw, 9, (130,), torch.float32, device=device).requires_grad_()
    decay = torch.tensor(0.8, device=device, requires_grad=True)
    for used in (0, 1):
        gradient = torch.randn(x.shape[used:], generator=draw).to(device)
        zeros = [torch.zeros_like(x), torch.zeros_like(x[0])]
        zeros[used] = gradient
        alone = torch.autograd.grad(SF.lif(x, decay)[used], (x, decay), gradient)
        both = torch.autograd.grad(SF.lif(x, decay), (x, decay), zeros)
        assert all(torch.equal(a, b) for a, b in zip(alone, both))
