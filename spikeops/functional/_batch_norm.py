"""Statistics of channels for batch norm: of one process, or of all of a group, and what running ones make of them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch

from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _register, _transforms, _vmap


class NormOptions(NamedTuple):
    """What batch norm takes by keyword: see :func:`spikeops.functional.batch_norm_lif`. Modules also give a momentum as a tensor (), so that
    one that depends on the number of batches is no constant of a graph or trace, and nothing waits for it."""

    training: bool = False
    momentum: float | torch.Tensor = 0.1
    eps: float = 1e-5
    tdbn_alpha: float | None = None
    synchronized: bool = False
    process_group: Any = None


class Statistics(NamedTuple):
    """Of all numbers of a channel, (C): mean and 1 / sqrt(variance + eps) in the precision of the state; moments (2, C), float64: the mean
    and the variance; of how many numbers."""

    mean: torch.Tensor
    inv_std: torch.Tensor
    moments: torch.Tensor
    count: Any


def checked_norm(op: str, norm: NormOptions) -> NormOptions:
    """The options, their numbers Python's own."""
    training, momentum, eps, tdbn_alpha, synchronized, process_group = norm
    _checks.flag(op, "training", training)
    _checks.flag(op, "synchronized", synchronized)
    momentum, eps = momentum if isinstance(momentum, torch.Tensor) else checked_momentum(op, momentum), _checks.number(op, "eps", eps)
    if eps < 0:
        raise ValueError(f"{op}: expected eps to be 0 or above, got {eps}.")
    if tdbn_alpha is not None:
        tdbn_alpha = _checks.number(op, "tdbn_alpha", tdbn_alpha)
    return NormOptions(training, momentum, eps, tdbn_alpha, synchronized, process_group)


def checked_momentum(op: str, momentum: float) -> float:
    """Python's own number, between 0 and 1."""
    momentum = _checks.number(op, "momentum", momentum)
    if not 0 <= momentum <= 1:
        raise ValueError(
            f"{op}: expected momentum, the weight of new statistics in the running ones, to be between 0 and 1, got {momentum}."
        )
    return momentum


def of_channels(op: str, name: str, value, x: torch.Tensor) -> None:
    """A floating tensor (C) on x's device, for x (T, B, C, ...)."""
    _checks.floating(op, name, value)
    if value.device != x.device:
        raise ValueError(f"{op}: expected {name} on the device of x, {x.device}, got {value.device}. Call {name}.to(x.device) first.")
    if value.dim() != 1 or value.shape[0] != x.shape[2]:
        raise ValueError(
            f"{op}: expected {name} to have shape ({x.shape[2]},), a number for each channel of x (T, B, C, ...), got shape "
            f"{tuple(value.shape)}."
        )


def inverse_deviation(variance: torch.Tensor, eps: float, dtype: torch.dtype) -> torch.Tensor:
    """1 / sqrt(variance + eps), worked out in float64."""
    return (1 / torch.sqrt(variance.double() + eps)).to(dtype)


def count_of(x: torch.Tensor):
    """How many numbers a channel of x has."""
    count = x.shape[0] * x.shape[1]
    for size in x.shape[3:]:
        count = count * size
    return count


def processes(norm: NormOptions) -> int:
    """How many processes' numbers the statistics are of."""
    if not norm.synchronized or not torch.distributed.is_available() or not torch.distributed.is_initialized():
        return 1
    return torch.distributed.get_world_size(norm.process_group)


def check_count(op: str, x: torch.Tensor) -> None:
    """Of one number there is no variance."""
    count = count_of(x)
    if count <= 1:
        raise ValueError(
            f"{op}: expected more than one value per channel when training, got {count} in x (T, B, C, ...) of shape {tuple(x.shape)}. "
            "Use more samples, or running statistics (training=False, eval())."
        )


def own(ops, x: torch.Tensor, eps: float) -> Statistics:
    """Of this process's x alone."""
    return Statistics(*_channel_statistics(ops, x.detach(), eps), count_of(x))


def gathered(op: str, ops, x: torch.Tensor, eps: float, group) -> Statistics:
    """Of the x of all processes of a group, each of which may have another number of samples, or none."""
    count, channels = count_of(x), x.shape[2]
    moments = _channel_statistics(ops, x.detach(), eps)[2] if count > 0 else x.new_zeros(2, channels, dtype=torch.float64)
    mean, variance, total = of_all_processes(moments, count, group)
    if total.device.type == "cpu" and total <= 1:  # on a device, looking at it would wait
        raise ValueError(f"{op}: expected more than one value per channel when training, got {int(total)} in all processes together.")
    state = state_dtype(x.dtype)
    return Statistics(mean.to(state), inverse_deviation(variance, eps, state), torch.stack((mean, variance)), total)


def of_all_processes(moments: torch.Tensor, count, group) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(mean (C,), variance (C,), count ()) of the numbers of all processes of a group, in float64, from the mean and variance (2, C)
    and the count of this one's, which may be 0."""
    channels = moments.shape[1]
    of_this = moments.new_empty(2 * channels + 1)
    of_this[:-1], of_this[-1] = moments.flatten(), count
    of_all = [torch.empty_like(of_this) for _ in range(torch.distributed.get_world_size(group))]
    torch.distributed.all_gather(of_all, of_this, group=group)
    means, variances, counts = torch.stack(of_all).split((channels, channels, 1), 1)
    total = counts.sum()
    mean = (means * counts).sum(0) / total
    return mean, ((variances + (means - mean) ** 2) * counts).sum(0) / total, total


def update(
    op: str, running_mean: torch.Tensor, running_var: torch.Tensor, statistics: Statistics, momentum: float | torch.Tensor
) -> None:  # fmt: skip
    """Moves running statistics, in place, as torch does: the variance is the unbiased one."""
    if not torch.compiler.is_compiling() and _transforms.batches():
        raise NotImplementedError(
            f"{op}: running statistics are written in place, which vmap cannot do for each item of a batch. Leave out running_mean and "
            "running_var (track_running_stats=False), or use them as they are (training=False, eval())."
        )
    with torch.no_grad():
        mean, variance = statistics.moments
        count = statistics.count
        running_mean.mul_(1 - momentum).add_(momentum * mean)
        # From left to right in float64: of a trace the count is an integer tensor, and a quotient of such would be float32.
        running_var.mul_(1 - momentum).add_(momentum * (variance * count / (count - 1)))


def _fake(x, eps):
    channels, state = x.shape[2], state_dtype(x.dtype)
    return x.new_empty(channels, dtype=state), x.new_empty(channels, dtype=state), x.new_empty(2, channels, dtype=torch.float64)


_channel_statistics = _register.op("channel_statistics", _fake, vmap=_vmap.as_channels(lambda *_: ((2, None), (0, 0, 1))))
