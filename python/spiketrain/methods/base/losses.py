"""Losses on the outputs (T, N, classes): the three of TSSL-BP (Zhang & Li, NeurIPS 2020, arXiv:2002.10085), and cross-entropy of what
a readout tells over time.

Kernel and count are sums over the batch, the others are means: with shares of a batch in several processes the mean is
taken over the whole batch. Those of TSSL-BP follow the published script, including that it filters the desired spike train twice.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

import spikeops.functional as SF


def desired_spikes(time_steps: int, like: Tensor | None = None) -> Tensor:
    """(T,): the spike train wanted from the right class, 0 1 1 1 1 repeated for T < 10, 0 1 0 1 ... from T = 10 on.

    >>> desired_spikes(5)
    tensor([0., 1., 1., 1., 1.])
    """
    t = torch.arange(time_steps, device=None if like is None else like.device)
    train = t % 5 != 0 if time_steps < 10 else t % 2 == 1
    return train.to(torch.get_default_dtype()) if like is None else train.to(like)


def kernel_target(time_steps: int, tau_s: float, like: Tensor | None = None) -> Tensor:
    """(T,): the post-synaptic current wanted from the right class: the desired spikes, filtered twice."""
    train = desired_spikes(time_steps, like)
    return SF.synaptic_filter(SF.synaptic_filter(train, tau_s), tau_s)


def kernel_loss(outputs: Tensor, labels: Tensor, target: Tensor) -> Tensor:
    """Half the squared distance between outputs and `target` (T,) for the right class, 0 for the others."""
    wanted = F.one_hot(labels, outputs.shape[2]).to(outputs) * target.view(-1, 1, 1)
    return 0.5 * (outputs - wanted).square().sum()


def count_loss(outputs: Tensor, labels: Tensor, desired_count: float, undesired_count: float) -> Tensor:
    """T/2 times the squared error per step of the summed currents. The right class is only held up, the others only down."""
    time_steps = len(outputs)
    right = F.one_hot(labels, outputs.shape[2]).bool()
    # As published, what counts is whether a target equals the two counts: with equal counts nothing is penalised.
    target = torch.where(right, desired_count, undesired_count).to(outputs)
    error = (outputs.sum(0) - target) / time_steps
    error = torch.where((target != undesired_count) & (error >= 0), 0, error)
    error = torch.where((target != desired_count) & (error <= 0), 0, error)
    return 0.5 * time_steps * error.square().sum()


def softmax_loss(outputs: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    """Cross-entropy of the summed currents, as a mean over `batch_size` samples."""
    return cross_entropy(outputs.sum(0), labels, batch_size)


OverTime = Literal["mean", "max", "last", "softmax"]
# `scores_over_time` as expressions.
OVER_TIME = {"mean": "(outputs / len(outputs)).sum(0)", "max": "outputs.amax(0)", "last": "outputs[-1]", "softmax": "outputs.softmax(2).sum(0)"}


def scores_over_time(outputs: Tensor, how: OverTime) -> Tensor:
    """(N, classes): the outputs' mean over time, their largest value (Cramer et al. 2020), those of the last step, or the sum over time
    of their softmax (Yin, Corradi & Bohte 2021). Steps that share a largest value share its gradient, on all devices alike.

    >>> scores_over_time(torch.tensor([[[1.0, 4.0]], [[3.0, 0.0]]]), "max")
    tensor([[3., 4.]])
    """
    if how == "mean":
        return (outputs / len(outputs)).sum(0)
    if how == "max":
        return outputs.amax(0)
    return outputs[-1] if how == "last" else outputs.softmax(2).sum(0)


def cross_entropy(scores: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    """Cross-entropy of scores (N, classes), as a mean over `batch_size` samples."""
    return F.cross_entropy(scores, labels, reduction="sum") / batch_size
