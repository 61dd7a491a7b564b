"""SPIDE: the backward pass of a feedback network as a simulation of ternary spiking neurons (Xiao et al., 2023)."""

from __future__ import annotations

import torch

from spikeops import _backend
from spikeops.nn.feedback.forward_pass import ForwardPass
from spikeops.nn.feedback.operators import loop_order
from spikeops.nn.feedback.time_loop import TernaryNeurons, TimeLoop, mean_weight


def differentiable_rate(forward: ForwardPass) -> torch.Tensor:
    """The last layer's rate; its gradient is carried back by spikes."""
    rate = forward.rates[-1]
    if not torch.is_grad_enabled():
        return rate
    return _SpikeGradient.apply(BackwardPass(forward), rate, *_drives(forward))


def _drives(forward: ForwardPass) -> list[torch.Tensor]:
    """What drives each layer at the simulated rates, before dropout: here the parameters get their gradients."""
    drives = [
        network and network.apply(forward.rates[index - 1], weights)
        for index, (network, weights) in enumerate(zip(forward.networks, forward.weights))
    ]
    drives[0] = forward.input_drive if drives[0] is None else forward.input_drive + drives[0]
    return drives


class _SpikeGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, backward_pass, rate, *drives):
        ctx.backward_pass = backward_pass
        ctx.save_for_backward(*backward_pass.forward.tensors())
        return rate.clone()

    @staticmethod
    def backward(ctx, grad):
        if torch.is_grad_enabled():
            raise RuntimeError("FeedbackRing: a gradient carried by spikes has no second derivative. Leave out create_graph=True.")
        ctx.saved_tensors  # noqa: B018 - an error if one was changed in place
        with torch.autocast(grad.device.type, enabled=False), _backend.backend(ctx.backward_pass.forward.backend):
            return None, None, *ctx.backward_pass.run(grad)


class BackwardPass:
    """The ternary simulation that goes with a forward pass: the same ring, in reverse order and with transposed operators."""

    def __init__(self, forward: ForwardPass):
        self.forward, self.active = forward, forward.active()

    @torch.no_grad()
    def run(self, grad: torch.Tensor) -> list[torch.Tensor]:
        """Gradients of what drives each layer, from the gradient of the last layer's rate."""
        ring = self.forward.ring
        # Each layer sends to where its drive comes from, through that sub-network's dropout mask.
        gates = [ring.amplitude * active for active in self.active]
        gates = [gate if mask is None else gate * mask for gate, mask in zip(gates, self.forward.masks)]
        outcome = ring.graphs.run(self._loop(loop_order(grad), gates))
        finite, *sending = torch.stack([self.forward.finite(outcome.finite), *(gate.any() for gate in gates)]).tolist()
        ring.report(finite, sending, "each is silent, fires at every step, or is dropped")
        ring.last_backward_rates = torch.stack([count.mean() for count in outcome.counts[::-1]]) / ring.backward_time_steps
        divisor = mean_weight(ring.leak, ring.backward_time_steps, grad.dtype) * ring.reset_amount
        return [total / divisor * active for total, active in zip(outcome.sums[::-1], self.active)]

    def _loop(self, grad: torch.Tensor, gates: list[torch.Tensor]) -> TimeLoop:
        forward, ring = self.forward, self.forward.ring
        # From layer l to l - 1; from layer 0, through the feedback, to the last one.
        backwards = [op and op.transposed(forward.rates[index - 1]) for index, op in enumerate(forward.operators)]
        neurons = TernaryNeurons(tuple(gates[::-1]), 1 / ring.reset_amount, ring.leak, ring.backward_threshold, ring.amplitude)
        return TimeLoop(
            neurons, tuple(forward.shapes[::-1]), tuple(backwards[:0:-1]), backwards[0], grad,
            per_step=False, steps=ring.backward_time_steps, count=True,
        )  # fmt: skip
