"""A layer of spiking neurons that is trained by a loss on its own firing rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F

from spikeops.nn.classifier_pool import ClassifierPool2d
from spikeops.nn.local_loss.similarity import similarity_matching_loss
from spikeops.nn.neurons import LIF
from spikeops.nn.time import AtAllSteps

LOSSES = ("pred", "sim", "predsim")


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
    """Linear or convolutional layer -> batch norm -> spiking neurons, with a local loss on the firing rate h (Nokland & Eidnes,
    "Training neural networks with local error signals", ICML 2019, for layers of spiking neurons).

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
        batch_norm: normalise the current of each unit or channel over the batch and all time steps.
        decoder_size: most features that the classifier of maps sees (:class:`ClassifierPool2d`).
        time_steps: the time window T, for inputs that do not change in time.

    Shapes:
        x (T, N, ...), or (N, ...) for an input that is the same in all ``time_steps`` -> spikes (T, N, *shape). For maps a sample of
        x has three axes, else one.

    Raises:
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
        loss: str = "predsim",
        *,
        beta: float = 0.99,
        neuron: nn.Module | None = None,
        batch_norm: bool = True,
        decoder_size: int = 4096,
        time_steps: int = 10,
    ):
        super().__init__()
        self._check(shape, classes, loss, beta, decoder_size, time_steps)
        is_map = len(shape) == 3
        self.shape, self.classes, self.loss, self.beta, self.time_steps = tuple(shape), classes, loss, beta, time_steps
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
        sample = len(self.shape)
        if x.dim() == 1 + sample:
            return self.neuron(AtAllSteps.apply(self.norm(self.encoder(x)), self.time_steps))
        if x.dim() == 2 + sample:
            return self.neuron(self.norm(self.encoder(x.flatten(0, 1))).unflatten(0, x.shape[:2]))
        axes = "features" if sample == 1 else "C, H, W"
        raise ValueError(f"LocalLossBlock: expected x to have shape (N, {axes}) or (T, N, {axes}), got shape {tuple(x.shape)}.")

    def local_losses(self, spikes: torch.Tensor, labels: torch.Tensor) -> LocalLosses:
        """The loss of the block and its parts.

        Args:
            spikes: what :meth:`forward` returned, (T, N, *shape).
            labels: class of each sample, (N,), int64, from 0 to classes - 1 (checked on the CPU only).

        Raises:
            ValueError: spikes or labels of another shape, a label outside the classes.
        """
        if spikes.shape[2:] != self.shape or spikes.dim() < 2:
            raise ValueError(
                f"LocalLossBlock: expected spikes to have shape (T, N, {', '.join(map(str, self.shape))}), "
                f"got shape {tuple(spikes.shape)}."
            )
        check_labels("LocalLossBlock", labels, spikes.shape[1], self.classes)
        rate = spikes.mean(0)
        pred = sim = logits = None
        if self.classifier is not None:
            logits = self.classifier(self.pool(rate))
            pred = self.pred_weight * F.cross_entropy(logits, labels)
        if self.projection is not None:
            sim = self.sim_weight * similarity_matching_loss(self.projection(rate), labels, self.classes)
        return LocalLosses(sum(part for part in (pred, sim) if part is not None), pred, sim, logits)

    def extra_repr(self) -> str:
        weight = f", beta={self.beta}" if self.loss == "predsim" else ""
        return f"shape={self.shape}, classes={self.classes}, loss={self.loss!r}{weight}, time_steps={self.time_steps}"

    @staticmethod
    def _check(shape, classes, loss, beta, decoder_size, time_steps):
        if len(shape) not in (1, 3) or math.prod(shape) < 1:
            raise ValueError(f"LocalLossBlock: expected shape (units,) or (C, H, W) without zeros, got {tuple(shape)}.")
        if classes < 2:
            raise ValueError(f"LocalLossBlock: expected classes to be 2 or more, got {classes}.")
        if loss not in LOSSES:
            raise ValueError(f"LocalLossBlock: expected loss to be one of {', '.join(LOSSES)}, got {loss!r}.")
        if not 0 <= beta <= 1:
            raise ValueError(f"LocalLossBlock: expected beta in [0, 1], got {beta}.")
        if len(shape) == 3 and loss != "sim" and decoder_size < shape[0]:
            raise ValueError(
                f"LocalLossBlock: expected decoder_size to be at least the number of channels, {shape[0]}, got {decoder_size}."
            )
        if time_steps < 1:
            raise ValueError(f"LocalLossBlock: expected time_steps to be 1 or more, got {time_steps}.")


def check_labels(op: str, labels: torch.Tensor, samples: int, classes: int) -> None:
    """One label for each sample, and, where looking does not wait for a GPU, from 0 to classes - 1."""
    if labels.shape != (samples,):
        raise ValueError(f"{op}: expected labels to have shape ({samples},), one for each sample, got shape {tuple(labels.shape)}.")
    if labels.device.type == "cpu" and samples and not (labels.min() >= 0 and labels.max() < classes):
        raise ValueError(
            f"{op}: expected labels from 0 to {classes - 1}, got labels from {labels.min().item()} to {labels.max().item()}."
        )
