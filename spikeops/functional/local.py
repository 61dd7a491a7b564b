"""Time steps of a layer that learns with a local classifier (ELL, FELL), in place on their state, with their gradients by hand."""

from __future__ import annotations

from functools import partial

import torch

from spikeops import _backend, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _in_place, _layout, _register
from spikeops.surrogate import Exponential, Surrogate

_DEFAULT_SURROGATE = Exponential(1.0)


def local_encoder_step_(
    membrane: torch.Tensor,
    spikes: torch.Tensor,
    derivative: torch.Tensor,
    current: torch.Tensor,
    decay: float,
    threshold: float = 1.0,
    *,
    trace: torch.Tensor | None = None,
    surrogate: Surrogate = _DEFAULT_SURROGATE,
) -> torch.Tensor:
    """One time step of the neurons of a layer that learns by ELL or FELL, with the derivative of their spikes, in one pass and in place.

    Ma, Yan, Yu & Yu, "Deep Spike Learning With Local Classifiers", IEEE Transactions on Cybernetics 2022. For each neuron::

        v = membrane - threshold * (membrane >= threshold)       reset of the last step's spike
        trace = decay * (1 - threshold * surrogate(membrane - threshold)) * trace + 1
        membrane = decay * v + current
        spikes = 1 if membrane >= threshold else 0
        derivative = surrogate(membrane - threshold)             times trace, where one is given

    ``membrane`` is kept before its reset, and starts from 0. The spikes are those of :func:`lif` with reset by subtraction.
    ``derivative`` is d spikes / d current: of this step alone (ELL), or with a trace, of an input current that is the same in all
    steps, through the membrane potentials of all of them (FELL of a layer with a static input).

    Args:
        membrane: membrane potentials (...), dense in memory in any order of the dimensions. float64 where current is float64, else
            float32. Updated.
        spikes: (...), dtype of current. Written: 0 or 1.
        derivative: (...), dtype of current. Written.
        current: input current (...), float32, float64, float16 or bfloat16. In another memory order than membrane, it is copied.
        decay: factor by which the membrane potential decays in one time step.
        threshold: membrane potential at which a neuron fires, above 0.
        trace: sum of the effects of this and all past currents on the membrane potential (...), dtype of membrane. Starts from 0.
            Updated.
        surrogate: one of :mod:`spikeops.surrogate`.

    Returns:
        ``spikes``.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device, memory order or value, or a tensor that requires a
        gradient outside ``torch.no_grad()``. RuntimeError: no kernel for the device.

    Example:
        >>> membrane, spikes, derivative = torch.zeros(3), torch.empty(3), torch.empty(3)
        >>> SF.local_encoder_step_(membrane, spikes, derivative, torch.tensor([0.5, 1.0, 1.5]), decay=0.5)
        tensor([0., 1., 1.])
        >>> derivative
        tensor([0.6065, 1.0000, 0.6065])
    """
    explain = partial(_explain_encoder, membrane, spikes, derivative, trace, current, decay, threshold, surrogate)
    if _backend.is_reference():
        explain()
        return reference.local_encoder_step_(
            membrane, spikes, derivative, current, decay, threshold, trace=trace, surrogate=surrogate
        )
    kind, scale, peak = _coefficients("local_encoder_step_", surrogate)
    tensors = membrane, spikes, derivative, trace, current
    written = (membrane, spikes, derivative) if trace is None else (membrane, spikes, derivative, trace)
    arguments = (*tensors, (decay, threshold, scale, peak), kind)
    _in_place.run("local_encoder_step_", arguments, tensors, (decay, threshold), written, explain)
    return spikes


