"""First-order synapses."""

from __future__ import annotations

import torch

from spikeops import _backend, _layout, reference
from spikeops.functional import _checks, _register, _vmap
from spikeops.functional._other_words import FILTER, explain_other_words
from spikeops.functional._vmap import SEQUENCE


@explain_other_words(FILTER)
def synaptic_filter(spikes: torch.Tensor, tau_s: float) -> torch.Tensor:
    """Post-synaptic current of a first-order synapse: ``a[t] = a[t-1] + (s[t] - a[t-1]) / tau_s`` from a = 0.

    The filter of :func:`tssl_bp` by itself (eq. 3 of arXiv:2002.10085), for network input. Linear and differentiable: the gradient
    of ``s[t]`` is ``G[t] = g[t] / tau_s + (1 - 1 / tau_s) * G[t+1]`` for upstream gradients g.

    Args:
        spikes: (T, ...) spikes or any real input, float32, float64, float16 or bfloat16; layouts as in :func:`lif`.
        tau_s: synaptic time constant, in time steps, above 0.

    Returns:
        The post-synaptic current (T, ...) in the input's dtype and layout.

    Raises:
        TypeError: a wrong type or dtype. ValueError: a wrong shape or value. RuntimeError: no kernel for the device.

    Example:
        >>> SF.synaptic_filter(torch.tensor([1.0, 0.0, 0.0]), tau_s=2.0)
        tensor([0.5000, 0.2500, 0.1250])
    """
    _checks.sequence("synaptic_filter", "spikes", spikes)
    tau_s = _checks.positive("synaptic_filter", "tau_s", tau_s)
    ops = _backend.serving("synaptic_filter", spikes)
    return reference.synaptic_filter(spikes, tau_s) if ops is None else _synaptic_filter_forward(ops, spikes, tau_s)


def _fake(x, tau_s):
    return _layout.empty_sequence(_layout.time_major(x))


def _setup_context(ctx, inputs, output):
    ctx.tau_s = inputs[1]


# The adjoint's adjoint is the filter: the two formulas point at each other, and higher derivatives come for free.
_of_sequences = _vmap.as_neurons(lambda x, tau_s: ((SEQUENCE, None), (SEQUENCE,)))
_synaptic_filter_forward = _register.op(
    "synaptic_filter_forward", _fake, lambda ops, ctx, g: (_synaptic_filter_backward(ops, g, ctx.tau_s), None), _setup_context,
    is_linear=True, vmap=_of_sequences,
)  # fmt: skip
_synaptic_filter_backward = _register.op(
    "synaptic_filter_backward", _fake, lambda ops, ctx, g: (_synaptic_filter_forward(ops, g, ctx.tau_s), None), _setup_context,
    is_linear=True, vmap=_of_sequences,
)  # fmt: skip
