"""The ops of local learning refuse what does not fit, before they write anything: in words, and as raw ops."""

import re

import pytest
import torch
from op_tests.layouts import channels_last

import spikeops
import spikeops.functional as SF

NAN, INFINITY = float("nan"), float("inf")
OP = "local_learning_step_"
UNITS, MATRIX, CLASSES = (2, 4, 3, 3), (5, 4, 3, 3), (2, 5)
BESIDE_UNITS = ("spikes", "gradient", "derivative", "trace")
BESIDE_CLASSES = ("count", "error", "class_derivative")
MATRICES = ("weight", "feedback")


@pytest.fixture
def tensors():
    made = {name: torch.full(UNITS, 0.5) for name in ("membrane", "current", *BESIDE_UNITS)}
    made |= {name: torch.full(CLASSES, 0.5) for name in ("class_membrane", *BESIDE_CLASSES)}
    made |= {name: torch.full(MATRIX, 0.5) for name in MATRICES}
    return made | {"squared_error": torch.zeros(2), "labels": torch.zeros(2, dtype=torch.int64)}


def raw_call(tensors, decay=0.5, threshold=1.0, error_scale=0.5):
    names = [argument.name for argument in torch.ops.spikeops.local_learning_step_.default._schema.arguments[:-2]]
    assert set(names) == set(tensors)
    return torch.ops.spikeops.local_learning_step_(*(tensors[name] for name in names), (decay, threshold, 1.0, 1.0, error_scale), 2)


def refused(error, tensors, *words, **options):
    """By the function with the given error, whose text holds the words in this order, and by the reference too. Nothing is written."""
    before = {name: tensor.clone() for name, tensor in tensors.items() if isinstance(tensor, torch.Tensor) and not tensor.is_meta}
    text = "(?s)" + ".*".join(map(re.escape, (f"{OP}: expected ", *words)))
    for backend in ("native", "reference"):
        with spikeops.backend(backend), pytest.raises(error, match=text) as caught:
            SF.local_learning_step_(**tensors, **{"decay": 0.5, **options})
        assert caught.value.__suppress_context__ or caught.value.__context__ is None, "one error, not two"
    for name, tensor in before.items():
        assert torch.equal(tensors[name], tensor)


def refused_raw_too(error, tensors, *words):
    refused(error, tensors, *words)
    with pytest.raises((RuntimeError, ValueError)):
        raw_call(tensors)


@pytest.mark.parametrize("name", [*BESIDE_UNITS, *BESIDE_CLASSES, *MATRICES, "current"])
def test_wrong_tensors(name, tensors, native):
    value = tensors[name]
    refused_raw_too(
        ValueError, tensors | {name: value[:1]}, f"{name} to have shape {tuple(value.shape)}, got {(1, *value.shape[1:])}."
    )
    if name != "current":  # whose dtype decides that of the others
        words = f"{name} to be float32 where current is float32, got float64. Call {name}.to(torch.float32)"
        refused_raw_too(TypeError, tensors | {name: value.double()}, words)
    words = f"{name} on the device of membrane, cpu, got meta. Call {name}.to(membrane.device)"
    refused_raw_too(ValueError, tensors | {name: value.to("meta")}, words)
    refused(TypeError, tensors | {name: 0.5}, f"{name} to be a tensor, got float.")


@pytest.mark.parametrize("name", BESIDE_UNITS)
def test_wrong_memory_order_beside_units(name, tensors, native):
    turned = channels_last(tensors[name][None])[0]
    refused_raw_too(
        ValueError, tensors | {name: turned}, f"{name}, which is written in place, in the memory order of membrane (strides"
    )


@pytest.mark.parametrize("name", ["class_membrane", *BESIDE_CLASSES])
def test_wrong_memory_order_of_classes(name, tensors, native):
    turned = tensors[name].t().contiguous().t()
    refused_raw_too(
        ValueError, tensors | {name: turned}, f"{name}, which is written in place, to be contiguous, got strides (1, 2)."
    )