def local_classifier_step_(
    membrane: torch.Tensor,
    count: torch.Tensor,
    squared_error: torch.Tensor,
    error: torch.Tensor,
    current: torch.Tensor,
    labels: torch.Tensor,
    decay: float,
    threshold: float = 1.0,
    *,
    error_scale: float = 1.0,
    derivative: torch.Tensor | None = None,
    surrogate: Surrogate = _DEFAULT_SURROGATE,
) -> torch.Tensor:
    """One time step of a local classifier's neurons, one per class, with their error signal, in one pass and in place.

    For each sample n and class k, with membrane, reset and spikes as in :func:`local_encoder_step_`::

        difference = spike - (1 if labels[n] == k else 0)
        count += spike
        squared_error[n] += difference^2                         summed over the classes
        error = error_scale * difference * surrogate(membrane - threshold)

    With ``error_scale = 2 / (N * K)``, ``error`` is the gradient of this step's mean squared error with respect to the membrane
    potential.

    Args:
        membrane: membrane potentials (N, K), contiguous. float64 where current is float64, else float32. Updated.
        count: number of spikes (N, K), dtype of membrane. Updated.
        squared_error: (N,), dtype of membrane. Updated.
        error: (N, K), dtype of current. Written.
        current: input current (N, K), float32, float64, float16 or bfloat16.
        labels: classes of the samples (N,), int64. A label outside 0 .. K-1 stands for no class: all differences are spikes.
        decay, threshold, surrogate: as in :func:`local_encoder_step_`.
        error_scale: factor on the error.
        derivative: d spike / d membrane (N, K), dtype of current, for :func:`local_gradient_in_time`. Written.

    Returns:
        ``error``.

    Raises:
        As :func:`local_encoder_step_`.

    Example:
        >>> membrane, count, squared_error, error = torch.zeros(1, 3), torch.zeros(1, 3), torch.zeros(1), torch.empty(1, 3)
        >>> SF.local_classifier_step_(membrane, count, squared_error, error, torch.tensor([[1.0, 1.0, 0.0]]), torch.tensor([0]), 0.5)
        tensor([[0., 1., 0.]])
        >>> squared_error
        tensor([1.])
    """
    explain = partial(
        _explain_classifier,
        membrane,
        count,
        squared_error,
        error,
        derivative,
        current,
        labels,
        decay,
        threshold,
        error_scale,
        surrogate,
    )
    if _backend.is_reference():
        explain()
        return reference.local_classifier_step_(membrane, count, squared_error, error, current, labels, decay, threshold,
                                                error_scale=error_scale, derivative=derivative, surrogate=surrogate)  # fmt: skip
    kind, scale, peak = _coefficients("local_classifier_step_", surrogate)
    tensors = membrane, count, squared_error, error, derivative, current, labels
    written = (membrane, count, squared_error, error) if derivative is None else tensors[:5]
    arguments = (*tensors, error_scale, (decay, threshold, scale, peak), kind)
    _in_place.run("local_classifier_step_", arguments, tensors, (decay, threshold, error_scale), written, explain)
    return error


def local_gradient_in_time(gradient: torch.Tensor, derivatives: torch.Tensor, decay: float, threshold: float = 1.0) -> torch.Tensor:
    """Gradients of the input currents of all steps so far, from that of the present membrane potential (FELL).

    The way back in time from a neuron's membrane potential at step S to its currents at steps 0 .. S, through decay and reset::

        gradients[S] = gradient
        gradients[k] = gradients[k + 1] * decay * (1 - threshold * derivatives[k])          k = S-1 .. 0

    Args:
        gradient: with respect to the membrane potential of step S (...), float32, float64, float16 or bfloat16.
        derivatives: d spike / d membrane of steps 0 .. S-1 (S, ...) with S >= 1, dtype of gradient.
        decay, threshold: as in :func:`local_encoder_step_`.

    Returns:
        Gradients (S + 1, ...), in the dtype of gradient and the layout of derivatives.

    Raises:
        As :func:`local_encoder_step_`.

    Example:
        >>> SF.local_gradient_in_time(torch.tensor([1.0]), torch.tensor([[1.0], [0.5]]), decay=0.5)
        tensor([[0.0000],
                [0.2500],
                [1.0000]])
    """
    _explain_gradient(gradient, derivatives, decay, threshold)
    if _backend.is_reference():
        return reference.local_gradient_in_time(gradient, derivatives, decay, threshold)
    return _backend.namespace("local_gradient_in_time", gradient.device).local_gradient_in_time(
        gradient, derivatives, decay, threshold
    )


# --- errors: what did not fit, in words -------------------------------------------------------------------------------------


def _coefficients(op, surrogate):
    if not isinstance(surrogate, Surrogate):
        raise TypeError(f"{op}: expected surrogate to be one of spikeops.surrogate, such as Exponential(1.0), got {surrogate!r}.")
    return surrogate.coefficients


