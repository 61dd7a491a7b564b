"""The sub-networks between the spiking layers of a ring: differentiable, and frozen for the time loops."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torch.nn.modules.lazy import LazyModuleMixin

from spikeops.nn._hooks import has_own_hooks, have_hooks_for_all, hooks_of_weights, is_observed
from spikeops.nn.conv import SpikeConv2d
from spikeops.nn.feedback import operators as ops
from spikeops.nn.feedback.restrictions import WSConv2d
from spikeops.nn.linear import SpikeLinear
from spikeops.nn.pool import AvgPool2d

BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.SyncBatchNorm)
WEIGHTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)
# (weight, bias) of every convolution and linear layer of a sub-network, norm restrictions applied; None for other modules.
Weights = list[tuple[torch.Tensor, torch.Tensor | None] | None]
# (scale, shift) of a batch-norm with fixed statistics.
Affine = tuple[torch.Tensor, torch.Tensor]


class SubNetwork:
    """A chain of modules from one spiking layer to the next, taken apart so that each pass computes the weights once.

    Holds no parameters: the module does.
    """

    def __init__(self, name: str, module: nn.Module):
        self.name, self.module = name, module
        self.leaves = list(_leaves(module))
        for leaf in self.leaves:
            _check_leaf(name, leaf)
        self.unknown = [leaf for leaf in self.leaves if not _is_known(leaf)]
        # Modes as they are now: a backward pass may come after a switch.
        self.batch_statistics = [_is_a(leaf, BATCH_NORMS) and leaf.training for leaf in self.leaves]
        self.inner_batch_statistics = {norm for leaf in self.unknown for norm in batch_norms_in(leaf) if norm.training}

    @property
    def has_batch_norm(self) -> bool:
        return any(batch_norms_in(leaf) for leaf in self.leaves)

    @property
    def affine(self) -> bool:
        """Whether :meth:`freeze` gives what :meth:`apply` computes."""
        return not (self.unknown or any(self.batch_statistics))

    def unknown_parts(self) -> tuple:
        """What the modules that are not known consist of, with modes and hooks: what may decide what they compute."""
        parts = [part for leaf in self.unknown for part in leaf.modules()]
        return tuple((part, part.training, *part._forward_pre_hooks, "then", *part._forward_hooks) for part in parts)

    @torch.no_grad()
    def check_affine(self, input_shape: torch.Size, like: torch.Tensor) -> None:
        """Raise an error if modules that are not known are not affine, tried out on random inputs."""
        if not self.unknown:
            return
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randn(1, *input_shape[1:], generator=generator).to(like) for _ in range(2))
        ya, yb, yab, y0 = (self.module(x) for x in (a, b, a + b, torch.zeros_like(a)))
        if not torch.allclose(ya + yb, yab + y0, rtol=1e-3, atol=1e-3 * ya.abs().max().item()):
            raise ValueError(
                f"FeedbackRing: expected affine sub-networks for method='spide', but {self.name} is not: {self.module}."
            )

    def weights(self) -> Weights:
        """The effective weights. A parametrised weight is computed here and nowhere else: some change a state each time."""
        return [_weight(leaf) if _is_a(leaf, WEIGHTED) else None for leaf in self.leaves]

    def apply(self, x: torch.Tensor, weights: Weights, *, batch_norm_updates: int = 1) -> torch.Tensor:
        """The sub-network as autograd sees it, in the modules' own mode.

        Args:
            batch_norm_updates: how often the running statistics of a batch-norm in train mode are updated.
        """
        for leaf, weight, batch_statistics in zip(self.leaves, weights, self.batch_statistics):
            if batch_statistics:
                x = _train_batch_norm(leaf, x, batch_norm_updates)
            elif weight is not None:
                x = _stage(leaf, *weight).apply(x)
            else:
                x = leaf(x if _is_known(leaf) else x.clone())  # others may work in place
        return x

    def freeze(self, weights: Weights, mean_input: torch.Tensor | None = None) -> ops.Operator:
        """The sub-network as an affine operator, every batch-norm with fixed statistics folded into what comes before it.

        Args:
            mean_input: a batch-norm in train mode gets its statistics from this input's way through the sub-network (the
                variance unbiased, eps 1e-8) instead of the running ones.
        """
        stages, x = [], mean_input
        for leaf, weight, batch_statistics in zip(self.leaves, weights, self.batch_statistics):
            if _is_a(leaf, BATCH_NORMS):
                scale, shift = _fixed_batch_norm(leaf, x if batch_statistics else None)
                _fold(stages, scale, shift)
                if x is not None:
                    x = x * ops.per_channel(scale, x.dim()) + ops.per_channel(shift, x.dim())
                continue
            stage = _stage(leaf, *_frozen(weight))
            if stage is not None:
                stages.append(stage)
                x = None if x is None else stage.apply(x)
        return ops.Operator(tuple(stages))

    def parts(self, weights: Weights) -> Iterator[ops.Operator | nn.Module | Callable]:
        """The sub-network as affine operators and, between them, what is not: batch-norms that use the statistics of the batch, and
        the functions of modules that are not known."""
        stages = []
        for leaf, weight, batch_statistics in zip(self.leaves, weights, self.batch_statistics):
            if batch_statistics or not _is_known(leaf):
                yield ops.Operator(tuple(stages))
                yield leaf if batch_statistics else partial(self._with_batch_statistics, leaf)
                stages = []
            elif _is_a(leaf, BATCH_NORMS):
                _fold(stages, *_fixed_batch_norm(leaf, None))
            elif (stage := _stage(leaf, *_frozen(weight))) is not None:
                stages.append(stage)
        yield ops.Operator(tuple(stages))

    def _with_batch_statistics(self, leaf: nn.Module, x: torch.Tensor) -> torch.Tensor:
        """A module that is not known, its batch-norms in the modes that they had, their running statistics kept."""
        norms = batch_norms_in(leaf)
        by_batch = tuple(norm for norm in norms if norm in self.inner_batch_statistics)
        with ops.switched(norms, training=False), ops.switched(by_batch, training=True, track_running_stats=False):
            return leaf(x)


def _leaves(module: nn.Module) -> Iterator[nn.Module]:
    # Hooks for all modules see a Sequential whole, too, but for one with batch-norms, which count what they see only by themselves.
    is_whole = has_own_hooks(module) or (have_hooks_for_all() and not batch_norms_in(module))
    if _own_forward(module) is nn.Sequential.forward and not is_whole:
        for child in module:
            yield from _leaves(child)
    else:
        yield module


_KNOWN = (*WEIGHTED, WSConv2d, SpikeConv2d, SpikeLinear, *BATCH_NORMS, nn.AvgPool2d, AvgPool2d, nn.Flatten, nn.Identity)
_FORWARDS = {(kind.forward, getattr(kind, "_conv_forward", None)) for kind in _KNOWN}


def batch_norms_in(leaf: nn.Module) -> tuple[nn.Module, ...]:
    return tuple(part for part in leaf.modules() if isinstance(part, _BatchNorm))


def _is_a(leaf: nn.Module, kinds: tuple[type, ...]) -> bool:
    return isinstance(leaf, kinds) and _is_known(leaf)


def _is_known(leaf: nn.Module) -> bool:
    """Whether it computes what its class of PyTorch's does: no forward function of its own, nor hooks that may change something.
    Those that compute its weight, and those of a batch-norm, which is not called at each step, do not count."""
    forwards = _own_forward(leaf), getattr(type(leaf), "_conv_forward", None)
    return forwards in _FORWARDS and (isinstance(leaf, BATCH_NORMS) or not is_observed(leaf))


def _own_forward(module: nn.Module):
    return getattr(module.forward, "__func__", None)


def _check_leaf(name: str, leaf: nn.Module) -> None:
    for part in leaf.modules():
        if isinstance(part, _DropoutNd):
            raise ValueError(
                f"FeedbackRing: expected no dropout module in {name}, got {part}, which would drop others at every time step. Give "
                "FeedbackRing(dropout=...), which drops the same outputs at all of them."
            )
        if isinstance(part, LazyModuleMixin) and part.has_uninitialized_params():
            raise ValueError(f"FeedbackRing: expected {name} with its weights, got {part}. Run it on a batch first.")
        if isinstance(part, _BatchNorm) and part.running_mean is None:
            raise ValueError(
                f"FeedbackRing: {name} has a batch-norm without running statistics, which the simulation needs: {part}. "
                "Build it with track_running_stats=True."
            )
    if not _is_known(leaf):
        return
    if isinstance(leaf, (nn.Conv2d, nn.ConvTranspose2d)) and leaf.padding_mode != "zeros":
        raise ValueError(f"FeedbackRing: expected {name} to pad with zeros, got padding_mode={leaf.padding_mode!r} in {leaf}.")
    if isinstance(leaf, nn.Conv2d):
        _padding(leaf)
    if isinstance(leaf, nn.Flatten) and (leaf.start_dim, leaf.end_dim) != (1, -1):
        raise ValueError(f"FeedbackRing: expected Flatten(1, -1) in {name}, got {leaf}.")


def _weight(leaf: nn.Module) -> tuple[torch.Tensor, torch.Tensor | None]:
    for hook in hooks_of_weights(leaf):
        hook(leaf, ())
    return leaf.effective_weight() if isinstance(leaf, WSConv2d) else leaf.weight, leaf.bias


def _stage(leaf: nn.Module, weight=None, bias=None):
    """The leaf with the given weights, as a stage of an operator; None for the identity."""
    if not _is_known(leaf):
        return ops.Opaque(leaf, batch_norms_in(leaf))
    if isinstance(leaf, nn.Conv2d):
        return ops.Convolution(weight, bias, leaf.stride, _padding(leaf), leaf.dilation, leaf.groups)
    if isinstance(leaf, nn.ConvTranspose2d):
        return ops.TransposedConvolution(weight, bias, leaf.stride, leaf.padding, leaf.output_padding, leaf.dilation, leaf.groups)
    if isinstance(leaf, nn.Linear):
        return ops.Linear(weight, bias)
    if isinstance(leaf, nn.AvgPool2d):
        return ops.AveragePool(ops.pair(leaf.kernel_size), ops.pair(leaf.stride), ops.pair(leaf.padding), leaf.ceil_mode,
                               leaf.count_include_pad, leaf.divisor_override)  # fmt: skip
    if isinstance(leaf, nn.Flatten):
        return ops.Reshape((-1,))
    return None  # nn.Identity


def _padding(leaf: nn.Conv2d) -> ops.Pair:
    if leaf.padding == "valid":
        return (0, 0)
    if leaf.padding == "same":
        total = [d * (k - 1) for d, k in zip(leaf.dilation, leaf.kernel_size)]
        if any(t % 2 for t in total):
            raise ValueError(f"FeedbackRing: expected padding='same' with an odd kernel, got {leaf}. Give the padding in numbers.")
        return (total[0] // 2, total[1] // 2)
    return leaf.padding


def _frozen(weight):
    """Detached, and in the memory order that the loops' channels-last data want."""
    if weight is None:
        return ()
    weight, bias = (None if value is None else value.detach() for value in weight)
    return ops.loop_order(weight), bias