def test_what_is_only_read_may_lie_in_any_order(tensors, native):
    expected = {name: tensor.clone() for name, tensor in tensors.items()}
    turned = {name: channels_last(tensors[name][None])[0] for name in ("current", *MATRICES)}
    raw_call(expected), raw_call(tensors | turned)
    for name, tensor in expected.items():
        assert torch.equal(tensors[name], tensor), name


def test_wrong_membrane_and_current(tensors, native):
    membrane, current = tensors["membrane"], tensors["current"]
    for wrong, error, words in (
        ({"membrane": membrane.double()}, TypeError, "membrane to be float32 where current is float32, got float64."),
        ({"current": current.int()}, TypeError, "current to be float32, float64, float16 or bfloat16, got int32."),
        ({"current": current.double()}, TypeError, "membrane to be float64 where current is float64, got float32."),
        ({"membrane": membrane[0, 0, 0]}, ValueError, "membrane to have shape (N, ...), samples and units, got (3,)."),
        ({"membrane": membrane[..., :1].expand(UNITS)}, ValueError, "membrane, which is written in place, to be dense in memory"),
        (
            {"membrane": membrane.movedim(0, -1).contiguous().movedim(-1, 0)},
            ValueError,
            "membrane, which is written in place, to have the samples outermost in memory, got strides (1, 18, 6, 2)",
        ),
    ):
        refused_raw_too(error, tensors | wrong, words)


def test_wrong_class_membrane(tensors, native):
    value = tensors["class_membrane"]
    words = "class_membrane to be float32 where current is float32, got float64."
    refused_raw_too(TypeError, tensors | {"class_membrane": value.double()}, words)
    for wrong in (value[:1], value[0], value[..., None]):
        words = f"class_membrane to have shape (2, K), samples and classes, got {tuple(wrong.shape)}."
        refused_raw_too(ValueError, tensors | {"class_membrane": wrong}, words)


def test_wrong_labels_and_errors(tensors, native):
    for name, dtype in (("labels", torch.int64), ("squared_error", torch.float32)):
        wanted = str(dtype).removeprefix("torch.")
        value = tensors[name]
        for wrong, error, words in (
            (value[:1], ValueError, f"{name} to have shape (2,), got (1,)."),
            (value[None], ValueError, f"{name} to have shape (2,), got (1, 2)."),
            (value.int(), TypeError, f"{name} to be {wanted} where current is float32, got int32."),
            (value.repeat(2)[::2], ValueError, f"{name} to be contiguous, got strides (2,)."),
        ):
            refused_raw_too(error, tensors | {name: wrong}, words)


@pytest.mark.parametrize("name", ["decay", "threshold", "error_scale"])
def test_numbers(name, tensors, native):
    for value in (NAN, INFINITY, -INFINITY):
        refused(ValueError, tensors, f"{name} to be finite, got {value}.", **{name: value})
        with pytest.raises(RuntimeError, match=f"{OP}: expected finite numbers"):
            raw_call(tensors, **{name: value})
    for value in (True, "1", [1.0]):
        refused(TypeError, tensors, f"{name} to be a number, got {type(value).__name__}.", **{name: value})
    refused(TypeError, tensors, f"{name} to be a number, got Tensor. Call {name}.item() first.", **{name: torch.tensor(1.0)})
    if name == "threshold":
        for value in (0, 0.0, -1.0):
            refused(ValueError, tensors, f"threshold to be above 0, got {value}.", threshold=value)
            with pytest.raises(RuntimeError, match=f"{OP}: expected finite numbers, and threshold above 0"):
                raw_call(tensors, threshold=value)


def test_surrogate_and_gradients(tensors):
    for value in ("exp", None, 1.0):
        words = f"surrogate to be one of spikeops.surrogate, such as Exponential(1.0), got {value!r}."
        refused(TypeError, tensors, words, surrogate=value)
    leaf = tensors["current"].clone().requires_grad_()
    words = "tensors that need no gradient, since this op has none, but current requires it."
    refused(ValueError, tensors | {"current": leaf}, words)
    with torch.no_grad():
        SF.local_learning_step_(**tensors | {"current": leaf}, decay=0.5)
    SF.local_learning_step_(**tensors, decay=0, threshold=1)


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