def _explain_encoder(membrane, spikes, derivative, trace, current, decay, threshold, surrogate):
    op = "local_encoder_step_"
    _coefficients(op, surrogate)
    where, data, state = _membrane(op, membrane, current, decay, threshold)
    # name -> (tensor, dtype, whether it is written)
    expected = {
        "current": (current, data, False),
        "spikes": (spikes, data, True),
        "derivative": (derivative, data, True),
        "trace": (trace, state, True),
    }
    for name, (value, dtype, is_written) in expected.items():
        if value is not None or name != "trace":
            _beside_membrane(op, name, value, dtype, where, membrane, is_written)


def _explain_classifier(
    membrane, count, squared_error, error, derivative, current, labels, decay, threshold, error_scale, surrogate
):
    op = "local_classifier_step_"
    _coefficients(op, surrogate)
    _checks.number(op, "error_scale", error_scale)
    where, data, state = _membrane(op, membrane, current, decay, threshold)
    if membrane.dim() != 2:
        raise ValueError(f"{op}: expected membrane to have shape (N, K), samples and classes, got {tuple(membrane.shape)}.")
    _in_place.check_contiguous(op, "membrane", membrane)
    expected = {
        "current": (current, data, False),
        "count": (count, state, True),
        "error": (error, data, True),
        "derivative": (derivative, data, True),
    }
    for name, (value, dtype, is_written) in expected.items():
        if value is not None or name != "derivative":
            _beside_membrane(op, name, value, dtype, where, membrane, is_written)
    for name, value, dtype in (("squared_error", squared_error, state), ("labels", labels, torch.int64)):
        _in_place.check_dtype(op, name, value, dtype, where)
        _in_place.check_shape(op, name, value, [membrane.shape[:1]])
        _in_place.check_device_and_gradient(op, name, value, membrane)
        if not value.is_contiguous():
            raise ValueError(f"{op}: expected {name} to be contiguous, got strides {value.stride()}.")


def _explain_gradient(gradient, derivatives, decay, threshold):
    op = "local_gradient_in_time"
    _numbers(op, decay, threshold)
    _checks.sequence(op, "derivatives", derivatives)
    where = f"derivatives are {str(derivatives.dtype).removeprefix('torch.')}"
    _in_place.check_dtype(op, "gradient", gradient, derivatives.dtype, where)
    _in_place.check_shape(op, "gradient", gradient, [derivatives.shape[1:]])
    if gradient.device != derivatives.device:
        raise ValueError(
            f"{op}: expected gradient on the device of derivatives, {derivatives.device}, got {gradient.device}. "
            "Call gradient.to(derivatives.device) first."
        )


def _numbers(op, decay, threshold):
    _checks.number(op, "decay", decay)
    _checks.positive(op, "threshold", threshold)


def _membrane(op, membrane, current, decay, threshold):
    """Checks what both steps have; returns (words on what the dtypes depend on, that of the data, that of the state)."""
    _numbers(op, decay, threshold)
    _checks.floating(op, "current", current)
    where = f"current is {str(current.dtype).removeprefix('torch.')}"
    state = state_dtype(current.dtype)
    _in_place.check_dtype(op, "membrane", membrane, state, where)
    _in_place.check_dense(op, membrane)
    _in_place.check_device_and_gradient(op, "membrane", membrane, membrane)
    return where, current.dtype, state


def _beside_membrane(op, name, value, dtype, where, membrane, is_written):
    _in_place.check_dtype(op, name, value, dtype, where)
    _in_place.check_shape(op, name, value, [membrane.shape])
    if is_written:
        _in_place.check_order(op, name, value, membrane)
    _in_place.check_device_and_gradient(op, name, value, membrane)


# --- fake kernels -----------------------------------------------------------------------------------------------------------


def _encoder_fake(membrane, spikes, derivative, trace, current, numbers, surrogate):
    _explain_encoder(membrane, spikes, derivative, trace, current, *numbers[:2], _DEFAULT_SURROGATE)


def _classifier_fake(membrane, count, squared_error, error, derivative, current, labels, error_scale, numbers, surrogate):
    _explain_classifier(membrane, count, squared_error, error, derivative, current, labels, *numbers[:2], error_scale,
                        _DEFAULT_SURROGATE)  # fmt: skip


def _gradient_fake(gradient, derivatives, decay, threshold):
    derivatives = _layout.time_major(derivatives)
    return _layout.empty_sequence(derivatives, derivatives.shape[0] + 1)


_register.op("local_encoder_step_", _encoder_fake)
_register.op("local_classifier_step_", _classifier_fake)
_register.op("local_gradient_in_time", _gradient_fake)
