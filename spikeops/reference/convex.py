"""Trials of the spiking network that solves a convex optimisation problem (Mancoo, Keemink & Machens, NeurIPS 2020)."""

import math

import torch

from spikeops.reference.encode import philox

__all__ = ["COMMANDS", "convex_noise", "convex_snn_trial"]

# What a change of the input by 1/s, and an input of 1, ask of the membranes, for a leak rate.
COMMANDS = {"track": lambda leak: (1.0, leak), "input": lambda leak: (0.0, 1.0)}


def plain_log(x):
    """log(x) of positive float64, in operations that every backend rounds alike (kernels/math/normal.h)."""
    mantissa, exponent = torch.frexp(x)
    low = mantissa < 0.5**0.5
    mantissa, exponent = torch.where(low, 2 * mantissa, mantissa), exponent.to(x.dtype) - low.to(x.dtype)
    z = (mantissa - 1) / (mantissa + 1)
    w = z * z
    series = w * (1 / 11) + 1 / 9
    for odd in (7, 5, 3, 1):
        series = series * w + 1 / odd
    return exponent * math.log(2) + 2 * z * series


def standard_normal(word):
    """Standard normal numbers of 32-bit words, by the inverse of the normal distribution (Wichura 1988, PPND7), in float64."""
    q = (word.double() - (2**31 - 0.5)) * 2.0**-32
    r = 0.180625 - q * q
    above = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
    below = ((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1
    middle = q * above / below
    r = torch.sqrt(-plain_log(0.5 - q.abs())) - 1.6
    above = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
    below = (0.12021132975 * r + 0.73700164250) * r + 1
    return torch.where(q.abs() <= 0.425, middle, torch.copysign(above / below, q))


def convex_noise(seed, steps, trials, neurons, dtype):
    """(T, trials, neurons): the noise of :func:`convex_snn_trial` for a given seed (int64 tensor with one element)."""
    counter = torch.arange(trials * neurons, device=seed.device)
    words = [word for group in range((steps + 3) // 4) for word in philox(seed.reshape(()), counter, group)]
    return standard_normal(torch.stack(words[:steps])).to(dtype).view(steps, trials, neurons)


@torch.no_grad()
def convex_snn_trial(x, feedforward, recurrent, thresholds, decoder=None, *, dt, leak, spike_cost=0.0, sigma_v=0.0, noise=None,
                     generator=None, targets=None, encoder=None, feedforward_rate=0.0, threshold_rate=0.0, threshold_drift=0.0,
                     buffer_steps=0, forgetting=0.0, command="track"):  # fmt: skip
    """See :func:`spikeops.functional.convex_snn_trial`."""
    steps, trials, neurons = len(x) - 1, x.shape[1], len(feedforward)
    if noise is None and sigma_v:
        device = x.device if generator is None else generator.device
        seed = torch.randint(2**63 - 1, (1,), generator=generator, device=device).to(x.device)
        noise = convex_noise(seed, steps, trials, neurons, x.dtype)

    learns = targets is not None
    feedforward, thresholds = feedforward.detach().clone(), thresholds.detach().clone()
    decoder = torch.eye(neurons, dtype=x.dtype, device=x.device) if decoder is None else decoder
    spikes = torch.empty(steps, trials, dtype=torch.int32, device=x.device)
    readout = x.new_zeros(steps + 1, trials, len(decoder))
    # Independent trials are stepped together; learning ones follow one another.
    for some in [slice(b, b + 1) for b in range(trials)] if learns else [slice(None)]:
        v = x.new_zeros(spikes[0, some].numel(), neurons)
        for t in range(steps):
            change, hold = COMMANDS[command](leak)
            asked = change * ((x[t + 1, some] - x[t, some]) / dt) + hold * x[t, some]
            drive = torch.where(asked[:, None] == 0, 0, feedforward * asked[:, None])
            v = v + dt * (_ordered_sum(drive) - leak * v)
            if noise is not None:
                v = v + math.sqrt(2 * dt * leak) * sigma_v * noise[t, some]
            excess = v - thresholds
            # The first neuron of those with the largest excess; one with a NaN never fires.
            winner = torch.where(excess.isnan(), -math.inf, excess).argmax(1)
            fires = excess.gather(1, winner[:, None]) >= 0
            is_winner = fires & (torch.arange(neurons, device=x.device) == winner[:, None])
            v = torch.where(is_winner, v - spike_cost, v)
            v = torch.where(fires, v + recurrent.T[winner], v)
            readout[t + 1, some] = (1 - leak * dt) * readout[t, some] + torch.where(fires, decoder.T[winner], 0)
            spikes[t, some] = torch.where(fires[:, 0], winner, -1).to(torch.int32)
            if learns and t >= buffer_steps:
                if fires:
                    s, now = winner.item(), x[t, some][0]
                    boundary = _ordered_sum(feedforward[s] * now) - thresholds[s]
                    error = (boundary - _ordered_sum(encoder[s] * targets[some][0])) - forgetting * boundary
                    thresholds[s] += threshold_rate * error
                    feedforward[s] -= feedforward_rate * error * now
                thresholds = thresholds - dt * threshold_drift
    return spikes, readout, feedforward, thresholds


def _ordered_sum(terms):
    """Over the last axis, one after the other: float32 sums depend on the order."""
    total = torch.zeros_like(terms[..., 0])
    for k in range(terms.shape[-1]):
        total = total + terms[..., k]
    return total
