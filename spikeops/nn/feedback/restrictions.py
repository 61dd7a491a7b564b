"""Weights of feedback networks: norm restrictions, weight standardisation, unit-norm initialisation."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.utils import parametrize

from spikeops.functional import _checks
from spikeops.nn._repr import call_arguments

EPS = 1e-12
FIRST_POWER_STEPS = 10


class SpectralNormRestriction(nn.Module):
    """Parametrization W -> clip(gain, -norm_range, norm_range) W / sigma(W); see :func:`restrict_spectral_norm`."""

    def __init__(self, weight: torch.Tensor, norm_range: float):
        super().__init__()
        self.norm_range = norm_range
        matrix = weight.detach().flatten(1)
        u, v = _power_steps(matrix, torch.randn_like(matrix[:, 0]), FIRST_POWER_STEPS)
        self.gain = nn.Parameter(_sigma(matrix, u, v))
        u, v = _power_steps(matrix, torch.randn_like(matrix[:, 0]), 1)
        self.register_buffer("left_vector", u)
        self.register_buffer("right_vector", v)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        matrix = weight.flatten(1)
        u, v = _power_steps(matrix.detach(), self.left_vector, 1)
        self.left_vector.copy_(u)
        self.right_vector.copy_(v)
        return self.gain.clamp(-self.norm_range, self.norm_range) * weight / _sigma(matrix, u, v)

    def extra_repr(self) -> str:
        return call_arguments(self, SpectralNormRestriction.__init__, weight=self.gain)


@torch.no_grad()
def _power_steps(matrix, u, steps):
    for _ in range(steps):
        v = F.normalize(matrix.t() @ u, dim=0, eps=EPS)
        u = F.normalize(matrix @ v, dim=0, eps=EPS)
    return u, v


def _sigma(matrix, u, v):
    return torch.dot(u, matrix @ v).clamp_min(EPS)


class FrobeniusNormRestriction(nn.Module):
    """Parametrization W -> W min(F, norm_range) / F; see :func:`restrict_frobenius_norm`."""

    def __init__(self, norm_range: float, samples: int | None):
        super().__init__()
        self.norm_range, self.samples = norm_range, samples

    @torch.no_grad()
    def norm(self, weight: torch.Tensor) -> torch.Tensor:
        """The Frobenius norm of the weight, or its random estimate."""
        matrix = weight.flatten(1)
        if self.samples is None:
            return torch.sqrt(matrix.square().sum() + EPS)
        draws = self.draw(self.samples, matrix)
        return torch.sqrt((draws @ matrix).square().sum(1).mean() + EPS)

    @staticmethod
    def draw(samples: int, matrix: torch.Tensor) -> torch.Tensor:
        return torch.randn(samples, matrix.shape[0], dtype=matrix.dtype, device=matrix.device)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        norm = self.norm(weight)
        return weight / norm * norm.clamp_max(self.norm_range)

    def extra_repr(self) -> str:
        return call_arguments(self, FrobeniusNormRestriction.__init__)


def restrict_spectral_norm(module: nn.Module, norm_range: float = 1.0) -> nn.Module:
    """Keep the spectral norm of a feedback weight within ``norm_range``, as IDE does so that its equilibrium exists.

    Replaces ``module.weight`` W by ``clip(gain, -norm_range, norm_range) W / sigma``, sigma = u^T W v, with a learnable
    ``gain``. The singular vectors u, v are buffers that take one power-iteration step each time the weight is used, in
    training and in evaluation. The matrix is the first axis against the rest: for a transposed convolution the first axis is
    the input channels. The gain starts as the norm of the weight at hand (10 power steps from a random vector).

    As published (Xiao et al., NeurIPS 2021): one power step underestimates sigma, so the norm may exceed the range slightly;
    a gain outside the range gets no gradient.

    Args:
        module: Linear, Conv2d or ConvTranspose2d, its weight initialised.
        norm_range: largest absolute gain, above 0.

    Returns:
        ``module``.

    Raises:
        TypeError: a module without a weight. ValueError: a norm_range that is not above 0.

    Example:
        >>> feedback = torch.nn.Linear(8, 8, bias=False)
        >>> _ = torch.nn.init.orthogonal_(feedback.weight, gain=3.0)
        >>> f"{torch.linalg.matrix_norm(snn.restrict_spectral_norm(feedback).weight, 2):.3f}"
        '1.000'
    """
    norm_range = _check("restrict_spectral_norm", module, norm_range)
    parametrize.register_parametrization(module, "weight", SpectralNormRestriction(module.weight, norm_range), unsafe=True)
    return module


def restrict_frobenius_norm(module: nn.Module, norm_range: float = 2.0, samples: int | None = 64) -> nn.Module:
    """Keep the Frobenius norm of a feedback weight within ``norm_range``, as SPIDE does.

    Replaces ``module.weight`` W by ``W min(F, norm_range) / F``, F a constant for the gradient.

    As published (Xiao et al., Neural Networks 2023), F is estimated each time the weight is used, in training and in
    evaluation, from ``samples`` Gaussian vectors V: ``F^2 = mean |V W|^2``. So a weight within the range is unchanged, and a
    weight above it is random from call to call. With ``samples=None`` F is the exact norm and evaluation repeatable.
    Mended: the published code also tries to bring the initial weight into the range, but estimates F without its square
    (and gets NaN half of the time); here an initial weight above the range is scaled to it by its exact norm.

    Args:
        module: Linear, Conv2d or ConvTranspose2d, its weight initialised.
        norm_range: largest norm, above 0.
        samples: Gaussian vectors of the estimate, or None.

    Returns:
        ``module``.

    Raises:
        TypeError: a module without a weight. ValueError: a norm_range or number of samples that is not above 0.

    Example:
        >>> feedback = snn.restrict_frobenius_norm(torch.nn.Linear(8, 8, bias=False), 0.5, samples=None)
        >>> f"{torch.linalg.matrix_norm(feedback.weight):.3f}"
        '0.500'
    """
    norm_range = _check("restrict_frobenius_norm", module, norm_range)
    if samples is not None:
        samples = _checks.whole("restrict_frobenius_norm", "samples", samples, 0)
        if samples < 1:
            raise ValueError(f"restrict_frobenius_norm: expected samples of at least 1, or None, got {samples}.")
    with torch.no_grad():
        norm = torch.linalg.vector_norm(module.weight)
        if norm > norm_range:
            module.weight.mul_(norm_range / norm)
    parametrize.register_parametrization(module, "weight", FrobeniusNormRestriction(norm_range, samples), unsafe=True)
    return module


def _check(name, module, norm_range):
    if not isinstance(getattr(module, "weight", None), torch.Tensor) or module.weight.dim() < 2:
        raise TypeError(f"{name}: expected a module with a weight matrix or kernel, got {module}.")
    number = _checks.number(name, "norm_range", norm_range)
    if not number > 0:
        raise ValueError(f"{name}: expected norm_range above 0, got {norm_range}.")
    return number


class WSConv2d(nn.Conv2d):
    """Conv2d with weight standardisation: the kernel of each output channel has mean 0 and standard deviation 1 / sqrt(fan-in).

    The standard deviation is the unbiased one plus 1e-5; the bias is not touched. A norm restriction of the weight comes before
    the standardisation. In the published SPIDE code it is for the CIFAR10-DVS network.

    Args:
        as for :class:`torch.nn.Conv2d`.

    Shapes:
        x (B, C, H, W) -> (B, C', H', W').

    Example:
        >>> weight = snn.WSConv2d(2, 4, 3).effective_weight()
        >>> bool(weight.mean((1, 2, 3)).abs().max() < 1e-6)
        True
    """

    def effective_weight(self) -> torch.Tensor:
        weight = self.weight  # once: a norm restriction computes it at each access
        std, mean = torch.std_mean(weight, (1, 2, 3), correction=1, keepdim=True)
        return (weight - mean) / (std + 1e-5) * weight[0].numel() ** -0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._conv_forward(x, self.effective_weight(), self.bias)


@torch.no_grad()
def init_unit_norm_(module: nn.Module, gain: float = 1.0) -> nn.Module:
    """Initialise as the feedback networks were published: weights from U(-1, 1), then each output unit's weight vector scaled
    to Euclidean norm ``gain``; biases 0. In place, for every Linear, Conv2d and ConvTranspose2d inside.

    Args:
        module: a layer or a network. Weights must not yet be restricted in norm.
        gain: Euclidean norm of each output unit's weights; SPIDE uses 0.1 for its transposed convolutions.

    Returns:
        ``module``.

    Raises:
        ValueError: a weight that is restricted already.

    Example:
        >>> layer = snn.init_unit_norm_(torch.nn.Linear(5, 3))
        >>> layer.weight.norm(dim=1).detach().round(decimals=4)
        tensor([1., 1., 1.])
    """
    gain = _checks.number("init_unit_norm_", "gain", gain)
    for layer in module.modules():
        if not isinstance(layer, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)):
            continue
        if parametrize.is_parametrized(layer, "weight"):
            raise ValueError(f"init_unit_norm_: the weight of {layer} is restricted already. Initialise it first.")
        output = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
        layer.weight.uniform_(-1, 1)
        others = [d for d in range(layer.weight.dim()) if d != output]
        layer.weight.mul_(gain / torch.linalg.vector_norm(layer.weight, dim=others, keepdim=True))
        if layer.bias is not None:
            layer.bias.zero_()
    return module
