"""The steps of local learning refuse what does not fit, before they write anything: in words, and as raw ops."""

import re

import pytest
import torch
from op_tests.layouts import channels_last

import spikeops
import spikeops.functional as SF

NAN, INFINITY = float("nan"), float("inf")
STEP = (2, 4, 3, 3)
CLASSES = (5, 3)
NUMBERS = {
    "local_encoder_step_": ("decay", "threshold"),
    "local_classifier_step_": ("decay", "threshold", "error_scale"),
}
OPS = list(NUMBERS)


@pytest.fixture
def tensors(op):
    if op == "local_encoder_step_":
        return {name: torch.full(STEP, 0.5) for name in ("membrane", "spikes", "derivative", "current", "trace")}
    made = {name: torch.full(CLASSES, 0.5) for name in ("membrane", "count", "error", "derivative", "current")}
    return made | {"squared_error": torch.zeros(5), "labels": torch.zeros(5, dtype=torch.int64)}


def raw_call(op, tensors, decay=0.5, threshold=1.0, error_scale=0.5):
    neuron = ((decay, threshold, 1.0, 1.0), 2)
    if op == "local_encoder_step_":
        names = ("membrane", "spikes", "derivative", "trace", "current")
        return torch.ops.spikeops.local_encoder_step_(*(tensors[name] for name in names), *neuron)
    names = ("membrane", "count", "squared_error", "error", "derivative", "current", "labels")
    return torch.ops.spikeops.local_classifier_step_(*(tensors[name] for name in names), error_scale, *neuron)


def refused(error, op, tensors, *words, **options):
    """By the function with the given error, whose text holds the words in this order, and by the reference too. Nothing is written."""
    before = {name: tensor.clone() for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor) and not tensor.is_meta}
    text = "(?s)" + ".*".join(map(re.escape, (f"{op}: expected ", *words)))
    for backend in ("native", "reference"):
        with spikeops.backend(backend), pytest.raises(error, match=text) as caught:
            getattr(SF, op)(**tensors, **{"decay": 0.5, **options})
        assert caught.value.__suppress_context__ or caught.value.__context__ is None, "one error, not two"
    for name, tensor in before.items():
        assert torch.equal(tensors[name], tensor)


SQUARE = {  # for all tensors of the shape of membrane
    "local_encoder_step_": (lambda t: t[:1], "(2, 4, 3, 3), got (1, 4, 3, 3)."),
    "local_classifier_step_": (lambda t: t[:, :2], "(5, 3), got (5, 2)."),
}


@pytest.mark.parametrize("op, name, dtype", [
    ("local_encoder_step_", "spikes", "float32"), ("local_encoder_step_", "derivative", "float32"), ("local_encoder_step_", "trace", "float32"),
    ("local_classifier_step_", "count", "float32"), ("local_classifier_step_", "error", "float32"),
    ("local_classifier_step_", "derivative", "float32"),
])  # fmt: skip
def test_wrong_tensors_beside_membrane(op, name, dtype, tensors, native):
    change, words = SQUARE[op]
    for wrong, error, *said in (
        (change(tensors[name]), ValueError, f"{name} to have shape {words}"),
        (
            tensors[name].double(),
            TypeError,
            f"{name} to be {dtype} where current is float32, got float64. Call {name}.to(torch.{dtype})",
        ),
        (tensors[name].to("meta"), ValueError, f"{name} on the device of membrane, cpu, got meta."),
        (0.5, TypeError, f"{name} to be a tensor, got float."),
        (
            tensors[name].t().contiguous().t() if op != "local_encoder_step_" else channels_last(tensors[name][None])[0],
            ValueError,
            f"{name}, which is written in place, in the memory order of membrane (strides",
        ),
    ):
        refused(error, op, tensors | {name: wrong}, *said)
        with pytest.raises((RuntimeError, ValueError)):
            raw_call(op, tensors | {name: wrong})


@pytest.mark.parametrize("op", OPS)
def test_wrong_membrane_and_current(op, tensors, native):
    membrane, current = tensors["membrane"], tensors["current"]
    change, words = SQUARE[op]
    refused(
        TypeError, op, tensors | {"membrane": membrane.double()}, "membrane to be float32 where current is float32, got float64."
    )
    refused(TypeError, op, tensors | {"current": current.int()}, "current to be float32, float64, float16 or bfloat16, got int32.")
    refused(TypeError, op, tensors | {"current": current.double()}, "membrane to be float64 where current is float64, got float32.")
    refused(ValueError, op, tensors | {"current": change(current)}, f"current to have shape {words}")
    sparse = membrane[..., :1].expand(membrane.shape)
    refused(ValueError, op, tensors | {"membrane": sparse}, "membrane, which is written in place, to be dense in memory")
    for wrong in ({"membrane": membrane.double()}, {"current": change(current)}, {"membrane": sparse}, {"current": current.int()}):
        with pytest.raises(RuntimeError, match="expected"):
            raw_call(op, tensors | wrong)


