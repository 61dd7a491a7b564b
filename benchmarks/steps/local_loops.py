"""ELL, FELL and BELL in plain PyTorch, one time step after the other with autograd, as their paper describes them.

They borrow the weights of our blocks and the sizes of their pooling windows, and nothing else. FELL for fully connected layers only: its graph reaches back
over weight updates, which PyTorch's convolutions do not allow.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Spike(torch.autograd.Function):
    """1 at or above the threshold; derivative exp(-|u - threshold|)."""

    @staticmethod
    def forward(ctx, u: Tensor, threshold: float) -> Tensor:
        ctx.save_for_backward(u)
        ctx.threshold = threshold
        return (u >= threshold).to(u.dtype)

    @staticmethod
    def backward(ctx, grad: Tensor):
        (u,) = ctx.saved_tensors
        return grad * torch.exp(-(u - ctx.threshold).abs()), None


def classify(classifier: nn.Module, spikes: Tensor) -> Tensor:
    if spikes.dim() == 4:
        spikes = F.avg_pool2d(spikes, classifier.pool_kernel, padding=classifier.pool_padding)
    return F.linear(spikes.flatten(1), classifier.weight)


class LocalLoop:
    """A training step of a network of local blocks, layer by layer.

    Args:
        network: with `blocks()` and `before(name, x)`; is copied
        rule: ell, fell or bell
        time_steps, tau, threshold: of the neurons
        lr: of one Adam per layer
    """

    def __init__(self, network: nn.Module, rule: str, time_steps: int, tau: float, threshold: float, lr: float):
        self.network = copy.deepcopy(network).to(memory_format=torch.contiguous_format).train()
        self.rule, self.time_steps, self.threshold, self.decay = rule, time_steps, threshold, math.exp(-1 / tau)
        self.optimizers = {name: torch.optim.Adam(block.parameters(), lr) for name, block in self.network.blocks().items()}

    def training_step(self, images: Tensor, labels: Tensor) -> Tensor:
        x, losses = [images] * self.time_steps, []
        for name, block in self.network.blocks().items():
            x = [self.network.before(name, now) for now in x]
            learn = self.backwards if self.rule == "bell" else self.forwards
            x, loss = learn(block, x, F.one_hot(labels, block.classifier.classes).to(images.dtype), self.optimizers[name])
            losses.append(loss)
        return sum(losses)

    def step(self, current: Tensor, v: Tensor | float) -> tuple[Tensor, Tensor]:
        """(spikes, membrane potential after the reset)."""
        u = self.decay * v + current
        s = Spike.apply(u, self.threshold)
        return s, u - self.threshold * s

    def backwards(self, block, x, target, optimizer):
        v, class_v, loss, spikes = 0.0, 0.0, 0.0, []
        for now in x:
            s, v = self.step(block.encoder(now), v)
            fired, class_v = self.step(classify(block.classifier, s), class_v)
            loss = loss + F.mse_loss(fired, target)
            spikes.append(s.detach())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return spikes, loss.detach()

    def forwards(self, block, x, target, optimizer):
        in_time = self.rule == "fell"
        v, class_v, total, spikes = 0.0, 0.0, 0.0, []
        for now in x:
            s, after = self.step(block.encoder(now), v)
            fired, class_after = self.step(classify(block.classifier, s), class_v)
            if in_time:  # what is carried on knows nothing of the layer's spikes
                _, class_after = self.step(classify(block.classifier, s.detach()), class_v)
            loss = F.mse_loss(fired, target)
            optimizer.zero_grad()
            loss.backward(retain_graph=in_time)
            optimizer.step()
            v, class_v = (after, class_after) if in_time else (after.detach(), class_after.detach())
            total = total + loss.detach()
            spikes.append(s.detach())
        return spikes, total
