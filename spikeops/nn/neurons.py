"""Spiking neurons and synapses."""

from __future__ import annotations

import math

import torch
from torch import nn

from spikeops import functional as SF
from spikeops.surrogate import ATan, Surrogate

_DEFAULT_SURROGATE = ATan(2.0)


class _Neurons(nn.Module):
    """What the LIF modules share; subclasses provide ``decay``."""

    def __init__(self, threshold: float, *, input_scale: float = 1.0, reset: str = "subtract",
                 reset_amount: float | None = None, v_reset: float = 0.0, v_rest: float = 0.0, strict: bool = False,
                 detach_reset: bool = False, surrogate: Surrogate = _DEFAULT_SURROGATE, return_state: bool = False):  # fmt: skip
        super().__init__()
        self.threshold, self.return_state = threshold, return_state
        self.options = dict(input_scale=input_scale, reset=reset, reset_amount=reset_amount, v_reset=v_reset, v_rest=v_rest,
                            strict=strict, detach_reset=detach_reset, surrogate=surrogate)  # fmt: skip

    def forward(self, x: torch.Tensor, v_init: torch.Tensor | None = None, time_steps: int | None = None):
        spikes, v_last = SF.lif(x, self.decay, self.threshold, v_init=v_init, time_steps=time_steps, **self.options)
        return (spikes, v_last) if self.return_state else spikes

    def extra_repr(self) -> str:
        return f"threshold={self.threshold}, reset={self.options['reset']!r}, surrogate={self.options['surrogate']}"


class LIF(_Neurons):
    """Leaky integrate-and-fire neurons: :func:`spikeops.functional.lif` as a module.

    Args:
        decay, threshold, ...: as in :func:`spikeops.functional.lif`.
        return_state: return ``(spikes, v_last)`` instead of the spikes, to go on with the next piece of a sequence.

    Shapes:
        x (T, ...), v_init (...) or None -> spikes (T, ...), v_last (...). With ``time_steps=T``, x (...) is the same in all of them.

    Example:
        >>> spikes = snn.LIF(decay=0.9)(torch.rand(8, 32, 100))
        >>> snn.LIF(decay=0.9)(torch.rand(32, 100), time_steps=8).shape
        torch.Size([8, 32, 100])
    """

    def __init__(self, decay: float = 0.5, threshold: float = 1.0, **options):
        super().__init__(threshold, **options)
        self.decay = decay

    def extra_repr(self) -> str:
        return f"decay={self.decay}, {super().extra_repr()}"


class IF(LIF):
    """Integrate-and-fire neurons: :class:`LIF` without a leak (decay = 1).

    Example:
        >>> spikes = snn.IF()(torch.rand(8, 32, 100))
    """

    def __init__(self, threshold: float = 1.0, **options):
        super().__init__(1.0, threshold, **options)


class ParametricLIF(_Neurons):
    """:class:`LIF` with a learnable decay, ``sigmoid(decay_logit)`` (after Fang et al., "Incorporating Learnable Membrane Time
    Constant", ICCV 2021; the input is not scaled by 1 - decay).

    Args:
        decay: initial value, between 0 and 1.
        shape: of the parameter, broadcastable to one time step of the input: () for one decay, (C, 1, 1) for one per channel.

    Raises:
        ValueError: an initial decay outside (0, 1).

    Example:
        >>> spikes = snn.ParametricLIF(0.5, shape=(100,))(torch.rand(8, 32, 100))
    """

    def __init__(self, decay: float = 0.5, threshold: float = 1.0, *, shape: tuple[int, ...] = (), **options):
        if not 0 < decay < 1:
            raise ValueError(f"ParametricLIF: expected decay between 0 and 1, got {decay}.")
        super().__init__(threshold, **options)
        self.decay_logit = nn.Parameter(torch.full(shape, math.log(decay / (1 - decay))))

    @property
    def decay(self) -> torch.Tensor:
        return torch.sigmoid(self.decay_logit)


class TSSLBP(nn.Module):
    """Spiking neurons with their synapses, trained by TSSL-BP: :func:`spikeops.functional.tssl_bp` as a module.

    Args:
        tau_m: membrane time constant, in time steps.
        tau_s: synaptic time constant, in time steps.
        threshold: firing threshold.
        return_spikes: return ``(post-synaptic current, spikes)``.

    Shapes:
        x (T, ...) -> post-synaptic current (T, ...).

    Example:
        >>> psc = snn.TSSLBP(tau_m=5, tau_s=3)(torch.rand(5, 32, 100))
    """

    def __init__(self, tau_m: float = 5.0, tau_s: float = 3.0, threshold: float = 1.0, return_spikes: bool = False):
        super().__init__()
        self.tau_m, self.tau_s, self.threshold, self.return_spikes = tau_m, tau_s, threshold, return_spikes

    def forward(self, x: torch.Tensor):
        return SF.tssl_bp(x, self.tau_m, self.tau_s, self.threshold, self.return_spikes)

    def extra_repr(self) -> str:
        return f"tau_m={self.tau_m}, tau_s={self.tau_s}, threshold={self.threshold}"


class SynapticFilter(nn.Module):
    """First-order synapse: :func:`spikeops.functional.synaptic_filter` as a module.

    Args:
        tau_s: synaptic time constant, in time steps.

    Shapes:
        spikes (T, ...) -> post-synaptic current (T, ...).

    Example:
        >>> psc = snn.SynapticFilter(tau_s=3)(torch.rand(5, 32, 100))
    """

    def __init__(self, tau_s: float = 3.0):
        super().__init__()
        self.tau_s = tau_s

    def forward(self, spikes: torch.Tensor) -> torch.Tensor:
        return SF.synaptic_filter(spikes, self.tau_s)

    def extra_repr(self) -> str:
        return f"tau_s={self.tau_s}"
