"""Time steps of a layer that learns with a local classifier (ELL, FELL), in place on their state, with their gradients by hand."""

from __future__ import annotations

from functools import partial

import torch

from spikeops import _backend, _layout, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _in_place, _register, _vmap
from spikeops.functional._other_words import NEURON, explain_other_words
from spikeops.functional._vmap import SEQUENCE, STEP
from spikeops.surrogate import Exponential, Surrogate

_STEP = "local_learning_step_"
_DEFAULT_SURROGATE = Exponential(1.0)


@explain_other_words(NEURON)
def local_learning_step_(
    membrane: torch.Tensor,
    spikes: torch.Tensor,
    gradient: torch.Tensor,
    current: torch.Tensor,
    weight: torch.Tensor,
    class_membrane: torch.Tensor,
    count: torch.Tensor,
    squared_error: torch.Tensor,
    error: torch.Tensor,
    labels: torch.Tensor,
    decay: float,
    threshold: float = 1.0,
    *,
    feedback: torch.Tensor | None = None,
    error_scale: float = 1.0,
    derivative: torch.Tensor | None = None,
    trace: torch.Tensor | None = None,
    class_derivative: torch.Tensor | None = None,
    surrogate: Surrogate = _DEFAULT_SURROGATE,
) -> torch.Tensor:
    """One time step of a layer that learns by ELL or FELL: its neurons, its classifier, the error, and the error's way back, in place.

    Ma, Yan, Yu & Yu, "Deep Spike Learning With Local Classifiers", IEEE Transactions on Cybernetics 2022. For each sample n and each
    unit u of the layer, and then each class k::

        v = membrane - threshold * (membrane >= threshold)       reset of the last step's spike
        trace = decay * (1 - threshold * surrogate(membrane - threshold)) * trace + 1
        membrane = decay * v + current
        spikes = 1 if membrane >= threshold else 0
        derivative = surrogate(membrane - threshold)             times trace, where one is given

        class_current = sum of weight[k, u] over the units u that fired
        class_membrane, class_spike, class_derivative            from class_current, as those of a unit
        difference = class_spike - (1 if labels[n] == k else 0)
        count += class_spike
        squared_error[n] += difference^2                         summed over the classes
        error = error_scale * difference * class_derivative

        gradient = derivative * sum of error[n, k] * feedback[k, u] over the classes k with an error other than 0

    Membrane potentials are kept before their reset, and start from 0. The layer's spikes are those of :func:`lif` with reset by
    subtraction, bit for bit. ``error`` and ``gradient`` are gradients of this step's loss with respect to the input currents of
    classifier and layer: of the mean squared error, with ``error_scale = 2 / (N * K)``. ``derivative`` is d spikes / d current: of
    this step alone (ELL), or with a trace, of an input current that is the same in all steps, through the membrane potentials of all
    of them (FELL of a layer with a static input). Sums are taken in the precision of the state, in an order that depends on neither
    the number of threads nor the number of samples; the native backends share it, Triton and the reference have their own, so that a
    class current may differ by rounding between them. Units that did not fire and classes without an error are left out in all
    backends: weights there that are not finite do not spread.

    Args:
        membrane: membrane potentials (N, ...), dense in memory with the samples outermost, in any order of the other dimensions.
            float64 where current is float64, else float32. Updated.
        spikes: (N, ...), dtype of current. Written: 0 or 1.
        gradient: (N, ...), dtype of current. Written.
        current: input current (N, ...), float32, float64, float16 or bfloat16. In another memory order than membrane, it is copied.
        weight: of the classifier (K, ...), one number per class and unit, dtype of current. In another memory order than membrane, it
            is copied.
        class_membrane: membrane potentials of the classifier (N, K), contiguous, dtype of membrane. Updated.
        count: number of the classifier's spikes (N, K), dtype of membrane. Updated. In float32 exact up to 2^24.
        squared_error: (N,), dtype of membrane. Updated.
        error: (N, K), dtype of current. Written.
        labels: classes of the samples (N,), int64. A label outside 0 .. K-1 stands for no class: all differences are spikes.
        decay: factor by which membrane potentials decay in one time step, in [0, 1].
        threshold: membrane potential at which a neuron fires, above 0.
        feedback: the matrix (K, ...) through which errors come back, like weight; weight itself by default.
        error_scale: factor on the error.
        derivative: (N, ...), dtype of current, for :func:`local_gradient_in_time`. Written.
        trace: sum of the effects of this and all past currents on the membrane potential (N, ...), dtype of membrane. Starts from 0.
            Updated.
        class_derivative: d class_spike / d class_membrane (N, K), dtype of current, for :func:`local_gradient_in_time`. Written.
        surrogate: one of :mod:`spikeops.surrogate`.

    Returns:
        ``gradient``.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device, memory order or value, or a tensor that requires a
        gradient outside ``torch.no_grad()``. RuntimeError: no kernel for the device.

    Example:
        >>> units = {name: torch.zeros(1, 3) for name in ("membrane", "spikes", "gradient")}
        >>> classes = {name: torch.zeros(1, 2) for name in ("class_membrane", "count", "error")}
        >>> current, weight = torch.tensor([[0.5, 1.0, 1.5]]), torch.tensor([[0.5, 0.5, 0.5], [0.0, 1.0, -1.0]])
        >>> SF.local_learning_step_(**units, **classes, current=current, weight=weight, squared_error=torch.zeros(1),
        ...                         labels=torch.tensor([1]), decay=0.5)
        tensor([[0.3033, 0.1321, 0.5264]])
        >>> units["spikes"], classes["error"]
        (tensor([[0., 1., 1.]]), tensor([[ 1.0000, -0.3679]]))
    """
    _in_place.refuse_transforms(_STEP)
    decay, threshold, error_scale = _in_place.plain_numbers((decay, threshold, error_scale))
    explain = partial(
        _explain_step, membrane, spikes, gradient, derivative, trace, class_membrane, count, squared_error, error, class_derivative,
        current, weight, feedback, labels, decay, threshold, error_scale, surrogate,
    )  # fmt: skip
    if type(decay) is not float or not 0 <= decay <= 1:
        explain()
    if _backend.is_reference():
        explain()
        return reference.local_learning_step_(
            membrane, spikes, gradient, current, weight, class_membrane, count, squared_error, error, labels, decay, threshold,
            feedback=feedback, error_scale=error_scale, derivative=derivative, trace=trace, class_derivative=class_derivative,
            surrogate=surrogate,
        )  # fmt: skip
    kind, scale, peak = _coefficients(surrogate)
    written = membrane, spikes, gradient, derivative, trace, class_membrane, count, squared_error, error, class_derivative
    tensors = *written, current, weight, feedback, labels
    arguments = *tensors, (decay, threshold, scale, peak, error_scale), kind
    given = [tensor for tensor in written if tensor is not None]
    _in_place.run(_STEP, arguments, tensors, (decay, threshold, error_scale), given, explain)
    return gradient


