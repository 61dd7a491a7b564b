"""Time steps of a layer that learns with a local classifier (ELL, FELL), in place on their state, with their gradients by hand."""

from __future__ import annotations

import torch

from spikeops import reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _layout
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
    _explain_encoder(membrane, spikes, derivative, current, decay, threshold, trace, surrogate)
    return reference.local_encoder_step_(membrane, spikes, derivative, current, decay, threshold, trace=trace, surrogate=surrogate)


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
    _explain_classifier(
        membrane, count, squared_error, error, current, labels, decay, threshold, error_scale, derivative, surrogate
    )
    return reference.local_classifier_step_(membrane, count, squared_error, error, current, labels, decay, threshold,
                                            error_scale=error_scale, derivative=derivative, surrogate=surrogate)  # fmt: skip


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
    return reference.local_gradient_in_time(gradient, derivatives, decay, threshold)


# --- errors: what did not fit, in words ----------------------------------------------------------------------------------------


def _explain_encoder(membrane, spikes, derivative, current, decay, threshold, trace, surrogate):
    op = "local_encoder_step_"
    _numbers(op, decay, threshold, surrogate)
    _checks.floating(op, "current", current)
    state, data = state_dtype(current.dtype), current.dtype
    _membrane(op, membrane, state, data)
    given = {"current": current, "spikes": spikes, "derivative": derivative, "trace": trace}
    for name, value in given.items():
        if value is not None or name != "trace":
            _tensor(op, name, value, state if name == "trace" else data, membrane.shape, membrane)
            if name != "current":
                _written(op, name, value, membrane)


def _explain_classifier(
    membrane, count, squared_error, error, current, labels, decay, threshold, error_scale, derivative, surrogate
):
    op = "local_classifier_step_"
    _numbers(op, decay, threshold, surrogate)
    _checks.number(op, "error_scale", error_scale)
    _checks.floating(op, "current", current)
    if current.dim() != 2:
        raise ValueError(f"{op}: expected current to have shape (N, K), samples and classes, got shape {tuple(current.shape)}.")
    state, data = state_dtype(current.dtype), current.dtype
    _membrane(op, membrane, state, data)
    given = {"count": (count, state, True), "error": (error, data, True), "current": (current, data, False)}
    if derivative is not None:
        given["derivative"] = (derivative, data, True)
    for name, (value, dtype, written) in given.items():
        _tensor(op, name, value, dtype, membrane.shape, membrane)
        if written:
            _written(op, name, value, membrane)
    _tensor(op, "squared_error", squared_error, state, membrane.shape[:1], membrane)
    _tensor(op, "labels", labels, torch.int64, membrane.shape[:1], membrane)
    for name, value in (("membrane", membrane), ("squared_error", squared_error)):
        if not value.is_contiguous():
            raise ValueError(f"{op}: expected {name}, which is updated in place, to be contiguous, got strides {value.stride()}.")


def _explain_gradient(gradient, derivatives, decay, threshold):
    op = "local_gradient_in_time"
    _numbers(op, decay, threshold, _DEFAULT_SURROGATE)
    _checks.sequence(op, "derivatives", derivatives)
    _tensor(op, "gradient", gradient, derivatives.dtype, derivatives.shape[1:], derivatives)
    _tensor(op, "derivatives", derivatives, derivatives.dtype, derivatives.shape, derivatives)


def _numbers(op, decay, threshold, surrogate):
    _checks.number(op, "decay", decay)
    _checks.positive(op, "threshold", threshold)
    if not isinstance(surrogate, Surrogate):
        raise TypeError(f"{op}: expected surrogate to be one of spikeops.surrogate, such as Exponential(1.0), got {surrogate!r}.")


def _membrane(op, membrane, state, data):
    _tensor(op, "membrane", membrane, state, None, membrane)
    if not (membrane.numel() == 0 or _layout.is_dense(membrane.shape, membrane.stride())):
        raise ValueError(
            f"{op}: expected membrane, which is updated in place, to be dense in memory, got shape {tuple(membrane.shape)} with "
            f"strides {membrane.stride()}. Call membrane.contiguous() first."
        )


def _tensor(op, name, value, dtype, shape, like):
    """A tensor of this dtype and shape, on the device of `like`, that needs no gradient."""
    _checks.tensor(op, name, value)
    if value.dtype != dtype:
        wanted, got = (str(d).removeprefix("torch.") for d in (dtype, value.dtype))
        raise TypeError(f"{op}: expected {name} to be {wanted} here, got {got}. Call {name}.to(torch.{wanted}) first.")
    if shape is not None and value.shape != shape:
        raise ValueError(f"{op}: expected {name} to have shape {tuple(shape)}, got shape {tuple(value.shape)}.")
    if value.device != like.device:
        raise ValueError(f"{op}: expected {name} on {like.device} like the others, got {value.device}.")
    if value.requires_grad and torch.is_grad_enabled():
        raise ValueError(
            f"{op}: expected tensors without gradients, since the op is not differentiable, but {name} requires one. Call it "
            f"under torch.no_grad(), or with {name}.detach()."
        )


def _written(op, name, value, membrane):
    """A tensor that is written must have the memory order of membrane."""
    if value.numel() and any(s != m for s, m, n in zip(value.stride(), membrane.stride(), membrane.shape) if n != 1):
        raise ValueError(
            f"{op}: expected {name}, which is written in place, in the memory order of membrane, with strides {membrane.stride()}, "
            f"got strides {value.stride()}."
        )
