"""A spiking layer with a local classifier: what it computes, and how each of the three rules makes it learn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from spikeops import functional as SF
from spikeops._dtypes import state_dtype
from spikeops.functional import _checks, _transforms
from spikeops.functional._other_words import LOCAL, explain_other_words
from spikeops.nn._repr import call_arguments
from spikeops.nn.local.classifier import LocalClassifier
from spikeops.nn.local.gradient import dtype_of_weight
from spikeops.nn.local.online import learn_online
from spikeops.surrogate import Exponential, Surrogate

_OP = "LocalBlock"
Rule = Literal["ell", "fell", "bell"]
Update = Literal["step", "window"]


class Optimizer(Protocol):
    """What changes the parameters by their ``.grad``: a `torch.optim.Optimizer`, or anything else with its ``step()``."""

    def step(self) -> object: ...


@dataclass
class LocalStep:
    """What a block reports of one batch; nothing in it carries a gradient.

    Attributes:
        spikes: of the layer (T, N, ...), fired while it learned: what the next block gets.
        loss: 0-d, sum over time of the classifier's mean squared error.
        count: spikes of the classifier's neurons (N, classes); the largest is the prediction.
    """

    spikes: Tensor
    loss: Tensor
    count: Tensor


class LocalBlock(nn.Module):
    """A layer of leaky integrate-and-fire neurons that learns on its own, from the error of a classifier of its own.

    Ma, Yan, Yu & Yu, "Deep Spike Learning With Local Classifiers", IEEE Transactions on Cybernetics 2022. Layer and classifier are
    bias-free weights followed by neurons that decay by ``exp(-1 / tau)`` per time step and subtract the threshold when they fire; the
    classifier has one neuron per class. The loss of a time step is the mean squared error of the classifier's spikes against the
    one-hot labels. No gradient leaves the block. The rules:

    - ``ell``: in each time step the weights learn from that step alone; the states of the past are constants.
    - ``fell``: in each time step too, with the gradient through the membrane potentials of the past, forwards in time.
    - ``bell``: once per batch, by backpropagation through time inside the block.

    Args:
        encoder: the layer's weights: `torch.nn.Linear` or `torch.nn.Conv2d`, without bias.
        classifier: a :class:`LocalClassifier`, or a `torch.nn.Linear` without bias on the layer's units.
        rule: "ell", "fell" or "bell".
        time_steps: the time window T, for inputs that do not change in time.
        tau: membrane time constant, in time steps, above 0.
        threshold: membrane potential at which a neuron fires, above 0.
        surrogate: of the derivative of the spikes, one of :mod:`spikeops.surrogate`.
        update: "step": ell and fell change the weights after every time step, as published. "window": they add up the gradients of
            the time steps and change the weights once.

    Shapes:
        x (T, N, ...), or (N, ...) for an input that is the same in all ``time_steps`` -> spikes (T, N, ...).

    Raises:
        TypeError, ValueError: an argument that cannot be; the message names it.

    Example:
        >>> block = snn.LocalBlock(torch.nn.Linear(784, 800, bias=False), snn.LocalClassifier((800,), classes=10), rule="bell")
        >>> optimizer = torch.optim.Adam(block.parameters(), lr=5e-4)
        >>> step = block.learn(torch.rand(4, 784), torch.tensor([3, 1, 4, 1]), optimizer)
        >>> step.spikes.shape, step.count.shape
        (torch.Size([10, 4, 800]), torch.Size([4, 10]))
    """

    @explain_other_words(LOCAL)
    def __init__(
        self,
        encoder: nn.Linear | nn.Conv2d,
        classifier: LocalClassifier | nn.Linear,
        rule: Rule = "ell",
        *,
        time_steps: int = 10,
        tau: float = 1.0,
        threshold: float = 1.0,
        surrogate: Surrogate = Exponential(1.0),
        update: Update = "step",
    ):
        super().__init__()
        _check_encoder(encoder)
        if not isinstance(classifier, (LocalClassifier, nn.Linear)):
            raise TypeError(
                f"{_OP}: expected classifier to be a LocalClassifier or torch.nn.Linear, got {type(classifier).__name__}."
            )
        _checks.choice(_OP, "rule", rule, get_args(Rule))
        _checks.choice(_OP, "update", update, get_args(Update))
        time_steps = _checks.time_count(_OP, time_steps, "time_steps")
        tau, threshold = _checks.positive(_OP, "tau", tau), _checks.positive(_OP, "threshold", threshold)
        if not isinstance(surrogate, Surrogate):
            raise TypeError(
                f"{_OP}: expected surrogate to be one of spikeops.surrogate, such as Exponential(1.0), got {surrogate!r}."
            )
        self.encoder = encoder
        self.classifier = LocalClassifier.from_linear(classifier) if isinstance(classifier, nn.Linear) else classifier
        self.rule, self.update, self.time_steps = rule, update, time_steps
        self.tau, self.threshold, self.surrogate = tau, threshold, surrogate
        outputs, channels = encoder.weight.shape[0], self.classifier.shape[0]
        if outputs != channels:
            raise ValueError(
                f"{_OP}: expected classifier to be for {outputs} units or channels, as many as encoder has, got shape {self.classifier.shape}."
            )

    @property
    def decay(self) -> float:
        """Factor by which membrane potentials decay in one time step."""
        return math.exp(-1 / self.tau)

    def forward(self, x: Tensor) -> Tensor:
        """The layer's spikes (T, N, ...), without learning."""
        if self.is_static(x):
            return self._neurons(self.encoder(x), self.time_steps)
        return self._neurons(self.encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2]))

    def classify(self, spikes: Tensor) -> Tensor:
        """How often each of the classifier's neurons fires (N, classes), for the layer's spikes (T, N, ...)."""
        return self._classifier_spikes(spikes).sum(0)

    def learn(self, x: Tensor, labels: Tensor, optimizer: Optimizer, batch_size: int | None = None) -> LocalStep:
        """Learn from one batch.

        Args:
            x: input (N, features) or (N, C, H, W), shown at all time steps, or (T, N, ...).
            labels: classes (N,), int64. On a GPU they are not checked; a label outside the classes then stands for none of them.
            optimizer: changes the block's parameters by their ``.grad`` when its ``step()`` is called: after every time step, or once.
            batch_size: number of samples over which the loss is a mean, where several processes share a batch; N by default.

        Returns:
            A :class:`LocalStep`.

        Raises:
            TypeError, ValueError: an input that cannot be; the message names it.
        """
        _transforms.refuse(f"{_OP}.learn", "it sets gradients and changes weights in place. Call it outside the transform.")
        self._check_labels(x, labels)
        _checks.countable(_OP, self.time_steps if self.is_static(x) else len(x), x.dtype)
        if batch_size is not None:
            batch_size = _checks.whole(_OP, "batch_size", batch_size, 1)
        scale = 1 / ((batch_size or max(len(labels), 1)) * self.classifier.classes)
        if self.rule == "bell":
            return self._learn_backwards(x, labels, optimizer, scale)
        with torch.no_grad():
            spikes, squared_error, count = learn_online(self, x, labels, optimizer, scale)
        return LocalStep(spikes, squared_error * scale, count)

    def is_static(self, x: Tensor) -> bool:
        """Whether x has no time axis.

        Raises:
            ValueError: it has neither the shape of a batch nor that of a sequence of them.
        """
        is_conv = isinstance(self.encoder, nn.Conv2d)
        sample = ("C, H, W" if is_conv else "features", 3 if is_conv else 1)
        axis, wanted = (-3, self.encoder.in_channels) if is_conv else (-1, self.encoder.in_features)
        if x.dim() - sample[1] not in (1, 2) or x.shape[axis] != wanted:
            raise ValueError(
                f"{_OP}: expected x to have shape (N, {sample[0]}) or (T, N, {sample[0]}) with {wanted} "
                f"{'channels' if is_conv else 'features'}, got shape {tuple(x.shape)}."
            )
        if x.dim() - sample[1] == 2:
            _checks.time_steps(_OP, "x", x)
        return x.dim() - sample[1] == 1

    def trainable(self) -> list[nn.Parameter]:
        """The parameters that learn."""
        return [p for p in self.parameters() if p.requires_grad]

    def _learn_backwards(self, x: Tensor, labels: Tensor, optimizer: Optimizer, scale: float) -> LocalStep:
        """BELL: backpropagation through time, for layer and classifier at once over all time steps."""
        with torch.enable_grad():
            spikes = self.forward(x.detach())
            fired = self._classifier_spikes(spikes)
            fired = fired.to(state_dtype(fired.dtype))
            target = F.one_hot(labels, self.classifier.classes).to(fired.dtype)
            loss = (fired - target).square().sum() * scale
        for parameter in self.trainable():
            parameter.grad = None
        if loss.requires_grad:
            loss.backward()
        optimizer.step()
        return LocalStep(spikes.detach(), loss.detach(), fired.detach().sum(0))

    def _neurons(self, currents: Tensor, time_steps: int | None = None) -> Tensor:
        return SF.lif(currents, self.decay, self.threshold, surrogate=self.surrogate, time_steps=time_steps)[0]

    def _classifier_spikes(self, spikes: Tensor) -> Tensor:
        return self._neurons(self.classifier(spikes.flatten(0, 1)).unflatten(0, spikes.shape[:2]))

    def _check_labels(self, x: Tensor, labels: Tensor) -> None:
        _checks.floating(_OP, "x", x)
        _checks.tensor(_OP, "labels", labels)
        dtype = dtype_of_weight(self.encoder)
        if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
            raise TypeError(f"{_OP}: expected x to be {dtype} like the encoder's weight, got {x.dtype}. Call x.to({dtype}) first.")
        samples = x.shape[0 if self.is_static(x) else 1]
        if labels.dtype != torch.int64 or labels.shape != (samples,):
            raise ValueError(
                f"{_OP}: expected labels to be int64 of shape ({samples},), one for each sample of x, got {labels.dtype} of shape "
                f"{tuple(labels.shape)}."
            )
        if labels.device.type == "cpu" and samples:
            lowest, highest = (value.item() for value in labels.aminmax())
            if lowest < 0 or highest >= self.classifier.classes:
                raise ValueError(
                    f"{_OP}: expected labels in 0 .. {self.classifier.classes - 1}, the classes of the classifier, got "
                    f"{lowest if lowest < 0 else highest}."
                )

    def extra_repr(self) -> str:
        return call_arguments(self, LocalBlock.__init__)


def _check_encoder(encoder: nn.Module) -> None:
    if not isinstance(encoder, (nn.Linear, nn.Conv2d)):
        raise TypeError(f"{_OP}: expected encoder to be torch.nn.Linear or torch.nn.Conv2d, got {type(encoder).__name__}.")
    if encoder.bias is not None:
        raise ValueError(f"{_OP}: expected encoder to have no bias, got {encoder}. Use bias=False.")
    if isinstance(encoder, nn.Conv2d) and (encoder.padding_mode != "zeros" or isinstance(encoder.padding, str)):
        raise ValueError(f"{_OP}: expected encoder to pad by a number of zeros, got {encoder}.")
