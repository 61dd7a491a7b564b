"""The spiking network that solves a convex optimisation problem."""

from __future__ import annotations

import math
from typing import get_args

import torch
from torch import nn

from spikeops import functional as SF
from spikeops.functional import _checks
from spikeops.functional.convex import Command, ConvexTrials
from spikeops.nn._repr import call_arguments


class ConvexSNN(nn.Module):
    """A recurrent spiking network whose readout is a convex function of its input, and which learns by the projection loss
    (Mancoo, Keemink & Machens, "Understanding spiking networks through convex optimization", NeurIPS 2020):
    :func:`spikeops.functional.convex_snn_trial` as a module. The defaults of weights and thresholds are ours.

    Neuron i keeps the readout y on its side of the boundary ``G_i y = F_i x - h_i``, so that with one output y comes to rest at
    ``max(0, max_i (F_i x - h_i) / G_i)``, up to the weight of one spike (:meth:`maxout`).

    Args:
        inputs: K, dimensions of the input.
        neurons: N.
        outputs: M, dimensions of the readout.
        dt: width of a time bin, in seconds.
        leak: leak rate of membranes and rates, in 1/s.
        spike_cost: what a spike takes from its own membrane besides the recurrent weight.
        sigma_v: standard deviation of the membranes due to noise.
        encoder: G (N, M), not negative; by default drawn uniformly with rows of length 1.
        decoder_scale: the decoder is this times the transposed encoder: what one spike adds to the readout.
        feedforward_scale: root mean square length of the rows of F, which are drawn from a normal distribution.
        feedforward_mean: mean of F's rows' elements, in units of ``feedforward_scale / sqrt(inputs)``.
        threshold: initial threshold of all neurons. Low ones put the function above what it is to learn: only neurons that fire
            learn, and those that are above do.
        threshold_spread: initial thresholds are drawn uniformly from ``threshold - threshold_spread`` to ``threshold +
            threshold_spread``.
        command: "track" or "input", as in :func:`spikeops.functional.convex_snn_trial`.

    Attributes:
        feedforward: F (N, K), learned.
        thresholds: h (N,), learned.
        encoder, decoder: G (N, M), D (M, N), fixed.

    Shapes:
        x (bins, trials, inputs) -> readout (bins, trials, outputs). Not differentiable.

    Raises:
        ValueError: an encoder of another shape.

    Example:
        >>> network = snn.ConvexSNN(2, 50, 1, decoder_scale=0.02, feedforward_scale=2.0)
        >>> points = 2 * torch.rand(100, 2) - 1
        >>> x = network.present(points, bins=300)
        >>> trials = network.fit(x, points.square().sum(1, keepdim=True), feedforward_rate=0.1, threshold_rate=0.1, buffer_steps=150)
        >>> network(x).shape
        torch.Size([300, 100, 1])
    """

    encoder: torch.Tensor
    decoder: torch.Tensor

    def __init__(self, inputs: int, neurons: int, outputs: int, *, dt: float = 1e-3, leak: float = 2.0, spike_cost: float = 0.0,
                 sigma_v: float = 0.0, encoder: torch.Tensor | None = None, decoder_scale: float = 0.1,
                 feedforward_scale: float = 1.0, feedforward_mean: float = 0.0, threshold: float = 0.0,
                 threshold_spread: float = 0.0, command: Command = "track"):  # fmt: skip
        super().__init__()
        inputs, neurons, outputs = (
            _checks.whole("ConvexSNN", name, value, 1) for name, value in (("inputs", inputs), ("neurons", neurons), ("outputs", outputs))
        )
        dt, leak, spike_cost, sigma_v, decoder_scale, feedforward_scale, feedforward_mean, threshold, threshold_spread = (
            _checks.number("ConvexSNN", name, value) for name, value in (
                ("dt", dt), ("leak", leak), ("spike_cost", spike_cost), ("sigma_v", sigma_v), ("decoder_scale", decoder_scale),
                ("feedforward_scale", feedforward_scale), ("feedforward_mean", feedforward_mean), ("threshold", threshold),
                ("threshold_spread", threshold_spread),
            )
        )  # fmt: skip
        _checks.choice("ConvexSNN", "command", command, get_args(Command))
        self.neuron = dict(dt=dt, leak=leak, spike_cost=spike_cost, sigma_v=sigma_v, command=command)
        self.initial = dict(decoder_scale=decoder_scale, feedforward_scale=feedforward_scale, feedforward_mean=feedforward_mean,
                            threshold=threshold, threshold_spread=threshold_spread)  # fmt: skip
        if encoder is None:
            encoder = torch.rand(neurons, outputs)
            encoder /= encoder.norm(dim=1, keepdim=True)
        elif encoder.shape != (neurons, outputs):
            raise ValueError(f"ConvexSNN: expected encoder to have shape {(neurons, outputs)}, got {tuple(encoder.shape)}.")
        feedforward = (feedforward_mean + torch.randn(neurons, inputs)) * (feedforward_scale / math.sqrt(inputs))
        self.feedforward = nn.Parameter(feedforward, requires_grad=False)
        thresholds = torch.full((neurons,), float(threshold))
        if threshold_spread:
            thresholds += threshold_spread * (2 * torch.rand(neurons) - 1)
        self.thresholds = nn.Parameter(thresholds, requires_grad=False)
        self.register_buffer("encoder", encoder)
        self.register_buffer("decoder", decoder_scale * encoder.T.contiguous())

    @property
    def recurrent(self) -> torch.Tensor:
        """-G D (N, N): what spikes (columns) add to membranes (rows)."""
        with torch.autocast(self.encoder.device.type, enabled=False):
            return -(self.encoder @ self.decoder)

    @staticmethod
    def present(points: torch.Tensor, bins: int, onset: int = 1) -> torch.Tensor:
        """Points (trials, K) as inputs (bins, trials, K): 0 before the bin ``onset``, then constant."""
        x = points.expand(_checks.whole("ConvexSNN.present", "bins", bins, 1), *points.shape).clone()
        x[: _checks.whole("ConvexSNN.present", "onset", onset, 0)] = 0
        return x

    def forward(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """The readout (bins, trials, outputs)."""
        return self.trials(x, generator=generator).readout

    def rates(self, x: torch.Tensor, generator: torch.Generator | None = None) -> torch.Tensor:
        """The firing rates (bins, trials, neurons), as leaky spike counts. The readout is ``rates @ decoder.T``."""
        return self.trials(x, read_rates=True, generator=generator).readout

    def trials(self, x: torch.Tensor, *, read_rates: bool = False, noise: torch.Tensor | None = None,
               generator: torch.Generator | None = None, targets: torch.Tensor | None = None, encoder: torch.Tensor | None = None,
               feedforward_rate: float = 0.0, threshold_rate: float = 0.0, threshold_drift: float = 0.0, buffer_steps: int = 0,
               forgetting: float = 0.0) -> ConvexTrials:  # fmt: skip
        """:func:`spikeops.functional.convex_snn_trial` with the weights of this network.

        Args:
            x: inputs (bins, trials, inputs).
            read_rates: the readout is the firing rates.
            noise, generator, targets, ...: as there. With targets the network learns, and what it learned is in the result only.
        """
        return SF.convex_snn_trial(
            x, self.feedforward, self.recurrent, self.thresholds, None if read_rates else self.decoder, **self.neuron, noise=noise,
            generator=generator, targets=targets, encoder=encoder, feedforward_rate=feedforward_rate,
            threshold_rate=threshold_rate, threshold_drift=threshold_drift, buffer_steps=buffer_steps, forgetting=forgetting,
        )  # fmt: skip

    @torch.no_grad()
    def fit(self, x: torch.Tensor, targets: torch.Tensor, *, feedforward_rate: float, threshold_rate: float,
            threshold_drift: float = 0.0, buffer_steps: int = 0, forgetting: float = 0.0, read_rates: bool = False,
            generator: torch.Generator | None = None) -> ConvexTrials:  # fmt: skip
        """Learns from one trial after the other, and keeps what it learned.

        Args:
            x: inputs (bins, trials, inputs).
            targets: wanted readouts (trials, outputs).
            feedforward_rate, threshold_rate, threshold_drift, buffer_steps, forgetting, generator: as in
                :func:`spikeops.functional.convex_snn_trial`.
            read_rates: the readout of the trials is the firing rates.

        Returns:
            The trials, in which the network learned.
        """
        trials = self.trials(
            x, read_rates=read_rates, generator=generator, targets=targets, encoder=self.encoder, feedforward_rate=feedforward_rate,
            threshold_rate=threshold_rate, threshold_drift=threshold_drift, buffer_steps=buffer_steps, forgetting=forgetting,
        )  # fmt: skip
        self.feedforward.copy_(trials.feedforward)
        self.thresholds.copy_(trials.thresholds)
        return trials

    def maxout(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The convex function that a network with one output computes at rest, without spikes.

        Args:
            x: points (..., inputs).

        Returns:
            y (...) and the active piece (...): 0 where y = 0, i + 1 where neuron i reaches furthest (the first of several).

        Raises:
            ValueError: more than one output.
        """
        if self.encoder.shape[1] != 1:
            raise ValueError(f"ConvexSNN.maxout: expected a network with one output, this one has {self.encoder.shape[1]}.")
        scale = self.encoder[:, 0]
        pieces = x @ self.feedforward.T / scale - self.thresholds / scale
        pieces = torch.cat([torch.zeros_like(pieces[..., :1]), pieces], -1)
        active = pieces.argmax(-1)
        return pieces.gather(-1, active.unsqueeze(-1)).squeeze(-1), active

    def extra_repr(self) -> str:
        neurons, inputs = self.feedforward.shape
        sizes = dict(inputs=inputs, neurons=neurons, outputs=self.encoder.shape[1])
        return call_arguments(self, ConvexSNN.__init__, **sizes, **self.neuron, **self.initial)