@explain_other_words(NEURON)
def local_gradient_in_time(gradient: torch.Tensor, derivatives: torch.Tensor, decay: float, threshold: float = 1.0) -> torch.Tensor:
    """Gradients of the input currents of all steps so far, from that of the present membrane potential (FELL).

    The way back in time from a neuron's membrane potential at step S to its currents at steps 0 .. S, through decay and reset::

        gradients[S] = gradient
        gradients[k] = gradients[k + 1] * decay * (1 - threshold * derivatives[k])          k = S-1 .. 0

    Args:
        gradient: with respect to the membrane potential of step S (...), float32, float64, float16 or bfloat16.
        derivatives: d spike / d membrane of steps 0 .. S-1 (S, ...) with S >= 1, dtype of gradient.
        decay, threshold: as in :func:`local_learning_step_`.

    Returns:
        Gradients (S + 1, ...), in the dtype of gradient and the layout of derivatives. Differentiable by the plain formula, step by
        step.

    Raises:
        As :func:`local_learning_step_`.

    Example:
        >>> SF.local_gradient_in_time(torch.tensor([1.0]), torch.tensor([[1.0], [0.5]]), decay=0.5)
        tensor([[0.0000],
                [0.2500],
                [1.0000]])
    """
    decay, threshold = _in_place.plain_numbers((decay, threshold))
    _explain_gradient(gradient, derivatives, decay, threshold)
    if _backend.is_reference():
        return reference.local_gradient_in_time(gradient, derivatives, decay, threshold)
    ops = _backend.namespace("local_gradient_in_time", gradient.device)
    return _gradient_in_time(ops, gradient, derivatives, decay, threshold)


# --- errors: what did not fit, in words -------------------------------------------------------------------------------------


def _coefficients(surrogate):
    if not isinstance(surrogate, Surrogate):
        raise TypeError(
            f"{_STEP}: expected surrogate to be one of spikeops.surrogate, such as Exponential(1.0), got {surrogate!r}."
        )
    _checks.suits_every_op(_STEP, surrogate)
    return surrogate.coefficients


