"""Every reset with every surrogate, strict or not, with and without detach_reset: membranes below, at and above the threshold."""

import itertools

import pytest
import torch
from op_cases import CALLS
from op_tests.compare import assert_same_results, run_both
from op_tests.neurons import DTYPES
from op_tests.special_numbers import SHARES, check_special, strew

import spikeops.functional as SF
from spikeops.surrogate import ATan, Exponential, FastSigmoid, Gaussian, Rectangle, Sigmoid, Triangle

SURROGATES = [ATan(2.0), Sigmoid(4.0), Exponential(1.0), FastSigmoid(25.0), Triangle(1.0), Rectangle(1.0), Gaussian(0.5)]
RESETS = {"subtract": {}, "to": {"v_reset": -0.25}, "none": {}}


def inputs_that_hit_the_threshold(dtype, device="cpu"):
    """(T, N): all sequences of 4 inputs. With decay 1/2 all membranes are exact in every dtype, and many equal the threshold 1."""
    values = [-0.5, 0.25, 0.5, 0.75, 1.0, 1.5]
    return torch.tensor(list(itertools.product(values, repeat=4)), dtype=dtype, device=device).T.contiguous()


def test_inputs_are_below_at_and_above_the_threshold_at_every_step():
    x = inputs_that_hit_the_threshold(torch.float64)
    for t in range(1, 5):
        _, membrane = SF.lif(x[:t], 0.5, reset="none")
        assert (membrane < 1).any() and (membrane == 1).any() and (membrane > 1).any()


@pytest.mark.parametrize("surrogate", SURROGATES, ids=lambda s: s.name)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("strict", [False, True], ids=["at_threshold", "strict"])
@pytest.mark.parametrize("detach_reset", [False, True], ids=["", "detached"])
def test_matches_the_reference(device, reset, surrogate, strict, detach_reset):
    x = inputs_that_hit_the_threshold(torch.float32, device)
    tensors = {"x": x, "decay": torch.full((), 0.5, device=device), "v_init": torch.zeros_like(x[0])}
    options = dict(reset=reset, surrogate=surrogate, strict=strict, detach_reset=detach_reset, **RESETS[reset])
    assert_same_results(*run_both("lif", tensors, options))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("strict", [False, True], ids=["at_threshold", "strict"])
def test_all_dtypes(device, dtype, reset, strict):
    tensors = {"x": inputs_that_hit_the_threshold(dtype, device)}
    assert_same_results(*run_both("lif", tensors, dict(reset=reset, strict=strict, decay=0.5, **RESETS[reset])))


STRICT = {  # and other neurons that fire like them
    "lif": SF.lif,
    "general lif": lambda x, *numbers, strict: SF.lif(x, *numbers, strict=strict, reset="none", reset_timing="late"),
    "alif": lambda x, *numbers, strict: SF.alif(x, *numbers, strict=strict),
    "cuba_lif": lambda x, *numbers, strict: SF.cuba_lif(x, *numbers, strict=strict),
    "recurrent_lif": lambda x, *numbers, strict: SF.recurrent_lif(x, x.new_zeros(x.shape[-1]), *numbers, strict=strict),
}


@pytest.mark.parametrize("threshold", [0.0, -0.0, -1.0, 1e-40, -1e-40, 0.1, 3e38, -3e38])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("call", STRICT.values(), ids=STRICT)
def test_strict_only_differs_at_the_threshold_itself(device, dtype, threshold, call):
    at = torch.tensor(threshold, dtype=dtype)
    beyond = torch.tensor(float("inf"), dtype=dtype)
    x = torch.stack([torch.nextafter(at, -beyond), at, torch.nextafter(at, beyond)])[None].to(device)
    for strict, expected in ((False, [0, 1, 1]), (True, [0, 0, 1])):
        assert call(x, 0.0, threshold, strict=strict)[0].tolist() == [expected]


@pytest.mark.parametrize("name", ["general lif", "cuba_lif", "recurrent_lif"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_number_may_be_the_threshold_of_a_neuron(device, dtype, name):
    infinity, most = float("inf"), torch.finfo(dtype).max
    numbers = [infinity, -infinity, float("nan"), most, -most, 0.0, -0.0, 1e-40, -1e-40, 1.0, -1.0]
    thresholds, x = (grid.flatten().to(device) for grid in torch.meshgrid(*[torch.tensor(numbers, dtype=dtype)] * 2, indexing="ij"))
    for strict, fires in ((False, x >= thresholds), (True, x > thresholds)):
        spikes, *_ = STRICT[name](x[None], 0.0, thresholds, strict=strict)
        assert torch.equal(spikes[0] > 0, fires)


def test_detached_reset_has_another_gradient():
    """Otherwise the grid above could not tell the two apart."""
    x = inputs_that_hit_the_threshold(torch.float32).requires_grad_()
    for reset in ("subtract", "to"):
        gradients = [
            torch.autograd.grad(SF.lif(x, 0.5, reset=reset, detach_reset=detach)[0].sum(), x)[0] for detach in (False, True)
        ]
        assert not torch.allclose(*gradients)


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.0])
@pytest.mark.parametrize("share", SHARES)
def test_decay_of_0_and_1_with_special_numbers(draw, device, share, decay):
    x = strew(0.5 + torch.randn(6, 300, generator=draw), draw, share).to(device)
    check_special(CALLS["lif"], {"x": x, "decay": decay}, share)
    check_special(CALLS["lif_rate"], {"x": x, "decay": decay, "weighting": "decay"}, share)
