"""Similarity matching: how alike the layer finds two samples, against how alike their labels are.

After Nokland & Eidnes, "Training neural networks with local error signals" (ICML 2019), section 2.1, as their code computes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _derivatives, _transforms

# Added to a row's norm, as published.
_EPSILON = 1e-8


def similarity_matrix(x: torch.Tensor, *, std: bool = True) -> torch.Tensor:
    """Cosine similarity of all pairs of samples after the mean over each sample's features is taken off.

    Args:
        x: features (N, F), or maps (N, C, H, W). Maps of more than 3 channels and more than 1 row are reduced to the standard
            deviation (over n - 1) of each channel; others are flattened.
        std: flatten all maps if False.

    Returns:
        (N, N), between -1 and 1. A sample whose features are all equal, such as one without a spike, has similarity 0 with every
        sample and gets no gradient (the published code gives NaN there).

    Raises:
        ValueError: x is neither two- nor four-dimensional.

    Example:
        >>> snn.similarity_matrix(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])).round(decimals=3)
        tensor([[ 1., -1.,  0.],
                [-1.,  1.,  0.],
                [ 0.,  0.,  0.]])
    """
    return _cosines(_features("similarity_matrix", x, std, lambda maps: maps.std(dim=(2, 3))))


def similarity_matching_loss(x: torch.Tensor, labels: torch.Tensor, classes: int, *, std: bool = True) -> torch.Tensor:
    """Mean squared difference between :func:`similarity_matrix` of x and that of the one-hot labels (1 for samples of one class,
    ``-1 / (classes - 1)`` for others).

    The gradients are written by hand. That of the matrix is computed along with the loss, so that little but it is kept for the
    backward pass. Second derivatives, and transforms of `torch.func`, go through the plain formula.

    Args:
        x, std: as in :func:`similarity_matrix`.
        labels: class of each sample (N,), int64.
        classes: number of classes, 2 or more.

    Returns:
        The loss, 0-d.

    Raises:
        ValueError: x is neither two- nor four-dimensional, labels do not fit x, or classes < 2.

    Example:
        >>> alike = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
        >>> loss = snn.similarity_matching_loss(alike, torch.tensor([0, 1]), classes=2)  # wanted is -1 for half of the pairs
        >>> round(loss.item(), 5)
        2.0
    """
    by_hand = _transforms.is_plain_eager(x)
    features = _features("similarity_matching_loss", x, std, _ChannelStd.apply if by_hand else _channel_std)
    if labels.shape != features.shape[:1]:
        raise ValueError(
            f"similarity_matching_loss: expected labels to have shape ({len(features)},), one for each sample of x, "
            f"got shape {tuple(labels.shape)}."
        )
    classes = _checks.whole("similarity_matching_loss", "classes", classes, 0)
    if classes < 2:
        raise ValueError(f"similarity_matching_loss: expected classes to be 2 or more, got {classes}.")
    return _MatchingLoss.apply(features, labels, classes) if by_hand else _loss(features, labels, classes)


def _cosines(features: torch.Tensor) -> torch.Tensor:
    """The similarity matrix of (N, F)."""
    centred = features - features.mean(1, keepdim=True)
    squared_norm = centred.square().sum(1, keepdim=True)
    is_constant = squared_norm == 0
    normalised = (centred / (_EPSILON + _root(squared_norm))).masked_fill(is_constant, 0)
    with torch.autocast(features.device.type, enabled=False):
        return (normalised @ normalised.t()).clamp(-1, 1)


def _loss(features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    similarity = _cosines(features)
    return (similarity - _wanted(similarity, labels, classes)).square().mean()


def _wanted(similarity: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """The similarity matrix of the one-hot labels."""
    norm_of_one_hot = math.sqrt(1 - 1 / classes)
    same = (norm_of_one_hot / (_EPSILON + norm_of_one_hot)) ** 2
    return torch.where(labels.unsqueeze(1) == labels, same, similarity.new_full((), -same / (classes - 1)))


def _channel_std(maps: torch.Tensor) -> torch.Tensor:
    squares = (maps - maps.mean((2, 3), keepdim=True)).square().sum((2, 3)) / (maps.shape[2] * maps.shape[3] - 1)
    return _root(squares).masked_fill(squares == 0, 0)


def _root(squares: torch.Tensor) -> torch.Tensor:
    """1 in the place of the root of 0, so that no infinite slope enters the gradient."""
    return squares.masked_fill(squares == 0, 1).sqrt()


class _MatchingLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
        centred = features - features.mean(1, keepdim=True)
        norm = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
        scale = torch.where(norm > 0, 1 / (_EPSILON + norm), 0)
        normalised = centred.mul_(scale)
        with torch.autocast(features.device.type, enabled=False):
            similarity = normalised @ normalised.t()
        difference = similarity.clamp(-1, 1).sub_(_wanted(similarity, labels, classes))
        loss = difference.square().mean()
        if ctx.needs_input_grad[0]:
            # Both the matrix and its gradient are symmetric: a factor 2 stands for the second half of the product rule.
            slope = difference.mul_(4 / max(difference.numel(), 1)).masked_fill_(similarity.abs() > 1, 0)
            with torch.autocast(features.device.type, enabled=False):
                grad = slope @ normalised
            along = (grad * normalised).sum(1, keepdim=True)
            grad = grad.mul_(scale).addcmul_(normalised, along / torch.where(norm > 0, norm, 1), value=-1)
            ctx.save_for_backward(features, labels, grad.sub_(grad.mean(1, keepdim=True)))
            ctx.classes = classes
        return loss

    @staticmethod
    def backward(ctx, grad_loss: torch.Tensor):
        features, labels, grad = ctx.saved_tensors
        if torch.is_grad_enabled():
            return *_derivatives.pull_back(lambda x: (_loss(x, labels, ctx.classes),), (features,), (grad_loss,)), None, None
        return grad * grad_loss, None, None


class _ChannelStd(torch.autograd.Function):
    """Standard deviation of each channel of maps (N, C, H, W), over n - 1. On the CPU 10 times as fast as torch.std."""

    @staticmethod
    def forward(ctx, maps: torch.Tensor) -> torch.Tensor:
        mean = maps.mean((2, 3), keepdim=True)
        std = (maps - mean).square_().sum((2, 3)).div_(maps.shape[2] * maps.shape[3] - 1).sqrt_()
        ctx.save_for_backward(maps, mean, std)
        return std

    @staticmethod
    def backward(ctx, grad: torch.Tensor):
        maps, mean, std = ctx.saved_tensors
        if torch.is_grad_enabled():
            return _derivatives.pull_back(lambda x: (_channel_std(x),), (maps,), (grad,))
        # A channel without any variation has no slope.
        slope = torch.where(std > 0, grad / (std * (maps.shape[2] * maps.shape[3] - 1)), 0)
        return (maps - mean).mul_(slope[:, :, None, None])


def _features(op: str, x: torch.Tensor, std: bool, channel_std: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """(N, F): what is compared of each sample, in float32 for 16-bit x."""
    if x.dim() not in (2, 4):
        raise ValueError(f"{op}: expected x to have shape (N, F) or (N, C, H, W), got shape {tuple(x.shape)}.")
    x = x.to(state_dtype(x.dtype))
    if x.dim() == 4 and std and x.shape[1] > 3 and x.shape[2] > 1:
        return channel_std(x)
    return x.flatten(1)
