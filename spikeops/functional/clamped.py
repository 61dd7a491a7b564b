"""Leaky integrate-and-fire neurons that stop at a threshold which they learn."""

from __future__ import annotations

import torch

from spikeops import _backend, _layout, reference
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _register, _vmap
from spikeops.functional._other_words import CLAMPED, explain_other_words

_OP = "clamped_lif"


@explain_other_words(CLAMPED)
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

    The count is a constant. Only the count is kept for the backward pass. Second derivatives are those of this gradient, at the counts
    as they are: it is linear in that of v. Forward mode is refused (docs/transforms.md).

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
        TypeError: a wrong type or dtype. ValueError: a wrong shape, device or value. RuntimeError: no kernel for the device.

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
    time_steps = _checks.time_count(_OP, time_steps, "time_steps")
    _checks.countable(_OP, time_steps, x.dtype)
    dt, leak = _checks.positive(_OP, "dt", dt), _checks.number(_OP, "leak", leak)
    threshold_gain = _checks.number(_OP, "threshold_gain", threshold_gain)
    threshold_drift = _checks.number(_OP, "threshold_drift", threshold_drift)
    _checks.fit(_OP, x.dtype, dt=dt, leak=leak, threshold_gain=threshold_gain, threshold_drift=threshold_drift)
    if _backend.is_reference():
        return reference.clamped_lif(
            x, threshold, time_steps=time_steps, dt=dt, leak=leak, threshold_gain=threshold_gain, threshold_drift=threshold_drift
        )
    ops = _backend.namespace(_OP, x.device)
    return _clamped_lif_forward(ops, x, threshold, (dt, leak, threshold_gain, threshold_drift), time_steps)


# --- the ops ----------------------------------------------------------------------------------------------------------------


def _fake(x, threshold, numbers, T):
    x = _layout.dense(x).unsqueeze(0)
    return _layout.empty_step(x), _layout.empty_step(x, state_dtype(x.dtype))


def _setup_context(ctx, inputs, output):
    x, threshold, ctx.numbers, _ = inputs
    count, _ = output
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(count)
    ctx.save_for_backward(count)
    ctx.dtypes = x.dtype, threshold.dtype


def _backward(ops, ctx, _, grad_v):
    if grad_v is None:
        return None, None, None, None
    (count,) = ctx.saved_tensors
    of_x, of_threshold = ctx.dtypes
    needs_x, needs_threshold, *_ = ctx.needs_input_grad
    grad_threshold = _clamped_lif_backward(ops, grad_v, count, ctx.numbers).to(of_threshold) if needs_threshold else None
    return grad_v.to(of_x) if needs_x else None, grad_threshold, None, None


def _definition(grad_v, count, numbers):
    return reference.clamped_threshold_gradient(grad_v, count, *numbers[2:])


def _channel_axes(*axes):
    """Of the tensors among the arguments, and of the outputs."""
    *inputs, outputs = axes
    return _vmap.as_channels(lambda *args: ((*inputs, *(None,) * (len(args) - len(inputs))), outputs))


_clamped_lif_forward = _register.op("clamped_lif_forward", _fake, _backward, _setup_context, vmap=_channel_axes(1, 0, (1, 1)))
_clamped_lif_backward = _register.op(
    "clamped_lif_backward", lambda grad_v, count, _: grad_v.new_empty(count.shape[1], dtype=state_dtype(count.dtype)),
    definition=_definition, vmap=_channel_axes(1, 1, (0,)),
)  # fmt: skip
