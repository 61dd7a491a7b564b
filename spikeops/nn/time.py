"""Between data with a time axis and layers without one."""

from __future__ import annotations

import torch
from torch import nn

from spikeops import _layout
from spikeops.functional import _transforms
from spikeops.nn.neurons import LIFNeurons


class TimeDistributed(nn.Module):
    """Folds time into the batch for a module that knows no time: ``(T, B, ...) -> (T * B, ...) -> module -> (T, B, ...)``.

    One large call instead of T small ones. Do not wrap modules that treat samples of a batch together where time steps must
    stay apart (batch norm then normalises over time too, which is usually what is wanted).

    Args:
        module: takes (B, ...) and returns (B, ...).

    Example:
        >>> layer = snn.TimeDistributed(torch.nn.Conv2d(1, 8, 3))
        >>> layer(torch.rand(5, 2, 1, 28, 28)).shape
        torch.Size([5, 2, 8, 26, 26])
    """

    def __init__(self, module: nn.Module):
        super().__init__()
        self.module = module

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dim() < 2:
            raise ValueError(f"TimeDistributed: expected x to have shape (T, B, ...), got shape {tuple(x.shape)}.")
        return self.module(x.flatten(0, 1)).unflatten(0, x.shape[:2])


def at_all_steps(
    module: nn.Module, current: torch.Tensor, time_steps: int, gain: torch.Tensor | None = None
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """What a module that knows time, such as neurons, makes of a current that is the same in all time steps, as from a still image.

    LIF neurons take such a current as it is; for other modules, and with a gain, it is repeated, in its memory order.

    Args:
        module: takes (T, ...).
        current: (...), without a time axis.
        time_steps: T.
        gain: factor on the current in each time step (T,), which gets no gradient; None for 1.

    Returns:
        What ``module`` returns.

    Raises:
        ValueError: a gain for another number of time steps.
    """
    if gain is not None and gain.shape != (time_steps,):
        raise ValueError(f"at_all_steps: expected gain to have shape ({time_steps},), one for each time step, got {tuple(gain.shape)}.")
    if gain is None and isinstance(module, LIFNeurons):
        return module(current, time_steps=time_steps)
    gain = None if gain is None else gain.detach().to(current.dtype)
    if not _transforms.is_plain_eager(current):
        repeated = current.expand(time_steps, *current.shape)
        return module(repeated if gain is None else gain.view(-1, *[1] * current.dim()) * repeated)
    return module(_Repeat.apply(current, time_steps, gain))


class _Repeat(torch.autograd.Function):
    """y[t] = gain[t] * current, without temporaries."""

    @staticmethod
    def forward(ctx, current: torch.Tensor, time_steps: int, gain: torch.Tensor | None) -> torch.Tensor:
        if gain is not None:
            ctx.save_for_backward(gain)
            return gain.view(-1, *[1] * current.dim()) * current
        # Not `expand`, whose memory order neurons without a kernel for it would not keep.
        return _layout.empty_sequence(_layout.dense(current).unsqueeze(0), time_steps).copy_(current)

    @staticmethod
    def backward(ctx, grad: torch.Tensor):
        if not ctx.saved_tensors:
            return grad.sum(0), None, None
        (gain,) = ctx.saved_tensors
        # (T, ...) seen as (T, neurons) in the memory order of one time step, so that channels-last needs no copy.
        order = sorted(range(1, grad.dim()), key=grad.stride, reverse=True)
        flat = grad.permute(0, *order).reshape(len(gain), -1)
        summed = torch.mv(flat.t(), gain).view([grad.shape[d] for d in order])
        return summed.permute([order.index(d) for d in range(1, grad.dim())]), None, None
