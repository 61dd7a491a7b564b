"""README's table of the same neuron in other libraries, against those of them that are installed: spikes and gradients."""

import pytest
import torch
from op_tests.elsewhere import NEURONS, assert_same, drawn, stepwise

import spikeops.functional as SF
from spikeops import surrogate


@pytest.fixture(params=[torch.float32, torch.float64], ids=str)
def dtype(request):
    return request.param


@pytest.mark.parametrize("detach", [False, True])
@pytest.mark.parametrize("v_reset", [None, 0.0, -0.25])
@pytest.mark.parametrize("decay_input", [False, True])
def test_spikingjelly_lif(dtype, decay_input, v_reset, detach):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    theirs = neuron.LIFNode(3.7, decay_input=decay_input, v_reset=v_reset, detach_reset=detach, step_mode="m")
    options = dict(decay=1 - 1 / 3.7, input_scale=1 / 3.7 if decay_input else 1.0, surrogate=surrogate.Sigmoid(4.0))
    options |= dict(reset="subtract") if v_reset is None else dict(reset="to", v_reset=v_reset, v_rest=v_reset)

    def ours(x):
        return SF.lif(x, **options, detach_reset=detach, v_init=torch.full((NEURONS,), v_reset or 0.0, dtype=dtype))[0]

    assert_same(theirs, ours, dtype)


@pytest.mark.parametrize("v_reset, reset", [(None, "subtract"), (0.0, "to")])
def test_spikingjelly_if(dtype, v_reset, reset):
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron")
    theirs = neuron.IFNode(v_reset=v_reset, step_mode="m")
    assert_same(theirs, lambda x: SF.lif(x, 1.0, reset=reset, surrogate=surrogate.Sigmoid(4.0))[0], dtype, high=1.0)


def leaky(**options):
    return stepwise(pytest.importorskip("snntorch").Leaky(**options), lambda x: torch.zeros_like(x[0]))


@pytest.mark.parametrize("threshold", [1.0, 0.7])
@pytest.mark.parametrize("beta", [0.9, 0.5])
@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
def test_snntorch_resets_one_step_late_by_default(dtype, mechanism, beta, threshold):
    theirs = leaky(beta=beta, threshold=threshold, reset_mechanism=mechanism)
    reset = dict(reset_amount=threshold / beta) if mechanism == "subtract" else dict(reset="to")
    assert_same(theirs, lambda x: SF.lif(x, beta, threshold, strict=True, detach_reset=True, **reset)[0], dtype, high=1.5)


@pytest.mark.parametrize("threshold", [1.0, 0.7])
@pytest.mark.parametrize("beta", [0.9, 0.5])
@pytest.mark.parametrize("mechanism", ["subtract", "zero"])
def test_snntorch_that_resets_at_once(dtype, mechanism, beta, threshold):
    """Its gradient passes through the reset. Subtraction: it leaves a reset out once a potential exceeds two thresholds."""
    theirs = leaky(beta=beta, threshold=threshold, reset_delay=False, reset_mechanism=mechanism)
    limit = (2 - beta) * threshold

    def ours(x):
        return SF.lif(x, beta, threshold, strict=True, reset="to" if mechanism == "zero" else "subtract")[0]

    assert_same(theirs, ours, dtype, low=-0.2, high=limit if mechanism == "subtract" else 3.5)
    if mechanism == "subtract":
        x, _ = drawn(dtype, -0.2, 1.2 * limit)
        assert not torch.equal(theirs(x), ours(x)), "README need not name a limit"


@pytest.mark.parametrize("cell, options", [
    ("LIFBoxCell", dict(decay=0.9, input_scale=0.1)),
    ("IAFCell", dict(decay=1.0)),
])  # fmt: skip
def test_norse(dtype, cell, options):
    theirs = stepwise(getattr(pytest.importorskip("norse.torch"), cell)())
    options = options | dict(reset="to", strict=True, surrogate=surrogate.FastSigmoid(1.0))
    assert_same(theirs, lambda x: SF.lif(x, **options)[0], dtype, high=1.0 / options.get("input_scale", 1.0))
