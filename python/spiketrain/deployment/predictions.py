"""What a network says of samples."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Prediction:
    """One of the classes that a sample may be of.

    Attributes:
        index: of the output, which is the label of the class
        name: of the class
        probability: softmax of the scores
        score: what the network computed
    """

    index: int
    name: str
    probability: float
    score: float


@dataclass
class Predictions:
    """The outputs of a network for samples, in their order.

    Attributes:
        names: of the samples: files, or numbers of rows
        scores: (N, outputs), as `spiketrain eval` computes them
        class_names: a name for each output
        notes: what was done to the samples before, a line each
    """

    names: list[str]
    scores: Tensor
    class_names: tuple[str, ...]
    notes: list[str]

    def __len__(self) -> int:
        return len(self.names)

    @property
    def probabilities(self) -> Tensor:
        """(N, outputs): softmax of the scores, in float64. Those of networks whose loss is no cross-entropy only say which is larger."""
        return self.scores.double().softmax(1)

    @property
    def indices(self) -> Tensor:
        """(N,): the output with the largest score, the first one if several have it: the class that `spiketrain eval` counts."""
        return self.scores.argmax(1)

    @property
    def labels(self) -> list[str]:
        """The name of the class of each sample."""
        return [self.class_names[index] for index in self.indices.tolist()]

    def top(self, count: int) -> list[list[Prediction]]:
        """For each sample the `count` likeliest classes, the likeliest first; of classes with equal scores the first one comes first."""
        order = torch.sort(self.scores, dim=1, descending=True, stable=True).indices[:, :count]
        rows = zip(order.tolist(), self.probabilities.gather(1, order).tolist(), self.scores.gather(1, order).tolist())
        return [[Prediction(i, self.class_names[i], p, score) for i, p, score in zip(*row)] for row in rows]
