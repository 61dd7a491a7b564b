"""A layer of spiking neurons that is trained by a loss of its own, on its firing rate or its membrane potential."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import torch
from torch import nn
from torch.nn import functional as F

from spikeops._numbers import plain_number
from spikeops.functional import _checks, _transforms
from spikeops.nn._repr import call_arguments
from spikeops.nn.classifier_pool import ClassifierPool2d
from spikeops.nn.local_loss.similarity import similarity_matching_loss
from spikeops.nn.neurons import LIF, ClampedLIF
from spikeops.nn.time import at_all_steps

_OP = "LocalLossBlock"
Loss = Literal["pred", "sim", "predsim"]
Neuron = Literal["lif", "clamped", "relu"]


class _Kind(NamedTuple):
    """What a block is like with one kind of neurons."""

    time_steps: int | None  # by default; None: they know no time
    has_classifier_bias: bool = True
    projects_maps: bool = True


_KINDS = {"lif": _Kind(10), "clamped": _Kind(3, has_classifier_bias=False, projects_maps=False), "relu": _Kind(None)}


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
    """Linear or convolutional layer -> batch norm -> neurons, with a local loss on what the neurons do, h.

    The losses are those of Nokland & Eidnes, "Training neural networks with local error signals" (ICML 2019).

    ========= ============================================================================================================
    neuron
    ========= ============================================================================================================
    "lif"     :class:`LIF`, and h is their firing rate: a variant of our own. Any other module that maps currents
              (T, N, *shape) to spikes of the same shape can be given in its place.
    "clamped" :class:`ClampedLIF`, and h is their membrane potential after the last step: the published spiking layers
              (worden1/ICTAI_snn on GitHub). The next layer gets their spike counts. Their classifier has no bias, and the
              similarity of maps is that of h itself.
    "relu"    a ReLU, and h is its output: the layers of Nokland & Eidnes, which are those behind the published spiking
              convolutions too.
    ========= ============================================================================================================

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

    A block of clamped neurons returns ``(counts, v)``: the losses take both, the next block gets the counts.

    Args:
        encoder: the layer of weights, which maps one time step (N, ...) to (N, *shape). The published ones have a bias before a
            ReLU only.
        shape: of one sample behind the encoder, (units,) or (C, H, W).
        classes: number of classes.
        loss: "pred", "sim" or "predsim".
        beta: share of sim in predsim, in [0, 1].
        neuron: "lif", "clamped", "relu", or a module: neurons with other options, or others that map (T, N, *shape) to spikes.
        batch_norm: normalise the current of each unit or channel over the batch and all time steps. One value alone (a batch of one
            sample that does not change in time, for a linear layer) has no spread: it is normalised as in evaluation.
        decoder_size: most features that the classifier of maps sees (:class:`ClassifierPool2d`).
        time_steps: the time window T, for inputs that do not change in time; by default 10, or 3 of clamped neurons given by name.
        similarity_std: compare maps of more than 3 channels by the standard deviation of each channel (:func:`similarity_matrix`).

    Shapes:
        x (T, N, ...), or (N, ...) for an input that is the same in all ``time_steps`` -> spikes (T, N, *shape). For maps a sample of
        x has three axes, else one. With clamped neurons x (N, ...) -> counts (N, *shape), v (N, *shape); with a ReLU x (N, ...) ->
        (N, *shape).

    Raises:
        TypeError: an argument of a wrong type.
        ValueError: an unknown loss or neuron, beta outside [0, 1], a shape that is neither, fewer than 2 classes, T < 1,
            decoder_size below C, or clamped neurons for another number of units.

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
        neuron: Neuron | nn.Module = "lif",
        batch_norm: bool = True,
        decoder_size: int = 4096,
        time_steps: int | None = None,
        similarity_std: bool = True,
    ):
        super().__init__()
        if isinstance(shape, (tuple, list)):
            shape = tuple(map(plain_number, shape))
        classes, beta, decoder_size, time_steps = map(plain_number, (classes, beta, decoder_size, time_steps))
        self._check(encoder, shape, classes, loss, beta, decoder_size, time_steps, similarity_std)
        is_map = len(shape) == 3
        self.shape, self.classes, self.loss, self.beta = tuple(shape), classes, loss, beta
        self.batch_norm, self.decoder_size, self.similarity_std = batch_norm, decoder_size, similarity_std
        self.neuron, self.kind, self.time_steps = _neurons(neuron, shape[0], time_steps)
        self.encoder = encoder
        self.norm = nn.Identity() if not batch_norm else nn.BatchNorm2d(shape[0]) if is_map else nn.BatchNorm1d(shape[0])
        self.pred_weight, self.sim_weight = {"pred": (1, 0), "sim": (0, 1), "predsim": (1 - beta, beta)}[loss]
        self.pool = self.classifier = self.projection = None
        if loss != "sim":
            self.pool = ClassifierPool2d(shape, decoder_size) if is_map else nn.Flatten()
            features = self.pool.out_features if is_map else shape[0]
            self.classifier = nn.Linear(features, classes, bias=_KINDS[self.kind].has_classifier_bias)
            nn.init.zeros_(self.classifier.weight)
        if loss != "pred":
            channels = shape[0]
            if not is_map:
                self.projection = nn.Linear(channels, channels, bias=False)
            else:
                projects = _KINDS[self.kind].projects_maps
                self.projection = nn.Conv2d(channels, channels, 3, padding=1, bias=False) if projects else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        _checks.floating(_OP, "x", x)
        sample = len(self.shape)
        knows_time = self.kind == "lif"
        if x.dim() == 1 + sample:
            currents = self.currents(x)
            return at_all_steps(self.neuron, currents, self.time_steps) if knows_time else self.neuron(currents)
        if x.dim() == 2 + sample and knows_time:
            _checks.time_steps(_OP, "x", x)
            return self.neuron(self.currents(x.flatten(0, 1)).unflatten(0, x.shape[:2]))
        axes = "features" if sample == 1 else "C, H, W"
        expected = f"(N, {axes}) or (T, N, {axes})" if knows_time else f"(N, {axes}) for {self.kind} neurons"
        raise ValueError(f"{_OP}: expected x to have shape {expected}, got shape {tuple(x.shape)}.")

    def currents(self, x: torch.Tensor) -> torch.Tensor:
        """What x (N, ...), one time step, gives the neurons: (N, *shape), behind batch norm."""
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

    def local_losses(self, spikes: torch.Tensor | tuple[torch.Tensor, torch.Tensor], labels: torch.Tensor) -> LocalLosses:
        """The loss of the block and its parts.

        Args:
            spikes: what :meth:`forward` returned.
            labels: class of each sample, (N,), int64, from 0 to classes - 1 (checked on the CPU only).

        Raises:
            TypeError: spikes or labels that are no tensors, or for clamped neurons no pair of them.
            ValueError: spikes or labels of another shape, labels that are not int64, a label outside the classes.
        """
        h = self._seen_by_losses(spikes)
        _check_labels(labels, h.shape[0], self.classes)
        pred = sim = logits = None
        if self.classifier is not None:
            logits = self.classifier(self.pool(h))
            pred = self.pred_weight * F.cross_entropy(logits, labels)
        if self.projection is not None:
            sim = self.sim_weight * similarity_matching_loss(self.projection(h), labels, self.classes, std=self.similarity_std)
        return LocalLosses(sum(part for part in (pred, sim) if part is not None), pred, sim, logits)

    def _seen_by_losses(self, output: torch.Tensor | tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """h (N, *shape) from what `forward` returned."""
        name, axes = "spikes", "N"
        if self.kind == "clamped":
            if not isinstance(output, tuple) or len(output) != 2:
                raise TypeError(f"{_OP}: expected spikes to be (counts, v), as forward returned them, got {type(output).__name__}.")
            name, output = "v", output[1]
        elif self.kind == "lif":
            axes = "T, N"
        _checks.floating(_OP, name, output)
        leading = 2 if self.kind == "lif" else 1
        if output.shape[leading:] != self.shape or output.dim() < leading:
            raise ValueError(
                f"{_OP}: expected {name} to have shape ({axes}, {', '.join(map(str, self.shape))}), got shape {tuple(output.shape)}."
            )
        return output.mean(0) if self.kind == "lif" else output

    def extra_repr(self) -> str:
        steps = None if self.time_steps == _KINDS[self.kind].time_steps else self.time_steps
        return call_arguments(self, LocalLossBlock.__init__, time_steps=steps)

    @staticmethod
    def _check(encoder, shape, classes, loss, beta, decoder_size, time_steps, similarity_std):
        if not isinstance(encoder, nn.Module):
            raise TypeError(f"{_OP}: expected encoder to be a torch.nn.Module, got {type(encoder).__name__}.")
        if not isinstance(shape, (tuple, list)) or len(shape) not in (1, 3) or any(not _is_int(n) or n < 1 for n in shape):
            raise ValueError(f"{_OP}: expected shape to be (units,) or (C, H, W), whole numbers without zeros, got {shape}.")
        _checks.flag(_OP, "similarity_std", similarity_std)
        counts = [("classes", classes, 2), ("decoder_size", decoder_size, 1)]
        for name, value, least in counts if time_steps is None else [*counts, ("time_steps", time_steps, 1)]:
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


def _neurons(neuron: Neuron | nn.Module, units: int, time_steps: int | None) -> tuple[nn.Module, Neuron, int | None]:
    """The module, its kind, and the time steps it takes."""
    if not isinstance(neuron, nn.Module):
        _checks.choice(_OP, "neuron", neuron, get_args(Neuron))
        if neuron == "relu" and time_steps is not None:
            raise ValueError(f"{_OP}: expected time_steps to be None for relu neurons, which know no time, got {time_steps}.")
        steps = time_steps or _KINDS[neuron].time_steps
        make = {"lif": LIF, "clamped": lambda: ClampedLIF(units, time_steps=steps), "relu": nn.ReLU}
        return make[neuron](), neuron, steps
    if not isinstance(neuron, ClampedLIF):
        return neuron, "lif", time_steps or _KINDS["lif"].time_steps
    if neuron.units != units:
        raise ValueError(f"{_OP}: expected neuron to have {units} units, as shape says, got {neuron.units}.")
    if time_steps not in (None, neuron.time_steps):
        raise ValueError(f"{_OP}: expected time_steps to be that of neuron, {neuron.time_steps}, or None, got {time_steps}.")
    return neuron, "clamped", neuron.time_steps


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
