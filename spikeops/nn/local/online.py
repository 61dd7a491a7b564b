"""ELL and FELL: learning forwards in time, with gradients worked out by hand, so that no graph is built.

Per time step: the layer's matrix product or convolution, one fused op from its currents to their gradients, and the products of the
weights' gradients. Where a layer's weight is not simply a parameter (pruned, of some norm, parametrised), or the layer is not simply
PyTorch's (hooks, a forward function of its own), autograd takes its part of the way; the classifier's weights likewise.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from spikeops import _layout
from spikeops import functional as SF
from spikeops._dtypes import state_dtype
from spikeops.functional import _narrow_matmul
from spikeops.functional.conv import spike_conv2d_weight
from spikeops.functional.linear import SilentRows
from spikeops.nn._hooks import is_observed
from spikeops.nn.conv import SpikeConv2d
from spikeops.nn.linear import SpikeLinear
from spikeops.nn.local.gradient import add_gradients, effective_weight, is_plain


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
        self.block, self.x, self.labels, self.is_static, self.error_scale = block, x.detach(), labels, is_static, error_scale
        self.dynamics = {"decay": block.decay, "threshold": block.threshold}
        self.encoder, self.classifier = block.encoder, block.classifier
        self.forward_in_time = block.rule == "fell"
        self.steps = steps
        self.trainable = block.trainable()
        # By hand, or by autograd through the call of an encoder that is not what it seems.
        self.by_hand = is_plain(self.encoder)
        # A still input is looked through for what is not 0 once, not in every step.
        looked_through = self.by_hand and is_static and isinstance(self.encoder, SpikeLinear)
        self.still = SilentRows(self.x, uses=steps if block.update == "step" else 1) if looked_through else None
        self.output = None  # of the encoder, in the present step; of all steps so far for a gradient that goes back in time

    def step(self, t: int) -> None:
        """Step t of the neurons, and the gradients of the weights."""
        if t == 0 or self.block.update == "step":
            for parameter in self.trainable:
                parameter.grad = None  # its memory serves again
        current = self._current(t)
        if t == 0:
            self._start(current)
        spikes, gradient, error = self.spikes[t], self.gradient, self.error
        flat = self.classifier.flat(spikes)
        weight, feedback = (effective_weight(self.classifier, name) for name in ("weight", "feedback_weight"))
        SF.local_learning_step_(
            self.membrane, spikes, gradient, current, self._matrix(weight), self.class_membrane, self.count, self.squared_error,
            error, self.labels, **self.dynamics, feedback=self._matrix(feedback), error_scale=self.error_scale,
            derivative=None if self.derivatives is None else self.derivatives[t], trace=self.trace,
            class_derivative=None if self.class_derivatives is None else self.class_derivatives[t], surrogate=self.block.surrogate,
        )  # fmt: skip
        if is_observed(self.classifier):
            self.classifier(spikes)
        x = self.x if self.is_static else self.x[t]
        if self.derivatives is not None:
            x, gradient = self.x[: t + 1], self._in_time(gradient, self.derivatives[:t])
        roots = []
        if self.by_hand:
            if self.encoder.weight.requires_grad:
                roots.append((self.encoder.weight, _weight_gradient(self.encoder, x, gradient, self.still)))
        elif self.output.requires_grad:
            roots.append((self.output, gradient.reshape(self.output.shape)))
        if self.class_derivatives is not None:
            flat = self.classifier.flat(self.spikes[: t + 1].flatten(0, 1))
            error = self._in_time(error, self.class_derivatives[:t]).flatten(0, -2)
        for matrix in (weight, feedback):
            if matrix is not None and matrix.requires_grad:
                roots.append((matrix, self.classifier.pooled(_narrow_matmul.weight_gradient(flat, error), spikes)))
        add_gradients(roots)

    def _current(self, t: int) -> Tensor:
        """The layer's input current. Weights that change in every step make it anew, also for a static input."""
        if self.output is not None and self.is_static and self.block.update == "window":
            return self.output.detach()
        x = self.x if self.is_static else self.x[t]
        if self.by_hand:
            self.output = self.still.times(self.encoder.weight) if self.still else self.encoder(x)
            return self.output
        samples = len(x)
        if self.forward_in_time and not self.is_static:
            x = self.x[: t + 1].flatten(0, 1)  # the present weights have an effect on the currents of all steps
        with torch.enable_grad():
            self.output = self.encoder(x)
        return self.output.detach()[-samples:]

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
        return self.classifier.in_maps(self.classifier.unpooled(matrix.detach().to(spikes.dtype), spikes), spikes)

    def _in_time(self, gradient: Tensor, derivatives: Tensor) -> Tensor:
        """The gradients of all steps so far from that of the present membrane potential."""
        return SF.local_gradient_in_time(gradient, derivatives, **self.dynamics) if len(derivatives) else gradient


def _weight_gradient(encoder: nn.Linear | nn.Conv2d, x: Tensor, gradient: Tensor, still: SilentRows | None) -> Tensor:
    """Gradient of the weights from that of their outputs, over all samples and time steps. ``still``: x, if it is looked through."""
    if isinstance(encoder, SpikeLinear):
        return (still or SilentRows(x)).weight_gradient(gradient, encoder.weight)
    if isinstance(encoder, nn.Linear):
        return _narrow_matmul.weight_gradient(x.flatten(0, -2), gradient.flatten(0, -2))
    x, gradient = x.flatten(0, -4).to(gradient.dtype), gradient.flatten(0, -4)
    geometry = encoder.stride, encoder.padding, encoder.dilation, encoder.groups
    if isinstance(encoder, SpikeConv2d):
        return spike_conv2d_weight(x, encoder.weight, gradient, *geometry)
    return nn.grad.conv2d_weight(x, encoder.weight.shape, gradient, *geometry)