def _explain_step(membrane, spikes, gradient, derivative, trace, class_membrane, count, squared_error, error, class_derivative,
                  current, weight, feedback, labels, decay, threshold, error_scale, surrogate):  # fmt: skip
    _coefficients(surrogate)
    _numbers(_STEP, decay, threshold)
    _checks.number(_STEP, "error_scale", error_scale)
    _checks.floating(_STEP, "current", current)
    _checks.fit(_STEP, current.dtype, decay=decay, threshold=threshold, error_scale=error_scale)
    data, state = current.dtype, state_dtype(current.dtype)
    where = f"current is {str(data).removeprefix('torch.')}"

    _in_place.check_dtype(_STEP, "membrane", membrane, state, where)
    if membrane.dim() < 2:
        raise ValueError(f"{_STEP}: expected membrane to have shape (N, ...), samples and units, got {tuple(membrane.shape)}.")
    _in_place.check_dense(_STEP, membrane)
    if membrane.numel() and membrane.shape[0] > 1 and membrane.stride(0) != _layout.count(membrane.shape[1:]):
        raise ValueError(
            f"{_STEP}: expected membrane, which is written in place, to have the samples outermost in memory, got strides "
            f"{membrane.stride()} for shape {tuple(membrane.shape)}. Call membrane.contiguous() first."
        )
    _in_place.check_device_and_gradient(_STEP, "membrane", membrane, membrane)
    _beside_membrane("current", current, data, where, membrane, is_written=False)
    for name, value, dtype in (
        ("spikes", spikes, data), ("gradient", gradient, data), ("derivative", derivative, data), ("trace", trace, state),
    ):  # fmt: skip
        if value is not None or name in ("spikes", "gradient"):
            _beside_membrane(name, value, dtype, where, membrane)

    samples = membrane.shape[0]
    _in_place.check_dtype(_STEP, "class_membrane", class_membrane, state, where)
    if class_membrane.dim() != 2 or class_membrane.shape[0] != samples:
        raise ValueError(
            f"{_STEP}: expected class_membrane to have shape ({samples}, K), samples and classes, got {tuple(class_membrane.shape)}."
        )
    for name, value, dtype in (
        ("class_membrane", class_membrane, state), ("count", count, state), ("error", error, data),
        ("class_derivative", class_derivative, data),
    ):  # fmt: skip
        if value is not None or name != "class_derivative":
            _alike(name, value, dtype, where, class_membrane.shape, membrane)
            _in_place.check_contiguous(_STEP, name, value)
    for name, value in (("weight", weight), ("feedback", feedback)):
        if value is not None or name == "weight":
            _alike(name, value, data, where, (class_membrane.shape[1], *membrane.shape[1:]), membrane)
    for name, value, dtype in (("squared_error", squared_error, state), ("labels", labels, torch.int64)):
        _alike(name, value, dtype, where, (samples,), membrane)
        if not value.is_contiguous():
            raise ValueError(f"{_STEP}: expected {name} to be contiguous, got strides {value.stride()}.")


def _explain_gradient(gradient, derivatives, decay, threshold):
    op = "local_gradient_in_time"
    _numbers(op, decay, threshold)
    _checks.sequence(op, "derivatives", derivatives)
    _checks.fit(op, derivatives.dtype, decay=decay, threshold=threshold)
    where = f"derivatives are {str(derivatives.dtype).removeprefix('torch.')}"
    _in_place.check_dtype(op, "gradient", gradient, derivatives.dtype, where)
    _checks.shape(op, "gradient", gradient, [derivatives.shape[1:]])
    if gradient.device != derivatives.device:
        raise ValueError(
            f"{op}: expected gradient on the device of derivatives, {derivatives.device}, got {gradient.device}. "
            "Call gradient.to(derivatives.device) first."
        )


def _numbers(op, decay, threshold):
    _checks.decay(op, "decay", decay)
    _checks.positive(op, "threshold", threshold)


def _alike(name, value, dtype, where, shape, membrane):
    _in_place.check_dtype(_STEP, name, value, dtype, where)
    _checks.shape(_STEP, name, value, [shape])
    _in_place.check_device_and_gradient(_STEP, name, value, membrane)


def _beside_membrane(name, value, dtype, where, membrane, is_written=True):
    _alike(name, value, dtype, where, membrane.shape, membrane)
    if is_written:
        _in_place.check_order(_STEP, name, value, membrane)


# --- fake kernels -----------------------------------------------------------------------------------------------------------


def _step_fake(*arguments):
    *tensors, (decay, threshold, _, _, error_scale), _ = arguments
    _explain_step(*tensors, decay, threshold, error_scale, _DEFAULT_SURROGATE)


def _gradient_fake(gradient, derivatives, decay, threshold):
    derivatives = _layout.time_major(derivatives)
    return _layout.empty_sequence(derivatives, derivatives.shape[0] + 1)


_register.op(_STEP, _step_fake)
_gradient_in_time = _register.op(
    "local_gradient_in_time", _gradient_fake, definition=reference.local_gradient_in_time,
    vmap=_vmap.as_neurons(lambda *_: ((STEP, SEQUENCE, None, None), (SEQUENCE,))),
)  # fmt: skip
