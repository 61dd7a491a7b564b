"""Counts stay exact beyond 2^24, where float32 cannot count on: they are added up in double, or refused by name. NaN is never hidden."""

import pytest
import torch

import spikeops
import spikeops.functional as SF
import spikeops.nn as snn

LIMIT = 1 << 24


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_sum_beyond_2_24_is_rounded_once(device, dtype):
    """A large number and then many ones: as many steps as there would have to be take too long here."""
    ones = 40
    large = torch.tensor(min(float(LIMIT), torch.finfo(dtype).max / 2), dtype=dtype)
    spikes = torch.ones(1 + ones, 5, dtype=dtype)
    spikes[0] = large
    expected = (large.double() + ones).float().to(dtype) if dtype != torch.float64 else large + ones
    assert torch.equal(SF.spike_count(spikes.to(device)).cpu(), expected.expand(5).to(dtype))


def test_a_train_of_more_than_2_24_spikes(native):
    assert SF.spike_count(torch.ones(LIMIT + 6, 1)).item() == LIMIT + 6
    assert SF.spike_count(torch.ones(LIMIT + 6, 1, dtype=torch.bool)).item() == LIMIT + 6


@pytest.mark.parametrize("dtype, steps", [(torch.bool, 2**31), (torch.int64, 2**31), (torch.uint16, 2**27)])
def test_more_steps_than_int32_counts_are_refused(dtype, steps, backend):
    with pytest.raises(ValueError, match="spike_count: expected at most 2147483647 time steps of integer or packed spikes, .* got 2147483648"):
        SF.spike_count(torch.zeros(1, 1, dtype=dtype).expand(steps, 1))


@pytest.mark.parametrize("weighting", ["mean", "decay"])
def test_a_rate_over_more_steps_is_refused(weighting, backend):
    x = torch.ones(1)
    with pytest.raises(ValueError, match=f"lif_rate: expected at most {LIMIT} time steps, .* got {LIMIT + 1}. Use float64 data"):
        SF.lif_rate(x, 1.0, weighting=weighting, time_steps=LIMIT + 1)


@pytest.mark.parametrize("weighting", ["mean", "decay"])
def test_rates_that_are_counted(weighting, native):
    """Neurons that fire at each step."""
    for dtype, steps in ((torch.float32, LIMIT), (torch.float64, LIMIT + 2)):
        assert SF.lif_rate(torch.ones(1, dtype=dtype), 1.0, 1.0, weighting=weighting, time_steps=steps).item() == 1.0


def test_the_binding_refuses_too(native):
    """Compiled code does not ask: its sizes stay symbolic."""
    numbers, modes = [0.5, 1.0, 1.0, 1.0, 0.0, 0.0, 3.0, 1.0], [0, 0, 0, 0, LIMIT + 1]
    with pytest.raises(RuntimeError, match="lif_rate: expected at most 2.24 time steps"):
        torch.ops.spikeops.lif_rate_forward(torch.ones(1), None, None, numbers, modes, 0)


@pytest.mark.parametrize("method", ["ide", "spide"])
def test_rings_refuse_more_steps(method, native):
    linear = torch.nn.Linear
    for option in ("time_steps", "backward_time_steps"):
        ring = snn.FeedbackRing([], linear(3, 3), linear(2, 3), method=method, **{option: LIMIT + 1})
        with pytest.raises(ValueError, match=f"FeedbackRing: expected at most {LIMIT} time steps"):
            ring(torch.rand(2, 2))


@pytest.mark.parametrize("rule", ["ell", "fell", "bell"])
def test_local_blocks_refuse_more_steps(rule, native):
    linear = torch.nn.Linear
    block = snn.LocalBlock(linear(3, 4, bias=False), snn.LocalClassifier((4,), 2), rule=rule, time_steps=LIMIT + 1)
    with pytest.raises(ValueError, match=f"LocalBlock: expected at most {LIMIT} time steps"):
        block.learn(torch.rand(2, 3), torch.tensor([0, 1]), torch.optim.SGD(block.parameters(), 1.0))


# --- NaN --------------------------------------------------------------------------------------------------------------------

