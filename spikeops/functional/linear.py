"""Matrix products with spikes."""

from __future__ import annotations

from functools import cached_property, partial

import torch
import torch.nn.functional as F

from spikeops import _backend, reference
from spikeops.functional import _checks, _event_matmul, _events, _narrow_matmul
from spikeops.functional._event_matmul import Events
from spikeops.functional._transforms import wants_gradient

_OP = "spike_linear"


def spike_linear(spikes: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """:func:`torch.nn.functional.linear`, faster on the CPU for input that is mostly 0, as spikes are, and for few outputs.

    Where few neurons fire, the weights of those that did are added up, and the gradient of the weights is that of the neurons that
    saw them fire. Where outputs are few, as classes are, kernels read or write the large matrix once, in both directions. A model of
    the costs decides from the sizes and the share of inputs that are not 0. Else, on other devices, in 16 bits, under autocast, in
    compiled code and under transforms of `torch.func` it is PyTorch's dense product. All give the same numbers up to rounding; the
    same input takes the same path on every run, and the sums of ours do not depend on the number of threads. 0 times an infinite
    weight is NaN on every path: weights and upstream gradients that are not finite are not met by events alone.

    Args:
        spikes: (..., C). Any values; fastest if few are not 0. Fold time and batch into the axes before the last.
        weight: (O, C).
        bias: (O,) or None.

    Returns:
        (..., O).

    Raises:
        As `linear`. TypeError: spikes or weight are no tensors.

    Example:
        >>> spikes = (torch.rand(10, 100, 784) < 0.05).float()
        >>> SF.spike_linear(spikes, torch.rand(800, 784)).shape
        torch.Size([10, 100, 800])
    """
    _checks.tensor(_OP, "spikes", spikes)
    _checks.tensor(_OP, "weight", weight)
    if _backend.is_reference():
        return reference.spike_linear(spikes, weight, bias)
    if _has_kernel(spikes, weight, bias):
        rows = SilentRows(spikes)
        if rows.pays(weight) or (weight.requires_grad and rows.gradient_pays(weight)):
            return _SpikeLinear.apply(spikes, weight, bias, rows.density)
        if _narrow_matmul.pays(len(rows), spikes.shape[-1], len(weight)):
            if wants_gradient((spikes, weight, bias)):
                return _SpikeLinear.apply(spikes, weight, bias, None)
            return rows.times(weight, bias)
    return F.linear(spikes, weight, bias)


class SilentRows:
    """Input (..., C) of linear layers that is mostly 0. What is not is found once, for products with any number of weights.

    Outside of autograd, for those who work out gradients by hand. It counts on x staying as it is.

    Args:
        x: the input
        density: the share of numbers that are not 0, where it is known
        uses: about how many weights it will meet
    """

    def __init__(self, x: torch.Tensor, density: float | None = None, uses: int = 1) -> None:
        self.x, self._uses = x.detach(), uses
        self._matrix = _matrix(self.x)
        if density is not None:
            self.density = density

    def __len__(self) -> int:
        return len(self._matrix)

    @cached_property
    def density(self) -> float:
        """The share of numbers that are not 0, in some rows."""
        return _events.density(self._matrix)

    @cached_property
    def _rows(self) -> Events:
        return Events.of_rows(self._matrix)

    @cached_property
    def _columns(self) -> Events:
        return Events.of_columns(self._matrix)

    def pays(self, weight: torch.Tensor) -> bool:
        """Whether adding up weights (O, C) is likely to beat the dense product."""
        return self._pays(*self._matrix.shape, weight, of_columns=False)

    def gradient_pays(self, weight: torch.Tensor) -> bool:
        """The same for the gradient of the weight."""
        return self._pays(*self._matrix.t().shape, weight, of_columns=True)

    def _pays(self, rows: int, inner: int, weight: torch.Tensor, of_columns: bool) -> bool:
        pays = partial(
            _event_matmul.pays, rows, inner, len(weight), element_size=weight.element_size(), of_columns=of_columns, uses=self._uses
        )
        # With few outputs it does not if nobody fires: then nobody need look who does.
        return pays(density=0.0) and pays(density=self.density)

    def times(self, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
        """(..., O): :func:`torch.nn.functional.linear` for weight (O, C) and bias (O,)."""
        if _has_kernel(self.x, weight, bias) and self.pays(weight):
            out = self.x.new_empty(len(self._matrix), len(weight))
            if self._rows.times(weight.detach().t(), out, None if bias is None else bias.detach()):
                return out.unflatten(0, self.x.shape[:-1])
        return _narrow_matmul.linear(self._matrix, weight, bias).unflatten(0, self.x.shape[:-1])

    def weight_gradient(self, grad_out: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        """Gradient of the weight (O, C) from that of the output (..., O); of events, in the memory order of `weight`, which fused
        optimizers rely on."""
        grad_out = _matrix(grad_out)
        if _has_kernel(self.x, weight, None) and _events.have_kernel(self.x, grad_out) and self.gradient_pays(weight):
            gradient = torch.empty_like(weight)
            if self._columns.times(grad_out, gradient.t()):
                return gradient
        return _narrow_matmul.weight_gradient(self._matrix, grad_out)


class _SpikeLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, spikes, weight, bias, density):
        need_spikes, need_weight, *_ = ctx.needs_input_grad
        # No more than `linear` keeps: a weight may change before the backward pass of an input without a gradient.
        ctx.save_for_backward(spikes if need_weight else None, weight if need_spikes else None)
        ctx.density, ctx.gradient_like = density, weight.detach() if need_weight else None
        return SilentRows(spikes, density).times(weight, bias)

    @staticmethod
    def backward(ctx, grad_out):
        spikes, weight = ctx.saved_tensors
        need_spikes, need_weight, need_bias, _ = ctx.needs_input_grad
        grad_spikes, grad_weight, grad_bias = None, None, None
        if need_spikes:
            grad_spikes = _narrow_matmul.input_gradient(_matrix(grad_out), weight).reshape(*grad_out.shape[:-1], weight.shape[1])
        if need_weight and torch.is_grad_enabled():  # to be differentiated again
            grad_weight = _matrix(grad_out).t() @ _matrix(spikes)
        elif need_weight:
            grad_weight = SilentRows(spikes, ctx.density).weight_gradient(grad_out, ctx.gradient_like)
        if need_bias:
            grad_bias = _matrix(grad_out).sum(0)
        return grad_spikes, grad_weight, grad_bias, None


def _matrix(x: torch.Tensor) -> torch.Tensor:
    """x (..., C) as (R, C). Not by `flatten`, which batches of gradients do not know."""
    return x.reshape(x.shape[:-1].numel(), x.shape[-1])


def _has_kernel(spikes: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> bool:
    """Whether it is a plain product where events may be added up. What is wrong is for `linear` to say."""
    return (
        _events.have_kernel(spikes, weight, bias)
        and spikes.dim() >= 2
        and weight.dim() == 2
        and weight.shape[1] == spikes.shape[-1]
        and min(*spikes.shape, *weight.shape) > 0
        and (bias is None or bias.shape == weight.shape[:1])
    )
