"""TSSL-BP in the formulation in which it was published (Zhang & Li, NeurIPS 2020, arXiv:2002.10085), in plain PyTorch: the
opponent of the fused op and of the trainer's step.

The time axis is the last of five, convolutions are three-dimensional with a kernel of one time step, neurons are stepped one
time step after the other, and the gradient sums, for each time step t, over all later ones k: O(T^2) work for each neuron, the
factors of each sum laid out over all k before they are multiplied. Written from the paper's equations.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SURROGATE_WIDTH = 0.2


def kernel_table(T: int, tau_s: float, like: Tensor) -> Tensor:
    """eps[j] = (1 - 1/tau_s)^j / tau_s: the post-synaptic current, j time steps after a spike."""
    lags = torch.arange(T, device=like.device)
    return ((1 - 1 / tau_s) ** lags.double() / tau_s).to(like.dtype)


class _Neurons(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, tau_m, tau_s, threshold):
        membrane = current = torch.zeros_like(x[..., 0])
        history = []
        for t in range(x.shape[-1]):
            change = x[..., t] - membrane / tau_m
            before_reset = membrane + change
            spike = (before_reset > threshold).to(x.dtype)
            membrane = before_reset * (1 - spike)
            current = current + (spike - current) / tau_s
            history.append((change, before_reset, spike, current))
        changes, membranes, spikes, currents = (torch.stack(steps, dim=-1) for steps in zip(*history))
        ctx.save_for_backward(changes, membranes, spikes, currents)
        ctx.constants = tau_m, tau_s, threshold
        return currents

    @staticmethod
    def backward(ctx, grad):
        changes, membranes, spikes, currents = ctx.saved_tensors
        tau_m, tau_s, threshold = ctx.constants
        T = grad.shape[-1]
        # d a[k] / d (time of a spike at t), for all neurons and k - t: the slope of the post-synaptic current.
        slope = (-kernel_table(T, tau_s, like=grad) / tau_s).repeat(*grad.shape[:-1], 1)
        decay = 1 - 1 / tau_m
        carry = torch.zeros_like(grad[..., 0])
        grad_x = torch.empty_like(grad)
        for t in reversed(range(T)):
            u, spike = membranes[..., t], spikes[..., t]
            # d spike time / d membrane. Without a spike it is 0, also where the reciprocal is infinite: clamped before the product.
            spike_time = torch.clamp(-1 / changes[..., t], -8, 0) * spike

            # All later currents k >= t, each through the time of the spike at t.
            later = grad[..., t:] * tau_s
            all_k = spike_time.unsqueeze(-1).repeat(*[1] * spike_time.dim(), T - t)
            through_spikes = (all_k * slope[..., : T - t] * later).sum(-1)
            if t < T - 1:
                through_spikes = through_spikes - carry * u / tau_m * spike_time + carry * decay * (1 - spike)
            carry = through_spikes * spike + carry * decay * (1 - spike)

            # Where the neuron is quiet, all later currents through a smooth spike function instead.
            e = torch.exp(torch.clamp((threshold - u) / SURROGATE_WIDTH, -8, 8))
            smooth = (-slope[..., : T - t] * later).sum(-1) * e / (SURROGATE_WIDTH * (1 + e) ** 2)
            grad_x[..., t] = torch.where(currents[..., t] < 1 / (4 * tau_s), smooth, through_spikes)
        return grad_x, None, None, None


def tssl_bp(x: Tensor, tau_m: float = 5.0, tau_s: float = 3.0, threshold: float = 1.0) -> Tensor:
    """Post-synaptic currents (..., T) of neurons that receive the currents x (..., T)."""
    return _Neurons.apply(x, tau_m, tau_s, threshold)


def synaptic_filter(spikes: Tensor, tau_s: float) -> Tensor:
    """Post-synaptic currents (..., T) of spikes (..., T)."""
    trace = torch.zeros_like(spikes[..., 0])
    steps = []
    for t in range(spikes.shape[-1]):
        trace = trace - trace / tau_s + spikes[..., t]
        steps.append(trace / tau_s)
    return torch.stack(steps, dim=-1)


class Conv(nn.Module):
    """Convolution of every time step, as a three-dimensional one: (N, C, H, W, T), weights (out, in, k, k, 1), no bias."""

    def __init__(self, weight: Tensor, padding: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone().contiguous().unsqueeze(-1))
        self.padding = padding

    def forward(self, x: Tensor) -> Tensor:
        return F.conv3d(x, self.weight, padding=(self.padding, self.padding, 0))


class Linear(nn.Module):
    """Fully connected layer of every time step: (N, C, H, W, T) to (N, units, 1, 1, T), no bias."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        features = x.flatten(1, 3).transpose(1, 2)
        return F.linear(features, self.weight).transpose(1, 2)[:, :, None, None]


class SumPool(nn.Module):
    """Sum over windows times `gain`, as a three-dimensional convolution over the rows of all channels, one below the other."""

    def __init__(self, size: int, gain: float) -> None:
        super().__init__()
        self.size = size
        self.register_buffer("weight", torch.full((1, 1, size, size, 1), gain))

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w, T = x.shape
        pooled = F.conv3d(x.reshape(n, 1, c * h, w, T), self.weight, stride=(self.size, self.size, 1))
        return pooled.reshape(n, c, h // self.size, w // self.size, T)


class Neurons(nn.Module):
    """A layer of TSSL-BP neurons."""

    def __init__(self, tau_m: float, tau_s: float, threshold: float) -> None:
        super().__init__()
        self.constants = tau_m, tau_s, threshold

    def forward(self, x: Tensor) -> Tensor:
        return tssl_bp(x, *self.constants)


class Network(nn.Sequential):
    """Layers on post-synaptic currents (N, C, H, W, T); the input, an image (N, C, H, W), is shown at all time steps."""

    def __init__(self, layers: list[nn.Module], time_steps: int, tau_s: float) -> None:
        super().__init__(*layers)
        self.time_steps, self.tau_s = time_steps, tau_s

    def forward(self, images: Tensor) -> Tensor:
        shown = images.unsqueeze(-1).repeat(1, 1, 1, 1, self.time_steps)
        return super().forward(synaptic_filter(shown, self.tau_s))


class Trainer:
    """The published training step: kernel loss, gradient clipped to norm 1, AdamW, weights kept in [-4, 4].

    Args:
        network: what is trained
        learning_rate: of AdamW
        desired_spikes: (T,), the spike train wanted from the right class
        classes: number of outputs
    """

    def __init__(self, network: Network, learning_rate: float, desired_spikes: Tensor, classes: int) -> None:
        self.network = network
        self.optimizer = torch.optim.AdamW(network.parameters(), lr=learning_rate, betas=(0.9, 0.999))
        self.desired_spikes = desired_spikes
        self.classes = classes

    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Half the squared distance to the wanted currents. As published, the wanted spikes are filtered twice."""
        tau_s = self.network.tau_s
        wanted = images.new_zeros(len(images), self.classes, 1, 1, self.network.time_steps)
        wanted[torch.arange(len(images)), labels, 0, 0] = self.desired_spikes
        wanted = synaptic_filter(synaptic_filter(wanted, tau_s), tau_s)
        return 0.5 * (self.network(images) - wanted).square().sum()

    def training_step(self, images: Tensor, labels: Tensor) -> Tensor:
        """Learn from images (N, C, H, W) with labels (N,); returns the loss."""
        loss = self.loss(images, labels)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for weight in self.network.parameters():
                weight.clamp_(-4, 4)
        return loss.detach()