NAN = float("nan")
SURROGATES = [getattr(spikeops.surrogate, name)() for name in spikeops.surrogate.__all__ if name != "Surrogate"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda surrogate: surrogate.name)
def test_the_derivative_at_nan_is_nan(device, backend, surrogate, dtype):
    """Of each surrogate, in each op that takes one, whatever the type of the data; next to numbers that are none."""
    x = torch.tensor([[0.3, NAN, 0.9, NAN, 0.2]], dtype=dtype, device=device)
    bad = x[0].isnan().cpu()
    assert torch.equal(surrogate.derivative(x[0].float()).isnan().cpu(), bad)
    ops = [lambda x, reset: SF.lif(x, 0.5, surrogate=surrogate, reset=reset)[0]]
    if surrogate.suits_every_op:
        ops.append(lambda x, reset: SF.lif_rate(x, 0.5, surrogate=surrogate, reset=reset))
        ops.append(lambda x, reset: SF.lif_rate(x, 0.5, surrogate=surrogate, reset=reset, weighting="decay"))
    for op in ops:
        for reset in ("subtract", "to", "none"):
            for name in (backend, "reference"):
                given = x.clone().requires_grad_()
                with spikeops.backend(name):
                    op(given, reset).sum().backward()
                assert torch.equal(given.grad[0].isnan().cpu(), bad), (name, reset)


@pytest.mark.parametrize("surrogate", [s for s in SURROGATES if s.suits_every_op], ids=lambda surrogate: surrogate.name)
def test_the_derivative_at_nan_of_a_local_learning_step(device, surrogate):
    state = {name: torch.zeros(1, 3, device=device) for name in ("membrane", "spikes", "gradient", "derivative")}
    classes = {name: torch.zeros(1, 2, device=device) for name in ("class_membrane", "count", "error", "class_derivative")}
    SF.local_learning_step_(
        **state, **classes, current=torch.tensor([[0.5, NAN, 0.5]], device=device), weight=torch.ones(2, 3, device=device),
        squared_error=torch.zeros(1, device=device), labels=torch.tensor([0], device=device), decay=0.5, surrogate=surrogate,
    )  # fmt: skip
    assert state["derivative"].isnan().tolist() == [[False, True, False]]


def test_nan_in_sums_and_encodings(device):
    spikes = torch.tensor([[1.0, NAN, 0.0], [1.0, 1.0, NAN]], device=device)
    assert SF.spike_count(spikes).isnan().tolist() == [False, True, True]
    assert SF.synaptic_filter(spikes, 3.0)[-1].isnan().tolist() == [False, True, True]
    # NaN is no probability: it never fires, as the docs say.
    assert not SF.poisson_encode(torch.tensor([NAN], device=device), 20).any()
    assert not SF.latency_encode(torch.tensor([NAN], device=device), 5).any()


@pytest.mark.parametrize("where", ["spikes", "weight", "upstream"])
@pytest.mark.parametrize("share", [0.01, 0.9], ids=["events", "dense"])
def test_nan_in_a_convolution_of_spikes(share, where):
    generator = torch.Generator().manual_seed(0)
    spikes = (torch.rand(4, 8, 9, 9, generator=generator) < share).float()
    weight, upstream = torch.rand(64, 8, 3, 3, generator=generator), torch.rand(4, 64, 7, 7, generator=generator)
    {"spikes": spikes, "weight": weight, "upstream": upstream}[where][1, 2, 1, 1] = NAN

    def results(convolution):
        given = spikes.clone().requires_grad_(), weight.clone().requires_grad_()
        out = convolution(*given)
        return out.detach(), *torch.autograd.grad(out, given, upstream)

    for actual, expected in zip(results(SF.spike_conv2d), results(torch.nn.functional.conv2d)):
        assert torch.equal(actual.isnan(), expected.isnan())


@pytest.mark.parametrize("where", ["spikes", "weight", "upstream"])
@pytest.mark.parametrize("share", [0.01, 0.9], ids=["events", "dense"])
def test_nan_in_a_product_with_spikes(share, where):
    generator = torch.Generator().manual_seed(0)
    spikes = (torch.rand(300, 200, generator=generator) < share).float()
    weight, upstream = torch.rand(150, 200, generator=generator), torch.rand(300, 150, generator=generator)
    {"spikes": spikes, "weight": weight, "upstream": upstream}[where][1, 2] = NAN

    def results(linear):
        given = spikes.clone().requires_grad_(), weight.clone().requires_grad_()
        out = linear(*given)
        return out.detach(), *torch.autograd.grad(out, given, upstream)

    for actual, expected in zip(results(SF.spike_linear), results(torch.nn.functional.linear)):
        assert torch.equal(actual.isnan(), expected.isnan())
