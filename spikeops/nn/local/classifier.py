"""The linear classifier that tells a layer how well its spikes separate the classes."""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeops import functional as SF
from spikeops._numbers import plain_number
from spikeops.functional import _checks, _narrow_matmul, _transforms
from spikeops.nn._hooks import has_own_hooks
from spikeops.nn._repr import call_arguments
from spikeops.nn.classifier_pool import ClassifierPool2d

_OP = "LocalClassifier"
Feedback = Literal["transpose", "alignment"]


class LocalClassifier(nn.Module):
    """Classes from the spikes of one layer in one time step: average pooling, where the layer has maps, and a linear map without bias.

    Ma, Yan, Yu & Yu, "Deep Spike Learning With Local Classifiers", IEEE Transactions on Cybernetics 2022. The pooling window of a
    layer with maps starts from 1 x 1 and grows until at most ``decoder_size`` features are left: see :class:`ClassifierPool2d`.

    Args:
        shape: of the layer's spikes for one sample: (units,) or (channels, height, width).
        classes: number of classes.
        decoder_size: largest number of features that the linear map sees; at least the number of channels. Only for maps.
        feedback: how the error comes back to the layer: "transpose" of the weight (backpropagation), or "alignment": through a
            random matrix of its own that gets the weight's updates too, as in the published code (Kolen & Pollack, 1994).
        frozen: keep the random initial weight (and feedback matrix).

    Attributes:
        weight: (classes, features). feedback_weight: the same shape, or None.
        pool_kernel, pool_padding: (height, width) of the pooling window and of the zeros around the maps.

    Shapes:
        spikes (N, *shape) -> input current of the classifier's neurons (N, classes).

    Raises:
        TypeError, ValueError: an argument that cannot be; the message names it. NotImplementedError: forward mode, or a trace, with
        feedback "alignment".

    Example:
        >>> classifier = snn.LocalClassifier((32, 24, 24), classes=10, decoder_size=1024)
        >>> classifier.pool_kernel, classifier.weight.shape
        ((8, 4), torch.Size([10, 576]))
    """

    feedback_weight: nn.Parameter | None

    def __init__(
        self,
        shape: tuple[int, ...],
        classes: int,
        *,
        decoder_size: int | None = None,
        feedback: Feedback = "transpose",
        frozen: bool = False,
    ):
        super().__init__()
        shape = tuple(map(plain_number, shape))
        if len(shape) not in (1, 3) or any(type(n) is not int or n < 1 for n in shape):
            raise ValueError(f"{_OP}: expected shape to be (units,) or (channels, height, width), got {shape}.")
        classes = _checks.whole(_OP, "classes", classes, 1)
        _checks.choice(_OP, "feedback", feedback, get_args(Feedback))
        _checks.flag(_OP, "frozen", frozen)
        if decoder_size is not None:
            decoder_size = _checks.whole(_OP, "decoder_size", decoder_size, 1)
        self.shape, self.classes, self.decoder_size, self.frozen = shape, classes, decoder_size, frozen
        self.pool_kernel, self.pool_padding, self._pooled = (1, 1), (0, 0), shape
        if decoder_size is not None and len(shape) == 3:
            if decoder_size < shape[0]:
                raise ValueError(
                    f"{_OP}: expected decoder_size to be at least the number of channels, {shape[0]}, since pooling leaves one "
                    f"feature of each, got {decoder_size}."
                )
            pool = ClassifierPool2d(shape, decoder_size)
            self.pool_kernel, self.pool_padding = pool.kernel_size, pool.padding
            self._pooled = (shape[0], *(-(-side // k) for side, k in zip(shape[1:], pool.kernel_size)))
        self.weight = self._random_matrix()
        if feedback == "alignment":
            self.feedback_weight = self._random_matrix()
        else:
            self.register_parameter("feedback_weight", None)

    @classmethod
    def from_linear(cls, linear: nn.Linear) -> LocalClassifier:
        """A classifier with the weight of a linear layer, which they share."""
        if linear.bias is not None:
            raise ValueError(f"{_OP}: expected a linear layer without bias, got {linear}. Use bias=False.")
        if linear._parameters.get("weight") is None or has_own_hooks(linear):
            raise TypeError(
                f"{_OP}: expected a linear layer whose weight is a parameter of its own and without hooks, got {linear}. Give a "
                "LocalClassifier, and prune or parametrise that."
            )
        classifier = cls((linear.in_features,), linear.out_features)
        classifier.weight, classifier.frozen = linear.weight, not linear.weight.requires_grad
        return classifier

    def forward(self, spikes: Tensor) -> Tensor:
        flat, weight = self.flat(spikes), self.unpooled(self.weight, spikes)
        if self.feedback_weight is None:
            return SF.spike_linear(flat, weight)
        if torch.jit.is_tracing():
            raise NotImplementedError(
                f"{_OP}: cannot be traced (torch.jit.trace, torch.onnx.export) with feedback='alignment', as a trace does not keep the "
                "other matrix for the way back. Use torch.export, or feedback='transpose'."
            )
        _transforms.refuse_forward_mode(f"{_OP}: there is no forward-mode derivative with feedback='alignment', which is a rule of the backward pass.")
        return _AlignedLinear.apply(flat, weight, self.unpooled(self.feedback_weight, spikes))

    # Pooling and the linear map after it are one linear map of the spikes. The small matrix is spread over the maps instead of
    # pooling the spikes: a matrix product reads them once, as they lie in memory, and the error comes back by another.

    def unpooled(self, matrix: Tensor, spikes: Tensor) -> Tensor:
        """The matrix (classes, features) as one that takes unpooled spikes (classes, units), in their memory order."""
        if self.pool_kernel != (1, 1):
            maps = matrix.view(self.classes, *self._pooled) / math.prod(self.pool_kernel)
            maps = F.interpolate(maps, scale_factor=self.pool_kernel, mode="nearest")
            (top, left), (height, width) = self.pool_padding, self.shape[1:]
            maps = maps[:, :, top : top + height, left : left + width]
            # What a window larger than the maps misses at their end counts for nothing.
            missing = height - maps.shape[2], width - maps.shape[3]
            matrix = (F.pad(maps, (0, missing[1], 0, missing[0])) if any(missing) else maps).flatten(1)
        if not _is_channels_last(spikes):
            return matrix
        return matrix.view(self.classes, *self.shape).permute(0, 2, 3, 1).flatten(1)

    def pooled(self, gradient: Tensor, spikes: Tensor) -> Tensor:
        """The gradient of the matrix (classes, features) from that of what `unpooled` makes of it."""
        maps = self.in_maps(gradient, spikes)
        if self.pool_kernel != (1, 1):
            maps = F.avg_pool2d(maps, self.pool_kernel, padding=self.pool_padding)
        return maps.flatten(1)

    def flat(self, spikes: Tensor) -> Tensor:
        """Spikes (N, *shape) as (N, units), in their memory order."""
        if spikes.shape[1:] != self.shape:
            raise ValueError(f"{_OP}: expected spikes of shape (N, *{self.shape}), got shape {tuple(spikes.shape)}.")
        return (spikes.permute(0, 2, 3, 1) if _is_channels_last(spikes) else spikes).flatten(1)

    def in_maps(self, flat: Tensor, spikes: Tensor) -> Tensor:
        """The inverse of `flat`, for any number of rows."""
        if not _is_channels_last(spikes):
            return flat.view(-1, *self.shape)
        channels, height, width = self.shape
        return flat.view(-1, height, width, channels).permute(0, 3, 1, 2)

    def _random_matrix(self) -> nn.Parameter:
        """Drawn like the weight of `torch.nn.Linear`."""
        matrix = torch.empty(self.classes, math.prod(self._pooled))
        bound = 1 / math.sqrt(matrix.shape[1])
        return nn.Parameter(matrix.uniform_(-bound, bound), requires_grad=not self.frozen)

    def extra_repr(self) -> str:
        feedback = "transpose" if self.feedback_weight is None else "alignment"
        return call_arguments(self, LocalClassifier.__init__, feedback=feedback)


def _is_channels_last(spikes: Tensor) -> bool:
    return spikes.dim() == 4 and not spikes.is_contiguous() and spikes.is_contiguous(memory_format=torch.channels_last)


class _AlignedLinear(torch.autograd.Function):
    """A linear map whose error goes back through another matrix, which gets the weight's gradient too."""

    generate_vmap_rule = True

    @staticmethod
    def forward(features: Tensor, weight: Tensor, feedback_weight: Tensor) -> Tensor:
        return _narrow_matmul.linear(features, weight)

    @staticmethod
    def setup_context(ctx, inputs, output):
        features, _, feedback_weight = inputs
        ctx.save_for_backward(features, feedback_weight)

    @staticmethod
    def backward(ctx, gradient: Tensor):
        features, feedback_weight = ctx.saved_tensors
        # Under autocast the gradient, like the output, is of its 16 bits.
        weight_gradient = _narrow_matmul.weight_gradient(features, gradient)
        return _narrow_matmul.input_gradient(gradient, feedback_weight.to(gradient.dtype)), weight_gradient, weight_gradient
