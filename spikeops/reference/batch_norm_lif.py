"""Batch norm with LIF neurons behind it: the statistics of all time steps and samples, then the neurons."""

import torch

from spikeops._dtypes import state_dtype
from spikeops.reference.lif import lif
from spikeops.surrogate import ATan

__all__ = ["batch_norm_lif", "channel_moments", "normalise"]


def batch_norm_lif(x, running_mean=None, running_var=None, weight=None, bias=None, decay=0.5, threshold=1.0, *, training=False,
                   momentum=0.1, eps=1e-5, tdbn_alpha=None, synchronized=False, process_group=None, input_scale=1.0, reset="subtract",
                   reset_amount=None, v_reset=0.0, v_rest=0.0, strict=False, detach_reset=False, surrogate=ATan(2.0),
                   v_init=None):  # fmt: skip
    """See :func:`spikeops.functional.batch_norm_lif`."""
    state = state_dtype(x.dtype)
    if training or running_mean is None:
        together = synchronized and torch.distributed.is_available() and torch.distributed.is_initialized()
        mean, var, count = _moments_of_all_processes(x, process_group) if together else channel_moments(x)
        if running_mean is not None:
            with torch.no_grad():
                running_mean.mul_(1 - momentum).add_(momentum * mean)
                running_var.mul_(1 - momentum).add_(momentum * (var * count / (count - 1)))
    else:
        mean, var = running_mean.detach().double(), running_var.detach().double()
    if tdbn_alpha is not None:
        gain = torch.full((x.shape[2],), tdbn_alpha * threshold, dtype=state, device=x.device)
        weight = gain if weight is None else weight.to(state) * gain
    y = normalise(x, mean.to(state), (1 / torch.sqrt(var + eps)).to(state), weight, bias)
    spikes, v_last = lif(
        y, decay, threshold, input_scale=input_scale, reset=reset, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest, strict=strict,
        detach_reset=detach_reset, surrogate=surrogate, v_init=v_init,
    )  # fmt: skip
    return spikes.to(x.dtype), v_last


def channel_moments(x):
    """Mean and variance of each channel of x (T, B, C, ...), in float64, and of how many numbers."""
    axes = [axis for axis in range(x.dim()) if axis != 2]
    values = x.double()
    return values.mean(axes), values.var(axes, correction=0), values[:, :, :1].numel()


def normalise(x, mean, inv_std, weight, bias):
    """``(x - mean) * (inv_std * weight) + bias``, in this order of operations, each rounded to the precision of the state."""
    state = state_dtype(x.dtype)
    scale = inv_std if weight is None else inv_std * weight.to(state)
    shift = torch.zeros_like(scale) if bias is None else bias.to(state)
    mean, scale, shift = (numbers.view(-1, *[1] * (x.dim() - 3)) for numbers in (mean, scale, shift))
    return (x.to(state) - mean) * scale + shift


def _moments_of_all_processes(x, group):
    """The same of the numbers of all processes, some of which may have none, with the gradient of all of them."""
    from torch.distributed.nn.functional import all_reduce

    group = torch.distributed.group.WORLD if group is None else group
    axes = [axis for axis in range(x.dim()) if axis != 2]
    values = x.double()
    count = torch.tensor(float(values[:, :, :1].numel()), dtype=torch.float64, device=x.device)
    torch.distributed.all_reduce(count, group=group)
    mean = all_reduce(values.sum(axes), group=group) / count
    distances = values - mean.view(-1, *[1] * (x.dim() - 3))
    return mean, all_reduce(distances.square().sum(axes), group=group) / count, count
