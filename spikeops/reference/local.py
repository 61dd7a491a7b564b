"""Time steps of a layer that learns with a local classifier (ELL, FELL), in place on their state."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.surrogate import Exponential

__all__ = ["local_gradient_in_time", "local_learning_step_"]


def local_learning_step_(membrane, spikes, gradient, current, weight, class_membrane, count, squared_error, error, labels, decay,
                         threshold=1.0, *, feedback=None, error_scale=1.0, derivative=None, trace=None, class_derivative=None,
                         surrogate=Exponential(1.0)):  # fmt: skip
    """See :func:`spikeops.functional.local_learning_step_`."""
    state = membrane.dtype
    if trace is not None:
        trace.copy_(decay * (1 - threshold * surrogate.derivative(membrane - threshold)) * trace + 1)
    _step(membrane, current.to(state), decay, threshold)
    spikes.copy_(membrane >= threshold)
    slope = surrogate.derivative(membrane - threshold)
    slope = (slope if trace is None else slope * trace).to(current.dtype)
    if derivative is not None:
        derivative.copy_(slope)

    # Units that did not fire, and below classes without an error, are left out, not multiplied by 0.
    fired, class_current = spikes.flatten(1) != 0, torch.zeros_like(class_membrane)
    for k, row in enumerate(weight.flatten(1).to(state)):
        class_current[:, k] = torch.where(fired, row, 0).sum(1)
    _step(class_membrane, class_current, decay, threshold)
    class_spikes = (class_membrane >= threshold).to(state)
    class_slope = surrogate.derivative(class_membrane - threshold)
    classes = labels.new_tensor(range(class_membrane.shape[1]))
    difference = class_spikes - (labels[:, None] == classes).to(state)
    count.add_(class_spikes)
    squared_error.add_(difference.square().sum(1))
    error.copy_(error_scale * difference * class_slope)
    if class_derivative is not None:
        class_derivative.copy_(class_slope)

    matrix = weight if feedback is None else feedback
    brought_back = torch.zeros_like(fired, dtype=state)
    for e, row in zip(error.to(state).t()[..., None], matrix.flatten(1).to(state)):
        brought_back += torch.where(e != 0, e * row, 0)
    gradient.copy_(slope.to(state) * brought_back.view(gradient.shape))
    return gradient


def _step(membrane, current, decay, threshold):
    """Membrane potentials of this step from those of the last one, both before their reset."""
    fired = (membrane >= threshold).to(membrane.dtype)
    membrane.copy_(decay * (membrane - threshold * fired) + current)


def local_gradient_in_time(gradient, derivatives, decay, threshold=1.0):
    """See :func:`spikeops.functional.local_gradient_in_time`."""
    gradients = [gradient]
    g = gradient.to(state_dtype(gradient.dtype))
    for slope in reversed(derivatives.to(g.dtype).unbind()):
        g = g * (decay * (1 - threshold * slope))
        gradients.append(g.to(gradient.dtype))
    return torch.stack(gradients[::-1])
