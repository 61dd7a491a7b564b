"""feedback_step_ and ternary_step_ refuse what does not fit, before they write anything: in words, and as raw ops."""

import re

import pytest
import torch
from op_tests.layouts import channels_last
from op_tests.steps import FACTORS, step_tensors

import spikeops
import spikeops.functional as SF

OPS = ("feedback_step_", "ternary_step_")
NAN, INFINITY = float("nan"), float("inf")
K, STEP = 3, (2, 4, 3, 3)


@pytest.fixture
def tensors(draw, op):
    return step_tensors(draw, op, K, STEP, torch.float32, ["drive", "current", FACTORS[op], "count", "fired"])


def raw_call(op, tensors, numbers):
    names = ("membrane", "spikes", "rate", "drive", "current", FACTORS[op], "count", "fired")
    getattr(torch.ops.spikeops, op)(*(tensors.get(name) for name in names), *numbers)


def refused(error, op, tensors, *words, **options):
    """By the function with the given error, whose text holds the words in this order, and by the reference too. Nothing is written."""
    before = {name: tensor.clone() for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor) and not tensor.is_meta}
    text = "(?s)" + ".*".join(map(re.escape, (f"{op}: expected ", *words)))
    with pytest.raises(error, match=text) as caught:
        getattr(SF, op)(**tensors, **options)
    assert caught.value.__suppress_context__, "one error, not two"
    with spikeops.backend("reference"), pytest.raises(error, match=text):
        getattr(SF, op)(**tensors, **options)
    for name, tensor in before.items():
        torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=0, equal_nan=True)


WRONG_TENSORS = {
    # name: (value, error, words)
    "membrane": [
        (lambda t: t[0], ValueError, "spikes to have the shape of membrane, (4, 3, 3), or (K, 4, 3, 3) for K time steps, got (3, 2, 4, 3, 3)."),
        (lambda t: t.double(), TypeError, "membrane to be float32 where spikes are float32, got float64. Call membrane.to(torch.float32) first."),
        (lambda t: t[..., :1].expand(t.shape), ValueError, "membrane, which is written in place, to be dense in memory, got strides (36, 9, 3, 0)"),
        (lambda t: channels_last(t[None])[0], ValueError, "spikes, which is written in place, in the memory order of membrane (strides (36, 1, 12, 4)"),
    ],
    "spikes": [
        (lambda t: t.int(), TypeError, "spikes to be float32, float64, float16 or bfloat16, got int32. Call spikes.float() first."),
        (lambda t: t.double(), TypeError, "membrane to be float64 where spikes are float64, got float32."),
        (lambda t: t[:0], ValueError, "spikes to have at least one time step, got shape (0, 2, 4, 3, 3)"),
        (lambda t: t[None], ValueError, "spikes to have the shape of membrane, (2, 4, 3, 3), or (K, 2, 4, 3, 3)", "got (1, 3, 2, 4, 3, 3)."),
        (lambda t: t[:, :1], ValueError, "spikes to have the shape of membrane", "got (3, 1, 4, 3, 3)."),
        (channels_last, ValueError, "spikes, which is written in place, in the memory order of membrane (strides (36, 9, 3, 1)",
         "got strides (72, 36, 1, 12, 4) for shape (3, 2, 4, 3, 3)."),
        (lambda t: t.repeat(2, 1, 1, 1, 1)[::2], ValueError, "spikes, which is written in place", "got strides (144, 36, 9, 3, 1)"),
    ],
    "rate": [
        (lambda t: t.half(), TypeError, "rate to be float32 where spikes are float32, got float16."),
        (lambda t: t[:1], ValueError, "rate to have shape (2, 4, 3, 3), got (1, 4, 3, 3)."),
        (lambda t: t[None], ValueError, "rate to have shape (2, 4, 3, 3), got (1, 2, 4, 3, 3)."),
        (lambda t: channels_last(t[None])[0], ValueError, "rate, which is written in place, in the memory order of membrane"),
    ],
    "drive": [
        (lambda t: t.bfloat16(), TypeError, "drive to be float32 where spikes are float32, got bfloat16."),
        (lambda t: t[:2], ValueError, "drive to have shape (3, 2, 4, 3, 3), got (2, 2, 4, 3, 3)."),
        (lambda t: t[0], ValueError, "drive to have shape (3, 2, 4, 3, 3), got (2, 4, 3, 3)."),
    ],
    "current": [
        (lambda t: t.double(), TypeError, "current to be float32 where spikes are float32, got float64."),
        (lambda t: t[None], ValueError, "current to have shape (2, 4, 3, 3) or (3, 2, 4, 3, 3), got (1, 2, 4, 3, 3)."),
        (lambda t: t[:, :1], ValueError, "current to have shape (2, 4, 3, 3) or (3, 2, 4, 3, 3), got (2, 1, 3, 3)."),
    ],
    "factor": [
        (lambda t: t.bool(), TypeError, "{name} to be float32 where spikes are float32, got bool."),
        (lambda t: t[None], ValueError, "{name} to have shape (2, 4, 3, 3), got (1, 2, 4, 3, 3)."),
        (lambda t: t[0, 0], ValueError, "{name} to have shape (2, 4, 3, 3), got (3, 3)."),
    ],
    "count": [
        (lambda t: t.int(), TypeError, "count to be float32 where spikes are float32, got int32."),
        (lambda t: t[:, :2], ValueError, "count to have shape (2, 4, 3, 3), got (2, 2, 3, 3)."),
        (lambda t: channels_last(t[None])[0], ValueError, "count, which is written in place, in the memory order of membrane"),
    ],
    "fired": [
        (lambda t: t.long(), TypeError, "fired to be int32 where spikes are float32, got int64."),
        (lambda t: t[:2], ValueError, "fired to have shape (3,), got (2,)."),
        (lambda t: t[None], ValueError, "fired to have shape (3,), got (1, 3)."),
        (lambda t: t.repeat(2)[::2], ValueError, "fired, which is written in place, to be contiguous, got strides (2,)."),
    ],
}  # fmt: skip


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("name", WRONG_TENSORS)
def test_wrong_tensors(op, name, tensors, native):
    numbers = (1.0, 1.0, 1.0) if op == "feedback_step_" else (1.0, 1.0, 1.0, 1.0)
    given = FACTORS[op] if name == "factor" else name
    for change, error, *words in WRONG_TENSORS[name]:
        wrong = tensors | {given: change(tensors[given])}
        refused(error, op, wrong, *(word.format(name=given) for word in words))
        with pytest.raises(RuntimeError, match=rf"{op}: expected|expected x to be float32"):
            raw_call(op, wrong, numbers)


