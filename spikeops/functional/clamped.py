"""Leaky integrate-and-fire neurons that stop at a threshold which they learn."""

from __future__ import annotations

import torch

from spikeops import reference
from spikeops.functional import _checks

_OP = "clamped_lif"


def clamped_lif(
    x: torch.Tensor,
    threshold: torch.Tensor,
    *,
    time_steps: int = 3,
    dt: float = 3e-5,
    leak: float = 2.0,
    threshold_gain: float = 1e7,
    threshold_drift: float = 0.1,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Leaky integrate-and-fire neurons of the published spiking networks with local losses (worden1/ICTAI_snn on GitHub), for an
    input that is the same in all time steps. A spike leaves the membrane potential at the threshold.

    For each neuron, from v = count = 0, with its threshold th, ``t = 0 .. T-1``::

        command = x / dt if t == 0 else 2 x leak
        v = v + dt * (-leak * v + command)
        if v > th:  v = th;  count += 1

    so that v is nearly ``min(x, th)`` after one step, and count ``T`` where x is above th. The backward pass is the published one,
    which is no derivative: the gradient of v goes to x unchanged, that of a threshold is, with the sums over all neurons that share
    it and the mean over the batch::

        grad_threshold = -threshold_gain * mean(sum(grad_v * count)) + threshold_drift

    The count is a constant. Only the count is kept for the backward pass.

    Args:
        x: input (N, units) or (N, C, ...): batch first, then the units or channels that have a threshold each. float32, float64,
            float16 or bfloat16.
        threshold: (units,) or (C,), on x's device.
        time_steps: T.
        dt: width of a time step, in seconds.
        leak: leak rate, in 1/s.
        threshold_gain: factor on the gradient of the thresholds.
        threshold_drift: added to that gradient in every backward pass, spikes or not: thresholds sink.

    Returns:
        ``(count, v)`` in x's shape: the spikes of each neuron, 0 to T, in x's dtype; the membrane potential after the last step, in
        float32 for 16-bit x, the only output that carries a gradient.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value.

    Example:
        >>> count, v = SF.clamped_lif(torch.tensor([[0.2, 0.9]]), torch.tensor([0.5, 0.5]))
        >>> count, v.round(decimals=4)
        (tensor([[0., 3.]]), tensor([[0.2000, 0.5000]]))
    """
    _checks.floating(_OP, "x", x)
    _checks.floating(_OP, "threshold", threshold)
    if x.dim() < 2:
        raise ValueError(f"{_OP}: expected x to have shape (N, units) or (N, C, ...), got shape {tuple(x.shape)}.")
    if threshold.shape != x.shape[1:2]:
        raise ValueError(
            f"{_OP}: expected threshold to have shape ({x.shape[1]},), one for each unit or channel of x, got shape "
            f"{tuple(threshold.shape)}."
        )
    if threshold.device != x.device:
        raise ValueError(f"{_OP}: expected threshold on the device of x, {x.device}, got {threshold.device}. Call threshold.to(x.device) first.")
    _checks.time_count(_OP, time_steps, "time_steps")
    _checks.positive(_OP, "dt", dt)
    for name, value in (("leak", leak), ("threshold_gain", threshold_gain), ("threshold_drift", threshold_drift)):
        _checks.number(_OP, name, value)
    _checks.fit(_OP, x.dtype, dt=dt, leak=leak, threshold_gain=threshold_gain, threshold_drift=threshold_drift)
    return reference.clamped_lif(
        x, threshold, time_steps=time_steps, dt=dt, leak=leak, threshold_gain=threshold_gain, threshold_drift=threshold_drift
    )
