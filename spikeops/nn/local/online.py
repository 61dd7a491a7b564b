"""ELL and FELL: learning forwards in time, with gradients worked out by hand, so that no graph is built.

Per time step: the layer's matrix product or convolution, one fused op from its currents to their gradients, and the products of the
weights' gradients.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from spikeops import functional as SF
from spikeops._dtypes import state_dtype
from spikeops.functional import _layout
from spikeops.functional.conv import spike_conv2d_weight
from spikeops.nn.conv import SpikeConv2d
from spikeops.nn.local.gradient import set_gradient


def learn_online(block, x: Tensor, labels: Tensor, optimizer, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """One batch of ELL or FELL for a :class:`spikeops.nn.LocalBlock`. Call it without gradients.

    Returns:
        (spikes (T, N, ...), squared error summed over time, samples and classes, spike counts of the classifier (N, classes)).
    """
    is_static = block.is_static(x)
    steps = block.time_steps if is_static else len(x)
    learner = _Learner(block, x, labels, is_static, steps, 2 * scale)
    for t in range(steps):
        learner.step(t)
        if block.update == "step":
            optimizer.step()
    if block.update == "window":
        optimizer.step()
    return learner.spikes, learner.squared_error.sum(), learner.count


class _Learner:
    """The state of a block over one batch."""

    def __init__(self, block, x: Tensor, labels: Tensor, is_static: bool, steps: int, error_scale: float) -> None:
        self.block, self.x, self.labels, self.is_static, self.error_scale = block, x, labels, is_static, error_scale
        self.dynamics = {"decay": block.decay, "threshold": block.threshold}
        self.encoder, self.classifier = block.encoder, block.classifier
        self.forward_in_time = block.rule == "fell"
        self.steps = steps
        self.current = None  # of the layer, in the present step

    def step(self, t: int) -> None:
        """Step t of the neurons, and the gradients of the weights."""
        # Weights that change in every step make every step's current anew, also for a static input.
        if self.current is None or not (self.is_static and self.block.update == "window"):
            self.current = self.encoder(self.x if self.is_static else self.x[t])
        if t == 0:
            self._start(self.current)
        spikes, gradient, error = self.spikes[t], self.gradient, self.error
        flat = self.classifier.flat(spikes)
        SF.local_learning_step_(
            self.membrane, spikes, gradient, self.current, self._matrix(self.classifier.weight), self.class_membrane, self.count,
            self.squared_error, error, self.labels, **self.dynamics, feedback=self._matrix(self.classifier.feedback_weight),
            error_scale=self.error_scale, derivative=None if self.derivatives is None else self.derivatives[t], trace=self.trace,
            class_derivative=None if self.class_derivatives is None else self.class_derivatives[t], surrogate=self.block.surrogate,
        )  # fmt: skip
        x = self.x if self.is_static else self.x[t]
        if self.derivatives is not None:
            x, gradient = self.x[: t + 1], self._in_time(gradient, self.derivatives[:t])
        self._set_gradient(self.encoder.weight, t, lambda: _weight_gradient(self.encoder, x, gradient))
        if self.class_derivatives is not None:
            flat = self.classifier.flat(self.spikes[: t + 1].flatten(0, 1))
            error = self._in_time(error, self.class_derivatives[:t]).flatten(0, -2)
        for matrix in (self.classifier.weight, self.classifier.feedback_weight):
            self._set_gradient(matrix, t, lambda: self.classifier.pooled(error.t() @ flat, self.spikes[t]))

    def _start(self, current: Tensor) -> None:
        """Neurons at rest, in the memory order of the layer's currents."""

        def sequence(steps: int) -> Tensor:
            return _layout.empty_sequence(current.unsqueeze(0), steps)

        state = state_dtype(current.dtype)
        self.membrane = torch.zeros_like(current, dtype=state)
        self.spikes = sequence(self.steps)
        self.gradient = sequence(1)[0]
        samples, classes = len(self.labels), self.classifier.classes
        self.class_membrane, self.count = current.new_zeros((2, samples, classes), dtype=state)
        self.squared_error = current.new_zeros(samples, dtype=state)
        self.error = current.new_empty(samples, classes)
        self.trace, self.derivatives, self.class_derivatives = None, None, None
        if self.forward_in_time:
            self.class_derivatives = current.new_empty(self.steps, samples, classes)
            if self.is_static:
                self.trace = torch.zeros_like(self.membrane)
            else:
                self.derivatives = sequence(self.steps)

    def _matrix(self, matrix: Tensor | None) -> Tensor | None:
        """A matrix of the classifier as it acts on the layer's spikes (classes, ...)."""
        if matrix is None:
            return None
        spikes = self.spikes[0]
        return self.classifier.in_maps(self.classifier.unpooled(matrix.to(spikes.dtype), spikes), spikes)

    def _in_time(self, gradient: Tensor, derivatives: Tensor) -> Tensor:
        """The gradients of all steps so far from that of the present membrane potential."""
        return SF.local_gradient_in_time(gradient, derivatives, **self.dynamics) if len(derivatives) else gradient

    def _set_gradient(self, weight: nn.Parameter | None, t: int, gradient: Callable[[], Tensor]) -> None:
        if weight is None or not weight.requires_grad:
            return
        if t and self.block.update == "window":
            weight.grad += gradient()
        else:
            weight.grad = None  # its memory serves again
            set_gradient(weight, gradient())


def _weight_gradient(encoder: nn.Linear | nn.Conv2d, x: Tensor, gradient: Tensor) -> Tensor:
    """Gradient of the weights from that of their outputs, over all samples and time steps."""
    if isinstance(encoder, nn.Linear):
        return gradient.flatten(0, -2).t() @ x.flatten(0, -2).to(gradient.dtype)
    x, gradient = x.flatten(0, -4).to(gradient.dtype), gradient.flatten(0, -4)
    geometry = encoder.stride, encoder.padding, encoder.dilation, encoder.groups
    if isinstance(encoder, SpikeConv2d):
        return spike_conv2d_weight(x, encoder.weight, gradient, *geometry)
    return nn.grad.conv2d_weight(x, encoder.weight.shape, gradient, *geometry)
