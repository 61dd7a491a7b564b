"""Batch norm over the samples of all processes, on the CPU too, where torch.nn.SyncBatchNorm does not run."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.modules.batchnorm import _BatchNorm

from spikeops import nn as snn
from spikeops.functional._batch_norm import of_all_processes
from spiketrain.distributed import group
from spiketrain.errors import UserError

# All that keep statistics: snn.BatchNormLIF and instance norms are no _BatchNorm.
_KEEPING = nn.modules.batchnorm._NormBase
_EXCHANGED = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


class SynchronizedBatchNorm(nn.SyncBatchNorm):
    """`torch.nn.SyncBatchNorm`, which on the CPU has the statistics of all processes as well. A process may have no sample: (0, C, ...)."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu" or not self.training or group.world_size() == 1:
            return super().forward(x)
        state = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
        weight, bias = (None if part is None else part.to(state.dtype) for part in (self.weight, self.bias))
        y, mean, variance, count = _Normalized.apply(state, weight, bias, self.eps, self.process_group)
        if self.track_running_stats and self.running_mean is not None:
            with torch.no_grad():
                self.num_batches_tracked.add_(1)
                share = 1 / self.num_batches_tracked.item() if self.momentum is None else self.momentum
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), share)
                self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), share)
        return y.to(x.dtype)


class _Normalized(torch.autograd.Function):
    """(y, mean, variance, count): the statistics are those of all processes, in float64, of how many numbers of a channel."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, members: dist.ProcessGroup | None):
        channels = x.shape[1]
        axes = [axis for axis in range(x.dim()) if axis != 1]
        moments = x.new_zeros(2, channels, dtype=torch.float64)
        if x.numel():
            variance, mean = torch.var_mean(x, axes, correction=0)
            moments = torch.stack((mean.double(), variance.double()))
        mean, variance, count = of_all_processes(moments, x.numel() // channels, members)
        if count <= 1:
            raise ValueError("Expected more than 1 value per channel when training, in all processes together")
        shape = [channels if axis == 1 else 1 for axis in range(x.dim())]
        inverse = (variance + eps).rsqrt().to(x.dtype).view(shape)
        normed = (x - mean.to(x.dtype).view(shape)) * inverse
        ctx.save_for_backward(normed, inverse, weight)
        ctx.axes, ctx.shape, ctx.count, ctx.has_bias, ctx.members = axes, shape, count.item(), bias is not None, members
        ctx.mark_non_differentiable(mean, variance, count)
        y = normed if weight is None else normed * weight.view(shape)
        return (y if bias is None else y + bias.view(shape)) if weight is not None or bias is not None else y.clone(), mean, variance, count

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor, *_):
        normed, inverse, weight = ctx.saved_tensors
        sums = torch.stack([grad.sum(ctx.axes, dtype=torch.float64), (grad * normed).sum(ctx.axes, dtype=torch.float64)])
        of_bias, of_weight = sums.to(grad.dtype, copy=True)  # of this process's samples: gradients of weights are added up later
        dist.all_reduce(sums, group=ctx.members)
        means = (sums / ctx.count).to(grad.dtype)
        scale = inverse if weight is None else inverse * weight.view(ctx.shape)
        of_x = (grad - means[0].view(ctx.shape) - normed * means[1].view(ctx.shape)) * scale
        return of_x, of_weight if weight is not None else None, of_bias if ctx.has_bias else None, None, None


def average_statistics(network: nn.Module, has_samples: bool) -> None:
    """Each process has seen its own part of the batches of an epoch: let running statistics of norms be the mean over those that have seen any.

    Args:
        has_samples: whether this process has. One of more processes than a batch has samples keeps the statistics that it began with.
    """
    norms = [module for module in network.modules() if isinstance(module, _KEEPING) and module.running_mean is not None]
    statistics = [tensor for norm in norms for tensor in (norm.running_mean, norm.running_var)]
    if group.world_size() == 1 or not statistics:
        return
    processes = statistics[0].new_tensor([has_samples])
    with torch.no_grad():
        if not has_samples:
            for tensor in statistics:
                tensor.zero_()
        group.add_up([*statistics, processes])
        for tensor in statistics:
            tensor /= processes


def synchronize(network: nn.Module, everywhere: bool) -> bool:
    """Let batch norms of a network know the samples of all processes, where there are several.

    Args:
        network: changed in place; its modules, parameters and buffers stay the same
        everywhere: all of its batch norms; else those alone that say so themselves (nn.SyncBatchNorm, BatchNormLIF(synchronized=True))

    Returns:
        Whether there are any: every process then takes part in every forward and backward pass.

    Raises:
        UserError: a batch norm of another class, which may compute something else.
    """
    if group.world_size() == 1:
        return False
    found = False
    for name, module in network.named_modules():
        if isinstance(module, snn.BatchNormLIF):
            module.synchronized = module.synchronized or everywhere
            found = found or module.synchronized
        elif isinstance(module, nn.SyncBatchNorm) or (everywhere and isinstance(module, _BatchNorm)):
            if type(module) not in (*_EXCHANGED, SynchronizedBatchNorm):
                raise UserError(f"trainer.sync_batch_norm: {name} is a {type(module).__name__}, of which nobody knows how to synchronize it")
            module.process_group = getattr(module, "process_group", None)
            module.__class__ = SynchronizedBatchNorm
            found = True
    return found
