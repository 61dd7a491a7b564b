"""The forward pass of a ring: weights, dropout masks, simulation."""

from __future__ import annotations

import torch

from spikeops import _backend
from spikeops.nn.feedback.nested import describe, map_tensors, tensors_of
from spikeops.nn.feedback.operators import loop_order
from spikeops.nn.feedback.time_loop import SpikingNeurons, TimeLoop, empty_sequence, mean_weight

# Kinds of passes whose shapes a ring remembers.
MAX_KNOWN_SHAPES = 64


class ForwardPass:
    """Everything that one forward pass of a :class:`FeedbackRing` fixes. The simulation runs when this is made.

    Sub-networks, their weights, operators and masks have the index of the spiking layer that they lead to. Index 0 is the
    feedback: None where there is none.

    Attributes:
        backend: the one that was chosen when it ran, for the backward pass to go on with.
        input_drive: what the (time-averaged) input drives layer 0 with, before dropout (B, ...), differentiable.
        input_mask, masks: dropout masks, or None.
        shapes: of each layer's state, (B, ...).
        rates: firing rate of each layer (B, ...), detached.
        trains: with ``keep_spikes``, the spikes of each layer (T, B, ...).
    """

    def __init__(self, ring, x: torch.Tensor, keep_spikes: bool = False):
        self.ring, self.training, self.differentiable = ring, ring.training, torch.is_grad_enabled()
        self.backend = _backend.chosen()
        self.input, *layers = ring.networks()
        feedback = layers.pop() if ring.feedback is not None else None
        self.networks = [feedback, *layers]
        # The one place where weights are computed from parameters.
        self.input_weights = self.input.weights()
        self.weights = [network and network.weights() for network in self.networks]
        with torch.no_grad():  # before any batch-norm updates its statistics
            self.operators = [network and network.freeze(weights) for network, weights in zip(self.networks, self.weights)]
        current = self._drive_of_input(x)
        self.shapes = self._layer_shapes(current)
        self.operators = [op and op.for_channels_last(self.shapes[index - 1]) for index, op in enumerate(self.operators)]
        self._draw_masks(current)
        if self.input_mask is not None:
            current = current * self.input_mask
        self._simulate(current, keep_spikes)

    def _drive_of_input(self, x: torch.Tensor) -> torch.Tensor:
        """Sets ``input_drive``; returns the current of the simulation, (B, ...) or (T, B, ...)."""
        ring = self.ring
        try:
            if ring.input == "constant":
                # The published IDE evaluates the input sub-network twice in a training step: batch-norms count it twice.
                updates = 2 if ring.method == "ide" else 1
                drive = self.input.apply(loop_order(x), self.input_weights, batch_norm_updates=updates)
                if drive.shape[:1] != x.shape[:1]:
                    raise RuntimeError(f"it makes {tuple(drive.shape)} of it. Give a batch of samples, (B, ...)")
                self.input_drive = loop_order(drive)
                return self.input_drive.detach()
            mean = self._mean_over_time(x)
            with torch.no_grad():
                operator = self.input.freeze(self.input_weights, mean)
                current = loop_order(operator.apply(loop_order(x.flatten(0, 1)))).unflatten(0, x.shape[:2])
            self.input_drive = loop_order(self.input.apply(mean, self.input_weights))
            return current
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            raise ValueError(f"FeedbackRing: input_layer does not take x of shape {tuple(x.shape)}: {error}") from error

    def _mean_over_time(self, x: torch.Tensor) -> torch.Tensor:
        """The input that stands for all time steps in the equilibrium equation."""
        leak = self.ring.leak if self.ring.method == "ide" else 1.0
        if leak == 1:
            mean = x.mean(0)
        else:
            weights = leak ** torch.arange(len(x) - 1, -1, -1, dtype=x.dtype, device=x.device)
            mean = torch.tensordot(weights, x, 1) / mean_weight(leak, len(x), x.dtype)
        return loop_order(mean)

    def _layer_shapes(self, current: torch.Tensor) -> list[torch.Size]:
        """Runs one sample of zeros around the ring for the shapes, and to see that it is affine where it has to be, unless all
        modules were seen before."""
        first = current.shape[1:] if self.ring.input == "spikes" else current.shape
        sample = first[1:]
        known = self.ring.known_shapes
        # Layers may be exchanged for others.
        unknown = tuple(network and network.unknown_parts() for network in self.networks)
        key = sample, map_tensors(tuple(self.operators), describe), unknown
        if key not in known:
            if len(known) == MAX_KNOWN_SHAPES:
                known.pop(next(iter(known)))
            known[key] = self._shapes_around_the_ring(current.new_zeros(1, *sample))
        return [torch.Size((first[0], *shape)) for shape in known[key]]

    @torch.no_grad()
    def _shapes_around_the_ring(self, x: torch.Tensor) -> list[torch.Size]:
        shapes = [x.shape[1:]]
        for index in (*range(1, len(self.networks)), 0):
            network, operator = self.networks[index], self.operators[index]
            if network is None:
                break
            try:
                y = operator.apply(x)
            except RuntimeError as error:
                raise ValueError(
                    f"FeedbackRing: the ring does not close: {network.name} does not take the output of spiking layer "
                    f"{len(shapes) - 1}, of shape {tuple(x.shape[1:])}: {error}"
                ) from error
            if self.ring.method == "spide":
                network.check_affine(x.shape, x)
            if index == 0 and y.shape[1:] != shapes[0]:
                raise ValueError(
                    f"FeedbackRing: the ring does not close: feedback maps spiking layer {len(shapes) - 1}, of shape "
                    f"{tuple(x.shape[1:])}, to {tuple(y.shape[1:])}, but input_layer drives spiking layer 0 with "
                    f"{tuple(shapes[0])}. Change the stride, padding or output_padding of either."
                )
            if index:
                shapes.append(y.shape[1:])
            x = y
        return shapes

    def _draw_masks(self, current: torch.Tensor) -> None:
        """In the published order: input, feedback, layers."""
        rates = self.ring.dropout if self.training else [0.0] * len(self.ring.dropout)
        input_rate, *rates = rates
        feedback_rate = rates.pop() if self.networks[0] is not None else 0.0
        self.input_mask = self.ring.draw_mask("input_layer", self.shapes[0], input_rate, current)
        names = ["feedback", *(f"layers[{i}]" for i in range(len(rates)))]
        self.masks = [
            self.ring.draw_mask(name, shape, rate, current)
            for name, shape, rate in zip(names, self.shapes, [feedback_rate, *rates])
        ]

    @torch.no_grad()
    def _simulate(self, current: torch.Tensor, keep_spikes: bool) -> None:
        ring = self.ring
        neurons = SpikingNeurons(tuple(self.masks), ring.leak, ring.threshold, ring.reset_amount)
        loop = TimeLoop(
            neurons, tuple(self.shapes), tuple(self.operators[1:]), self.operators[0], current,
            per_step=ring.input == "spikes", steps=ring.time_steps, count=ring.leak != 1,
        )  # fmt: skip
        if keep_spikes:
            self.trains = [empty_sequence(ring.time_steps, current.new_empty(shape)) for shape in self.shapes]
            outcome = loop.run(self.trains)
        else:
            outcome = ring.graphs.run(loop)
        divisor = mean_weight(ring.leak, ring.time_steps, current.dtype)
        self._unreported = None
        if not outcome.finite.is_cuda or not (self.differentiable or torch.cuda.is_current_stream_capturing()):
            ring.report(outcome.finite.item())
        else:  # the backward pass waits for the GPU anyway
            self._unreported = outcome.finite
        self.rates = [total / divisor for total in outcome.sums]
        self._counts = outcome.counts
        ring.last_forward_rates = torch.stack([count.mean() for count in self._counts]) / ring.time_steps

    def finite(self, flag: torch.Tensor) -> torch.Tensor:
        """Whether ``flag`` is true, and everything in this pass was finite, unless that was reported already."""
        return flag if self._unreported is None else flag & self._unreported

    def tensors(self) -> list[torch.Tensor]:
        """Whatever a backward pass uses that others may change in place, for autograd to notice."""
        weights = [tensor for pairs in self.weights if pairs for pair in pairs if pair for tensor in pair if tensor is not None]
        return weights + tensors_of(tuple(self.operators))

    def active(self) -> list[torch.Tensor]:
        """Per layer, 1 for the neurons that fired, but not at every step, else 0: those that a small change can move."""
        return [((count > 0) & (count < self.ring.time_steps)).to(count.dtype) for count in self._counts]
