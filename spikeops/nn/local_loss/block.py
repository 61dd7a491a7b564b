"""A layer of spiking neurons that is trained by a loss on its own firing rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn
from torch.nn import functional as F

from spikeops._numbers import plain_number
from spikeops.functional import _checks, _transforms
from spikeops.nn._repr import call_arguments
from spikeops.nn.classifier_pool import ClassifierPool2d
from spikeops.nn.local_loss.similarity import similarity_matching_loss
from spikeops.nn.neurons import LIF
from spikeops.nn.time import at_all_steps

_OP = "LocalLossBlock"
Loss = Literal["pred", "sim", "predsim"]


@dataclass
class LocalLosses:
    """What :meth:`LocalLossBlock.local_losses` returns.

    Attributes:
        total: the loss to minimise, 0-d.
        pred: its part from the classifier, with its weight; None without one.
        sim: its part from similarity matching, with its weight; None without it.
        logits: (N, classes) of the classifier; None without one.
    """

    total: torch.Tensor
    pred: torch.Tensor | None = None
    sim: torch.Tensor | None = None
    logits: torch.Tensor | None = None


class LocalLossBlock(nn.Module):
    """Linear or convolutional layer -> batch norm -> spiking neurons, with a local loss on the firing rate h.

    The layer and its losses are those of Nokland & Eidnes, "Training neural networks with local error signals" (ICML 2019), with
    spiking neurons in the place of the ReLU and their firing rate in that of its output: a variant of our own.

    ======== =============================================================================================================
    loss
    ======== =============================================================================================================
    pred     cross-entropy of a linear classifier of h. Maps are average-pooled for it (:class:`ClassifierPool2d`); its weights
             start at zero, so its first gradient for h is zero.
    sim      :func:`similarity_matching_loss` of a learnt projection of h: linear, for maps a 3 x 3 convolution, without bias.
    predsim  ``(1 - beta) * pred + beta * sim``
    ======== =============================================================================================================

    The block is trained alone if it gets its input without a graph and hands its spikes on without one::

        spikes = block(x.detach())
        block.local_losses(spikes, labels).total.backward()
        optimizer.step()                                    # over block.parameters()
        next_spikes = next_block(spikes.detach())

    Args:
        encoder: the layer of weights, which maps one time step (N, ...) to (N, *shape).
        shape: of one sample behind the encoder, (units,) or (C, H, W).
        classes: number of classes.
        loss: "pred", "sim" or "predsim".
        beta: share of sim in predsim, in [0, 1].
        neuron: maps currents (T, N, *shape) to spikes of the same shape; ``LIF()`` by default.
        batch_norm: normalise the current of each unit or channel over the batch and all time steps. One value alone (a batch of one
            sample that does not change in time, for a linear layer) has no spread: it is normalised as in evaluation.
        decoder_size: most features that the classifier of maps sees (:class:`ClassifierPool2d`).
        time_steps: the time window T, for inputs that do not change in time.

    Shapes:
        x (T, N, ...), or (N, ...) for an input that is the same in all ``time_steps`` -> spikes (T, N, *shape). For maps a sample of
        x has three axes, else one.

    Raises:
        TypeError: an argument of a wrong type.
        ValueError: an unknown loss, beta outside [0, 1], a shape that is neither, fewer than 2 classes, T < 1, or
            decoder_size below C.

    Example:
        >>> block = snn.LocalLossBlock(torch.nn.Linear(784, 100), (100,), classes=10, time_steps=5)
        >>> spikes = block(torch.rand(32, 784))
        >>> block.local_losses(spikes, torch.randint(10, (32,))).total.backward()
        >>> spikes.shape
        torch.Size([5, 32, 100])
    """

    def __init__(
        self,
        encoder: nn.Module,
        shape: tuple[int, ...],
        classes: int,
        loss: Loss = "predsim",
        *,
        beta: float = 0.99,
        neuron: nn.Module | None = None,
        batch_norm: bool = True,
        decoder_size: int = 4096,
        time_steps: int = 10,
    ):
        super().__init__()
        if isinstance(shape, (tuple, list)):
            shape = tuple(map(plain_number, shape))
        classes, beta, decoder_size, time_steps = map(plain_number, (classes, beta, decoder_size, time_steps))
        self._check(encoder, shape, classes, loss, beta, decoder_size, time_steps)
        is_map = len(shape) == 3
        self.shape, self.classes, self.loss, self.beta, self.time_steps = tuple(shape), classes, loss, beta, time_steps
        self.batch_norm, self.decoder_size = batch_norm, decoder_size
        self.encoder = encoder
        self.norm = nn.Identity() if not batch_norm else nn.BatchNorm2d(shape[0]) if is_map else nn.BatchNorm1d(shape[0])
        self.neuron = LIF() if neuron is None else neuron
        self.pred_weight, self.sim_weight = {"pred": (1, 0), "sim": (0, 1), "predsim": (1 - beta, beta)}[loss]
        self.pool = self.classifier = self.projection = None
        if loss != "sim":
            self.pool = ClassifierPool2d(shape, decoder_size) if is_map else nn.Flatten()
            self.classifier = nn.Linear(self.pool.out_features if is_map else shape[0], classes)
            nn.init.zeros_(self.classifier.weight)
        if loss != "pred":
            channels = shape[0]
            self.projection = (
                nn.Conv2d(channels, channels, 3, padding=1, bias=False) if is_map else nn.Linear(channels, channels, bias=False)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        _checks.floating(_OP, "x", x)
        sample = len(self.shape)
        if x.dim() == 1 + sample:
            return at_all_steps(self.neuron, self._currents(x), self.time_steps)
        if x.dim() == 2 + sample:
            _checks.time_steps(_OP, "x", x)
            return self.neuron(self._currents(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        axes = "features" if sample == 1 else "C, H, W"
        raise ValueError(f"{_OP}: expected x to have shape (N, {axes}) or (T, N, {axes}), got shape {tuple(x.shape)}.")

    def _currents(self, x: torch.Tensor) -> torch.Tensor:
        currents = self.encoder(x)
        if currents.shape[1:] != self.shape:
            raise ValueError(
                f"{_OP}: expected encoder to map x to shape (N, {', '.join(map(str, self.shape))}), as shape says, "
                f"got shape {tuple(currents.shape)}."
            )
        norm = self.norm
        if self.training and not isinstance(norm, nn.Identity) and currents.numel() == currents.shape[1]:
            norm.training = False
            try:
                return norm(currents)
            finally:
                norm.training = True
        return norm(currents)

    def local_losses(self, spikes: torch.Tensor, labels: torch.Tensor) -> LocalLosses:
        """The loss of the block and its parts.

        Args:
            spikes: what :meth:`forward` returned, (T, N, *shape).
            labels: class of each sample, (N,), int64, from 0 to classes - 1 (checked on the CPU only).

        Raises:
            TypeError: spikes or labels that are no tensors.
            ValueError: spikes or labels of another shape, labels that are not int64, a label outside the classes.
        """
        _checks.floating(_OP, "spikes", spikes)
        if spikes.shape[2:] != self.shape or spikes.dim() < 2:
            raise ValueError(
                f"{_OP}: expected spikes to have shape (T, N, {', '.join(map(str, self.shape))}), got shape {tuple(spikes.shape)}."
            )
        _check_labels(labels, spikes.shape[1], self.classes)
        rate = spikes.mean(0)
        pred = sim = logits = None
        if self.classifier is not None:
            logits = self.classifier(self.pool(rate))
            pred = self.pred_weight * F.cross_entropy(logits, labels)
        if self.projection is not None:
            sim = self.sim_weight * similarity_matching_loss(self.projection(rate), labels, self.classes)
        return LocalLosses(sum(part for part in (pred, sim) if part is not None), pred, sim, logits)

    def extra_repr(self) -> str:
        return call_arguments(self, LocalLossBlock.__init__)

    @staticmethod
    def _check(encoder, shape, classes, loss, beta, decoder_size, time_steps):
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"{_OP}: expected encoder to be a torch.nn.Module, got {type(encoder).__name__}.")
        if not isinstance(shape, (tuple, list)) or len(shape) not in (1, 3) or any(not _is_int(n) or n < 1 for n in shape):
            raise ValueError(f"{_OP}: expected shape to be (units,) or (C, H, W), whole numbers without zeros, got {shape}.")
        for name, value, least in (("classes", classes, 2), ("decoder_size", decoder_size, 1), ("time_steps", time_steps, 1)):
            if not _is_int(value):
                raise TypeError(f"{_OP}: expected {name} to be an int, got {type(value).__name__}.")
            if value < least:
                raise ValueError(f"{_OP}: expected {name} to be {least} or more, got {value}.")
        _checks.choice(_OP, "loss", loss, get_args(Loss))
        _checks.number(_OP, "beta", beta)
        if not 0 <= beta <= 1:
            raise ValueError(f"{_OP}: expected beta in [0, 1], got {beta}.")
        if len(shape) == 3 and loss != "sim" and decoder_size < shape[0]:
            raise ValueError(f"{_OP}: expected decoder_size to be at least the number of channels, {shape[0]}, got {decoder_size}.")


def _is_int(value) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_labels(labels: torch.Tensor, samples: int, classes: int) -> None:
    """One label for each sample, and, where looking does not wait for a GPU, from 0 to classes - 1."""
    _checks.tensor(_OP, "labels", labels)
    if labels.dtype != torch.int64 or labels.shape != (samples,):
        raise ValueError(
            f"{_OP}: expected labels to be int64 of shape ({samples},), one for each sample, got {labels.dtype} of shape "
            f"{tuple(labels.shape)}."
        )
    if labels.device.type == "cpu" and samples and _transforms.is_plain_eager(labels) and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"{_OP}: expected labels from 0 to {classes - 1}, got labels from {labels.min().item()} to {labels.max().item()}."
        )