@pytest.mark.parametrize("op", ["local_classifier_step_"])
def test_wrong_labels_and_errors(op, tensors, native):
    for name, dtype in (("labels", torch.int64), ("squared_error", torch.float32)):
        wanted = str(dtype).removeprefix("torch.")
        value = tensors[name]
        for wrong, error, words in (
            (value[:4], ValueError, f"{name} to have shape (5,), got (4,)."),
            (value[None], ValueError, f"{name} to have shape (5,), got (1, 5)."),
            (value.int(), TypeError, f"{name} to be {wanted} where current is float32, got int32."),
            (value.repeat(2)[::2], ValueError, f"{name} to be contiguous, got strides (2,)."),
        ):
            refused(error, op, tensors | {name: wrong}, words)
            with pytest.raises(RuntimeError, match="expected"):
                raw_call(op, tensors | {name: wrong})
    maps = {name: t[..., None] if t.dim() == 2 else t for name, t in tensors.items()}
    refused(ValueError, op, maps, "membrane to have shape (N, K), samples and classes, got (5, 3, 1).")
    turned = {name: t.t().contiguous().t() if t.dim() == 2 else t for name, t in tensors.items()}
    refused(ValueError, op, turned, "membrane, which is written in place, to be contiguous, got strides (1, 5).")
    for wrong in (maps, turned):
        with pytest.raises(RuntimeError, match="expected"):
            raw_call(op, wrong)


@pytest.mark.parametrize("op, name", [(op, name) for op in OPS for name in NUMBERS[op]])
def test_numbers(op, name, tensors, native):
    for value in (NAN, INFINITY, -INFINITY):
        refused(ValueError, op, tensors, f"{name} to be finite, got {value}.", **{name: value})
        with pytest.raises(RuntimeError, match=f"{op}: expected finite numbers"):
            raw_call(op, tensors, **{name: value})
    for value in (True, "1", [1.0]):
        refused(TypeError, op, tensors, f"{name} to be a number, got {type(value).__name__}.", **{name: value})
    refused(TypeError, op, tensors, f"{name} to be a number, got Tensor. Call {name}.item() first.", **{name: torch.tensor(1.0)})
    if name == "threshold":
        for value in (0, 0.0, -1.0):
            refused(ValueError, op, tensors, f"threshold to be above 0, got {value}.", threshold=value)
            with pytest.raises(RuntimeError, match=f"{op}: expected finite numbers, and threshold above 0"):
                raw_call(op, tensors, threshold=value)


@pytest.mark.parametrize("op", OPS)
def test_surrogate_and_gradients(op, tensors):
    for value in ("exp", None, 1.0):
        refused(
            TypeError,
            op,
            tensors,
            f"surrogate to be one of spikeops.surrogate, such as Exponential(1.0), got {value!r}.",
            surrogate=value,
        )
    leaf = tensors["current"].clone().requires_grad_()
    refused(
        ValueError,
        op,
        tensors | {"current": leaf},
        "tensors that need no gradient, since this op has none, but current requires it.",
    )
    with torch.no_grad():
        getattr(SF, op)(**tensors | {"current": leaf}, decay=0.5)
    getattr(SF, op)(**tensors, decay=0, threshold=1)


def test_gradient_in_time():
    history, last = torch.zeros(3, 2, 4), torch.zeros(2, 4)
    for error, words, arguments in (
        (ValueError, "derivatives to have at least one time step, got shape (0, 2, 4)", (last, history[:0])),
        (ValueError, "gradient to have shape (2, 4), got (2, 3).", (last[:, :3], history)),
        (TypeError, "gradient to be float32 where derivatives are float32, got float64.", (last.double(), history)),
        (TypeError, "derivatives to be float32, float64, float16 or bfloat16, got int32.", (last, history.int())),
        (ValueError, "gradient on the device of derivatives, cpu, got meta.", (last.to("meta"), history)),
    ):
        with pytest.raises(error, match=re.escape(f"local_gradient_in_time: expected {words}")):
            SF.local_gradient_in_time(*arguments, 0.5)
    with pytest.raises(ValueError, match="expected threshold to be above 0, got 0"):
        SF.local_gradient_in_time(last, history, 0.5, 0)
    for arguments in ((last[:1], history), (last.double(), history), (last, history[:0])):
        with pytest.raises(RuntimeError, match="local_gradient_in_time: expected|time"):
            torch.ops.spikeops.local_gradient_in_time(*arguments, 0.5, 1.0)
