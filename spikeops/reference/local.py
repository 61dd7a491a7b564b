"""Time steps of a layer that learns with a local classifier (ELL, FELL): in place on their state."""

from spikeops._dtypes import state_dtype
from spikeops.surrogate import Exponential


def local_encoder_step_(membrane, spikes, derivative, current, decay, threshold=1.0, *, trace=None, surrogate=Exponential(1.0)):
    """See :func:`spikeops.functional.local_encoder_step_`."""
    fired = (membrane >= threshold).to(membrane.dtype)
    if trace is not None:
        trace.copy_(decay * (1 - threshold * surrogate.derivative(membrane - threshold)) * trace + 1)
    membrane.copy_(decay * (membrane - threshold * fired) + current.to(membrane.dtype))
    spikes.copy_(membrane >= threshold)
    slope = surrogate.derivative(membrane - threshold)
    derivative.copy_(slope if trace is None else slope * trace)
    return spikes


def local_classifier_step_(membrane, count, squared_error, error, current, labels, decay, threshold=1.0, *, error_scale=1.0,
                           derivative=None, surrogate=Exponential(1.0)):  # fmt: skip
    """See :func:`spikeops.functional.local_classifier_step_`."""
    fired = (membrane >= threshold).to(membrane.dtype)
    membrane.copy_(decay * (membrane - threshold * fired) + current.to(membrane.dtype))
    spikes = (membrane >= threshold).to(membrane.dtype)
    slope = surrogate.derivative(membrane - threshold)
    classes = labels.new_tensor(range(membrane.shape[1]))
    difference = spikes - (labels[:, None] == classes).to(membrane.dtype)
    count.add_(spikes)
    squared_error.add_(difference.square().sum(1))
    error.copy_(error_scale * difference * slope)
    if derivative is not None:
        derivative.copy_(slope)
    return error


def local_gradient_in_time(gradient, derivatives, decay, threshold=1.0):
    """See :func:`spikeops.functional.local_gradient_in_time`."""
    gradients = gradient.new_empty((len(derivatives) + 1, *gradient.shape))
    gradients[-1] = gradient
    g = gradient.to(state_dtype(gradient.dtype))
    for k in reversed(range(len(derivatives))):
        g = g * (decay * (1 - threshold * derivatives[k].to(g.dtype)))
        gradients[k] = g
    return gradients
