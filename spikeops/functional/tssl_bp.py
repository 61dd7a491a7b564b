"""TSSL-BP: temporal spike sequence learning via backpropagation."""

from __future__ import annotations

from typing import Literal, overload

import torch

from spikeops import _backend, _layout, reference
from spikeops.functional import _checks, _provenance, _register, _vmap
from spikeops.functional._other_words import TSSL, explain_other_words
from spikeops.functional._remembered import remembered
from spikeops.functional._vmap import SEQUENCE


@overload
def tssl_bp(
    x: torch.Tensor, tau_m: float = ..., tau_s: float = ..., threshold: float = ..., return_spikes: Literal[False] = ...
) -> torch.Tensor: ...
@overload
def tssl_bp(
    x: torch.Tensor, tau_m: float = ..., tau_s: float = ..., threshold: float = ..., *, return_spikes: Literal[True]
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def tssl_bp(
    x: torch.Tensor, tau_m: float, tau_s: float, threshold: float, return_spikes: Literal[True]
) -> tuple[torch.Tensor, torch.Tensor]: ...
@overload
def tssl_bp(
    x: torch.Tensor, tau_m: float = ..., tau_s: float = ..., threshold: float = ..., return_spikes: bool = ...
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]: ...
@explain_other_words(TSSL)
def tssl_bp(
    x: torch.Tensor, tau_m: float = 5.0, tau_s: float = 3.0, threshold: float = 1.0, return_spikes: bool = False
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Spiking neurons and their synapses, with the inter- and intra-neuron gradient of TSSL-BP.

    Zhang & Li, "Temporal Spike Sequence Learning via Backpropagation for Deep Spiking Neural Networks", NeurIPS 2020
    (arXiv:2002.10085). For each neuron, from v = a = 0, ``t = 0 .. T-1``::

        u[t] = v[t-1] + (x[t] - v[t-1] / tau_m)          membrane potential
        s[t] = 1 if u[t] > threshold else 0
        v[t] = u[t] * (1 - s[t])                         hard reset
        a[t] = a[t-1] + (s[t] - a[t-1]) / tau_s          post-synaptic current

    The backward pass is the published gradient as a recursion, O(T) instead of O(T^2). Only x is kept for it. Second derivatives
    are those of this gradient, at the spikes as they are; they run it in plain PyTorch, some 1 ms per time step. Forward mode is
    refused (docs/transforms.md).

    Args:
        x: input current (T, ...), float32, float64, float16 or bfloat16; layouts as in :func:`lif`.
        tau_m: membrane time constant, in time steps, above 0.
        tau_s: synaptic time constant, in time steps, above 0.
        threshold: membrane potential above which a neuron fires.
        return_spikes: also return the spikes (not differentiable).

    Returns:
        The post-synaptic current a (T, ...) in x's dtype and layout, or ``(a, spikes)``.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape or value. RuntimeError: no kernel for the device.

    Example:
        >>> SF.tssl_bp(torch.tensor([[0.6], [0.6], [0.6]])).T
        tensor([[0.0000, 0.3333, 0.2222]])
    """
    _checks.sequence("tssl_bp", "x", x)
    options = _options(x.dtype, tau_m, tau_s, threshold, return_spikes)
    ops = _backend.serving("tssl_bp", x)
    psc, spikes = reference.tssl_bp(x, *options[:3], True) if ops is None else _tssl_bp_forward(ops, x, *options)
    return (psc, _provenance.mark(spikes)) if return_spikes else psc


@remembered
def _options(data, tau_m, tau_s, threshold, return_spikes):
    tau_m, tau_s = _checks.positive("tssl_bp", "tau_m", tau_m), _checks.positive("tssl_bp", "tau_s", tau_s)
    threshold = _checks.number("tssl_bp", "threshold", threshold)
    _checks.fit("tssl_bp", data, threshold=threshold)
    _checks.flag("tssl_bp", "return_spikes", return_spikes)
    return tau_m, tau_s, threshold, return_spikes


def _forward_fake(x, tau_m, tau_s, threshold, return_spikes):
    x = _layout.time_major(x)
    return _layout.empty_sequence(x), _layout.empty_sequence(x) if return_spikes else None


def _setup_context(ctx, inputs, output):
    x, *ctx.numbers, return_spikes = inputs
    ctx.set_materialize_grads(False)
    if return_spikes:
        ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(x)


def _backward(ops, ctx, grad_psc, _):
    grad_x = None if grad_psc is None else _tssl_bp_backward(ops, grad_psc, *ctx.saved_tensors, *ctx.numbers)
    return grad_x, None, None, None, None


def _forward_layouts(x, tau_m, tau_s, threshold, return_spikes):
    return (SEQUENCE, None, None, None, None), (SEQUENCE, SEQUENCE if return_spikes else None)


_tssl_bp_forward = _register.op(
    "tssl_bp_forward", _forward_fake, _backward, _setup_context, vmap=_vmap.as_neurons(_forward_layouts),
)  # fmt: skip
_tssl_bp_backward = _register.op(
    "tssl_bp_backward", lambda grad, x, *_: _layout.empty_sequence(_layout.time_major(x)), definition=reference.tssl_bp_gradient,
    vmap=_vmap.as_neurons(lambda *_: ((SEQUENCE, SEQUENCE, None, None, None), (SEQUENCE,))),
)  # fmt: skip