def _train_batch_norm(leaf: nn.Module, x: torch.Tensor, updates: int) -> torch.Tensor:
    y = leaf(x)
    with torch.no_grad():
        for _ in range(updates - 1):
            leaf(x.detach())
    return y


def _fixed_batch_norm(leaf: nn.Module, x: torch.Tensor | None) -> Affine:
    if x is None:
        mean, inverse_std = leaf.running_mean, torch.rsqrt(leaf.running_var + leaf.eps)
    else:
        var, mean = torch.var_mean(x, [d for d in range(x.dim()) if d != 1], correction=1)
        inverse_std = torch.rsqrt(var + 1e-8)
    scale = inverse_std if leaf.weight is None else inverse_std * leaf.weight.detach()
    shift = -mean * scale
    return scale, shift if leaf.bias is None else shift + leaf.bias.detach()


def _fold(stages: list, scale: torch.Tensor, shift: torch.Tensor) -> None:
    """Work y -> scale y + shift, per channel, into the last of the stages."""
    if not (stages and hasattr(stages[-1], "scaled")):
        stages.append(ops.ChannelScale(torch.ones_like(scale), None))
    bias = shift if stages[-1].bias is None else stages[-1].bias * scale + shift
    stages[-1] = replace(stages[-1].scaled(scale), bias=bias)