@pytest.mark.parametrize("op", OPS)
def test_not_a_tensor_or_elsewhere(op, tensors):
    for name, tensor in tensors.items():
        refused(TypeError, op, tensors | {name: 0.5}, f"{name} to be a tensor, got float.")
        if name in ("membrane", "spikes", "rate"):
            refused(TypeError, op, tensors | {name: None}, f"{name} to be a tensor, got NoneType.")
        if name != "membrane":
            refused(ValueError, op, tensors | {name: tensor.to("meta")}, f"{name} on the device of membrane, cpu, got meta.",
                    f"Call {name}.to(membrane.device) first.")  # fmt: skip


NUMBERS = {
    "feedback_step_": ("leak", "threshold", "reset_amount"),
    "ternary_step_": ("drive_scale", "leak", "threshold", "amplitude"),
}


@pytest.mark.parametrize("op, name", [(op, name) for op in OPS for name in NUMBERS[op]])
def test_numbers(op, name, tensors, native):
    good = dict.fromkeys(NUMBERS[op], 0.5)
    raw_call(op, {k: t.clone() for k, t in tensors.items()}, good.values())
    for value in (NAN, INFINITY, -INFINITY):
        refused(ValueError, op, tensors, f"{name} to be finite, got {value}.", **{name: value})
        with pytest.raises(RuntimeError, match=f"{op}: expected finite numbers"):
            raw_call(op, tensors, (good | {name: value}).values())
    for value in (True, "1", [1.0]):
        refused(TypeError, op, tensors, f"{name} to be a number, got {type(value).__name__}.", **{name: value})
    refused(TypeError, op, tensors, f"{name} to be a number, got Tensor. Call {name}.item() first.", **{name: torch.tensor(1.0)})


@pytest.mark.parametrize("op", OPS)
def test_ranges(op, tensors, native):
    for leak in (0.0, -0.5, 1.001, 2):
        refused(ValueError, op, tensors, f"leak to be above 0 and at most 1, got {leak}.", leak=leak)
    if op == "ternary_step_":
        for threshold in (0, 0.0, -1.0):
            refused(ValueError, op, tensors, f"threshold to be above 0, got {threshold}.", threshold=threshold)
    getattr(SF, op)(**tensors, leak=1, threshold=1)


@pytest.mark.parametrize("op", OPS)
def test_devices_without_kernels(op, tensors, monkeypatch):
    """A failure that is not the arguments' fault is passed on as it is."""

    def no_kernels(op, device):
        raise RuntimeError(f"{op}: there are no kernels")

    monkeypatch.setattr(spikeops._backend, "namespace", no_kernels)
    with pytest.raises(RuntimeError, match=f"{op}: there are no kernels"):
        getattr(SF, op)(**tensors)
