"""Trials of the spiking network that solves a convex optimisation problem."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, get_args

import torch

from spikeops import _backend, reference
from spikeops.functional import _checks, _register, _seed, _transforms, _vmap

_OP = "convex_snn_trial"
Command = Literal["track", "input"]


class ConvexTrials(NamedTuple):
    """What :func:`convex_snn_trial` returns."""

    spikes: torch.Tensor
    readout: torch.Tensor
    feedforward: torch.Tensor
    thresholds: torch.Tensor


def convex_snn_trial(
    x: torch.Tensor,
    feedforward: torch.Tensor,
    recurrent: torch.Tensor,
    thresholds: torch.Tensor,
    decoder: torch.Tensor | None = None,
    *,
    dt: float,
    leak: float,
    spike_cost: float = 0.0,
    sigma_v: float = 0.0,
    noise: torch.Tensor | None = None,
    generator: torch.Generator | None = None,
    targets: torch.Tensor | None = None,
    encoder: torch.Tensor | None = None,
    feedforward_rate: float = 0.0,
    threshold_rate: float = 0.0,
    threshold_drift: float = 0.0,
    buffer_steps: int = 0,
    forgetting: float = 0.0,
    command: Command = "track",
) -> ConvexTrials:
    """Runs trials of a spiking network that solves a convex optimisation problem (Mancoo, Keemink & Machens, "Understanding
    spiking networks through convex optimization", NeurIPS 2020).

    N neurons with feed-forward weights F, recurrent weights W = -G D (encoder G, decoder D) and thresholds h keep the readout
    y = D r of their firing rates r inside the convex set G y >= F x - h. In each Euler step::

        c  = (x[t+1] - x[t]) / dt + leak x[t]
        V += dt (F c - leak V) + sqrt(2 dt leak) sigma_v * noise[t]
        r  = (1 - leak dt) r
        of the neurons with V >= h, the one with the largest V - h fires (the first of several):
            V[s] -= spike_cost;  V += W[:, s];  r[s] += 1

    Each trial begins with V = 0, r = 0. Rates are leaky spike counts, not divided by time. A NaN membrane never fires. An input
    whose c is 0 is left out of F c, even if its weights are not finite.

    With ``targets`` the network learns by the projection loss: the neuron that fires moves its boundary towards the wanted point
    of its trial, with the weights as they were when it fired, and all thresholds drift down::

        b = F[s] x[t] - h[s];  e = b - G[s] target - forgetting b
        h[s] += threshold_rate e;  F[s] -= feedforward_rate e x[t]
        h -= dt threshold_drift

    Without learning, trials are independent and run in parallel; with it, they run in order, each with the weights that the one
    before has left. The result does not depend on the number of threads.

    Args:
        x: inputs (bins, trials, K), float32 or float64, the same dtype and device for all tensors. Time is the first axis;
            ``bins`` time bins make T = bins - 1 steps.
        feedforward: F (N, K). Not changed.
        recurrent: W (N, N): a spike of neuron s adds column s to the membranes.
        thresholds: h (N,). Not changed.
        decoder: D (M, N); None for the firing rates themselves, M = N.
        dt: width of a time bin, in seconds.
        leak: leak rate of membranes and rates, in 1/s.
        spike_cost: mu, what a spike takes from its own membrane besides W.
        sigma_v: standard deviation of the membranes due to noise; 0 for none.
        noise: standard normal numbers (T, trials, N). By default drawn by Philox4x32-10, counted by neuron, trial and step.
        generator: draws the seed of the noise; the default generator of x's device by default. While a CUDA graph is captured,
            one on x's device, registered with the graph as the default one always is, draws a new seed in each replay.
        targets: wanted readouts (trials, Y). None: no learning.
        encoder: G (N, Y), for learning only.
        feedforward_rate: learning rate of F.
        threshold_rate: learning rate of the thresholds.
        threshold_drift: how fast thresholds drift down while learning, in 1/s.
        buffer_steps: steps at the beginning of each trial without learning and drift.
        forgetting: share of where the boundary is that the error leaves out: boundaries move to a fixed point a little further out.
        command: "track", c as above, with which the membranes follow F x; "input", ``c = x[t]``, for an input that is a firing rate,
            as of a layer below.

    Returns:
        ``(spikes, readout, feedforward, thresholds)``: the neuron that fires in each step, or -1, int32 (T, trials); y in each
        bin, (bins, trials, M); F and h after learning (without: the arguments). Not differentiable.

    Raises:
        TypeError: a wrong type or dtype. ValueError: shapes that do not fit, numbers out of range, only one of targets and
        encoder. RuntimeError: no kernel for the device, or a generator of another device while a CUDA graph is captured.
        NotImplementedError: a derivative by `torch.func` or forward mode.

    Example:
        >>> x = torch.tensor([0.0, 1.0, 1.0, 1.0]).view(4, 1, 1)
        >>> F, G, D = torch.tensor([[1.0], [2.0]]), torch.ones(2, 1), torch.ones(1, 2)
        >>> SF.convex_snn_trial(x, F, -G @ D, torch.zeros(2), D, dt=0.001, leak=0.0).readout.flatten()
        tensor([0., 1., 2., 3.])
    """
    weights = {"x": x, "feedforward": feedforward, "recurrent": recurrent, "thresholds": thresholds}
    _check_tensors(weights | {"decoder": decoder, "noise": noise, "targets": targets, "encoder": encoder})
    dt = _checks.positive(_OP, "dt", dt)
    leak, sigma_v = _not_negative("leak", leak), _not_negative("sigma_v", sigma_v)
    spike_cost = _checks.number(_OP, "spike_cost", spike_cost)
    feedforward_rate = _checks.number(_OP, "feedforward_rate", feedforward_rate)
    threshold_rate = _checks.number(_OP, "threshold_rate", threshold_rate)
    threshold_drift = _checks.number(_OP, "threshold_drift", threshold_drift)
    forgetting = _checks.number(_OP, "forgetting", forgetting)
    buffer_steps = _checks.whole(_OP, "buffer_steps", buffer_steps, 0)
    _checks.choice(_OP, "command", command, get_args(Command))
    _checks.fit(_OP, x.dtype, dt=dt, leak=leak, spike_cost=spike_cost, sigma_v=sigma_v, feedforward_rate=feedforward_rate,
                threshold_rate=threshold_rate, threshold_drift=threshold_drift, forgetting=forgetting)  # fmt: skip
    if generator is not None and not isinstance(generator, torch.Generator):
        raise TypeError(f"{_OP}: expected generator to be a torch.Generator, got {type(generator).__name__}.")
    _transforms.refuse_derivatives(
        _OP, (*weights.values(), decoder, noise, targets, encoder),
        "the network learns by the projection loss, see targets. Give it tensors that are not differentiated: x.detach().",
    )  # fmt: skip
    if _backend.is_reference():
        return ConvexTrials(*reference.convex_snn_trial(
            x, feedforward, recurrent, thresholds, decoder, dt=dt, leak=leak, spike_cost=spike_cost, sigma_v=sigma_v, noise=noise,
            generator=generator, targets=targets, encoder=encoder, feedforward_rate=feedforward_rate,
            threshold_rate=threshold_rate, threshold_drift=threshold_drift, buffer_steps=buffer_steps, forgetting=forgetting,
            command=command,
        ))  # fmt: skip
    ops = _backend.namespace(_OP, x.device)
    seed = None
    if sigma_v and noise is None:
        seed = _seed.draw(_OP, generator, x.device)
    tensors = [None if t is None else t.detach() for t in (*weights.values(), decoder, noise, seed, targets, encoder)]
    asked = reference.COMMANDS[command](leak)
    numbers = (dt, leak, spike_cost, sigma_v, feedforward_rate, threshold_rate, threshold_drift, forgetting, *asked)
    outputs = _trial(ops, *tensors, numbers, buffer_steps)
    return ConvexTrials(*outputs) if targets is not None else ConvexTrials(*outputs[:2], feedforward, thresholds)


def _check_tensors(given: dict[str, torch.Tensor | None]) -> None:
    x, feedforward, decoder, targets, encoder = (given[n] for n in ("x", "feedforward", "decoder", "targets", "encoder"))
    for name, value in given.items():
        if value is None and name in ("decoder", "noise", "targets", "encoder"):
            continue
        _checks.tensor(_OP, name, value)
        if name == "x" and x.dtype not in (torch.float32, torch.float64):
            dtype = str(x.dtype).removeprefix("torch.")
            raise TypeError(f"{_OP}: expected x to be float32 or float64, got {dtype}. Call x.float() first.")
        if value.dtype != x.dtype or value.device != x.device:
            raise TypeError(
                f"{_OP}: expected {name} to be {x.dtype} on {x.device} like x, got {value.dtype} on {value.device}. Call {name}.to(x) first."
            )
    if (targets is None) != (encoder is None):
        raise ValueError(f"{_OP}: expected targets and encoder together, got {'encoder' if targets is None else 'targets'} only.")
    _shape("x", x, ("bins", None), ("trials", None), ("K", None))
    if x.shape[0] < 2:
        raise ValueError(f"{_OP}: expected x to have at least two time bins, which make one step, got shape {tuple(x.shape)}.")
    bins, trials, inputs = x.shape
    _shape("feedforward", feedforward, ("N", None), ("K", inputs))
    if feedforward.numel() == 0:
        raise ValueError(f"{_OP}: expected at least one neuron and one input, got feedforward of shape {tuple(feedforward.shape)}.")
    neurons = feedforward.shape[0]
    _shape("recurrent", given["recurrent"], ("N", neurons), ("N", neurons))
    _shape("thresholds", given["thresholds"], ("N", neurons))
    if decoder is not None:
        _shape("decoder", decoder, ("M", None), ("N", neurons))
    if given["noise"] is not None:
        _shape("noise", given["noise"], ("bins - 1", bins - 1), ("trials", trials), ("N", neurons))
    if targets is not None:
        _shape("targets", targets, ("trials", trials), ("Y", None))
        _shape("encoder", encoder, ("N", neurons), ("Y", targets.shape[1]))


def _shape(name: str, value: torch.Tensor, *axes: tuple[str, int | None]) -> None:
    fits = value.dim() == len(axes) and all(wanted is None or size == wanted for size, (_, wanted) in zip(value.shape, axes))
    if not fits:
        expected = ", ".join(axis if size is None else f"{axis} = {size}" for axis, size in axes)
        raise ValueError(f"{_OP}: expected {name} to have shape ({expected}), got shape {tuple(value.shape)}.")


def _not_negative(name: str, value: Any) -> Any:
    value = _checks.number(_OP, name, value)
    if value < 0:
        raise ValueError(f"{_OP}: expected {name} to be 0 or above, got {value}.")
    return value


def _fake(x, feedforward, recurrent, thresholds, decoder, noise, seed, targets, encoder, numbers, buffer_steps):
    bins, trials, _ = x.shape
    neurons = feedforward.shape[0]
    readouts = neurons if decoder is None else decoder.shape[0]
    learned = (x.new_empty(feedforward.shape), x.new_empty((neurons,))) if targets is not None else (None, None)
    return x.new_empty((bins - 1, trials), dtype=torch.int32), x.new_empty((bins, trials, readouts)), *learned


_trial = _register.op("convex_snn_trial", _fake, vmap=_vmap.one_by_one)
